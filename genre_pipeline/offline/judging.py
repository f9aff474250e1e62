"""A protocol walked through, step by step: what is known is split, recommenders are tuned and fitted, lists are made.

Belongs here: the order of that work, shared by `genre evaluate` and its ablations. Kept out: what lists are worth.
"""

import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import AVAILABLE, ITEM_ID, RECOMMENDER, USER_ID
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.offline.dataset import Prepared, training_set, training_set_for_lists
from genre_pipeline.recommenders.base import Recommender, recommend
from genre_pipeline.recommenders.bounded import reopened
from genre_pipeline.recommenders.suite import Say, Tuned, fit_suite, popular_scores, tune
from genre_pipeline.training.splits import Split, rolling_splits, split_by_time, split_leave_one_out

ProtocolName = Literal["time", "leave-one-out", "rolling"]
ROLLING: Literal["rolling"] = "rolling"
COLD_LIST = 50
"""Depth of the lists in which cold items are looked for."""
_ROLLING_SEPARATOR = " @ "


@dataclass(frozen=True)
class ColdLists:
    """Lists of users who took an item nobody had had before, ranked with such items among the candidates."""

    lists: pl.DataFrame
    """recommender, user_id, item_id, rank, score."""
    candidates: pl.DataFrame
    """user_id, candidates (Int64): how many items could have been in a list; what chance has to draw from."""


@dataclass(frozen=True)
class Step:
    """One split, judged: every frame of it."""

    split: Split
    data: TrainingSet
    lists: pl.DataFrame
    """recommender, user_id, item_id, rank, score."""
    cold: ColdLists | None
    cost: pl.DataFrame
    """recommender, fit_seconds, score_seconds, peak_memory_mb."""


@dataclass(frozen=True)
class Walk:
    """All steps of a protocol, and what was tuned once, inside the first step's past."""

    steps: list[Step]
    tuned: Tuned


def walk(
    prepared: Prepared,
    config: GenreConfig,
    *,
    protocol: ProtocolName,
    step_days: int,
    say: Say,
    tuned: Tuned | None = None,
) -> Walk:
    """Every enabled recommender and the hybrid, on one protocol.

    Settings and weights are chosen inside the training part, split the same way again (rolling: once, inside the first
    step's past, then refitted every step), unless `tuned` has them from the same past. Raises `ConfigError` for a
    protocol that needs a clock the data has not.
    """
    if protocol != "leave-one-out" and not prepared.data.has_clock:
        raise ConfigError(
            f"Protocol {protocol!r} needs timestamps, and {prepared.data.name!r} knows an order only",
            remedy="Use `--protocol leave-one-out`.",
        )
    splits = list(_splits(prepared.data.interactions, protocol, step_days))
    tuned = tuned or _tune(prepared, splits[0], config, protocol, say)
    steps = [_judge(prepared, split, tuned, config, say) for split in splits]
    return Walk([_as_user_steps(step) for step in steps] if protocol == ROLLING else steps, tuned)


def validation_part(
    prepared: Prepared, *, protocol: ProtocolName, step_days: int
) -> tuple[Prepared, Literal["time", "leave-one-out"]]:
    """What is known before the first cut, and the protocol that judges inside it: nothing of any test part."""
    past = next(iter(_splits(prepared.data.interactions, protocol, step_days))).past
    inside = replace(prepared, data=replace(prepared.data, interactions=past))
    return inside, "time" if protocol == ROLLING else protocol


def unit_suffix(step: Step, protocol: ProtocolName) -> str:
    """What sets a user of this step apart from the same user of another; nothing, where there is one step."""
    return f"{_ROLLING_SEPARATOR}{step.split.as_of:%Y-%m-%d}" if protocol == ROLLING else ""


def _splits(interactions: pl.DataFrame, protocol: ProtocolName, step_days: int) -> Iterable[Split]:
    if protocol == ROLLING:
        return rolling_splits(interactions, step=timedelta(days=step_days))
    split: Callable[[pl.DataFrame], Split] = split_by_time if protocol == "time" else split_leave_one_out
    return [split(interactions)]


