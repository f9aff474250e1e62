import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import polars as pl
import pytest
import sqlalchemy as sa

from genre_pipeline.adapters.bulk_load import run_id_for
from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.table_definitions import RUN_TABLES, catalogue, recommendations, runs
from genre_pipeline.adapters.tables import Publication, Tables
from genre_pipeline.contracts.errors import ContractError, NotPublishedError, PublishRefusedError
from tests.adapters.staged_runs import NOW, a_day, a_run, frames, publish, recommended, stage

ROOT = Path(__file__).parents[2]


def live_mark(tables: Tables, user: str = "u1") -> tuple[str, float]:
    answer = tables.recommendations_for(user, 10)
    assert answer is not None
    assert len(answer.rows) == 3
    return answer.run_id, answer.rows[0].score - 1


def change(url: str, statement: sa.Executable) -> None:
    database = Database(url)
    with database.write() as connection:
        connection.execute(statement)
    database.close()


def stored_rows(url: str, run_id: str) -> int:
    database = Database(url)
    with database.read() as connection:
        counts = [
            connection.execute(sa.select(sa.func.count()).where(table.c.run_id == run_id)).scalar_one()
            for table in RUN_TABLES
        ]
    database.close()
    return sum(counts)


def test_publishing_moves_the_pointer(tables: Tables) -> None:
    first = publish(tables, "r1")
    assert first == Publication("default", "r1", a_day(0), a_run("r1").as_of, NOW, None, moved=True)
    second = publish(tables, "r2", a_day(1), mark=1.0)
    assert (second.run_id, second.previous_run_id, second.moved) == ("r2", "r1", True)
    assert tables.current() == replace(second, moved=False)
    assert live_mark(tables) == ("r2", 1.0)
    previous = tables.previous()
    assert previous is not None
    assert (previous.run_id, previous.day) == ("r1", a_day(0))


def test_an_older_day_is_verified_and_left(tables: Tables) -> None:
    publish(tables, "new", a_day(5), mark=5.0)
    kept = publish(tables, "old", a_day(3), mark=3.0)
    assert (kept.run_id, kept.moved) == ("new", False)
    assert kept.reason == "kept 2026-03-06 as published: 2026-03-04 is older"
    assert live_mark(tables) == ("new", 5.0)
    moved = tables.publish("old", expected=stage(tables, "old", a_day(3), mark=3.0), allow_older=True)
    assert moved.moved
    assert live_mark(tables) == ("old", 3.0)


def test_the_same_night_again_changes_nothing(tables: Tables, database_url: str) -> None:
    publish(tables, "r1")
    before = stored_rows(database_url, "r1")
    again = publish(tables, "r1")
    assert (again.moved, again.reason, again.published_at) == (False, "run r1 is published already", NOW)
    assert stored_rows(database_url, "r1") == before


def test_another_result_for_the_live_day_needs_a_name_of_its_own(tables: Tables) -> None:
    publish(tables, "r1")
    with pytest.raises(PublishRefusedError, match="Run 'r1' is published"):
        stage(tables, "r1", mark=1.0)
    assert live_mark(tables) == ("r1", 0.0)
    expected = stage(tables, "r1b", mark=1.0)
    assert live_mark(tables) == ("r1", 0.0)
    assert tables.publish("r1b", expected=expected).moved
    assert live_mark(tables) == ("r1b", 1.0)


def test_a_staged_run_is_replaced_whole(tables: Tables, database_url: str) -> None:
    first = stage(tables, "r1", users=9)
    second = stage(tables, "r1", mark=1.0, users=4)
    with pytest.raises(PublishRefusedError, match="something else than its publisher expects") as caught:
        tables.publish("r1", expected=first)
    assert caught.value.culprits[0] == "users: expected 9, staged 4"
    tables.publish("r1", expected=second)
    assert live_mark(tables) == ("r1", 1.0)
    assert stored_rows(database_url, "r1") == 4 + 2 + 2 + 5


def test_equal_results_share_a_name(tables: Tables) -> None:
    first, same, other = stage(tables, "a"), stage(tables, "b"), stage(tables, "c", mark=1.0)
    assert run_id_for(a_day(0), first.fingerprint) == run_id_for(a_day(0), same.fingerprint)
    assert run_id_for(a_day(0), other.fingerprint) != run_id_for(a_day(0), first.fingerprint)
    assert run_id_for(a_day(0), first.fingerprint).startswith("2026-03-01-")


