"""What applications see: rows that plain SQL finds too, and only of nights that passed."""

import json
import sqlite3
from contextlib import closing

import polars as pl
import pytest

from genre_pipeline.adapters.code_version import code_version
from tests.defs.worlds import CONFIG, NIGHTS, World
from tests.scenario import COLD_USER, UNAVAILABLE_ITEM, USER_IDS

pytestmark = pytest.mark.slow

BEFORE, DAY = NIGHTS[-2:]
FLOOR_ALONE = {"recommenders": {"enabled": ["popularity"]}}
"""With popularity alone the hybrid is popularity, and beats nothing."""


def test_a_list_on_the_terminal_is_what_plain_sql_finds(world: World) -> None:
    answer = world.genre("recommend", "007", "-k", "5", "--json")
    assert answer.code == 0, answer.notes
    shown = json.loads(answer.output)
    found = rows_of_view(world, "007")[:5]
    assert [(row["rank"], row["item_id"], row["title"], row["score"]) for row in shown["recommendations"]] == found
    assert shown["run_id"] == world.published()
    assert all(row["reasons"] for row in shown["recommendations"])


def test_everybody_has_a_list_of_items_that_are_new_to_them_and_available(world: World) -> None:
    lists = world.project.partitions.read("recommendations", DAY)
    past = world.project.partitions.scan("interactions", until=DAY).collect()
    assert set(lists["user_id"]) == set(USER_IDS)
    assert COLD_USER not in set(past["user_id"])
    assert lists.join(past, on=["user_id", "item_id"], how="semi").is_empty()
    assert UNAVAILABLE_ITEM not in set(lists["item_id"])


def test_every_night_was_published_and_the_newest_is_shown(world: World) -> None:
    current = world.project.tables.current()
    assert current is not None
    assert current.day.isoformat() == DAY
    assert current.previous_run_id is not None
    assert current.previous_run_id.startswith(BEFORE)


def test_a_failed_check_stops_publication_in_the_same_run_and_by_hand(own_world: World) -> None:
    published, lists = own_world.published(), rows_of_view(own_world, "007")
    own_world.configure(FLOOR_ALONE)

    night = own_world.genre("run", "--date", DAY)

    assert night.code == 1
    assert "  ✗   check evaluation_hybrid_beats_popularity failed" in night.notes
    assert "  –   publication  skipped" in night.notes
    assert "sequence_model" not in night.notes
    assert "evaluation_hybrid_beats_popularity" in night.notes.splitlines()[-1]
    assert own_world.published() == published

    by_hand = own_world.genre("run", "--date", DAY, "--select", "publication")

    assert by_hand.code == 1
    assert by_hand.notes.splitlines()[-1].startswith(f"PublishRefusedError: On {DAY} the hybrid's nDCG")
    assert own_world.published() == published
    assert rows_of_view(own_world, "007") == lists


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lists: lists.filter(pl.col("user_id") < "010"), "reach 30.0% of 30 users (95.0% are asked for)"),
        (lambda lists: lists.with_columns(item_id=pl.lit("i01")).unique("user_id"), "items that their users have had"),
        (lambda lists: lists.clear(), "reach 0.0% of 30 users"),
    ],
    ids=["few users", "seen items", "none"],
)
def test_publication_looks_at_the_lists_for_itself(own_world: World, change: object, said: str) -> None:
    assert callable(change)
    store, published = own_world.project.partitions, own_world.published()
    store.write("recommendations", DAY, change(store.read("recommendations", DAY)))

    answer = own_world.genre("run", "--date", DAY, "--select", "publication")

    assert answer.code == 1
    assert answer.notes.splitlines()[-1].startswith("PublishRefusedError: The lists of ")
    assert said in answer.notes
    assert own_world.published() == published


def test_every_surface_that_is_served_is_published(own_world: World) -> None:
    own_world.configure({"serving": {"surfaces": ["home", "basket"]}})
    answer = own_world.genre("run", "--date", DAY, "--select", "publication")
    assert answer.code == 0, answer.notes
    shown = [own_world.project.tables.current(surface) for surface in ("default", "home", "basket")]
    assert [publication and publication.run_id for publication in shown] == [own_world.published()] * 3
    run = own_world.project.tables.run(own_world.published())
    assert run is not None
    assert run.code_version == code_version()


def test_an_event_that_was_posted_comes_into_its_day_once(own_world: World) -> None:
    posted = pl.DataFrame(
        {
            "event_id": ["a", "b"],
            "user_id": ["007", COLD_USER],
            "item_id": ["i24", "i24"],
            "timestamp": [f"{DAY}T23:59:59Z", "2024-03-11T00:00:00Z"],
            "event": ["view", "view"],
        }
    ).with_columns(pl.col("timestamp").str.to_datetime(time_unit="us", time_zone="UTC"))
    store, tables = own_world.project.partitions, own_world.project.tables
    before = store.read("interactions", DAY)
    for _ in range(2):
        tables.append_events(posted)

    answers = [own_world.genre("run", "--date", DAY, "--select", "interactions") for _ in range(2)]

    assert [answer.code for answer in answers] == [0, 0]
    after = store.read("interactions", DAY)
    added = after.join(before, on=["user_id", "item_id", "timestamp"], how="anti")
    assert added.select("user_id", "item_id", "event").rows() == [("007", "i24", "view")]
    assert after.height == before.height + 1
    counts = store.manifest("interactions", DAY).decisions
    assert counts["read"] == counts["kept"] + counts["rejected"] + counts["duplicates"]
    assert counts["kept"] == after.height


def test_the_state_names_the_night_and_its_model(world: World) -> None:
    answer = world.genre("status", "--json")
    found = json.loads(answer.output)
    assert (found["published"], found["day"]) == (world.published(), DAY)
    assert found["model"].startswith("sequence_model 2024-03-")
    assert set(found["ndcg"]) == {*CONFIG["recommenders"]["enabled"], "hybrid"}


def rows_of_view(world: World, user: str) -> list[tuple[object, ...]]:
    query = "SELECT rank, item_id, title, score FROM current_recommendations WHERE user_id = ? ORDER BY rank"
    with closing(sqlite3.connect(world.folder / "home" / "genre.db")) as connection:
        return connection.execute(query, (user,)).fetchall()