def _tune(prepared: Prepared, outer: Split, config: GenreConfig, protocol: ProtocolName, say: Say) -> Tuned:
    split = split_leave_one_out if protocol == "leave-one-out" else split_by_time
    inner = split(outer.past)
    say(f"tuning on {inner.past.height:,} interactions, judged by what followed")
    data = training_set(prepared, inner, config, only_known_items=True)
    return tune(data, inner.truth, config.recommenders, seed=config.seed, say=say)


def _judge(prepared: Prepared, split: Split, tuned: Tuned, config: GenreConfig, say: Say) -> Step:
    data = training_set_for_lists(prepared, split, config, only_known_items=True)
    users = split.truth[USER_ID].unique().sort()
    say(f"training on {split.past.height:,} interactions before {split.as_of:%Y-%m-%d}; {len(users):,} users to judge")
    fit_seconds: dict[str, float] = {}
    parts = fit_suite(data, tuned, seed=config.seed, say=say, timed=fit_seconds)
    lists, score_seconds = _all_lists(parts, data, users, k=config.evaluation.k)
    cost = pl.DataFrame(
        {
            RECOMMENDER: list(parts),
            "fit_seconds": [fit_seconds.get(name) for name in parts],
            "score_seconds": [score_seconds[name] for name in parts],
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )
    return Step(split, data, lists, cold_lists(prepared, split, data, parts), cost)


def _all_lists(
    parts: Mapping[str, Recommender], data: TrainingSet, users: pl.Series, *, k: int
) -> tuple[pl.DataFrame, dict[str, float]]:
    tables, seconds = [], {}
    for name, part in parts.items():
        start = time.perf_counter()
        # A user may be cold though known: all their events may be of a type that training leaves out.
        lists = recommend(part, data, users, k=k, cold_users="popular", popular=popular_scores(parts))
        seconds[name] = time.perf_counter() - start
        tables.append(lists.select(pl.lit(name).alias(RECOMMENDER), pl.all()))
    return pl.concat(tables), seconds


def cold_lists(
    prepared: Prepared, split: Split, data: TrainingSet, parts: Mapping[str, Recommender]
) -> ColdLists | None:
    """The lists in which cold items are looked for; None where nobody took one.

    `parts` are fitted on `data`, whose candidates the cold items are not.
    """
    cold = split.truth.join(split.past.select(ITEM_ID).unique(), on=ITEM_ID, how="anti")
    if cold.is_empty():
        return None
    available = prepared.data.items.filter(AVAILABLE)[ITEM_ID]
    opened = replace(data, is_candidate=data.is_candidate | data.item_ids.is_in(available.implode()).to_numpy())
    # The hybrid calibrates over what may be shown: it has to know that these items may.
    again = {name: reopened(part, opened) for name, part in parts.items()}
    users = cold[USER_ID].unique().sort()
    lists, _ = _all_lists(again, opened, users, k=COLD_LIST)
    return ColdLists(lists, _candidate_counts(opened, users))


def _candidate_counts(data: TrainingSet, users: pl.Series) -> pl.DataFrame:
    """user_id, candidates: items that may be shown, less those the user has had."""
    positions = data.user_positions(users)
    had = np.where(positions >= 0, (data.matrix[positions] > 0) @ data.is_candidate, 0)
    return pl.DataFrame({USER_ID: users, "candidates": (int(data.is_candidate.sum()) - had).astype(np.int64)})


def _as_user_steps(step: Step) -> Step:
    """Rolling judges a user once a step: the pair is the unit, so that every refit counts."""
    unit = (pl.col(USER_ID) + unit_suffix(step, ROLLING)).alias(USER_ID)
    cold = step.cold and ColdLists(step.cold.lists.with_columns(unit), step.cold.candidates.with_columns(unit))
    truth = step.split.truth.with_columns(unit)
    return replace(step, split=replace(step.split, truth=truth), lists=step.lists.with_columns(unit), cold=cold)
