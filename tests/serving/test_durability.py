"""What was acknowledged is on disk: a service killed while it is posted to loses nothing; a replay doubles nothing."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from genre_pipeline.adapters.table_records import RunRecord
from genre_pipeline.adapters.tables import Tables
from tests import scenario
from tests.fakes import serving_world as world
from tests.serving.test_real_doors import NOW, published_frames

ROOT = Path(__file__).parents[2]
CLIENTS, ENOUGH = 4, 60
pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tables = Tables(f"sqlite:///{tmp_path / 'genre.db'}")
    tables.migrate()
    run = RunRecord("run-1", scenario.LAST_DAY, NOW, "model-1", "code-1", {}, {})
    tables.publish("run-1", expected=tables.stage(run, *published_frames()))
    tables.close()
    world.write_partitions(tmp_path / "data")
    return tmp_path


def event(client: int, number: int) -> dict[str, str]:
    return {
        "event_id": f"{client}-{number}",
        "user_id": f"user {client}",
        "item_id": scenario.ITEM_IDS[number % 20],
        "timestamp": f"2024-03-11T{number // 60 % 5:02d}:{number % 60:02d}:00Z",
    }


@contextmanager
def running(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("service_to_kill.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, str(script), str(home), str(port)], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process)
        yield process, url
    finally:
        process.kill()
        process.wait(timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the service did not come up")


def post_until_it_dies(url: str, client: int, acknowledged: list[str]) -> None:
    with httpx.Client(timeout=10) as http:
        for number in range(100_000):
            sent = event(client, number)
            try:
                answer = http.post(f"{url}/v1/events", json={"events": [sent]})
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                acknowledged.append(sent["event_id"])


def test_a_killed_service_has_lost_nothing_that_it_acknowledged(home: Path) -> None:
    acknowledged: list[str] = []
    with running(home) as (process, url), ThreadPoolExecutor(CLIENTS) as pool:
        posting = [pool.submit(post_until_it_dies, url, client, acknowledged) for client in range(CLIENTS)]
        while len(acknowledged) < ENOUGH:
            assert not any(task.done() for task in posting)
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        for task in posting:
            task.result(timeout=60)
    logged = logged_events(home)
    assert set(acknowledged) <= set(logged)
    assert len(acknowledged) >= ENOUGH
    assert len(logged) <= len(acknowledged) + CLIENTS

    with running(home) as (_, url):
        again = [event(client, number) for client in range(CLIENTS) for number in range(len(acknowledged))]
        for start in range(0, len(again), 100):
            answer = httpx.post(f"{url}/v1/events", json={"events": again[start : start + 100]}, timeout=30)
            assert answer.status_code == 200
        # What the killed process had logged is in the features of the next one, replayed or not.
        mine = {name for name in logged if name.startswith("0-")}
        listed = httpx.get(f"{url}/v1/users/user 0/recommendations?k=24", timeout=30).json()["recommendations"]
    had = {scenario.ITEM_IDS[int(name.partition("-")[2]) % 20] for name in mine}
    assert had.isdisjoint(line["item_id"] for line in listed)
    after = logged_events(home)
    assert len(after) == len(set(after))
    assert set(after) == {sent["event_id"] for sent in again} | set(logged)


def logged_events(home: Path) -> list[str]:
    with closing(sqlite3.connect(home / "genre.db")) as connection:
        return [row[0] for row in connection.execute("SELECT event_id FROM events")]
