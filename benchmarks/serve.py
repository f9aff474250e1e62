"""Latency and throughput of the service against a trivial endpoint of the same stack; freshness of posted events.

`python benchmarks/serve.py [HOME]` makes a world in HOME (or a temporary folder) and serves it from its own process:
SQLite tables and online features, 100,000 users, 20,000 items; USERS, ITEMS and SECONDS in the environment change that.
Compare the ratios: the rates belong to the machine. "Per CPU second" counts the server's own, and holds on a busy one.
"""

import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import serving_world as made

USERS, ITEMS = int(os.environ.get("USERS", "100000")), int(os.environ.get("ITEMS", "20000"))
SECONDS = float(os.environ.get("SECONDS", "10"))
EVENTS, POSTERS, CANDIDATES, ROUNDS = 1_000, 8, 200, 4
HEAD = (
    "| load | answers/s | per CPU s of the server | of the floor | p50 ms | p99 ms | failed | turned away |",
    "|---|---:|---:|---:|---:|---:|---:|---:|",
)
Request = tuple[str, str, bytes]
"""Method, target, body."""


@dataclass
class Measured:
    """What a load came to."""

    seconds: list[float] = field(default_factory=list)
    """Of what was answered."""
    failed: int = 0
    shed: int = 0
    """Turned away with 429 or 503."""
    wall: float = 0.0
    server_cpu: float = 0.0

    def row(self, name: str, floor: float = 0.0) -> str:
        """A line of the table; `floor` is the trivial endpoint's requests a CPU second."""
        at = np.percentile(self.seconds, [50, 99]) * 1000 if self.seconds else [0, 0]
        share = f"{self.per_cpu / floor:.0%}" if floor else ""
        return (
            f"| {name} | {len(self.seconds) / self.wall:,.0f} | {self.per_cpu:,.0f} | {share} "
            f"| {at[0]:.1f} | {at[1]:.1f} | {self.failed} | {self.shed} |"
        )

    def __iadd__(self, other: "Measured") -> "Measured":
        self.seconds += other.seconds
        self.failed, self.shed = self.failed + other.failed, self.shed + other.shed
        self.wall, self.server_cpu = self.wall + other.wall, self.server_cpu + other.server_cpu
        return self

    @property
    def per_cpu(self) -> float:
        return len(self.seconds) / max(self.server_cpu, 1e-9)


class Connection:
    """One kept-alive HTTP/1.1 connection, as little work as can be."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, request: Request) -> tuple[int, bytes]:
        method, target, body = request
        head = f"{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(answer[9:12]), await self._reader.readexactly(length)


async def closed_loop(port: int, request: Callable[[], Request], clients: int, seconds: float, pid: int) -> Measured:
    """Each client asks again as soon as it is answered."""
    found, end, before = Measured(), time.perf_counter() + seconds, cpu_of(pid)
    start = time.perf_counter()

    async def client() -> None:
        async with Connection(port) as connection:
            while time.perf_counter() < end:
                await timed(connection, request(), found)

    await asyncio.gather(*(client() for _ in range(clients)))
    found.wall, found.server_cpu = time.perf_counter() - start, cpu_of(pid) - before
    return found


async def open_loop(
    port: int, request: Callable[[], Request], rate: float, seconds: float, pid: int, most: int = 64
) -> Measured:
    """Requests at a rate, whether the ones before are answered or not; waiting for a connection counts."""
    found, before, start = Measured(), cpu_of(pid), time.perf_counter()
    free: asyncio.Queue[Connection] = asyncio.Queue()
    connections = [await Connection(port).__aenter__() for _ in range(most)]
    for connection in connections:
        free.put_nowait(connection)

    async def one(due: float) -> None:
        connection = await free.get()
        await timed(connection, request(), found, due)
        free.put_nowait(connection)

    tasks = []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    found.wall, found.server_cpu = time.perf_counter() - start, cpu_of(pid) - before
    for connection in connections:
        await connection.__aexit__()
    return found


async def timed(connection: Connection, request: Request, found: Measured, due: float | None = None) -> None:
    start = time.perf_counter() if due is None else due
    status, _ = await connection.ask(request)
    if status in (429, 503):
        found.shed += 1
        return
    found.seconds.append(time.perf_counter() - start)
    found.failed += status != 200


async def freshness(port: int, chance: Random) -> str:
    """Events of distinct users by clients at once: each next answer must leave the own item out."""
    names, stale, lists = made.item_ids(ITEMS), 0, []
    users = chance.sample(range(USERS), min(EVENTS, USERS))
    start = time.perf_counter()

    async def poster(mine: list[int]) -> None:
        nonlocal stale
        async with Connection(port) as connection:
            for user in mine:
                target = f"/v1/users/user-{user}/recommendations?k=20"
                _, body = await connection.ask(("GET", target, b""))
                item = json.loads(body)["recommendations"][0]["item_id"] if body else chance.choice(names)
                event = {"event_id": f"fresh-{user}", "user_id": f"user-{user}", "item_id": item, "event": "view"}
                lists.append(event)
                status, _ = await connection.ask(("POST", "/v1/events", json.dumps({"events": [event]}).encode()))
                _, body = await connection.ask(("GET", target, b""))
                listed = [line["item_id"] for line in json.loads(body)["recommendations"]]
                stale += status != 200 or item in listed

    await asyncio.gather(*(poster(users[number::POSTERS]) for number in range(POSTERS)))
    wall = time.perf_counter() - start
    replayed = {"accepted": 0, "duplicates": 0}
    async with Connection(port) as connection:
        for at in range(0, len(lists), 100):
            _, body = await connection.ask(
                ("POST", "/v1/events", json.dumps({"events": lists[at : at + 100]}).encode())
            )
            replayed = {name: count + json.loads(body)[name] for name, count in replayed.items()}
    return (
        f"{len(users):,} events by {POSTERS} clients in {wall:.1f} s: {stale} answers were stale; replayed: {replayed}"
    )


def cpu_of(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(home: Path, port: int) -> None:
    """The server's process."""
    from genre_pipeline.serving.settings import ServingConfig
    from genre_pipeline.serving.wiring import build_access, build_service
    from genre_pipeline.serving.wiring import serve as listen

    doors, config = made.opened(home), ServingConfig(port=port, reload_seconds=1.0)
    service = build_service(doors.tables, doors.features, doors.partitions, config)
    listen(service, build_access(doors.tables, config))