TAMPERINGS: dict[str, tuple[Callable[[], sa.Executable], str]] = {
    "a list lost": (lambda: sa.delete(recommendations).where(is_tampered()), "lost or gained"),
    "a list cut": (lambda: set_list(["i2"], [1.0]), "lists with gaps"),
    "an empty list": (lambda: set_list([], []), "lists with gaps"),
    "an item twice": (lambda: set_list(["i2", "i3", "i2"], [3.0, 2.0, 1.0]), "an item twice"),
    "an unknown item": (lambda: set_list(["i2", "i3", "i99"], [3.0, 2.0, 1.0]), "lists unknown items"),
    "another score": (lambda: set_list(["i2", "i3", "i4"], [3.0, 2.0, 1.0]), "are not those that were staged"),
    "a title changed": (
        lambda: sa.update(catalogue).where(catalogue.c.run_id == "r2").values(title="Mine"),
        "are not those that were staged",
    ),
    "a list gained": (
        lambda: sa.insert(recommendations).values(
            run_id="r2", user_id="u99", item_ids=["i1"], scores=[1.0], reasons=[[]]
        ),
        "lost or gained",
    ),
}


def is_tampered() -> sa.ColumnElement[bool]:
    return (recommendations.c.run_id == "r2") & (recommendations.c.user_id == "u2")


def set_list(item_ids: list[str], scores: list[float]) -> sa.Executable:
    return sa.update(recommendations).where(is_tampered()).values(item_ids=item_ids, scores=scores)


def test_what_fails_verification_is_refused_and_the_old_list_stays(tables: Tables, database_url: str) -> None:
    publish(tables, "r1")
    for name, (tampering, message) in TAMPERINGS.items():
        stage(tables, "r2", a_day(1), mark=2.0)
        expected = stage(tables, "r2", a_day(1), mark=1.0)
        change(database_url, tampering())
        with pytest.raises(PublishRefusedError, match=message):
            tables.publish("r2", expected=expected)
        assert live_mark(tables, "u2") == ("r1", 0.0), name
    expected = stage(tables, "r3", a_day(1), mark=3.0)
    with pytest.raises(PublishRefusedError, match="expected x"):
        tables.publish("r3", expected=replace(expected, fingerprint="x"))
    with pytest.raises(PublishRefusedError, match="There is no run 'r9'"):
        tables.publish("r9", expected=expected)
    assert tables.publish("r3", expected=expected).moved


def test_lists_that_cannot_be_stored_are_refused_when_staged(tables: Tables) -> None:
    recs, similar, popular, items = frames()
    with pytest.raises(PublishRefusedError, match="not ranked 1 to n") as caught:
        tables.stage(a_run("r1"), recs.filter(pl.col("rank") != 2), similar, popular, items)
    assert caught.value.culprits == ("u0", "u1", "u2", "u3")
    endless = recs.with_columns(score=pl.lit(float("inf"), pl.Float32))
    with pytest.raises(PublishRefusedError, match="a finite score"):
        tables.stage(a_run("r1"), endless, similar, popular, items)
    with pytest.raises(ContractError, match="no column 'reasons'"):
        tables.stage(a_run("r1"), recs.drop("reasons"), similar, popular, items)
    assert tables.run("r1") is None


def test_a_run_without_lists_is_refused(tables: Tables) -> None:
    _, similar, popular, items = frames()
    expected = tables.stage(a_run("r1"), recommended({}), similar, popular, items)
    with pytest.raises(PublishRefusedError, match="has no list for anybody"):
        tables.publish("r1", expected=expected)


def test_rollback_shows_the_run_before_and_back(tables: Tables) -> None:
    publish(tables, "r1")
    with pytest.raises(NotPublishedError, match="no earlier publication"):
        tables.rollback()
    publish(tables, "r2", a_day(1), mark=1.0)
    answer = tables.rollback()
    assert (answer.run_id, answer.previous_run_id, answer.moved) == ("r1", "r2", True)
    assert live_mark(tables) == ("r1", 0.0)
    assert tables.rollback().run_id == "r2"


def test_surfaces_are_published_apart(tables: Tables) -> None:
    publish(tables, "r1")
    expected = stage(tables, "r2", a_day(-1), mark=2.0)
    assert tables.publish("r2", expected=expected, surface="home").moved
    assert live_mark(tables) == ("r1", 0.0)
    home = tables.recommendations_for("u1", 3, surface="home")
    assert home is not None
    assert home.run_id == "r2"


