"""The run in memory: whole, by position, and honest about what is missing."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.adapters.table_records import Publication
from genre_pipeline.contracts.errors import MissingPartitionError
from genre_pipeline.serving.published import load_published_run, normalised
from tests import scenario
from tests.fakes import serving_world as world

LIVE = Publication("default", "run-1", scenario.LAST_DAY, scenario.AS_OF, scenario.AS_OF, None)


def test_everything_by_position(night: Path) -> None:
    run = load_published_run(LIVE, PartitionStore(night))
    assert (run.run_id, run.as_of, run.n_items) == ("run-1", scenario.AS_OF, scenario.N_ITEMS)
    assert list(run.item_ids) == sorted(scenario.ITEM_IDS)
    assert [run.item_ids[at] for at in np.flatnonzero(~run.is_candidate)] == [scenario.UNAVAILABLE_ITEM]
    unavailable = run.positions[scenario.UNAVAILABLE_ITEM]
    assert run.exists[unavailable]
    assert len(run.popular_order) == scenario.N_ITEMS
    assert (np.diff(run.popularity[run.popular_order]) <= 0).all()
    assert (run.popularity.min(), run.popularity.max()) == (0, 1)
    assert run.titles[run.positions[scenario.TEXTLESS_ITEM]] == scenario.TEXTLESS_ITEM


def test_vectors_are_unit_rows_or_zero(night: Path) -> None:
    run = load_published_run(LIVE, PartitionStore(night))
    norms = np.linalg.norm(run.vectors, axis=1)
    textless = run.positions[scenario.TEXTLESS_ITEM]
    assert norms[textless] == 0
    assert np.delete(norms, textless) == pytest.approx(1.0)
    assert (run.vectors.dtype, run.vectors.flags.c_contiguous) == (np.float32, True)
    assert (run.vector_model, run.vectors_problem) == (world.MODEL, None)


def test_items_lie_in_the_space_that_the_users_vectors_name(tmp_path: Path) -> None:
    store = world.write_partitions(tmp_path)
    one = pl.DataFrame({"item_id": ["i01"], "model": ["fusion/1"], "vector": [[3.0, 4.0]]})
    store.write("item_vectors", world.DAY, one.with_columns(pl.col("vector").cast(pl.List(pl.Float32))))
    users = pl.DataFrame({"user_id": ["001"], "model": ["fusion/1"]})
    store.write("user_vectors", world.DAY, users, decisions={"items": "item_vectors"})
    run = load_published_run(LIVE, store)
    assert (run.vector_model, run.vectors.shape, run.vectors_problem) == ("fusion/1", (scenario.N_ITEMS, 2), None)
    assert run.vectors[run.positions["i01"]].tolist() == pytest.approx([0.6, 0.8])


def test_seen_is_what_the_interactions_say(night: Path) -> None:
    run = load_published_run(LIVE, PartitionStore(night))
    past = world.interactions()
    for user_id in scenario.USER_IDS:
        had = set(past.filter(pl.col("user_id") == user_id)["item_id"]) - {scenario.UNLISTED_ITEM}
        assert {run.item_ids[at] for at in run.seen.of(user_id)} == had


def test_items_kept_in_one_partition_are_read(tmp_path: Path) -> None:
    store = world.write_partitions(tmp_path)
    (tmp_path / "items" / world.DAY).rename(tmp_path / "items" / "moved")
    with pytest.raises(MissingPartitionError):
        load_published_run(LIVE, store)
    store.write("items", "all", world.items())
    assert load_published_run(LIVE, store).n_items == scenario.N_ITEMS


def test_normalised_leaves_zero_rows() -> None:
    assert normalised(np.array([[3, 4], [0, 0]], dtype=np.float32)).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
    ]
