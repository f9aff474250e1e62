from datetime import UTC, date, datetime
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from genre_pipeline.contracts import tables

MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
LONG_ID = "é" * 257
"""257 letters, 514 bytes."""
GOOD: dict[type[dy.Schema], dict[str, Any]] = {
    tables.Interactions: {"user_id": "u", "item_id": "i", "timestamp": MOMENT, "event": "view", "value": None},
    tables.Items: {
        "item_id": "i", "title": None, "description": None, "categories": [], "image": None, "audio": None,
        "available": True, "published_at": None, "price": 0.0,
    },
    tables.Users: {"user_id": "u"},
    tables.RejectedRows: {"table": "items", "rule": "price|min", "raw": "{}", "day": date(2024, 1, 1)},
    tables.ItemTexts: {"item_id": "i", "text": None, "content_hash": "0"},
    tables.ItemVectors: {"item_id": "i", "model": "m", "content_hash": "0", "vector": [1.0]},
    tables.Recommendations: {"user_id": "u", "item_id": "i", "rank": 1, "score": 0.5},
    tables.SimilarItems: {"item_id": "i", "similar_item_id": "j", "rank": 1, "score": 0.5},
    tables.PopularItems: {"category": "", "item_id": "i", "rank": 1, "score": 0.5},
}  # fmt: skip
BAD = [
    (tables.Interactions, {"user_id": None}, "user_id|nullability"),
    (tables.Interactions, {"user_id": ""}, "user_id|min_length"),
    (tables.Interactions, {"item_id": ""}, "item_id|min_length"),
    (tables.Interactions, {"event": ""}, "event|min_length"),
    (tables.Interactions, {"timestamp": None}, "timestamp|nullability"),
    (tables.Interactions, {"timestamp": datetime(1969, 12, 31, tzinfo=UTC)}, "timestamp_in_range"),
    (tables.Interactions, {"timestamp": datetime(2101, 1, 1, tzinfo=UTC)}, "timestamp_in_range"),
    (tables.Interactions, {"user_id": LONG_ID}, "user_id_is_short"),
    (tables.Interactions, {"item_id": LONG_ID}, "item_id_is_short"),
    (tables.Items, {"item_id": LONG_ID}, "item_id_is_short"),
    (tables.Items, {"price": -0.01}, "price|min"),
    (tables.Items, {"available": None}, "available|nullability"),
    (tables.Items, {"categories": None}, "categories|nullability"),
    (tables.Users, {"user_id": LONG_ID}, "user_id_is_short"),
    (tables.ItemTexts, {"content_hash": None}, "content_hash|nullability"),
    (tables.Recommendations, {"rank": 0}, "rank|min"),
    (tables.Recommendations, {"score": float("nan")}, "score|nan"),
    (tables.Recommendations, {"score": float("inf")}, "score|inf"),
    (tables.SimilarItems, {"score": float("-inf")}, "score|inf"),
    (tables.PopularItems, {"category": None}, "category|nullability"),
]


def _frame(schema: type[dy.Schema], *rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([GOOD[schema] | row for row in rows], schema=schema.create_empty().schema)


@pytest.mark.parametrize("schema", GOOD, ids=lambda schema: schema.__name__)
def test_a_clean_row_keeps_its_contract(schema: type[dy.Schema]) -> None:
    frame = _frame(schema, {})
    assert schema.validate(frame).equals(frame)


@pytest.mark.parametrize(("schema", "row", "rule"), BAD)
def test_each_rule_is_the_reason_beside_the_row_that_breaks_it(
    schema: type[dy.Schema], row: dict[str, Any], rule: str
) -> None:
    good, rejected = schema.filter(_frame(schema, row))
    assert good.is_empty()
    assert [name for name in rejected.counts() if name == rule] == [rule], rejected.counts()


@pytest.mark.parametrize(
    "schema", [tables.Items, tables.Users, tables.ItemTexts, tables.ItemVectors, tables.Recommendations]
)
def test_a_key_is_held_once(schema: type[dy.Schema]) -> None:
    good, rejected = schema.filter(_frame(schema, {}, {}))
    assert good.is_empty()
    assert rejected.counts() == {"primary_key": 2}


def test_an_id_of_512_bytes_is_still_an_id() -> None:
    assert tables.Users.is_valid(_frame(tables.Users, {"user_id": "é" * 256}))
