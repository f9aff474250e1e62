"""`genre evaluate`: honest offline evaluation: trains on the past only, ranks everything, never peeks at the test."""

import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import AS_OF, AVAILABLE, CATEGORIES, ITEM_ID, RECOMMENDER, TITLE, USER_ID
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.evaluation.evaluate import EvaluationInputs, evaluate
from genre_pipeline.evaluation.result import EvaluationResult, RunFacts
from genre_pipeline.offline.dataset import Prepared, training_set
from genre_pipeline.offline.facts import run_facts
from genre_pipeline.preprocessing.dataset import Dataset
from genre_pipeline.recommenders.base import Recommender, recommend
from genre_pipeline.recommenders.hybrid import HybridRecommender
from genre_pipeline.recommenders.suite import HYBRID, Say, Tuned, fit_suite, popular_scores, tune
from genre_pipeline.training.splits import Split, rolling_splits, split_by_time, split_leave_one_out

ProtocolName = Literal["time", "leave-one-out", "rolling"]
COLD_LIST = 50
"""Depth of the lists in which cold items are looked for."""
ROLLING_SEPARATOR = " @ "


@dataclass(frozen=True)
class Evaluation:
    """What `genre evaluate` writes."""

    result: EvaluationResult
    recommendations: pl.DataFrame
    """recommender, user_id, item_id, rank, score; rolling adds `as_of`, the day the list was made for."""


@dataclass(frozen=True)
class _Step:
    """One split, judged: every frame of it."""

    split: Split
    data: TrainingSet
    lists: pl.DataFrame
    cold_lists: pl.DataFrame | None
    cost: pl.DataFrame


def evaluate_dataset(
    prepared: Prepared, config: GenreConfig, *, protocol: ProtocolName, step_days: int, say: Say
) -> Evaluation:
    """Every enabled recommender and the hybrid, on one protocol.

    Settings and weights are chosen inside the training part, split the same way again (rolling: once, inside the first
    step's past, then refitted every step). Raises `ConfigError` for a protocol that needs a clock the data has not.
    """
    if protocol != "leave-one-out" and not prepared.data.has_clock:
        raise ConfigError(
            f"Protocol {protocol!r} needs timestamps, and {prepared.data.name!r} knows an order only",
            remedy="Use `--protocol leave-one-out`.",
        )
    splits = list(_splits(prepared.data.interactions, protocol, step_days))
    tuned = _tune(prepared, splits[0], config, protocol, say)
    steps = [_judge(prepared, split, tuned, config, say) for split in splits]
    rolling = protocol == "rolling"
    if rolling:
        steps = [_as_user_steps(step) for step in steps]
    facts = run_facts(tuned, prepared.data, _mean_cost(steps))
    result = _result(prepared, steps, config, protocol, facts)
    return Evaluation(result, _lists_as_written(steps, rolling))


def _splits(interactions: pl.DataFrame, protocol: ProtocolName, step_days: int) -> Iterable[Split]:
    if protocol == "rolling":
        return rolling_splits(interactions, step=timedelta(days=step_days))
    split: Callable[[pl.DataFrame], Split] = split_by_time if protocol == "time" else split_leave_one_out
    return [split(interactions)]


def _tune(prepared: Prepared, outer: Split, config: GenreConfig, protocol: ProtocolName, say: Say) -> Tuned:
    split = split_leave_one_out if protocol == "leave-one-out" else split_by_time
    inner = split(outer.past)
    say(f"tuning on {inner.past.height:,} interactions, judged by what followed")
    data = training_set(prepared, inner, config, only_known_items=True)
    return tune(data, inner.truth, config.recommenders, seed=config.seed, say=say)


def _judge(prepared: Prepared, split: Split, tuned: Tuned, config: GenreConfig, say: Say) -> _Step:
    data = training_set(prepared, split, config, only_known_items=True)
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
    return _Step(split, data, lists, _cold_lists(prepared, split, data, parts, tuned), cost)


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


def _cold_lists(
    prepared: Prepared, split: Split, data: TrainingSet, parts: Mapping[str, Recommender], tuned: Tuned
) -> pl.DataFrame | None:
    """Lists of users who took an item nobody had had before, ranked with such items among the candidates."""
    cold = split.truth.join(split.past.select(ITEM_ID).unique(), on=ITEM_ID, how="anti")
    if cold.is_empty():
        return None
    available = prepared.data.items.filter(AVAILABLE)[ITEM_ID]
    opened = replace(data, is_candidate=data.is_candidate | data.item_ids.is_in(available.implode()).to_numpy())
    # The hybrid calibrates over what may be shown: it has to know that these items may.
    hybrid = HybridRecommender(parts, tuned.weights).fit(opened, seed=0)
    lists, _ = _all_lists({**parts, HYBRID: hybrid}, opened, cold[USER_ID].unique().sort(), k=COLD_LIST)
    return lists


