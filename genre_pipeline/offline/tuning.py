"""Choosing settings and weights inside a training part: which split teaches which audience."""

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.offline.dataset import Prepared, training_set
from genre_pipeline.recommenders.audiences import Audiences, dormant_users, return_share
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.sequential import SequentialRecommender
from genre_pipeline.recommenders.suite import Say, Tuned, tune
from genre_pipeline.training.splits import Split, split_by_time, split_leave_one_out


def choose_by_time(
    prepared: Prepared,
    interactions: pl.DataFrame,
    config: GenreConfig,
    *,
    say: Say,
    ready: dict[str, Recommender] | None = None,
) -> Audiences:
    """On the last fifth of `interactions`; users who have been away and hardly ever return, leave-one-out.

    `ready` are recommenders fitted on the past of that very split, taken as they are.
    """
    after_days = config.audiences.dormant_after_days
    split = split_by_time(interactions)
    past = training_set(prepared, split, config, only_known_items=True)
    say(f"tuning on {split.past.height:,} interactions, judged by what followed")
    active = tune(past, split.truth, config.recommenders, seed=config.seed, say=say, ready=ready)
    share = return_share(past, split.truth, after_days)
    if share >= config.audiences.least_return_share:
        return Audiences(active, None, after_days)
    say(f"{share:.1%} of the users who were away came back")
    return Audiences(active, _choose_dormant(prepared, interactions, active, config, say), after_days)


def choose_leave_one_out(prepared: Prepared, interactions: pl.DataFrame, config: GenreConfig, *, say: Say) -> Audiences:
    """On each user's last interaction; one blend for everybody."""
    split = split_leave_one_out(interactions)
    say(f"tuning on {split.past.height:,} interactions, judged by each user's next one")
    past = training_set(prepared, split, config, only_known_items=True)
    tuned = tune(past, split.truth, config.recommenders, seed=config.seed, say=say)
    return Audiences(tuned, None, config.audiences.dormant_after_days)


def _choose_dormant(
    prepared: Prepared, interactions: pl.DataFrame, active: Tuned, config: GenreConfig, say: Say
) -> Tuned | None:
    split = split_leave_one_out(interactions)
    past = training_set(prepared, split, config, only_known_items=True)
    away = past.user_ids.filter(pl.Series(dormant_users(past, config.audiences.dormant_after_days)))
    truth = split.truth.filter(pl.col(USER_ID).is_in(away.implode()))
    if truth[USER_ID].n_unique() < config.audiences.least_users:
        return None
    say("tuning for users who have been away, judged by each one's last interaction")
    judged = Split(split.past, truth, split.as_of)
    ready = _same_network(past, active, config)
    return tune(past, judged.truth, config.recommenders, seed=config.seed, say=say, ready=ready)


def _same_network(past: object, active: Tuned, config: GenreConfig) -> dict[str, Recommender]:
    """The network as long trained as the time window found best, on this split's own past: one plan for both."""
    from genre_pipeline.recommenders.suite import fit_one

    if "sequential" not in active.settings:
        return {}
    network = fit_one("sequential", active.settings["sequential"], past, active, seed=config.seed)  # type: ignore[arg-type]
    assert isinstance(network, SequentialRecommender)
    return {"sequential": network}
