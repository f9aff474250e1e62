import hashlib

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.tables import ItemTexts
from genre_pipeline.features.item_texts import ItemTextConfig, compose_item_texts


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def items() -> pl.DataFrame:
    rows = [
        ("b", "Comet", "A story.", ["space", "family"], 2001, ["Ann", None]),
        ("a", " Brot & Käse ", None, [], None, None),
        ("c", None, None, [], None, []),
        ("d", "", "  ", [], None, []),
        ("e", None, "東京", ["drama"], 1953, []),
    ]
    schema = {
        "item_id": pl.String, "title": pl.String, "description": pl.String, "categories": pl.List(pl.String),
        "year": pl.Int64, "cast": pl.List(pl.String),
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_texts_are_composed_in_order_and_nothing_is_null(items: pl.DataFrame) -> None:
    texts = ["Comet. space, family. A story.", "Brot & Käse", None, None, "drama. 東京"]
    expected = pl.DataFrame(
        {"item_id": ["b", "a", "c", "d", "e"], "text": texts, "content_hash": [sha256(text or "") for text in texts]}
    )
    composed = compose_item_texts(items)
    assert_frame_equal(composed, expected)
    ItemTexts.validate(composed)


def test_any_column_of_the_source_can_be_named(items: pl.DataFrame) -> None:
    config = ItemTextConfig(fields=("year", "cast", "title"), separator=" | ", list_separator="/")
    texts = compose_item_texts(items, config)["text"].to_list()
    assert texts == ["2001 | Ann | Comet", "Brot & Käse", None, None, "1953"]


def test_a_column_that_is_not_there_is_named(items: pl.DataFrame) -> None:
    with pytest.raises(ConfigError, match="director") as caught:
        compose_item_texts(items, ItemTextConfig(fields=("title", "director")))
    assert caught.value.culprits == ("director",)


def test_a_long_text_is_cut_at_characters(items: pl.DataFrame) -> None:
    texts = compose_item_texts(items, ItemTextConfig(max_characters=8))["text"].to_list()
    assert texts == ["Comet. s", "Brot & K", None, None, "drama. 東"]


def test_an_empty_catalogue_has_no_texts(items: pl.DataFrame) -> None:
    assert compose_item_texts(items.clear()).height == 0


@pytest.mark.parametrize("fields", [(), ("title", "title")])
def test_fields_are_named_once(fields: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="at least one column"):
        ItemTextConfig(fields=fields)