def _as_user_steps(step: _Step) -> _Step:
    """Rolling judges a user once a step: the pair is the unit, so that every refit counts."""
    suffix = f"{ROLLING_SEPARATOR}{step.split.as_of:%Y-%m-%d}"
    unit = (pl.col(USER_ID) + suffix).alias(USER_ID)
    truth = step.split.truth.with_columns(unit)
    cold = None if step.cold_lists is None else step.cold_lists.with_columns(unit)
    return replace(step, split=replace(step.split, truth=truth), lists=step.lists.with_columns(unit), cold_lists=cold)


def _result(
    prepared: Prepared, steps: list[_Step], config: GenreConfig, protocol: ProtocolName, facts: RunFacts
) -> EvaluationResult:
    cold = [step.cold_lists for step in steps if step.cold_lists is not None]
    rolling = protocol == "rolling"
    inputs = EvaluationInputs(
        recommendations=pl.concat([step.lists for step in steps]),
        truth=pl.concat([step.split.truth for step in steps]),
        users=pl.concat([_user_facts(step, rolling) for step in steps]),
        items=_item_facts(prepared.data, steps),
        catalogue=pl.concat([step.data.item_ids.filter(pl.Series(step.data.is_candidate)) for step in steps]).unique(),
        history=None if rolling else steps[0].split.past.select(USER_ID, ITEM_ID),
        cold_recommendations=pl.concat(cold) if cold else None,
    )
    cut = None if protocol == "leave-one-out" else steps[0].split.as_of.isoformat()
    return evaluate(
        inputs,
        protocol=protocol,
        seed=config.seed,
        cut=cut,
        data=prepared.data.name,
        notes=_notes(steps, rolling),
        train_interactions=steps[0].split.past.height,
        config=config.evaluation,
        run=facts,
    )


def _user_facts(step: _Step, rolling: bool) -> pl.DataFrame:
    suffix = f"{ROLLING_SEPARATOR}{step.split.as_of:%Y-%m-%d}" if rolling else ""
    lengths = step.split.past.group_by(USER_ID).agg(pl.col(ITEM_ID).n_unique().cast(pl.Int64).alias("history_length"))
    named = lengths.with_columns((pl.col(USER_ID) + suffix).alias(USER_ID))
    return step.split.truth.select(USER_ID).unique(maintain_order=True).join(named, on=USER_ID, how="left")


def _item_facts(dataset: Dataset, steps: list[_Step]) -> pl.DataFrame:
    """Popularity and coldness at the first cut: the newest thing that is certainly known to every list."""
    counts = steps[0].split.past.group_by(ITEM_ID).agg(pl.len().cast(pl.Int64).alias("popularity"))
    ids = pl.concat([dataset.items[ITEM_ID], dataset.interactions[ITEM_ID]]).unique().sort()
    described = dataset.items.select(ITEM_ID, TITLE, CATEGORIES)
    return (
        ids.to_frame()
        .join(counts, on=ITEM_ID, how="left", maintain_order="left")
        .join(described, on=ITEM_ID, how="left", maintain_order="left")
        .with_columns(
            pl.col("popularity").is_null().alias("is_cold"),
            pl.col("popularity").fill_null(0),
            pl.col(CATEGORIES).fill_null(pl.lit([], dtype=pl.List(pl.String))),
        )
    )


def _mean_cost(steps: list[_Step]) -> pl.DataFrame:
    return pl.concat([step.cost for step in steps]).group_by(RECOMMENDER, maintain_order=True).mean()


def _notes(steps: list[_Step], rolling: bool) -> tuple[str, ...]:
    if not rolling:
        return ()
    return (
        f"{len(steps)} steps, everything refitted before each; settings and weights chosen once, before the first.",
        "Users are counted once a step.",
    )


def _lists_as_written(steps: list[_Step], rolling: bool) -> pl.DataFrame:
    if not rolling:
        return steps[0].lists
    tables = [
        step.lists.with_columns(
            pl.col(USER_ID).str.strip_suffix(f"{ROLLING_SEPARATOR}{step.split.as_of:%Y-%m-%d}"),
            pl.lit(step.split.as_of).alias(AS_OF),
        )
        for step in steps
    ]
    return pl.concat(tables)