def test_the_last_two_published_runs_are_kept(tables: Tables, database_url: str) -> None:
    for number in range(4):  # All at one instant by the clock that stands: then the later day is the later run.
        publish(tables, f"r{number}", a_day(number), mark=number)
    assert [stored_rows(database_url, f"r{number}") > 0 for number in range(4)] == [False, False, True, True]
    assert tables.run("r0") == a_run("r0", a_day(0))
    with pytest.raises(PublishRefusedError, match="is retired: its rows are gone"):
        tables.publish("r0", expected=stage(tables, "other"))
    assert tables.publish("r0", expected=stage(tables, "r0", a_day(0)), allow_older=True).moved
    assert live_mark(tables) == ("r0", 0.0)


def test_a_run_that_nobody_published_goes_after_a_day(database_url: str) -> None:
    now = [NOW]
    tables = Tables(database_url, clock=lambda: now[0])
    tables.migrate()
    publish(tables, "r1")
    stage(tables, "staged", a_day(1))
    now[0] += timedelta(hours=23)
    assert tables.retire() == []
    now[0] += timedelta(hours=2)
    assert tables.retire() == ["staged"]
    assert stored_rows(database_url, "staged") == 0
    assert live_mark(tables) == ("r1", 0.0)
    tables.close()


def test_a_retirement_that_died_is_finished_by_the_next(tables: Tables, database_url: str) -> None:
    publish(tables, "r1")
    stage(tables, "half", a_day(1))
    change(database_url, sa.update(runs).where(runs.c.run_id == "half").values(status="retiring"))
    assert tables.retire() == ["half"]
    assert stored_rows(database_url, "half") == 0
    stage(tables, "half", a_day(1))
    assert tables.retire() == []


def test_twenty_publishers_move_the_pointer_forward_only(tables: Tables) -> None:
    days = list(range(20))
    Random(5).shuffle(days)
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            live = tables.current()
            if live is not None:
                seen.append((live.day - a_day(0)).days)

    def one(number: int) -> Publication:
        return publish(tables, f"r{number}", a_day(number), mark=number)

    with ThreadPoolExecutor(21) as pool:
        watching = pool.submit(watch)
        answers = list(pool.map(one, days))
        done.set()
        watching.result()
    assert seen == sorted(seen)
    assert live_mark(tables) == ("r19", 19.0)
    assert all(answer.moved or answer.reason.startswith("kept ") for answer in answers)


def test_readers_never_see_a_mixed_or_short_list(tables: Tables) -> None:
    publish(tables, "r0")
    done = threading.Event()

    def read(user: str) -> tuple[int, set[str]]:
        reads, faults = 0, set()
        while not done.is_set():
            answer = tables.recommendations_for(user, 10)
            reads += 1
            if answer is None or len(answer.rows) != 3:
                faults.add(f"short: {answer}")
            elif [row.score for row in answer.rows] != pytest.approx(
                [int(answer.run_id[1:]) + 1 / r for r in (1, 2, 3)]
            ):
                faults.add(f"mixed: {answer}")
            elif any(row.item_id != "i0" and row.title is None for row in answer.rows):
                faults.add(f"untitled: {answer}")
        return reads, faults

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, f"u{number}") for number in range(3)]
        for number in range(1, 9):
            publish(tables, f"r{number}", a_day(number), mark=number, users=300)
        done.set()
        results = [reader.result() for reader in readers]
    assert [faults for _, faults in results] == [set(), set(), set()]
    assert all(reads > 8 for reads, _ in results)


@pytest.mark.parametrize(
    "point", ["INSERT INTO runs", "UPDATE runs SET day", "UPDATE publication", "commit 1", "commit 2"]
)
def test_a_killed_publisher_leaves_the_old_list_or_the_new(tables: Tables, database_url: str, point: str) -> None:
    publish(tables, "r0", users=50)
    command = [sys.executable, "-m", "tests.adapters.publisher_to_kill", database_url, "r1", "1", point]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert {live_mark(tables, f"u{user}") for user in range(50)} == {("r0", 0.0)}
    assert publish(tables, "r1", a_day(1), mark=1.0, users=50).moved
    assert {live_mark(tables, f"u{user}") for user in range(50)} == {("r1", 1.0)}
