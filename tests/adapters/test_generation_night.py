"""Nights of questions against a real endpoint that misbehaves, with the real ledger: they end, and add up."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest

from genre_pipeline.adapters.http_language_model import HttpLanguageModel, HttpModelConfig
from genre_pipeline.adapters.ledger import CallLedger
from genre_pipeline.adapters.tables import Tables
from genre_pipeline.contracts.tables import ItemSummaries
from genre_pipeline.generation.budget import BudgetConfig
from tests.adapters.asking_night import DAY, night, questions
from tests.fakes.chat_server import ChatServer, Script, Turn, chat_server

ROOT = Path(__file__).parents[2]
SCHEMES = ("item_summaries", "user_profiles", "synthetic_items")
USERS = 4


@pytest.fixture
def ledger(database_url: str) -> Iterator[CallLedger]:
    tables = Tables(database_url)
    tables.migrate()
    tables.close()
    opened = CallLedger(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("migrated") / "genre.db"
    tables = Tables(f"sqlite:///{file}")
    tables.migrate()
    tables.close()
    return file


@pytest.fixture
def sqlite_ledger(empty_database: Path, tmp_path: Path) -> Iterator[CallLedger]:
    opened = CallLedger(f"sqlite:///{shutil.copy(empty_database, tmp_path)}")
    yield opened
    opened.close()


def door(server: ChatServer, **more: Any) -> HttpLanguageModel:
    settings = {
        "model": "m", "deadline_s": 5.0, "retry_wait_s": 0.001, "retry_wait_max_s": 0.01, "input_price": 2.0,
        "output_price": 4.0, "reply_bytes": 50_000, "breaker_rest_s": 0.01, "concurrency": 4,
    }  # fmt: skip
    return HttpLanguageModel(HttpModelConfig(url=server.url, **{**settings, **more}), {})


def data_of(body: dict[str, Any]) -> dict[str, Any]:
    """The JSON between the two marks of a question."""
    lines = body["messages"][-1]["content"].splitlines()
    found = next(line for line in lines if line.startswith("{"))
    data: dict[str, Any] = json.loads(found)
    return data


def summary(body: dict[str, Any]) -> str:
    data = data_of(body)
    return json.dumps({"summary": data["description"], "tags": data["categories"]})


RUSSIAN = "Это совершенно другой язык, которого никто не ждал."
REPLIES = {
    "item_summaries": {"summary": "A story about friends.", "tags": ["friends"]},
    "user_profiles": {"interests": ["space"], "profile": "Likes stories about space."},
    "synthetic_items": {"items": [{"title": "Far Comet", "description": "A comet story.", "category": "space"}]},
}


def bad_reply(kind: str, scheme: str) -> Turn:
    whole = REPLIES[scheme]
    key, value = next(iter(whole.items()))
    texts = {
        "empty": "",
        "blank": " \n\t\n ",
        "prose": "Sure! I would be happy to tell you about it, and here it is, as you asked me to.",
        "cut": json.dumps(whole)[:-9],
        "duplicates": json.dumps(whole)[:-1] + f', "{key}": {json.dumps(value)}}}',
        "extra_ids": json.dumps({**whole, "item_id": "i999", "user_id": "u999"}),
        "wrong_count": json.dumps([whole] * 50),
        "other_language": json.dumps({**whole, key: RUSSIAN if isinstance(value, str) else [RUSSIAN] * 3}),
        "refusal": "I'm sorry, but I can't help with that request.",
    }
    return Turn("huge") if kind == "ten_megabytes" else Turn(text=texts[kind])


KINDS = (
    "empty", "blank", "prose", "cut", "duplicates", "extra_ids", "wrong_count", "ten_megabytes", "other_language",
    "refusal",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", ["json", "lines"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_sixty_kinds_of_bad_replies_end_in_a_value_for_everybody(
    scheme: str, style: Any, kind: str, sqlite_ledger: CallLedger
) -> None:
    made, requests, frame = questions(scheme, style, USERS)
    limits = BudgetConfig(cost=0.05)
    with chat_server(lambda body, nth: bad_reply(kind, scheme)) as server:
        found = night(made, requests, door(server), sqlite_ledger, limits)
    table = frame(found.answers)
    subject = "item_id" if scheme == "item_summaries" else "user_id"
    assert table[subject].unique().sort().to_list() == sorted(request.subject for request in requests)
    must_fall_back = style == "json" or kind in ("empty", "blank", "ten_megabytes")
    assert not must_fall_back or set(table["source"]) == {"fallback"}
    assert not any(stranger in str(table.rows()) for stranger in ("i999", "u999"))
    adds_up(server, sqlite_ledger, limits)


def adds_up(server: ChatServer, ledger: CallLedger, limits: BudgetConfig) -> None:
    """The ledger against the server's own count."""
    spent = ledger.spending(DAY)
    rows = ledger.calls_of(DAY)
    timeouts = rows.filter(pl.col("reason").cast(pl.String).str.starts_with("timeout")).height
    if timeouts == server.hung:  # else this machine was too busy to send within the deadline what it counts as sent
        assert spent.calls == server.requests
        assert rows.height == 0 or rows["input_tokens"].sum() + rows["output_tokens"].sum() == server.tokens_told
    assert spent.tokens >= server.tokens_charged
    assert limits.cost is None or spent.cost <= limits.cost
    assert limits.calls is None or server.requests <= limits.calls
    assert limits.tokens is None or spent.tokens <= limits.tokens


BROKEN: list[Literal["drop", "huge", "raw"]] = ["drop", "huge", "raw"]


