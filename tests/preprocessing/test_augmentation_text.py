"""Augmented text: what is left is a part of what there was, and nothing is left empty that was not."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.preprocessing.augmentation_text import (
    TextAugmentationConfig,
    augment_fields,
    augment_texts,
    augmented_texts,
)

TEXTS = st.lists(st.one_of(st.none(), st.text(alphabet="ab c\té", max_size=30)), max_size=12)
ITEMS = pl.DataFrame(
    {
        "item_id": [str(number) for number in range(400)],
        "title": [None if number % 5 == 0 else f"title {number}" for number in range(400)],
        "description": [None if number % 3 == 0 else "about" for number in range(400)],
        "categories": [["a", "b"] if number % 2 else [] for number in range(400)],
    }
)


@given(TEXTS, st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_what_is_left_is_a_subsequence_and_never_nothing(
    texts: list[str | None], seed: int, dropout: float, deletion: float
) -> None:
    config = TextAugmentationConfig(token_dropout=dropout, span_deletion=deletion, span_share=0.5)
    before = pl.Series("text", texts, dtype=pl.String)
    after = augment_texts(before, config, seed=seed)
    assert after.equals(augment_texts(before, config, seed=seed))
    assert (after.len(), after.name, after.dtype) == (before.len(), "text", pl.String)
    for one, other in zip(before, after, strict=True):
        words = iter((one or "").split())
        assert all(word in words for word in (other or "").split())
        assert bool((one or "").split()) == bool((other or "").split())
        assert (one is None) == (other is None)


def test_probability_zero_is_the_very_same() -> None:
    texts = pl.Series(["a  b\tc", None, ""])
    assert augment_texts(texts, TextAugmentationConfig(), seed=1) is texts
    assert augment_fields(ITEMS, TextAugmentationConfig(), seed=1) is ITEMS


def test_texts_that_lose_nothing_keep_their_white_space() -> None:
    texts = pl.Series(["a  b\tc"] * 200)
    after = augment_texts(texts, TextAugmentationConfig(token_dropout=0.2), seed=3)
    assert set(after) == {"a  b\tc", "a b", "b c", "a c", "a", "b", "c"}


def test_words_are_lost_at_the_configured_rate() -> None:
    texts = pl.Series([" ".join("abcdefghijklmnopqrst")] * 500)
    left = augment_texts(texts, TextAugmentationConfig(token_dropout=0.3), seed=3).str.split(" ").list.len().mean()
    assert left == pytest.approx(14, abs=0.3)


def test_a_span_is_one_run_of_the_configured_length() -> None:
    words = "abcdefghij"
    after = augment_texts(pl.Series([" ".join(words)] * 300), TextAugmentationConfig(span_deletion=1.0), seed=3)
    assert set(after) == {" ".join(words[:at] + words[at + 2 :]) for at in range(9)}


def test_title_only_leaves_the_title_where_there_is_one() -> None:
    after = augment_fields(ITEMS, TextAugmentationConfig(title_only=1.0), seed=0)
    has_title = pl.col("title").is_not_null()
    expected = ITEMS.with_columns(
        pl.when(has_title).then(None).otherwise("description").alias("description"),
        pl.when(has_title).then([]).otherwise("categories").cast(pl.List(pl.String)).alias("categories"),
    )
    assert after.equals(expected)


@pytest.mark.parametrize("dropout", [0.3, 1.0])
def test_field_dropout_leaves_every_item_that_has_text_some(dropout: float) -> None:
    after = augment_fields(ITEMS, TextAugmentationConfig(field_dropout=dropout), seed=7)
    assert after.schema == ITEMS.schema
    filled = pl.sum_horizontal(
        pl.col("title").is_not_null(), pl.col("description").is_not_null(), pl.col("categories").list.len() > 0
    )
    before_count, after_count = ITEMS.select(filled).to_series(), after.select(filled).to_series()
    assert ((after_count > 0) == (before_count > 0)).all()
    assert (after_count <= before_count).all()
    assert after_count.sum() < before_count.sum()
    if dropout == 1:
        assert set(after_count) == {0, 1}


def test_another_seed_is_another_draw() -> None:
    config = TextAugmentationConfig(field_dropout=0.3)
    first, second = (augment_fields(ITEMS, config, seed=seed) for seed in (1, 2))
    assert not first.equals(second)


def test_a_catalogue_without_rows_or_description() -> None:
    config = TextAugmentationConfig(field_dropout=1.0, title_only=1.0)
    assert augment_fields(ITEMS.clear(), config, seed=1).equals(ITEMS.clear())
    titles = ITEMS.select("item_id", "title")
    assert augment_fields(titles, config, seed=1).equals(titles)


def test_a_view_loses_fields_and_words_and_another_seed_gives_another() -> None:
    def compose(items: pl.DataFrame) -> pl.Series:
        parts = [pl.col("title"), pl.col("description"), pl.col("categories").list.join(" ")]
        return items.select(text=pl.concat_str(parts, separator=" ", ignore_nulls=True))["text"]

    whole = compose(ITEMS)
    assert augmented_texts(ITEMS, compose, TextAugmentationConfig(), seed=1).equals(whole)
    config = TextAugmentationConfig(title_only=0.3, field_dropout=0.2, token_dropout=0.2, span_deletion=0.2)
    one, again, other = (augmented_texts(ITEMS, compose, config, seed=seed) for seed in (1, 1, 2))
    assert one.equals(again)
    assert not one.equals(other)
    assert one.len() == ITEMS.height
    shorter = one.str.len_chars() <= whole.str.len_chars()
    assert shorter.all()
    assert (one == whole).sum() > 0
