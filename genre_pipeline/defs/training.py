"""The user-sequence network of each day, and which of the networks serves: challenger, then champion."""

import shutil
from collections.abc import Mapping, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.names import (
    CHALLENGER,
    CHAMPION,
    INTERACTIONS,
    ITEMS,
    SEQUENCE_MODEL,
    USERS,
)
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.defs.curves import CURVE_CLAIM, curve_check, curve_picture, teller
from genre_pipeline.defs.launchpad import launched, launchpad_schema
from genre_pipeline.defs.materialise import Result, daily_asset, result
from genre_pipeline.defs.night import everything_known, load_night
from genre_pipeline.defs.registering import registered
from genre_pipeline.defs.shape import HAS_NETWORK, RECOMMENDER_VECTORS
from genre_pipeline.offline.dataset import training_set
from genre_pipeline.project import Project
from genre_pipeline.recommenders.guarded_segments import segment_scores
from genre_pipeline.recommenders.sequential import SequentialRecommender
from genre_pipeline.recommenders.validation import build_validation
from genre_pipeline.training.bundle import MODEL_CARD, bundle_sha256
from genre_pipeline.training.model_card import model_card
from genre_pipeline.training.promotion import PromotionDecision, decide_promotion
from genre_pipeline.training.sequence_bundle import save_sequence_bundle
from genre_pipeline.training.sequence_training import (
    SequenceTrainingConfig,
    TrainedSequence,
    refit_sequence,
    train_sequence,
)
from genre_pipeline.training.splits import split_by_time
from genre_pipeline.training.validation import validation_target

GROUP = "training"
_INPUTS = [ITEMS, USERS, *RECOMMENDER_VECTORS]
VALIDATED, FINAL = "validated", "final"
"""Two bundles a day: trained before the validation window, which it is judged on; and on everything, which serves."""
_CHALLENGER_CLAIM = "challenger_is_not_worse"
_PURPOSE = (
    "What a user takes next, from the order of what the user had: a causal Transformer over item embeddings and item "
    "content. The night makes its recommendations with it."
)
_LIMITS = (
    "It knows the items and the behaviour of the data it was trained on. Items without interactions are judged by "
    "their content alone; users without a history by nothing at all, and get the popular list."
)


@daily_asset(
    group=GROUP,
    same_day=_INPUTS,
    all_days=[INTERACTIONS],
    checks=[CURVE_CLAIM],
    pool="gpu",
    config_schema=launchpad_schema(SequenceTrainingConfig),
)
def sequence_model(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The user-sequence network, trained on the day's past with early stopping on its last fifth, then as long again
    on everything. Curves, parameters and weights go to MLflow; the version becomes the challenger. A run's own
    configuration changes settings of `recommenders.sequential.training` for that run.
    """
    day, entered = context.partition_key, context.op_execution_context.op_config or {}
    config = launched(project.config.recommenders.sequential.training, entered)
    night = load_night(project, day)
    split = split_by_time(night.data.interactions)
    past = training_set(night, split, project.config, only_known_items=True)
    places: Mapping[str, Any] = {
        "seed": project.config.seed,
        "device": project.config.features.device,
        "distributed": project.config.distributed,
        "checkpoints": project.checkpoints(SEQUENCE_MODEL, day),
    }
    target = validation_target(past, split.truth)
    validated = train_sequence(past, config, validation=target, report=teller(context), **places)
    everything = everything_known(project, night, day)
    plan = (validated.planned_epochs, validated.best_epoch)
    final = refit_sequence(everything, config, plan, **places)
    curves = validated.curves.drop("seconds")
    manifest = project.partitions.write(
        SEQUENCE_MODEL,
        day,
        curves,
        decisions={"plan": plan, "validated": dict(validated.decisions), "launched_with": dict(entered)},
        companions=lambda folder: _save(
            folder, config, curves, (VALIDATED, validated, past), (FINAL, final, everything)
        ),
    )
    shutil.rmtree(places["checkpoints"], ignore_errors=True)
    version = _register(project, day, config, validated)
    return result(
        curves,
        manifest,
        checks=[curve_check(SEQUENCE_MODEL, curves)],
        mlflow_version=version,
        best_epoch=validated.best_epoch,
        curve=curve_picture(curves),
    )


@daily_asset(
    group=GROUP,
    same_day=_INPUTS,
    all_days=[INTERACTIONS, SEQUENCE_MODEL],
    earlier_days=[CHAMPION],
    checks=[_CHALLENGER_CLAIM],
)
def champion(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Which day's network serves: the challenger replaces the champion unless it is worse, both judged on the same
    users of the same validation window, which neither has seen.
    """
    day = context.partition_key
    sent_away = {one.sha256 for one in project.models.versions(SEQUENCE_MODEL) if one.is_rolled_back}
    holder = _holder(project, day, sent_away)
    decision = _decided(project, day, holder, sent_away)
    serves = day if decision.promote or holder is None else holder
    told = {name: value for name, value in vars(decision).items() if name != "segments"}
    frame = pl.DataFrame(
        [{"model_day": serves, **told}],
        schema_overrides={"difference": pl.Float64, "low": pl.Float64, "high": pl.Float64},
    )
    segments = [asdict(one) for one in decision.segments]
    manifest = project.partitions.write(
        CHAMPION, day, frame, decisions={"sha256": _sha256(project, serves), "segments": segments}
    )
    if day == max(project.partitions.keys(CHAMPION)):
        project.models.set_alias(SEQUENCE_MODEL, CHAMPION, _version_of(project, serves))
    return result(frame, manifest, checks=[_challenger_check(decision)], reason=decision.reason, serves=serves)


def _challenger_check(decision: PromotionDecision) -> dg.AssetCheckResult:
    """A warning where the champion stays: the night goes on with it."""
    facts = {name: value for name, value in vars(decision).items() if value is not None and name != "segments"}
    segments = dg.MetadataValue.json([asdict(one) for one in decision.segments])
    return dg.AssetCheckResult(
        passed=decision.promote or decision.difference == 0,
        check_name=f"{CHAMPION}_{_CHALLENGER_CLAIM}",
        asset_key=CHAMPION,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**facts, "segments": segments},
    )


