"""Runs `genre …` in fresh processes that need not import the heavy libraries again: a child of this one for each.

Days are read when the graph is imported, so a test of the whole graph needs a process of its own with its own
`genre.yaml`. Importing Feast, MLflow and torch takes ten seconds of processor time; here it is done once, together with
those rooms of ours that look at no environment, and every command starts as a fork.

One JSON line in, `{"folder", "arguments", "log"}`; one line out: the exit code. Standard output and error go to
`<log>.out` and `<log>.err`.
"""

import json
import os
import runpy
import sys
import traceback
import warnings
from pathlib import Path

import dagster  # noqa: F401
import feast  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import mlflow  # noqa: F401
import polars  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401

import genre_pipeline.adapters.feature_store
import genre_pipeline.adapters.model_registry
import genre_pipeline.adapters.tables
import genre_pipeline.cli
import genre_pipeline.offline.evaluate
import genre_pipeline.project

COMMAND = "genre"


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            answer(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def answer(request: dict[str, object]) -> None:
    folder, arguments, log = Path(str(request["folder"])), request["arguments"], str(request["log"])
    assert isinstance(arguments, list)
    for descriptor, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(log + ending, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(folder)
    warnings.resetwarnings()
    warnings.simplefilter("ignore", DeprecationWarning)
    code = 0
    try:
        run([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(arguments: list[str]) -> None:
    """`genre …`, or a Python file and its arguments."""
    sys.argv = arguments
    if arguments[0] == COMMAND:
        genre_pipeline.cli.main()
    else:
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
