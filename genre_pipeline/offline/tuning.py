"""Choosing settings and weights for `genre batch`: which split teaches which audience."""

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.offline.dataset import Prepared, training_set
from genre_pipeline.recommenders.audiences import Audiences, dormant_users, return_share
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.suite import Say, Tuned, fit_one, tune
from genre_pipeline.training.splits import split_by_time, split_leave_one_out

_NETWORK = "sequential"


def choose_settings(prepared: Prepared, config: GenreConfig, *, say: Say) -> Audiences:
    """On the last fifth of all interactions; on each user's own last one, where the data knows an order only.

    Users who have been away are judged by their own last step too, where the window hardly sees any of them again.
    """
    everything = prepared.data.interactions
    split = split_by_time(everything) if prepared.data.has_clock else split_leave_one_out(everything)
    say(f"tuning on {split.past.height:,} interactions, judged by what followed")
    past = training_set(prepared, split, config, only_known_items=True)
    active = tune(past, split.truth, config.recommenders, seed=config.seed, say=say)
    share = return_share(past, split.truth, config.audiences.dormant_after_days)
    if not prepared.data.has_clock or share >= config.audiences.least_return_share:
        return Audiences(active, None)
    say(f"{share:.1%} of the users who were away came back in the window")
    return Audiences(active, _choose_for_dormant(prepared, active, config, say))


def _choose_for_dormant(prepared: Prepared, active: Tuned, config: GenreConfig, say: Say) -> Tuned | None:
    split = split_leave_one_out(prepared.data.interactions)
    past = training_set(prepared, split, config, only_known_items=True)
    away = past.user_ids.filter(pl.Series(dormant_users(past, config.audiences.dormant_after_days)))
    truth = split.truth.filter(pl.col(USER_ID).is_in(away.implode()))
    if truth[USER_ID].n_unique() < config.audiences.least_users:
        return None
    say("tuning for users who have been away, judged by each one's last interaction")
    ready = _same_network(past, active, config.seed)
    return tune(past, truth, config.recommenders, seed=config.seed, say=say, ready=ready)


def _same_network(past: TrainingSet, active: Tuned, seed: int) -> dict[str, Recommender]:
    """The network, as long trained as the time window found best, on this split's own past."""
    if _NETWORK not in active.settings:
        return {}
    return {_NETWORK: fit_one(_NETWORK, active.settings[_NETWORK], past, active, seed=seed)}
