from pathlib import Path

import polars as pl
import pytest

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.features.extraction import FeaturesConfig, extract, extract_for_recommenders, extract_sparse
from genre_pipeline.features.item_texts import compose_item_texts
from genre_pipeline.features.text_llm import LlmTextConfig
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.preprocessing.items import clean_items
from tests import scenario

ITEMS = clean_items(scenario.raw_items()).kept
NOWHERE = FeaturesConfig(llm=LlmTextConfig(source="/no/such/encoder"))


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "cache")


def test_a_catalogue_without_any_text_needs_no_encoder(cache: VectorCache) -> None:
    blank = ITEMS.with_columns(
        title=pl.lit(None, pl.String),
        description=pl.lit(None, pl.String),
        categories=pl.lit([], pl.List(pl.String)),
    )
    assert extract_for_recommenders(blank, NOWHERE, cache) == {}
    assert not cache.folder.exists()


def test_recommenders_get_the_techniques_that_are_named(tmp_path: Path, cache: VectorCache) -> None:
    encoder = tiny_encoder(tmp_path / "encoder", ["comet"])
    config = FeaturesConfig(llm=LlmTextConfig(source=str(encoder), max_tokens=64))
    seen: list[tuple[str, int, int]] = []
    made = extract_for_recommenders(ITEMS, config, cache, lambda *one: seen.append(one))
    assert list(made) == ["text_llm"]
    vectors = ItemVectors.validate(made["text_llm"])
    assert vectors["item_id"].to_list() == ITEMS["item_id"].to_list()
    assert vectors.filter(pl.col("vector").is_null())["item_id"].to_list() == [scenario.TEXTLESS_ITEM]
    assert seen[-1] == ("text_llm", 23, 23)
    texts = compose_item_texts(ITEMS, config.item_texts)
    again = extract("text_llm", texts, config, cache)
    assert (again.counts.encoded, again.counts.reused) == (0, 23)
    assert again.vectors.equals(vectors)


@pytest.mark.parametrize("technique", ["text_bag_of_words", "text_tfidf"])
def test_sparse_rows_say_the_same_as_dense_ones(technique: str, cache: VectorCache) -> None:
    texts = compose_item_texts(ITEMS)
    sparse = extract_sparse(technique, texts, FeaturesConfig())  # type: ignore[arg-type]
    dense = extract(technique, texts, FeaturesConfig(), cache).vectors  # type: ignore[arg-type]
    assert sparse.columns == ["item_id", "model", "content_hash", "indices", "values"]
    assert (sparse.schema["indices"], sparse.schema["values"]) == (pl.List(pl.UInt32), pl.List(pl.Float32))
    assert sparse["item_id"].equals(texts["item_id"])
    for row, vector in zip(sparse.iter_rows(named=True), dense["vector"], strict=True):
        if vector is None:
            assert row["indices"] is None
            assert row["values"] is None
        else:
            assert row["indices"] == sorted(row["indices"])
            held = {place: value for place, value in enumerate(vector) if value}
            assert dict(zip(row["indices"], row["values"], strict=True)) == held
    assert not cache.folder.exists(), "what is fitted to the corpus is not kept"


def test_a_dense_technique_has_no_sparse_rows() -> None:
    with pytest.raises(ConfigError, match="text_llm gives dense vectors"):
        extract_sparse("text_llm", compose_item_texts(ITEMS), FeaturesConfig())
