"""`genre batch`: the nightly computation on any data set, without Dagster. Trains on everything, lists every user."""

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import ITEM_ID, USER_ID
from genre_pipeline.contracts.errors import ConfigError, TrainingError
from genre_pipeline.offline.dataset import Prepared, training_set_for_lists
from genre_pipeline.offline.personal_lists import plain_lists
from genre_pipeline.offline.tuning import choose_settings
from genre_pipeline.recommenders.audiences import fit_audiences
from genre_pipeline.recommenders.base import Report
from genre_pipeline.recommenders.popularity import PopularityRecommender
from genre_pipeline.recommenders.suite import HYBRID, Say
from genre_pipeline.training.splits import Split, end_of


def config_for(recommender: str, config: GenreConfig) -> GenreConfig:
    """The configuration with nothing enabled but what `recommender` needs; the hybrid needs all.

    Raises `ConfigError` for a recommender that is not enabled.
    """
    enabled = config.recommenders.enabled
    if recommender == HYBRID:
        return config
    if recommender not in enabled:
        raise ConfigError(
            f"No recommender {recommender!r} is enabled",
            remedy=f"Use one of: {', '.join((*enabled, HYBRID))}.",
            culprits=[recommender],
        )
    needed = tuple(name for name in enabled if name in (recommender, PopularityRecommender.name))
    return config.model_copy(update={"recommenders": config.recommenders.model_copy(update={"enabled": needed})})


def batch_recommendations(
    prepared: Prepared,
    config: GenreConfig,
    *,
    k: int,
    say: Say,
    users: pl.Series | None = None,
    recommender: str = HYBRID,
    report: Report | None = None,
) -> pl.DataFrame:
    """Each user's `k` best unseen items under the rules, schema `Recommendations`.

    `users` defaults to all users of the data set.

    Users without interactions get the popular list. Settings are chosen as `choose_settings` says, then everything is
    fitted on all. Raises `ConfigError` for a recommender that is not enabled, `TrainingError` for one that finds
    nothing to learn from.
    """
    config = config_for(recommender, config)
    chosen = choose_settings(prepared, config, say=say)
    if recommender not in (*chosen.active.settings, HYBRID):
        raise TrainingError(
            f"{recommender} finds nothing to learn from in {prepared.data.name!r}: no item has a text",
            remedy="Give items a title or a description, or use another recommender.",
        )
    everything = prepared.data.interactions
    data = training_set_for_lists(prepared, _all_known(everything), config, only_known_items=False)
    say(f"training on all {everything.height:,} interactions")
    parts = fit_audiences(data, chosen, config.audiences, seed=config.seed, say=say)
    wanted = _all_users(prepared) if users is None else users
    return plain_lists(
        parts, recommender, data, wanted, prepared.data.items, config, past=everything, k=k, report=report
    )


def _all_known(interactions: pl.DataFrame) -> Split:
    """Everything as the past, with no future."""
    return Split(interactions, interactions.clear().select(USER_ID, ITEM_ID), end_of(interactions))


def _all_users(prepared: Prepared) -> pl.Series:
    known = prepared.data.interactions[USER_ID]
    listed = prepared.data.users
    return (known if listed is None else pl.concat([known, listed[USER_ID]])).unique().sort()