@contextmanager
def running(home: Path) -> Iterator[tuple[int, int]]:
    """(port, pid) of a server that is warm."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(home), str(port)])
    try:
        asyncio.run(until_ready(port))
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


async def until_ready(port: int) -> None:
    for _ in range(1200):
        try:
            async with Connection(port) as connection:
                if (await connection.ask(("GET", "/readyz", b"")))[0] == 200:
                    return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("the server did not come up")


def publishing(home: Path) -> subprocess.Popen[bytes]:
    """Another process that publishes lists for everybody, twice."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import serving_world as made; from pathlib import Path\n"
        "tables = made.opened(Path(sys.argv[2])).tables\n"
        "[made.publish(tables, int(sys.argv[3]), int(sys.argv[4]), seed=seed) for seed in (2, 3)]"
    )
    folder = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", code, folder, str(home), str(USERS), str(ITEMS)])


def measure(home: Path) -> None:
    chance, names = Random(1), made.item_ids(ITEMS)

    def user() -> str:
        return f"/v1/users/user-{chance.randrange(USERS)}/recommendations"

    def score() -> Request:
        candidates = [names[chance.randrange(ITEMS)] for _ in range(CANDIDATES)]
        body = {"user_id": f"user-{chance.randrange(USERS)}", "item_ids": candidates}
        return "POST", "/v1/score", json.dumps(body).encode()

    requests: dict[str, Callable[[], Request]] = {
        "the floor (/healthz)": lambda: ("GET", "/healthz", b""),
        "a published list": lambda: ("GET", user() + "?strategy=published", b""),
        "a real-time list": lambda: ("GET", user(), b""),
        f"scores of {CANDIDATES} candidates": score,
    }
    reading, scored = requests["a published list"], requests["a real-time list"]
    with running(home) as (port, pid):
        found = {name: Measured() for name in requests}
        for _ in range(ROUNDS):  # in turn, so that what else the machine does falls on all alike
            for name, ask in requests.items():
                found[name] += asyncio.run(closed_loop(port, ask, 4, SECONDS / ROUNDS, pid))
        floor = found["the floor (/healthz)"].per_cpu
        print(*HEAD, *(measured.row(f"{name}, 4 clients", floor) for name, measured in found.items()), sep="\n")
        for name, ask, rate in (("a published list", reading, 200), ("a real-time list", scored, 50),
                                (f"scores of {CANDIDATES} candidates", score, 50)):  # fmt: skip
            print(asyncio.run(open_loop(port, ask, rate, SECONDS, pid)).row(f"{name}, {rate} a second"))
        publisher = publishing(home)
        print(
            asyncio.run(open_loop(port, reading, 200, 2 * SECONDS, pid)).row(
                "a published list, 200 a second, while publishing"
            )
        )
        publisher.wait()
        capacity = len(found["a real-time list"].seconds) / found["a real-time list"].wall
        for name, rate, most in (("overload: 5 times what it can", 5 * capacity, 128), ("after it", 50.0, 64)):
            print(asyncio.run(open_loop(port, scored, rate, SECONDS, pid, most)).row(f"real-time lists, {name}"))
        print(f"\nFreshness: {asyncio.run(freshness(port, chance))}.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            where = Path(sys.argv[1] if sys.argv[1:] else temporary)
            start = time.perf_counter()
            made.make(where, USERS, ITEMS)
            print("# The service, measured\n\nWritten by `python benchmarks/serve.py`.\n")
            print(f"{USERS:,} users, {ITEMS:,} items, SQLite, {made.WIDTH} dimensions.")
            print(f"Client and server on one machine: {os.cpu_count()} cores, {platform.machine()}.")
            print(f"Python {platform.python_version()}. World made in {time.perf_counter() - start:.0f} s.\n")
            measure(where)
