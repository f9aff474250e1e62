"""From frames to a result: the one place where the metrics, intervals and segments are put together.

Belongs here: the order of the work and what is shared between its steps. No metric is defined here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import PositiveInt

from genre_pipeline.contracts.columns import CATEGORIES, ITEM_ID, RECOMMENDER, USER_ID
from genre_pipeline.contracts.names import AblationName
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.evaluation import list_metrics
from genre_pipeline.evaluation.examples import example_users
from genre_pipeline.evaluation.intervals import IntervalConfig, compare_all, summary
from genre_pipeline.evaluation.metrics import MRR, NDCG, RECALL, per_user_metrics
from genre_pipeline.evaluation.result import EvaluationResult, ExampleUser, Protocol, RunFacts
from genre_pipeline.evaluation.segments import SegmentConfig, SegmentTables, segment_tables


class EvaluationConfig(Settings):
    """What is judged, and how deep."""

    k: PositiveInt = 10
    """How many ranks of each list are judged."""
    intervals: IntervalConfig = IntervalConfig()
    """Bootstrap intervals of every mean over users."""
    segments: SegmentConfig = SegmentConfig()
    """Bounds of the segments."""
    comparison_resamples: PositiveInt = 5_000
    """Resamples of the champion's comparisons; their p-values cannot be smaller than 1 / (1 + this)."""
    examples: int = 3
    """How many users the report shows with their lists."""
    ablate: tuple[AblationName, ...] = ()
    """Ablations (`modalities`, `generation`) made beside every evaluation, the nightly one too; each judges several
    variants."""


@dataclass(frozen=True)
class EvaluationInputs:
    """The frames of one evaluation."""

    recommendations: pl.DataFrame
    """recommender, user_id, item_id, rank (UInt32, from 1), score (Float32)."""
    truth: pl.DataFrame
    """user_id, item_id: distinct test interactions with items the user has not had in training."""
    users: pl.DataFrame
    """user_id, history_length (Int64, training interactions)."""
    items: pl.DataFrame
    """item_id, popularity (Int64, training interactions), is_cold (Bool), title (String), categories (List)."""
    catalogue: pl.Series
    """Item ids that the main lists could name: known at the cut."""
    history: pl.DataFrame | None = None
    """user_id, item_id in time order, oldest first: training. None leaves calibration out."""
    cold_recommendations: pl.DataFrame | None = None
    """As `recommendations`, ranked over a catalogue with the items first seen after the cut."""
    cold_candidates: pl.DataFrame | None = None
    """user_id, candidates: how many items each of those lists was drawn from; gives the segment its line of chance."""
    item_vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Technique to float32 [items, width], rows as in `items`: each adds the metric `diversity_<technique>`."""


def evaluate(
    inputs: EvaluationInputs,
    *,
    protocol: str,
    seed: int,
    cut: str | None = None,
    data: str = "",
    notes: tuple[str, ...] = (),
    champion: str = "hybrid",
    train_interactions: int | None = None,
    config: EvaluationConfig | None = None,
    run: RunFacts | None = None,
) -> EvaluationResult:
    """Judge all lists. The truth is judged whole: an item outside the catalogue is a miss for everybody.

    `train_interactions` defaults to the sum of `items.popularity`. Raises `ContractError` and `ConfigError` as the
    modules it calls.
    """
    config = config or EvaluationConfig()
    per_user = per_user_metrics(inputs.recommendations, inputs.truth, config.k)
    accuracy = summary(per_user, seed=seed, config=config.intervals)
    trained = int(inputs.items["popularity"].sum()) if train_interactions is None else train_interactions
    return EvaluationResult(
        protocol=Protocol(
            name=protocol,
            cut=cut,
            k=config.k,
            seed=seed,
            users=inputs.truth[USER_ID].n_unique(),
            items=inputs.catalogue.n_unique(),
            train_interactions=trained,
            test_interactions=inputs.truth.select(USER_ID, ITEM_ID).n_unique(),
            resamples=config.intervals.resamples,
            confidence=config.intervals.confidence,
            data=data,
            notes=notes,
        ),
        champion=champion,
        metrics=pl.concat([accuracy, _list_metrics(inputs, seed, config)]),
        comparisons=_comparisons(per_user, champion, seed, config),
        segments=_segments(inputs, champion, seed, config),
        run=run or RunFacts(),
        examples=_examples(inputs, accuracy, champion, config),
    )


def _segments(inputs: EvaluationInputs, champion: str, seed: int, config: EvaluationConfig) -> SegmentTables:
    return segment_tables(
        inputs.recommendations,
        inputs.truth,
        inputs.users,
        inputs.items,
        config.k,
        seed=seed,
        champion=champion,
        cold_recommendations=inputs.cold_recommendations,
        cold_candidates=inputs.cold_candidates,
        config=config.segments,
        intervals=config.intervals,
    )


def _comparisons(per_user: pl.DataFrame, champion: str, seed: int, config: EvaluationConfig) -> pl.DataFrame:
    intervals = config.intervals.model_copy(update={"resamples": config.comparison_resamples})
    return compare_all(per_user, champion, (NDCG, RECALL, MRR), seed=seed, config=intervals)


def _list_metrics(inputs: EvaluationInputs, seed: int, config: EvaluationConfig) -> pl.DataFrame:
    judged = inputs.recommendations.join(inputs.truth.select(USER_ID).unique(), on=USER_ID, how="semi")
    lists = list_metrics.list_membership(judged, inputs.items[ITEM_ID], config.k)
    per_list = list_metrics.novelty_and_popularity(lists, inputs.items)
    if inputs.items.filter(pl.col(CATEGORIES).list.len() > 0).height:
        categories = list_metrics.category_vectors(inputs.items)
        per_list = _beside(per_list, list_metrics.intra_list_diversity(lists, categories))
        if inputs.history is not None:
            per_list = _beside(per_list, list_metrics.miscalibration(lists, inputs.history, inputs.items))
    for technique, dense in inputs.item_vectors.items():
        diversity = list_metrics.intra_list_diversity(lists, dense)
        per_list = _beside(per_list, diversity.rename({list_metrics.DIVERSITY: f"diversity_{technique}"}))
    together = list_metrics.catalogue_metrics(
        judged, inputs.catalogue, config.k, confidence=config.intervals.confidence
    ).with_columns(pl.col("users").cast(pl.UInt32))
    return pl.concat([summary(_on_all_users(per_list), seed=seed, config=config.intervals), together])


def _beside(per_list: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    return per_list.join(more, on=[RECOMMENDER, USER_ID], how="left")


def _on_all_users(per_list: pl.DataFrame) -> pl.DataFrame:
    # A user without a list has no novelty: null there, so that all recommenders are resampled on the same users.
    grid = per_list.select(pl.col(RECOMMENDER).unique()).join(per_list.select(pl.col(USER_ID).unique()), how="cross")
    return grid.join(per_list, on=[RECOMMENDER, USER_ID], how="left")


def _examples(
    inputs: EvaluationInputs, accuracy: pl.DataFrame, champion: str, config: EvaluationConfig
) -> tuple[ExampleUser, ...]:
    others = accuracy.filter((pl.col("metric") == NDCG) & (pl.col(RECOMMENDER) != champion))
    shown = [champion, *others.sort("value", RECOMMENDER, descending=[True, False])[RECOMMENDER].head(2)]
    return example_users(
        inputs.recommendations,
        inputs.truth,
        inputs.users,
        inputs.items,
        inputs.history,
        recommenders=shown,
        k=config.k,
        count=config.examples,
    )
