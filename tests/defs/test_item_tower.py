"""The item tower in the whole graph: judged, recorded, and what its vectors are where it does not win."""

import json
from pathlib import Path

import polars as pl
import pytest

from genre_pipeline.contracts.names import CHALLENGER, CHAMPION, ITEM_TOWER, ITEM_TOWER_VECTORS
from tests.defs.worlds import CONFIG, NIGHTS, GraphServer, World, write_project
from tests.scenario import DAY_KEYS

pytestmark = pytest.mark.slow

DAY = NIGHTS[-1]
TINY = {
    "enabled": True,
    "tower": {"source": "encoder", "fine_tune": "lora", "lora": {"rank": 2}, "max_tokens": 24},
    "network": {"width": 8, "length": 8, "ids": False, "similarity": "cosine", "temperature": 0.1},
    "epochs": 1, "user_epochs": 1, "batch_size": 8, "fresh_items": 8,
}  # fmt: skip


@pytest.fixture
def world(graph_server: GraphServer, tmp_path: Path) -> World:
    """The scenario before its first night: a tower reads items and interactions alone."""
    made = World(tmp_path / "world", graph_server)
    write_project(made.folder)
    features = {**CONFIG["features"], "for_recommenders": ["text_llm", "tower"]}  # type: ignore[dict-item]
    made.configure({"item_tower": TINY, "features": features, "promotion": {"least_users": 1000}})
    return made


def test_a_tower_that_does_not_win_leaves_the_frozen_vectors_and_its_verdict(world: World) -> None:
    """It cannot win: there are fewer users than promotion asks for."""
    answer = world.genre("compress")
    assert (answer.code, "There is no item tower to compress" in answer.notes) == (1, True)
    for day, select in [
        *((day, "interactions") for day in DAY_KEYS[-4:]),
        (DAY, f"items,{ITEM_TOWER},{ITEM_TOWER_VECTORS}"),
    ]:
        answer = world.genre("run", "--date", day, "--select", select)
        assert answer.code == 0, answer.notes
    store, models = world.project.partitions, world.project.models
    verdict = store.manifest(ITEM_TOWER, DAY).decisions["verdict"]
    assert verdict["beats_frozen"] is False
    assert verdict["low"] <= verdict["difference"] <= verdict["high"]

    vectors = store.read(ITEM_TOWER_VECTORS, DAY)
    assert vectors["item_id"].to_list() == store.read("items", DAY)["item_id"].to_list()
    assert set(vectors["model"].str.slice(0, 18)) == {"item_tower/frozen/"}
    assert vectors["vector"].null_count() < vectors.height
    lengths = vectors["vector"].drop_nulls().list.eval(pl.element().pow(2).sum().sqrt()).list.first()
    assert set(lengths.round(5)) <= {0.0, 1.0}

    (version,) = models.versions(ITEM_TOWER)
    assert version.day == DAY
    assert models.alias(ITEM_TOWER, CHALLENGER) == version
    assert models.alias(ITEM_TOWER, CHAMPION) is None
    assert not (world.folder / "home" / "checkpoints" / ITEM_TOWER / DAY).exists()

    answer = world.genre("compress", "--json")
    assert answer.code == 0, answer.notes
    assert next(one["variant"] for one in json.loads(answer.output)["variants"]) == "float32"
    assert {one.day for one in models.versions("item_tower_compressed")} == {DAY}
