"""Recommendation quality of every recommender and the hybrid, on any data sets, with the same untouched settings.

    python benchmarks/quality.py time:~/ml-100k leave-one-out:~/ml-100k rolling:~/movietweetings > benchmarks/quality.md

Each argument is PROTOCOL:FOLDER. The folders are the standard form, or MovieLens' and MovieTweetings' own files. Writes
Markdown to standard output, progress to standard error. Nothing is read from a `genre.yaml`: defaults only.
"""

import argparse
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from genre_pipeline.config import GenreConfig
from genre_pipeline.evaluation.console import markdown_table
from genre_pipeline.offline.dataset import prepare, source_of
from genre_pipeline.offline.evaluate import evaluate_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="PROTOCOL:FOLDER")
    parser.add_argument("--home", type=Path, default=Path(".genre"), help="where encoded texts are cached")
    arguments = parser.parse_args()
    print(f"# Recommendation quality\n\n{machine()}\n\nWritten by `python benchmarks/quality.py`, defaults only.\n")
    for run in arguments.runs:
        protocol, _, folder = run.partition(":")
        print(section(protocol, Path(folder).expanduser(), arguments.home), flush=True)


def section(protocol: str, folder: Path, home: Path) -> str:
    start = time.perf_counter()
    config = GenreConfig(home=home)
    prepared = prepare(source_of(folder), config)
    found = evaluate_dataset(prepared, config, protocol=protocol, step_days=7, say=note).result  # type: ignore[arg-type]
    minutes = (time.perf_counter() - start) / 60
    peak = psutil.Process().memory_info().rss / 2**20
    facts = (
        f"{found.protocol.users:,} users, {found.protocol.items:,} items, cut {found.protocol.cut or 'each user’s own'}"
    )
    return (
        f"## {folder.name}, {protocol}\n\n{facts}; {minutes:.1f} minutes, {peak:,.0f} MB.\n\n{markdown_table(found)}\n"
    )


def machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "torch", "implicit"))
    memory = psutil.virtual_memory().total / 2**30
    now = datetime.now(UTC)
    return (
        f"{psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, {packages}; {now:%Y-%m-%d}."
    )


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
