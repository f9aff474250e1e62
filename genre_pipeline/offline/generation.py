"""What a language model writes, joined to what recommenders learn from: generate on a past, encode, enrich.

Assets, evaluations and benchmarks walk through these functions, so that the same past gives the same texts and the same
lists. How questions are answered (a model within a budget, the ledger alone, nobody) is the caller's: an `Ask`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import ITEM_ID, TITLE, USER_ID, VECTOR
from genre_pipeline.contracts.training_set import TrainingSet, enrich
from genre_pipeline.features.extraction import DenseTechnique, extract
from genre_pipeline.features.item_texts import ItemTextConfig, compose_item_texts
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.features.vector_column import to_column, to_matrix
from genre_pipeline.generation.profiles import PROFILE, pooled_interests, told_histories
from genre_pipeline.generation.requests import Answer, Request
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.generation.summaries import SUMMARY, with_summaries
from genre_pipeline.generation.synthetic import Synthetic, texts_of, training_weights
from genre_pipeline.generation.vocabulary import Vocabulary, learn_vocabulary
from genre_pipeline.preprocessing.dataset import Dataset
from genre_pipeline.recommenders.shared_interests import Interests
from genre_pipeline.training.splits import Split

Ask = Callable[[Scheme, Sequence[Request]], Sequence[Answer]]
"""An answer to every request of a scheme, in their order."""
Enrich = Callable[[TrainingSet, Split], TrainingSet]
"""A training set of a split's past to the same with an enrichment."""
Encode = Callable[[pl.Series], np.ndarray]
"""Texts, String [n], to float32 [n, width] in the space that `content` compares in; rows of length 1."""


@dataclass(frozen=True)
class Generated:
    """What the enabled schemes made of one past; None for a scheme that is off."""

    summaries: pl.DataFrame | None = None
    """`ItemSummaries`."""
    profiles: pl.DataFrame | None = None
    """`UserProfiles`."""
    synthetic: pl.DataFrame | None = None
    """`SyntheticItems`."""


@dataclass(frozen=True)
class Past:
    """What is known on a day."""

    interactions: pl.DataFrame
    """`Interactions` before `as_of`."""
    items: pl.DataFrame
    """`Items`."""
    as_of: datetime
    has_clock: bool


def generate(past: Past, data: TrainingSet, config: GenreConfig, *, ask: Ask, encode: Encode) -> Generated:
    """Every enabled scheme on a past; `data` is the training set of that past, without generation."""
    generation = config.generation
    summarising, profiling, inventing = generation.schemes()
    summaries = profiles = synthetic = None
    if summarising.name in generation.enabled:
        summaries = summarising.frame(ask(summarising, summarising.requests(past.items)))
    histories = histories_to_tell(past, summaries, config)
    if profiling.name in generation.enabled:
        profiles = profiling.frame(ask(profiling, profiling.requests(histories)), histories, as_of=past.as_of)
    if inventing.name in generation.enabled:
        asked = inventing.requests(histories, profiles if generation.chained else None)
        synthetic = snapped(inventing, ask(inventing, asked), past, data, config, encode=encode)
    return Generated(summaries, profiles, synthetic)


def snapped(
    inventing: Synthetic,
    answers: Sequence[Answer],
    past: Past,
    data: TrainingSet,
    config: GenreConfig,
    *,
    encode: Encode,
) -> pl.DataFrame:
    """`SyntheticItems`: what was invented, with the nearest real item of each that its user has not had."""
    invented = inventing.invented(answers)
    return inventing.snapped(
        invented,
        encode(texts_of(invented)),
        item_ids=data.item_ids,
        item_vectors=data.item_vectors[text_technique(config)],
        is_candidate=data.is_candidate,
        had=past.interactions,
    )


def histories_to_tell(past: Past, summaries: pl.DataFrame | None, config: GenreConfig) -> pl.DataFrame:
    """`told_histories` of a past, by the vocabulary of its catalogue."""
    vocabulary = _vocabulary(past.items, summaries, config)
    newest = config.generation.profiles.history
    return told_histories(past.interactions, past.items, vocabulary, newest=newest, has_clock=past.has_clock)


def interests(items: pl.DataFrame, generated: Generated, config: GenreConfig) -> Interests | None:
    """What profiles and items may share, for reasons; None where no profile was made."""
    if generated.profiles is None:
        return None
    carried = _vocabulary(items, generated.summaries, config).carried
    return Interests(generated.profiles.select(USER_ID, "interests"), carried)


