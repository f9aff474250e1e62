"""The worked set-ups, as their READMEs run them: generated, a night of the graph, and the published lists read by SQL.

Each keeps its trade's rules on every list, and finds what its recipe planted better than popularity does.
"""

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from tests.defs.worlds import ROOT, GraphServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_LISTS = "SELECT user_id, item_id, rank, variant, reasons FROM current_recommendations ORDER BY user_id, rank"
_POPULAR = "SELECT item_id FROM current_popular_items WHERE category = '' ORDER BY rank"


class Example:
    """One set-up after its night."""

    def __init__(self, name: str, folder: Path, server: GraphServer) -> None:
        shutil.copy(ROOT / "dagster.yaml", folder)
        for needed in ("feature_repo", "examples"):
            (folder / needed).symlink_to(ROOT / needed)
        made = server(folder, f"examples/{name}/generate.py")
        assert made.code == 0, made.notes
        night = server(folder, "genre", "run", "--config", f"examples/{name}/genre.yaml")
        assert night.code == 0, night.notes
        source = folder / ".genre" / name / "source"
        self.tables: Mapping[str, pl.DataFrame] = {
            table: pl.read_parquet(source / f"{table}.parquet") for table in ("items", "users", "interactions")
        }
        with closing(sqlite3.connect(folder / ".genre" / name / "genre.db")) as connection:
            rows = connection.execute(_LISTS).fetchall()
            self.popular = [item for (item,) in connection.execute(_POPULAR).fetchall()]
        columns = ["user_id", "item_id", "rank", "variant", "reasons"]
        lists = pl.DataFrame(rows, schema=columns, orient="row").join(self.tables["items"], on="item_id", how="left")
        self.lists = lists.join(self.tables["users"], on="user_id", how="left")
        assert self.lists["user_id"].n_unique() == self.tables["users"].height
        assert self.lists.join(self.tables["interactions"], on=["user_id", "item_id"], how="semi").is_empty()

    @property
    def first_window(self) -> pl.DataFrame:
        return self.lists.filter(pl.col("rank") <= 10)

    def most_in_a_window(self, column: str) -> int:
        window = ((pl.col("rank") - 1) // 10).alias("window")
        counted = self.lists.filter(pl.col(column) != "", pl.col("reasons") != '["Picked for everybody"]')
        return int(counted.group_by("user_id", window, column).len()["len"].max())  # type: ignore[arg-type]


def own_share(lists: pl.DataFrame, likes: str) -> float:
    """Of the items shown, the share of a kind that the recipe says the user likes."""
    return float(lists.select(pl.col(likes).str.split("|").list.contains(pl.col("categories")).mean()).item())


def test_shop(tmp_path: Path, graph_server: GraphServer) -> None:
    shop = Example("shop", tmp_path, graph_server)
    lists = shop.lists
    assert lists["available"].all()
    assert lists["price"].max() <= 300  # type: ignore[operator]
    assert "heater-9" not in set(lists["item_id"]) | set(shop.popular)
    personal = lists.filter(pl.col("variant") != "holdout")
    bought = shop.tables["interactions"].filter(item_id="voucher")
    others = personal.filter(rank=1).join(bought, on="user_id", how="anti")
    assert set(others["item_id"]) == {"voucher"}
    shop.lists = personal
    assert shop.most_in_a_window("seller") == 2
    assert shop.most_in_a_window("categories") == 4
    of_variants = {str(name): own_share(part, "likes") for (name,), part in shop.first_window.group_by("variant")}
    assert set(of_variants) == {"default", "varied"}
    held_out = own_share(lists.filter(pl.col("rank") <= 10, variant="holdout"), "likes")
    assert min(of_variants.values()) > 2 * held_out
    views = shop.tables["interactions"].join(shop.tables["items"].filter("available"), on="item_id")
    most_viewed = views.filter(event="view")["item_id"].value_counts(sort=True)["item_id"][:10].to_list()
    seller = dict(shop.tables["items"].select("item_id", "seller").rows())
    assert "megadeals" in {seller[item] for item in most_viewed}
    assert "megadeals" not in {seller[item] for item in shop.popular[:10]}


def test_feed(tmp_path: Path, graph_server: GraphServer) -> None:
    feed = Example("feed", tmp_path, graph_server)
    assert feed.most_in_a_window("creator") == 2
    creator = dict(feed.tables["items"].select("item_id", "creator").rows())
    views = feed.tables["interactions"].filter(event="view")
    # Views on the last day, and what the night calls popular: nobody likes a shouter.
    most_viewed = views.filter(pl.col("timestamp").dt.day() == 14)["item_id"].value_counts(sort=True)["item_id"][:3]
    assert {creator[item] for item in most_viewed} == {"shouter"}
    assert "shouter" not in {creator[item] for item in feed.popular[:10]}
    is_drawn = pl.col("reasons") == '["Something new to try"]'
    windows = feed.lists.group_by("user_id", (pl.col("rank") - 1) // 10).agg(is_drawn.sum().alias("drawn"))
    assert set(windows["drawn"]) == {2}
    drawn, chosen = feed.first_window.filter(is_drawn), feed.first_window.filter(~is_drawn)
    assert drawn["item_id"].n_unique() > 200
    newest = feed.tables["items"]["published_at"].max()
    age = chosen.select((newest - pl.col("published_at")).dt.total_hours().median()).item()
    assert age <= 24
    topics = feed.tables["items"].select("item_id", "categories")
    popular = pl.DataFrame({"item_id": feed.popular[:10]}).join(topics, on="item_id")
    for_everybody = feed.tables["users"].join(popular, how="cross")
    assert own_share(chosen, "follows") > 1.5 * own_share(for_everybody, "follows")


def test_school(tmp_path: Path, graph_server: GraphServer) -> None:
    school = Example("school", tmp_path, graph_server)
    events = school.tables["interactions"]
    finished = set(events.filter(pl.col("value") >= 1.0).select("user_id", "item_id").rows())
    needs = {
        item: {one for one in said.split("|") if one}
        for item, said in school.tables["items"].select("item_id", "requires").rows()
    }
    for user, item in school.lists.select("user_id", "item_id").rows():
        assert {(user, required) for required in needs[item]} <= finished
    assert school.lists["requires"].str.len_chars().max() > 0  # type: ignore[operator]
    begun = events.unique(["user_id", "item_id"])["item_id"].value_counts(sort=True)["item_id"]
    assert begun[0] == "photography-01"
    assert "photography-01" not in school.popular[:5]
    # Where the next course of the own subject is open and not begun, it comes first; popularity would rarely say it.
    had = set(events.select("user_id", "item_id").rows())
    learns = dict(school.tables["users"].select("user_id", "learns").rows())
    first = dict(school.lists.filter(rank=1).select("user_id", "item_id").rows())
    right = {"hybrid": 0, "popularity": 0}
    asked = 0
    for user, subject in learns.items():
        is_open = [
            item
            for item in school.popular
            if (user, item) not in had and {(user, one) for one in needs[item]} <= finished
        ]
        following = [item for item in is_open if item.startswith(subject)]
        if following:
            asked += 1
            right["hybrid"] += first[user] == following[0]
            right["popularity"] += is_open[0] == following[0]
    assert asked > 100
    assert right["hybrid"] > 0.9 * asked
    assert right["popularity"] < 0.5 * asked
