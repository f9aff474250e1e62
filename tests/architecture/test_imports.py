"""Who may import whom, and that opening the front doors loads nothing heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("feast", "mlflow", "torch", "transformers", "matplotlib")
LIST_HEAVY_IMPORTS = """
import importlib, sys
door = importlib.import_module(sys.argv[1])
definitions = getattr(door, "defs", None)
if definitions is not None:  # Dagster may put off the building until it is called
    (definitions() if callable(definitions) else definitions).get_repository_def()
print(*sorted(set(sys.argv[2:]) & set(sys.modules)))
"""


def test_import_contracts_hold() -> None:
    script = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    checked = _python(script)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("module", ["genre_pipeline.definitions", "genre_pipeline.cli"])
def test_a_front_door_loads_nothing_heavy(module: str) -> None:
    loaded = _python(LIST_HEAVY_IMPORTS, module, *HEAVY)
    assert (loaded.returncode, loaded.stdout.split()) == (0, []), loaded.stderr


def test_the_instance_storage_loads_neither_store_nor_frames() -> None:
    loaded = _python(LIST_HEAVY_IMPORTS, "genre_pipeline.defs.instance_storage", *HEAVY, "polars", "dagster_postgres")
    assert (loaded.returncode, loaded.stdout.split()) == (0, []), loaded.stderr


def test_a_heavy_import_would_be_seen() -> None:
    loaded = _python(LIST_HEAVY_IMPORTS, "matplotlib", *HEAVY)
    assert loaded.stdout.split() == ["matplotlib"]


def _python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "GENRE_"))}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
