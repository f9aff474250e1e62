"""One published night for the whole room, written once: tests that break partitions make their own."""

from pathlib import Path

import pytest

from tests.fakes.serving_world import write_partitions


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the partitions of the tiny world's last night; read only."""
    root = tmp_path_factory.mktemp("night")
    write_partitions(root)
    return root
