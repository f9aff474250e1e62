"""A source of any kind to clean tables and the vectors that recommenders learn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import ITEM_ID
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.features.behaviour import BEHAVIOUR
from genre_pipeline.features.extraction import FUSED, TOWER, FeaturesConfig, Progress, extract_for_recommenders
from genre_pipeline.features.tabular import TABULAR
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.offline.asking import asking
from genre_pipeline.offline.behaviour import behaviour_part
from genre_pipeline.offline.generation import Enrich, enricher
from genre_pipeline.offline.item_tower import tower_on
from genre_pipeline.offline.item_vectors import fused_on, fusion_views, media_vectors
from genre_pipeline.offline.tabular import tabular_vectors
from genre_pipeline.preprocessing.dataset import Dataset, clean_dataset
from genre_pipeline.recommenders.suite import USE_VECTORS, Say
from genre_pipeline.sources.dataset import SourceConfig, read_dataset
from genre_pipeline.sources.movielens import is_movielens
from genre_pipeline.training.splits import Split


@dataclass(frozen=True)
class Prepared:
    """Clean tables and item vectors: where every split starts from."""

    data: Dataset
    vectors: dict[str, pl.DataFrame]
    """Technique to its `ItemVectors`: of text, `image` and `audio`, which know nothing of what users did later. What is
    learned of them, `fused`, is made for each past (`training_set`)."""
    enrich: Enrich | None = None
    """What generation adds to a past (`generation.enricher`); None without generation."""
    views: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """Modality to the vectors of its files changed at random, where the fusion is to learn from such."""


def source_of(folder: Path) -> SourceConfig:
    """A folder's kind, told by its files: one of MovieLens' own forms, or the standard folder."""
    return SourceConfig(kind="movielens" if is_movielens(folder) else "folder", path=str(folder))


def prepare(
    source: SourceConfig, config: GenreConfig, progress: Progress | None = None, *, say: Say = lambda line: None
) -> Prepared:
    """Read, clean, and encode if an enabled recommender looks at vectors. Enabled schemes of generation are asked by
    the configured model, of each past that lists are made of.

    Raises `SourceError` and `ContractError` as the rooms it calls.
    """
    raw = read_dataset(source)
    data = clean_dataset(raw.interactions, raw.items, raw.users, config.preprocessing, name=raw.name)
    generates = bool(config.generation.enabled)
    if not generates and not USE_VECTORS.intersection(config.recommenders.enabled):
        return Prepared(data, {})
    cache = VectorCache(config.home / "cache" / "vectors")
    vectors = extract_for_recommenders(data.items, config.features, cache, progress)
    for modality in config.features.media_for_recommenders:
        report = None if progress is None else partial(progress, modality)
        vectors[modality], *_ = media_vectors(
            data.items, modality, root=raw.root, config=config, cache=cache, report=report
        )
    is_fused = FUSED in config.features.for_recommenders
    views = fusion_views(data.items, root=raw.root, config=config, cache=cache) if is_fused else {}
    enrich = enricher(data, config, ask=asking(config, say=say)) if generates else None
    return Prepared(data, vectors, enrich, views)


def training_set(prepared: Prepared, split: Split, config: GenreConfig, *, only_known_items: bool) -> TrainingSet:
    """The past of a split, by position. Where vectors are fused, the fusion has learned of this past only."""
    return build_training_set(
        split.past,
        prepared.data.items,
        as_of=split.as_of,
        has_clock=prepared.data.has_clock,
        event_weights=config.event_weights,
        valued_events=config.valued_events,
        item_vectors=vectors_on(prepared, split.past, config),
        only_known_items=only_known_items,
    )


def training_set_for_lists(
    prepared: Prepared, split: Split, config: GenreConfig, *, only_known_items: bool
) -> TrainingSet:
    """`training_set`, with what generation adds beside it. Tuning does without: lists without generation are to be what
    they would be had it never been.
    """
    data = training_set(prepared, split, config, only_known_items=only_known_items)
    return data if prepared.enrich is None else prepared.enrich(data, split)


def vectors_on(prepared: Prepared, past: pl.DataFrame, config: GenreConfig) -> dict[str, pl.DataFrame]:
    """The vectors that recommenders learn from; `fused` and `tower`, where asked for, have learned of `past` only."""
    vectors, items = prepared.vectors, prepared.data.items
    wanted = config.features.for_recommenders
    made: dict[str, pl.DataFrame] = {name: vectors[name] for name in wanted if name in vectors}
    if FUSED in wanted:
        parts = fusion_parts(vectors, items, past, config.features)
        if parts:
            made[FUSED], _ = fused_on(parts, past, config.features.fusion, views=prepared.views, seed=config.seed)
    if TOWER in wanted:
        made[TOWER] = tower_on(items, past, vectors, config, has_clock=prepared.data.has_clock)
    return made


def fusion_parts(
    vectors: Mapping[str, pl.DataFrame], items: pl.DataFrame, past: pl.DataFrame, features: FeaturesConfig
) -> dict[str, pl.DataFrame]:
    """Modality to its vectors, of those that there are: text, image, audio; tabular, behaviour, learned of `past`."""
    named = {"text": features.fused_text, "image": "image", "audio": "audio"}
    parts = {modality: vectors[name] for modality, name in named.items() if name in vectors}
    if features.tabular.enabled:
        training = items[ITEM_ID].is_in(past[ITEM_ID].unique().implode())
        numbers = tabular_vectors(items, training, features.tabular)
        parts.update({} if numbers is None else {TABULAR: numbers})
    if features.behaviour.enabled:
        history = behaviour_part(items[ITEM_ID], past, features.behaviour)
        parts.update({} if history is None else {BEHAVIOUR: history})
    return parts