def troubled(seed: int) -> Script:
    """A fifth errors, a twentieth hangs, some 429, and replies of every bad kind among good ones."""
    chance = random.Random(seed)

    def script(body: dict[str, Any], nth: int) -> Turn:
        draw = chance.random()
        if draw < 0.20:
            return Turn("status", status=chance.choice([500, 502, 503]))
        if draw < 0.25:
            return Turn("hang")
        if draw < 0.32:
            return Turn("status", status=429, headers={"Retry-After": "0"})
        if draw < 0.35:
            return Turn(chance.choice(BROKEN))
        if draw < 0.50:
            return bad_reply(chance.choice(KINDS), "item_summaries")
        return Turn(text=summary(body), delay_s=0.002 * chance.random())

    return script


@pytest.mark.parametrize(
    "limits",
    [
        BudgetConfig(),
        BudgetConfig(cost=0.02),
        BudgetConfig(tokens=9_000),
        BudgetConfig(calls=40),
        BudgetConfig(cost=0.0),
    ],
    ids=["free", "money", "tokens", "calls", "nothing"],
)
def test_a_troubled_night_ends_within_its_budget_and_adds_up(
    limits: BudgetConfig, ledger: CallLedger, capfd: pytest.CaptureFixture[str]
) -> None:
    made, requests, frame = questions("item_summaries", "json", 40)
    with chat_server(troubled(7)) as server:
        model = door(server, deadline_s=1.0, attempts=5, concurrency=8)
        found = night(made, requests, model, ledger, limits)
        adds_up(server, ledger, limits)
        table = ItemSummaries.validate(frame(found.answers))
        assert table["item_id"].to_list() == [request.subject for request in requests]
        usable = table.filter(pl.col("source") != "fallback").height
        assert usable >= 33 if limits == BudgetConfig() else found.counts.unasked > 0
        assert (server.requests == 0) == (limits.cost == 0.0)
        asked_before = server.completed.copy()
        assert capfd.readouterr().out == ""
        again = night(made, requests, model, ledger, limits)
        repeated = [question for question in asked_before if server.completed[question] > asked_before[question]]
        assert repeated == []
        assert again.counts.cached >= found.counts.requests - found.counts.unasked - 10
        adds_up(server, ledger, limits)


def test_an_endpoint_that_is_a_second_behind_is_waited_for(sqlite_ledger: CallLedger) -> None:
    made, requests, frame = questions("item_summaries", "json", 16)
    with chat_server(lambda body, nth: Turn(text=summary(body), delay_s=1.0)) as server:
        found = night(made, requests, door(server, concurrency=16), sqlite_ledger, BudgetConfig())
        adds_up(server, sqlite_ledger, BudgetConfig())
    assert set(frame(found.answers)["source"]) == {"model"}
    assert sqlite_ledger.calls_of(DAY)["latency_s"].min() >= 1.0


class Host:
    """Nights as children of one prepared process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.adapters.asking_night"], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def begin(self, *arguments: object) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, arguments)) + "\n")
        self._process.stdin.flush()
        return self._line()

    def end(self) -> int:
        return self._line()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _line(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@pytest.fixture
def host() -> Iterator[Host]:
    started = Host()
    yield started
    started.close()


def steady(body: dict[str, Any], nth: int) -> Turn:
    """Of five questions one is answered badly at first, and one always."""
    text = body["messages"][-1]["content"]
    number = sum(text.split("number ")[1].split('"')[0].encode()) % 5
    is_bad = number == 0 or (number == 1 and "An earlier answer" not in text)
    return Turn(text="no JSON" if is_bad else summary(body), delay_s=0.001)


@pytest.mark.slow
def test_a_night_killed_at_twenty_points_repeats_no_call_and_ends_the_same(
    ledger: CallLedger, database_url: str, host: Host, tmp_path: Path
) -> None:
    chance, count = random.Random(11), 60
    with chat_server(steady) as server:
        for _kill in range(20):
            recorded = set(ledger.calls_of(DAY)["request_key"])
            asked = server.asked.copy()
            begun = server.requests
            pid = host.begin(server.url, database_url, tmp_path / "killed.parquet", count)
            wait_until_asked(server, begun + chance.randint(1, 4))
            time.sleep(chance.random() * 0.003)
            os.kill(pid, signal.SIGKILL)
            assert host.end() == -signal.SIGKILL
            kept = set(ledger.calls_of(DAY)["request_key"])
            assert recorded <= kept
            assert ledger.spending(DAY).calls == len(kept)
            assert server.asked.total() - asked.total() <= len(kept) - len(recorded) + 4
        host.begin(server.url, database_url, tmp_path / "killed.parquet", count)
        assert host.end() == 0
        assert ledger.spending(DAY).calls == len(server.asked)  # each question is paid for once
        assert server.requests - len(server.asked) <= 20 * 4  # nothing but what was in flight was sent again
        whole = server.requests
        host.begin(server.url, database_url, tmp_path / "again.parquet", count)
        assert host.end() == 0
        assert server.requests == whole
        fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
        Tables(fresh).migrate()
        host.begin(server.url, fresh, tmp_path / "uninterrupted.parquet", count)
        assert host.end() == 0
    found = {name: pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("killed", "again", "uninterrupted")}
    assert found["killed"].equals(found["uninterrupted"])
    assert found["again"].equals(found["uninterrupted"])
    assert set(found["killed"]["source"]) == {"model", "repaired", "fallback"}


def wait_until_asked(server: ChatServer, times: int) -> None:
    pause = threading.Event()
    for _turn in range(20_000):
        if server.requests >= times:
            return
        pause.wait(0.0005)
    raise AssertionError("it never came to that")
