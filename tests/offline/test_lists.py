from datetime import date
from pathlib import Path

import polars as pl
import pytest

from genre_pipeline.adapters.tables import Tables
from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.errors import MissingPartitionError, NotPublishedError
from genre_pipeline.offline.lists import night_evaluation, published_list, published_state, user_history
from genre_pipeline.project import Project
from tests.adapters.staged_runs import FIRST_DAY, publish


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    tables = Tables(f"sqlite:///{tmp_path / 'genre.db'}")
    tables.migrate()
    return tables


def test_before_the_first_night_nothing_is_published(tables: Tables) -> None:
    assert published_state(tables) == {"published": None}
    with pytest.raises(NotPublishedError):
        published_list(tables, "u0", 3)


def test_a_users_own_list_and_the_popular_one_for_strangers(tables: Tables) -> None:
    publish(tables, "run 1")
    own = published_list(tables, "u0", 2)
    assert (own["user_id"], own["run_id"], own["source"]) == ("u0", "run 1", "published")
    assert [(row["rank"], row["item_id"], row["reasons"]) for row in own["recommendations"]] == [
        (1, "i0", ["Because of i0"]), (2, "i1", ["Because of i1"]),
    ]  # fmt: skip
    assert list(own["recommendations"][0]) == ["item_id", "title", "rank", "score", "reasons"]
    strange = published_list(tables, "nobody", 5)
    assert strange["source"] == "popular"
    assert [row["item_id"] for row in strange["recommendations"]] == ["i1", "i0"]
    assert strange["recommendations"][0]["reasons"] == ["Popular right now"]


def test_the_state_names_run_day_model_and_quality(tables: Tables) -> None:
    publish(tables, "run 1")
    state = published_state(tables)
    assert (state["published"], state["day"], state["model"]) == ("run 1", FIRST_DAY.isoformat(), "model 1")
    assert state["ndcg"] == {"ndcg@10": 0.25}


def test_a_history_newest_first(tmp_path: Path) -> None:
    project = Project(GenreConfig(home=tmp_path))
    schema = {"user_id": pl.String, "item_id": pl.String, "value": pl.Float64}
    for day, rows in {"2024-03-01": [("u", "i1", 1.0), ("v", "i1", 2.0)], "2024-03-02": [("u", "i2", None)]}.items():
        frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(timestamp=pl.lit(date.fromisoformat(day)))
        project.partitions.write("interactions", day, frame)
        project.partitions.write("items", day, pl.DataFrame({"item_id": ["i1"], "title": ["One"]}))
    found = user_history(project, "u", "2024-03-02", 5)
    assert [(row["item_id"], row["title"], row["value"]) for row in found] == [("i2", None, None), ("i1", "One", 1.0)]
    assert [row["item_id"] for row in user_history(project, "u", "2024-03-01", 5)] == ["i1"]
    assert len(user_history(project, "u", "2024-03-02", 1)) == 1


def test_a_night_without_an_evaluation_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MissingPartitionError, match=r"no evaluation of 2024-03-02.*--select evaluation"):
        night_evaluation(Project(GenreConfig(home=tmp_path)), "2024-03-02")