def with_written_reasons(lists: pl.DataFrame, items: pl.DataFrame, config: GenreConfig, *, ask: Ask) -> pl.DataFrame:
    """`lists` with a model's sentence before the other reasons of their first places; as they are where that is off."""
    if not config.generation.reasons.enabled:
        return lists
    writer = config.generation.reason_writer()
    told = writer.told(lists, items)
    return writer.put_first(lists, told, ask(writer, writer.requests(told)))


def enriched(
    data: TrainingSet, items: pl.DataFrame, generated: Generated, config: GenreConfig, *, encode: Encode
) -> TrainingSet:
    """`data` with what was generated beside it: vectors of texts with summaries, profiles, synthetic items."""
    technique = text_technique(config)
    vectors: dict[str, pl.DataFrame] = {}
    profiles: dict[str, pl.DataFrame] = {}
    synthetic = None
    if generated.summaries is not None:
        texts = compose_item_texts(with_summaries(items, generated.summaries), texts_with_summaries(config))
        vectors[technique] = texts.select(ITEM_ID, to_column(encode(texts["text"].fill_null(""))))
    if generated.profiles is not None and not generated.profiles.is_empty():
        profiles[technique] = profile_vectors(generated.profiles, encode)
    if generated.synthetic is not None:
        synthetic = training_weights(generated.synthetic, config.generation.synthetic)
    return enrich(
        data,
        max_rank_shift=config.generation.max_rank_shift,
        item_vectors=vectors,
        profile_vectors=profiles,
        synthetic=synthetic,
    )


def enricher(data: Dataset, config: GenreConfig, *, ask: Ask) -> Enrich:
    """Generates on whatever past it is given, and on nothing later."""
    encode = encoder(config, VectorCache(config.home / "cache" / "vectors"))

    def enrich_past(known: TrainingSet, split: Split) -> TrainingSet:
        past = past_to_tell(split, data)
        generated = generate(past, known, config, ask=ask, encode=encode)
        return enriched(known, data.items, generated, config, encode=encode)

    return enrich_past


def past_to_tell(split: Split, data: Dataset) -> Past:
    """A split's past of those whose lists are judged: no other list depends on what is written about the rest.

    Where nobody is judged, of all.
    """
    told = split.past if split.truth.is_empty() else split.past.join(split.truth, on=USER_ID, how="semi")
    return Past(told, data.items, split.as_of, data.has_clock)


def profile_vectors(profiles: pl.DataFrame, encode: Encode) -> pl.DataFrame:
    """user_id, vector List(Float32): half the pooled vectors of a profile's interests, half that of its sentence."""
    interests = profiles["interests"].explode().unique().sort()
    pooled = l2_normalise(pooled_interests(profiles, interests, encode(interests)))
    both = l2_normalise(pooled + encode(profiles[PROFILE]))
    return profiles.select(USER_ID, to_column(both).alias(VECTOR))


def text_technique(config: GenreConfig) -> DenseTechnique:
    """The technique whose space `content` compares in."""
    # GenreConfig asks for a pretrained text technique where a scheme is enabled.
    return "text_causal" if config.recommenders.content.vectors == "text_causal" else "text_llm"


def texts_with_summaries(config: GenreConfig) -> ItemTextConfig:
    """The configured item text, with the summary at its end unless its fields name it."""
    texts = config.features.item_texts
    return texts.model_copy(update={"fields": tuple(dict.fromkeys([*texts.fields, SUMMARY]))})


def encoder(config: GenreConfig, cache: VectorCache) -> Encode:
    """Encodes texts as items' texts are encoded; equal texts once, and those that `cache` knows never."""
    technique = text_technique(config)

    def encode(texts: pl.Series) -> np.ndarray:
        distinct = texts.unique().sort()
        rows = pl.DataFrame({ITEM_ID: distinct, TITLE: distinct})
        composed = compose_item_texts(rows, ItemTextConfig(fields=(TITLE,)))
        vectors = extract(technique, composed, config.features, cache).vectors
        places = pl.DataFrame({ITEM_ID: texts}).join(
            rows.with_row_index("row"), on=ITEM_ID, how="left", maintain_order="left"
        )["row"]
        return np.asarray(l2_normalise(to_matrix(vectors[VECTOR]))[places.to_numpy()])

    return encode


def _vocabulary(items: pl.DataFrame, summaries: pl.DataFrame | None, config: GenreConfig) -> Vocabulary:
    """It learns from generated tags where there are any."""
    described = items if summaries is None else with_summaries(items, summaries)
    return learn_vocabulary(described, config.generation.vocabulary)