def _holder(project: Project, day: str, sent_away: Set[str]) -> str | None:
    """The day whose network served before: the last champion of an earlier day that was not rolled back since."""
    earlier = [key for key in project.partitions.keys(CHAMPION) if key < day]
    holders = (project.partitions.read(CHAMPION, key)["model_day"][0] for key in reversed(earlier))
    return next((holder for holder in holders if _sha256(project, holder) not in sent_away), None)


def _decided(project: Project, day: str, holder: str | None, sent_away: Set[str]) -> PromotionDecision:
    """Challenger against holder, on one validation window."""
    if _sha256(project, day) in sent_away:
        if holder is None:
            raise TrainingError(
                f"The network of {day} was rolled back, and there is no earlier one",
                remedy="Materialise `sequence_model` of that day with other settings.",
            )
        return PromotionDecision(False, None, None, None, "The challenger was rolled back before.")
    night = load_night(project, day)
    split = split_by_time(night.data.interactions)
    past = training_set(night, split, project.config, only_known_items=True)
    return decide_promotion(
        _scores(project, day, past, split.truth),
        None if holder is None else _scores(project, holder, past, split.truth),
        project.config.promotion,
        seed=project.config.seed,
        challenger_sha256=_sha256(project, day),
        champion_sha256=None if holder is None else _sha256(project, holder),
    )


def champion_recommender(project: Project, day: str, bundle: str, data: TrainingSet) -> SequentialRecommender:
    """The network that serves as of `day`, over the catalogue of `data`. `bundle` is `validated` or `final`."""
    model_day = project.partitions.read(CHAMPION, day)["model_day"][0]
    folder = project.partitions.folder(SEQUENCE_MODEL, model_day) / bundle
    return SequentialRecommender.from_bundle(folder, data)


def _save(
    folder: Path,
    config: SequenceTrainingConfig,
    curves: pl.DataFrame,
    *bundles: tuple[str, TrainedSequence, TrainingSet],
) -> None:
    for name, trained, data in bundles:
        card = model_card(
            SEQUENCE_MODEL, purpose=_PURPOSE, limits=_LIMITS,
            config=config.model_dump(), decisions=trained.decisions, epochs=curves,
        )  # fmt: skip
        save_sequence_bundle(
            trained.model, folder / name, item_ids=data.item_ids, decisions=trained.decisions, files={MODEL_CARD: card}
        )


def _scores(project: Project, model_day: str, past: TrainingSet, truth: pl.DataFrame) -> pl.DataFrame:
    folder = project.partitions.folder(SEQUENCE_MODEL, model_day) / VALIDATED
    config = project.config
    validation = build_validation(past, truth, max_users=config.recommenders.validation_users, seed=config.seed)
    return segment_scores(SequentialRecommender.from_bundle(folder, past), past, validation, config.promotion)


def _sha256(project: Project, day: str) -> str:
    return bundle_sha256(project.partitions.folder(SEQUENCE_MODEL, day) / FINAL)


def _version_of(project: Project, day: str) -> str:
    """The registered version of a day's network: equal weights are one version."""
    sha256 = _sha256(project, day)
    return next(version.version for version in project.models.versions(SEQUENCE_MODEL) if version.sha256 == sha256)


def _register(project: Project, day: str, config: SequenceTrainingConfig, validated: TrainedSequence) -> str:
    """The registered version of the day's network, challenger where no later day has one."""
    bundle = project.partitions.folder(SEQUENCE_MODEL, day) / FINAL
    version = registered(
        project, SEQUENCE_MODEL, day, bundle,
        config=config, trained=validated, tables=_INPUTS, features=RECOMMENDER_VECTORS,
    )  # fmt: skip
    if day == max(project.partitions.keys(SEQUENCE_MODEL)):
        project.models.set_alias(SEQUENCE_MODEL, CHALLENGER, version.version)
    return version.version


ASSETS = [sequence_model, champion] if HAS_NETWORK else []
