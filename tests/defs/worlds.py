"""The scenario as a project folder with a fast configuration, and the process that runs commands in it."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from genre_pipeline.config import load_config
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.project import Project
from tests.scenario import CATEGORIES, DAY_KEYS, write_standard_folder

ROOT = Path(__file__).parents[2]
NIGHTS = DAY_KEYS[-3:]
"""Those that the shared world has been through, in order."""
SECRET = "sk-a-key-that-nobody-may-see-0123456789"
"""What the variable LANGUAGE_MODEL_KEY holds in every command."""
CONFIG = {
    "home": "home",
    "source": {"kind": "folder", "path": "source", "name": "scenario"},
    "days": {"start": DAY_KEYS[0], "end": DAY_KEYS[-1]},
    "preprocessing": {"max_rejected_share": 0.2},
    "media": {"workers": 1, "max_rejected_share": 0.3},
    "features": {
        "llm": {"source": "encoder", "max_tokens": 64}, "weighted": {"source": "encoder"},
        "image": {"technique": "descriptors"}, "fusion": {"method": "gated"},
    },
    "recommenders": {
        "enabled": ["popularity", "content", "item_knn", "sequential"],
        "sequential": {"training": {"epochs": 2, "network": {"width": 8}}},
    },
    "evaluation": {"comparison_resamples": 100},
    "publishing": {"k": 10, "similar_vectors": "fused"},
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    code: int
    output: str
    notes: str


class GraphServer:
    """`genre …` as a process of its own, without the cost of importing everything again."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._process = _started()
        self._is_busy = False

    def __call__(self, folder: Path, *arguments: str) -> Answer:
        if self._is_busy:  # a test was stopped while it waited: that answer must not be taken for this one
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = _started()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"folder": str(folder), "arguments": arguments, "log": str(self._logs / "command")}
        self._is_busy = True
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        self._is_busy = False
        output, notes = ((self._logs / f"command.{name}").read_text() for name in ("out", "err"))
        return Answer(code, output, notes)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def _started() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("graph_server.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_environment(),
    )  # fmt: skip


@dataclass(frozen=True)
class World:
    """A project folder, as one clones it: `genre.yaml`, `dagster.yaml`, the Feast repository, a source and a home."""

    folder: Path
    server: GraphServer

    def genre(self, *arguments: str) -> Answer:
        return self.server(self.folder, "genre", *arguments)

    def python(self, script: Path, *arguments: str) -> Answer:
        return self.server(self.folder, str(script), *arguments)

    def configure(self, changes: dict[str, object]) -> None:
        write_config(self.folder, {**CONFIG, **changes})

    @property
    def project(self) -> Project:
        return Project(load_config(self.folder / "genre.yaml", overrides={"home": str(self.folder / "home")}))

    def manifests(self, day: str) -> dict[str, str]:
        """Table to fingerprint, of everything that is kept of a day."""
        store = self.project.partitions
        tables = sorted(path.name for path in store.root.iterdir())
        return {table: store.verify(table, day).fingerprint for table in tables if store.has(table, day)}

    def published(self) -> str | None:
        """The run that readers see, by plain SQL."""
        with closing(sqlite3.connect(self.folder / "home" / "genre.db")) as connection:
            row = connection.execute("SELECT run_id FROM publication").fetchone()
        return None if row is None else str(row[0])


def write_project(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_standard_folder(folder / "source")
    tiny_encoder(folder / "encoder", CATEGORIES)
    shutil.copy(ROOT / "dagster.yaml", folder)
    (folder / "feature_repo").symlink_to(ROOT / "feature_repo")
    write_config(folder, CONFIG)


def write_config(folder: Path, values: dict[str, object]) -> None:
    # JSON is YAML, and a file of one key a line lets an error name its line.
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    (folder / "genre.yaml").write_text("\n".join(lines) + "\n")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GENRE_", "DAGSTER_", "COV_"))}
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "agg",
        "COLUMNS": "200",
        "TOKENIZERS_PARALLELISM": "false",
        "LANGUAGE_MODEL_KEY": SECRET,
    }
    # One thread each: a fork takes no pool of threads along.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    return {**kept, **quiet, **single, "HF_HUB_OFFLINE": "1"}
