"""Numbers of items: scaled by training items alone, masked where missing."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.features.tabular import TabularConfig
from genre_pipeline.features.vector_column import to_matrix
from genre_pipeline.offline.tabular import tabular_vectors

CONFIG = TabularConfig(enabled=True)


def _items(prices: list[float | None], **more: list[object]) -> pl.DataFrame:
    named = {"item_id": [f"i{number}" for number in range(len(prices))], "title": ["a"] * len(prices)}
    return pl.DataFrame({**named, "price": prices, "available": [True, False] * (len(prices) // 2), **more})


def test_the_scale_is_that_of_training_items() -> None:
    """What a later item costs does not move an earlier one's vector; what a training item costs does."""
    training = pl.Series([True, True, True, False])
    before, later, earlier = (
        tabular_vectors(_items(prices), training, CONFIG)
        for prices in ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4000.0], [1.0, 2.0, 300.0, 4.0])
    )
    assert before is not None
    assert later is not None
    assert earlier is not None
    assert before["vector"][:3].to_list() == later["vector"][:3].to_list()
    assert before["vector"][0].to_list() != earlier["vector"][0].to_list()


def test_missing_numbers_are_masked() -> None:
    items = _items([1.0, None, 3.0, None], year=[2000, 2001, None, None])
    found = tabular_vectors(items, pl.Series([True] * 4), CONFIG)
    assert found is not None
    assert found["vector"].is_null().to_list() == [False, False, False, True]
    halves = to_matrix(found["vector"]).reshape(4, 2, -1)
    assert halves.any(axis=2).tolist() == [[True, True], [False, True], [True, False], [False, False]]
    assert found["item_id"].to_list() == items["item_id"].to_list()


def test_dates_are_numbers_and_the_availability_is_none() -> None:
    days = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 9, 30)]
    found = tabular_vectors(_items([None] * 4, published_at=days), pl.Series([True] * 4), CONFIG)
    assert found is not None
    assert found["model"][0].endswith("/published_at")
    vectors = to_matrix(found["vector"])
    assert (vectors[0] @ vectors[1]) > (vectors[0] @ vectors[2])


def test_nothing_to_learn_from_is_no_modality() -> None:
    everybody = pl.Series([True] * 4)
    assert tabular_vectors(_items([None] * 4), everybody, CONFIG) is None
    assert tabular_vectors(_items([2.0] * 4), everybody, CONFIG) is None
    assert tabular_vectors(_items([1.0, 2.0, 3.0, 4.0]), pl.Series([False] * 4), CONFIG) is None


def test_named_columns_alone_and_a_wrong_name_is_told() -> None:
    items, everybody = _items([1.0, 2.0, 3.0, 4.0], year=[1, 2, 3, 4]), pl.Series([True] * 4)
    found = tabular_vectors(items, everybody, TabularConfig(columns=("year",)))
    assert found is not None
    assert found["model"][0].endswith("/year")
    for wrong in ("title", "weight"):
        with pytest.raises(ContractError, match=f"missing or holds no numbers .'{wrong}'"):
            tabular_vectors(items, everybody, TabularConfig(columns=(wrong,)))


def test_the_hash_follows_the_numbers() -> None:
    everybody = pl.Series([True] * 4)
    one, other = (tabular_vectors(_items([1.0, 2.0, last, 4.0]), everybody, CONFIG) for last in (3.0, 3.5))
    assert one is not None
    assert other is not None
    assert (one["content_hash"] != other["content_hash"]).to_list() == [False, False, True, False]
    assert np.isfinite(to_matrix(one["vector"])).all()
