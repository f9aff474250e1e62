"""`genre batch`: the nightly computation on any data set, without Dagster. Trains on everything, lists every user."""

from datetime import timedelta

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import TIMESTAMP, USER_ID
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.offline.dataset import Prepared, training_set
from genre_pipeline.recommenders.base import Report, recommend
from genre_pipeline.recommenders.suite import HYBRID, Say, fit_suite, popular_scores, tune
from genre_pipeline.training.splits import Split, split_by_time, split_leave_one_out


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
    """Each user's `k` best unseen items, schema `Recommendations`; `users` defaults to all users of the data set.

    Users without interactions get the popular list. Settings are chosen on the last fifth of the interactions (on each
    user's last one where the data knows an order only), then everything is fitted on all. Raises `ConfigError` for a
    recommender that is not enabled.
    """
    names = (*config.recommenders.enabled, HYBRID)
    if recommender not in names:
        raise ConfigError(
            f"There is no recommender {recommender!r}",
            remedy=f"Use one of: {', '.join(names)}.",
            culprits=[recommender],
        )
    everything = prepared.data.interactions
    inner = split_by_time(everything) if prepared.data.has_clock else split_leave_one_out(everything)
    say(f"tuning on {inner.past.height:,} interactions, judged by what followed")
    tuned = tune(
        training_set(prepared, inner, config, only_known_items=True),
        inner.truth,
        config.recommenders,
        seed=config.seed,
        say=say,
    )
    data = training_set(prepared, _all_known(everything), config, only_known_items=False)
    say(f"training on all {everything.height:,} interactions")
    parts = fit_suite(data, tuned, seed=config.seed, say=say)
    wanted = _all_users(prepared) if users is None else users
    return recommend(
        parts[recommender], data, wanted, k=k, cold_users="popular", popular=popular_scores(parts), report=report
    )


def _all_known(interactions: pl.DataFrame) -> Split:
    """Everything as the past, with no future."""
    end = interactions[TIMESTAMP].max() + timedelta(microseconds=1)  # type: ignore[operator]
    return Split(interactions, interactions.clear().select(USER_ID, "item_id"), end)


def _all_users(prepared: Prepared) -> pl.Series:
    known = prepared.data.interactions[USER_ID]
    listed = prepared.data.users
    return (known if listed is None else pl.concat([known, listed[USER_ID]])).unique().sort()
