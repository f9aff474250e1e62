"""A source of any kind to clean tables and the vectors that recommenders learn from."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.features.extraction import Progress, extract_for_recommenders
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.preprocessing.dataset import Dataset, clean_dataset
from genre_pipeline.recommenders.suite import USE_VECTORS
from genre_pipeline.sources.dataset import SourceConfig, read_dataset
from genre_pipeline.sources.movielens import is_movielens
from genre_pipeline.training.splits import Split


@dataclass(frozen=True)
class Prepared:
    """Clean tables and item vectors: where every split starts from."""

    data: Dataset
    vectors: dict[str, pl.DataFrame]
    """Technique to its `ItemVectors`. Texts only, so that they know nothing of what users did later."""


def source_of(folder: Path) -> SourceConfig:
    """A folder's kind, told by its files: one of MovieLens' own forms, or the standard folder."""
    return SourceConfig(kind="movielens" if is_movielens(folder) else "folder", path=str(folder))


def prepare(source: SourceConfig, config: GenreConfig, progress: Progress | None = None) -> Prepared:
    """Read, clean, and encode if an enabled recommender looks at vectors.

    Raises `SourceError` and `ContractError` as the rooms it calls.
    """
    raw = read_dataset(source)
    data = clean_dataset(raw.interactions, raw.items, raw.users, config.preprocessing, name=raw.name)
    if not USE_VECTORS.intersection(config.recommenders.enabled):
        return Prepared(data, {})
    cache = VectorCache(config.home / "cache" / "vectors")
    return Prepared(data, extract_for_recommenders(data.items, config.features, cache, progress))


def training_set(prepared: Prepared, split: Split, config: GenreConfig, *, only_known_items: bool) -> TrainingSet:
    """The past of a split, by position."""
    return build_training_set(
        split.past,
        prepared.data.items,
        as_of=split.as_of,
        has_clock=prepared.data.has_clock,
        event_weights=config.event_weights,
        item_vectors=prepared.vectors,
        only_known_items=only_known_items,
    )
