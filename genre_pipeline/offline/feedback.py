"""Feedback of the event log, in the form that the metrics and experiments take."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.evaluation.experiment import Experiment, compare_variants
from genre_pipeline.evaluation.feedback import joined_feedback
from genre_pipeline.project import as_of
from genre_pipeline.recommenders.rules import DEFAULT, HOLDOUT, RulesConfig

if TYPE_CHECKING:
    from genre_pipeline.adapters.tables import Tables


def shown_until(tables: "Tables", day: str, config: GenreConfig, *, days: int | None = None) -> pl.DataFrame:
    """Impressions of the last `days` days (`feedback.days` otherwise) up to `day`, each with whether it was clicked by
    the day's end; see `joined_feedback`.
    """
    end, feedback = as_of(day), config.feedback
    start = end - timedelta(days=days or feedback.days)
    return joined_feedback(tables.feedback(start, end, feedback.positive_events), feedback)


def experiment_on(shown: pl.DataFrame, config: GenreConfig, *, control: str = DEFAULT) -> Experiment:
    """Each variant against `control`, with the shares that `rules` configures as those to expect."""
    return compare_variants(
        shown,
        expected_shares(config.rules),
        control=control,
        seed=config.seed,
        intervals=config.evaluation.intervals,
    )


def expected_shares(rules: RulesConfig) -> Mapping[str, float]:
    """Variant to its share of users; what no arm takes is the default's."""
    arms = {variant.name: variant.share for variant in rules.variants}
    if rules.holdout_share:
        arms[HOLDOUT] = rules.holdout_share
    left = 1.0 - sum(arms.values())
    return arms if left < 1e-9 else {**arms, DEFAULT: left}
