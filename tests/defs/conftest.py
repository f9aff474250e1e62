"""The scenario after the nights of its last three days, made once and shared by all workers of a session."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.defs.worlds import NIGHTS, GraphServer, World, write_project


@pytest.fixture(scope="session")
def graph_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphServer]:
    server = GraphServer(tmp_path_factory.mktemp("graph-server"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def world(graph_server: GraphServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The scenario after three nights. Shared: look, do not touch."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made = World(shared / "world", graph_server)
    with (shared / "world.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made.folder / "done").exists():
            shutil.rmtree(made.folder, ignore_errors=True)
            write_project(made.folder)
            for night in NIGHTS:
                answer = made.genre("run", "--date", night)
                assert answer.code == 0, answer.notes
                if night == NIGHTS[0]:
                    (made.folder / "first_night.txt").write_text(answer.notes)
            (made.folder / "done").touch()
    return made


@pytest.fixture
def own_world(world: World, tmp_path: Path) -> World:
    """A copy of the shared world, to change."""
    return World(Path(shutil.copytree(world.folder, tmp_path / "world", symlinks=True)), world.server)
