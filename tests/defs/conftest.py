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
def three_nights(graph_server: GraphServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenario after three nights, which nobody opens: only to be copied, by all workers of a session."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made = World(shared / "three-nights", graph_server)
    with (shared / "three-nights.lock").open("w") as lock:
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
    return made.folder


@pytest.fixture(scope="session")
def world(three_nights: Path, graph_server: GraphServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The scenario after three nights, shared by the tests of one worker: look, do not touch."""
    return World(_copied(three_nights, tmp_path_factory.mktemp("shared") / "world"), graph_server)


@pytest.fixture
def own_world(three_nights: Path, graph_server: GraphServer, tmp_path: Path) -> World:
    """The scenario after three nights, to change."""
    return World(_copied(three_nights, tmp_path / "world"), graph_server)


def _copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target, symlinks=True))
