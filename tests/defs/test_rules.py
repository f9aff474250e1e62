"""A night under rules: the lists keep them, the table names each list's variant, and nothing else is computed."""

import sqlite3
from contextlib import closing

import polars as pl
import pytest

from tests.defs.worlds import NIGHTS, World

pytestmark = pytest.mark.slow

DAY = NIGHTS[-1]
RULES = {
    "banned": ["i01"],
    "caps": {"per_category": 4},
    "repeats": {"least": 1, "most": 2},
    "variants": [{"name": "pins", "share": 0.5, "rules": {"pinned": ["i24"]}}],
}


def test_a_night_under_rules_is_published_with_its_variants(own_world: World) -> None:
    own_world.configure({"rules": RULES})
    night = own_world.genre("run", "--date", DAY, "--select", "recommendations,similar_items,popular_items,publication")
    assert night.code == 0, night.notes
    for table, column in (("similar_items", "similar_item_id"), ("popular_items", "item_id")):
        assert "i01" not in set(own_world.project.partitions.read(table, DAY)[column])
    lists = own_world.project.partitions.read("recommendations", DAY)
    assert "i01" not in set(lists["item_id"])
    assert set(lists["variant"]) == {"default", "pins"}
    past = own_world.project.partitions.scan("interactions", until=DAY).select("user_id", "item_id").unique().collect()
    had = lists.join(past, on=["user_id", "item_id"], how="semi").group_by("user_id").len()
    assert had["len"].max() in (1, 2)
    first = lists.filter(rank=1, variant="pins").join(past, on=["user_id", "item_id"], how="anti")
    assert "i24" in set(first["item_id"])
    with closing(sqlite3.connect(own_world.folder / "home" / "genre.db")) as connection:
        rows = connection.execute("SELECT user_id, variant FROM current_recommendations").fetchall()
    assert set(rows) == set(lists.select("user_id", "variant").rows())
    decided = own_world.project.partitions.manifest("recommendations", DAY).decisions
    assert decided["rules"]["banned"] == ["i01"]


def test_a_rule_of_a_column_that_is_not_there_stops_the_night_and_says_so(own_world: World) -> None:
    own_world.configure({"rules": {"caps": {"per_creator": 1, "creator_column": "author"}}})
    before = own_world.published()
    night = own_world.genre("run", "--date", DAY, "--select", "recommendations,publication")
    assert night.code == 1
    assert "author" in night.notes
    assert own_world.published() == before
    assert isinstance(own_world.project.partitions.read("recommendations", DAY), pl.DataFrame)
