"""Where real data sets lie on a machine that has them: `GENRE_TEST_DATA`, or `shared/data` beside the project."""

import os
from pathlib import Path

import pytest


def real_data(name: str) -> Path:
    """The folder of one data set; skips the test, saying why, where it is not there."""
    root = Path(os.environ.get("GENRE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (root / name).is_dir():
        pytest.skip(f"no data set {name} under {root}; set GENRE_TEST_DATA to the folder that holds it")
    return root / name
