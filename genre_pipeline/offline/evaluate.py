"""`genre evaluate`: honest offline evaluation: trains on the past only, ranks everything, never peeks at the test."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import AS_OF, CATEGORIES, ITEM_ID, RECOMMENDER, TITLE, USER_ID
from genre_pipeline.evaluation.evaluate import EvaluationInputs, evaluate
from genre_pipeline.evaluation.result import EvaluationResult, RunFacts
from genre_pipeline.offline.dataset import Prepared
from genre_pipeline.offline.facts import run_facts
from genre_pipeline.offline.judging import ROLLING, ProtocolName, Step, unit_suffix, walk
from genre_pipeline.preprocessing.dataset import Dataset
from genre_pipeline.recommenders.suite import HYBRID, Say


@dataclass(frozen=True)
class Evaluation:
    """What `genre evaluate` writes."""

    result: EvaluationResult
    recommendations: pl.DataFrame
    """recommender, user_id, item_id, rank, score; rolling adds `as_of`, the day the list was made for."""
    ablations: Mapping[str, EvaluationResult] = field(default_factory=dict)
    """Ablation to its result, in which each variant stands in the place of a recommender."""


def evaluate_dataset(
    prepared: Prepared, config: GenreConfig, *, protocol: ProtocolName, step_days: int, say: Say
) -> Evaluation:
    """Every enabled recommender and the hybrid, on one protocol, with settings chosen inside the training part.

    Raises `ConfigError` for a protocol that needs a clock the data has not.
    """
    walked = walk(prepared, config, protocol=protocol, step_days=step_days, say=say)
    facts = run_facts(walked.tuned, prepared.data, mean_cost(walked.steps))
    result = judged(prepared.data, walked.steps, config, protocol=protocol, facts=facts)
    return Evaluation(result, _lists_as_written(walked.steps, protocol))


def judged(
    data: Dataset,
    steps: list[Step],
    config: GenreConfig,
    *,
    protocol: ProtocolName,
    facts: RunFacts,
    champion: str = HYBRID,
) -> EvaluationResult:
    """What the lists of all steps are worth, against `champion`."""
    cold = [step.cold for step in steps if step.cold is not None]
    inputs = EvaluationInputs(
        recommendations=pl.concat([step.lists for step in steps]),
        truth=pl.concat([step.split.truth for step in steps]),
        users=pl.concat([_user_facts(step, unit_suffix(step, protocol)) for step in steps]),
        items=_item_facts(data, steps),
        catalogue=pl.concat([step.data.item_ids.filter(pl.Series(step.data.is_candidate)) for step in steps]).unique(),
        history=None if protocol == ROLLING else steps[0].split.past.select(USER_ID, ITEM_ID),
        cold_recommendations=pl.concat([one.lists for one in cold]) if cold else None,
        cold_candidates=pl.concat([one.candidates for one in cold]) if cold else None,
    )
    return evaluate(
        inputs,
        protocol=protocol,
        seed=config.seed,
        cut=None if protocol == "leave-one-out" else steps[0].split.as_of.isoformat(),
        data=data.name,
        notes=_notes(steps, protocol),
        champion=champion,
        train_interactions=steps[0].split.past.height,
        config=config.evaluation,
        run=facts,
    )


def mean_cost(steps: list[Step]) -> pl.DataFrame:
    """recommender, fit_seconds, score_seconds, peak_memory_mb, over the steps."""
    return pl.concat([step.cost for step in steps]).group_by(RECOMMENDER, maintain_order=True).mean()


def _user_facts(step: Step, suffix: str) -> pl.DataFrame:
    lengths = step.split.past.group_by(USER_ID).agg(pl.col(ITEM_ID).n_unique().cast(pl.Int64).alias("history_length"))
    named = lengths.with_columns((pl.col(USER_ID) + suffix).alias(USER_ID))
    return step.split.truth.select(USER_ID).unique(maintain_order=True).join(named, on=USER_ID, how="left")


def _item_facts(dataset: Dataset, steps: list[Step]) -> pl.DataFrame:
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


def _notes(steps: list[Step], protocol: ProtocolName) -> tuple[str, ...]:
    if protocol != ROLLING:
        return ()
    return (
        f"{len(steps)} steps, everything refitted before each; settings and weights chosen once, before the first.",
        "Users are counted once a step.",
    )


def _lists_as_written(steps: list[Step], protocol: ProtocolName) -> pl.DataFrame:
    if protocol != ROLLING:
        return steps[0].lists
    tables = [
        step.lists.with_columns(
            pl.col(USER_ID).str.strip_suffix(unit_suffix(step, protocol)),
            pl.lit(step.split.as_of).alias(AS_OF),
        )
        for step in steps
    ]
    return pl.concat(tables)
