"""The user-sequence network of each day, and which of the networks serves: challenger, then champion."""

import io
import tempfile
from pathlib import Path

import dagster as dg
import polars as pl

from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.names import (
    CHALLENGER,
    CHAMPION,
    INTERACTIONS,
    ITEMS,
    SEQUENCE_MODEL,
    USERS,
)
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.defs.materialise import Result, daily_asset, passed, result
from genre_pipeline.defs.night import everything_known, load_night
from genre_pipeline.defs.shape import HAS_NETWORK, RECOMMENDER_VECTORS
from genre_pipeline.offline.dataset import training_set
from genre_pipeline.project import Project
from genre_pipeline.recommenders.sequential import SequentialRecommender
from genre_pipeline.recommenders.validation import build_validation, validation_ndcg
from genre_pipeline.training.bundle import bundle_sha256
from genre_pipeline.training.figures import training_curve_figure
from genre_pipeline.training.promotion import decide_promotion
from genre_pipeline.training.sequence_bundle import save_sequence_bundle
from genre_pipeline.training.sequence_training import TrainedSequence, refit_sequence, train_sequence
from genre_pipeline.training.splits import split_by_time
from genre_pipeline.training.validation import validation_target

GROUP = "training"
_INPUTS = [ITEMS, USERS, *RECOMMENDER_VECTORS]
_NOISE = 0.05
"""Share by which dropout moves the loss of two epochs on a small data set, without anything being wrong."""
VALIDATED, FINAL = "validated", "final"
"""Two bundles a day: trained before the validation window, which it is judged on; and on everything, which serves."""


@daily_asset(
    group=GROUP,
    same_day=_INPUTS,
    all_days=[INTERACTIONS],
    checks=["loss_is_finite_and_does_not_rise"],
    pool="gpu",
)
def sequence_model(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """The user-sequence network, trained on the day's past with early stopping on its last fifth, then as long again
    on everything. Curves, parameters and weights go to MLflow; the version becomes the challenger.
    """
    day, config = context.partition_key, project.config.recommenders.sequential.training
    night = load_night(project, day)
    split = split_by_time(night.data.interactions)
    past = training_set(night, split, project.config, only_known_items=True)
    validated = train_sequence(
        past,
        config,
        seed=project.config.seed,
        device=project.config.features.device,
        validation=validation_target(past, split.truth),
        report=lambda row: context.log.info(
            ", ".join(f"{name} {value:.4g}" for name, value in row.items() if value is not None)
        ),
    )
    everything = everything_known(project, night, day)
    plan = (validated.planned_epochs, validated.best_epoch)
    final = refit_sequence(everything, config, plan, seed=project.config.seed, device=project.config.features.device)
    curves = validated.curves.drop("seconds", strict=False)
    manifest = project.partitions.write(
        SEQUENCE_MODEL,
        day,
        curves,
        decisions={"plan": plan, "validated": dict(validated.decisions)},
        companions=lambda folder: _save(folder, (VALIDATED, validated, past), (FINAL, final, everything)),
    )
    version = _register(project, day, validated)
    return result(
        curves,
        manifest,
        checks=[_loss_check(curves["train_loss"])],
        mlflow_version=version,
        best_epoch=validated.best_epoch,
    )


@daily_asset(
    group=GROUP,
    same_day=_INPUTS,
    all_days=[INTERACTIONS, SEQUENCE_MODEL],
    earlier_days=[CHAMPION],
)
def champion(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Which day's network serves: the challenger replaces the champion unless it is worse, both judged on the same
    users of the same validation window, which neither has seen.
    """
    day = context.partition_key
    earlier = [key for key in project.partitions.keys(CHAMPION) if key < day]
    holder = project.partitions.read(CHAMPION, earlier[-1])["model_day"][0] if earlier else None
    night = load_night(project, day)
    split = split_by_time(night.data.interactions)
    past = training_set(night, split, project.config, only_known_items=True)
    decision = decide_promotion(
        _scores(project, day, past, split.truth),
        None if holder is None else _scores(project, holder, past, split.truth),
        project.config.promotion,
        seed=project.config.seed,
        challenger_sha256=_sha256(project, day),
        champion_sha256=None if holder is None else _sha256(project, holder),
    )
    serves = day if decision.promote or holder is None else holder
    frame = pl.DataFrame(
        [{"model_day": serves, **vars(decision)}],
        schema_overrides={"difference": pl.Float64, "low": pl.Float64, "high": pl.Float64},
    )
    manifest = project.partitions.write(CHAMPION, day, frame, decisions={"sha256": _sha256(project, serves)})
    if day == max(project.partitions.keys(CHAMPION)):
        project.models.set_alias(SEQUENCE_MODEL, CHAMPION, _version_of(project, serves))
    return result(frame, manifest, reason=decision.reason, serves=serves)


def champion_recommender(project: Project, day: str, bundle: str, data: TrainingSet) -> SequentialRecommender:
    """The network that serves as of `day`, over the catalogue of `data`. `bundle` is `validated` or `final`."""
    model_day = project.partitions.read(CHAMPION, day)["model_day"][0]
    folder = project.partitions.folder(SEQUENCE_MODEL, model_day) / bundle
    return SequentialRecommender.from_bundle(folder, data)


def _loss_check(loss: pl.Series) -> dg.AssetCheckResult:
    """Divergence is caught here; whether the network is any good is for validation and promotion to say."""
    is_sound = loss.is_finite().all() and loss[-1] <= loss[0] * (1 + _NOISE)
    claim = "loss_is_finite_and_does_not_rise"
    return passed(SEQUENCE_MODEL, claim, is_sound, first=float(loss[0]), last=float(loss[-1]))


def _save(folder: Path, *bundles: tuple[str, TrainedSequence, TrainingSet]) -> None:
    for name, trained, data in bundles:
        save_sequence_bundle(trained.model, folder / name, item_ids=data.item_ids, decisions=trained.decisions)


def _scores(project: Project, model_day: str, past: TrainingSet, truth: pl.DataFrame) -> pl.DataFrame:
    folder = project.partitions.folder(SEQUENCE_MODEL, model_day) / VALIDATED
    config = project.config.recommenders
    validation = build_validation(past, truth, max_users=config.validation_users, seed=project.config.seed)
    ndcg = validation_ndcg(SequentialRecommender.from_bundle(folder, past), past, validation)
    return pl.DataFrame({USER_ID: past.user_ids.gather(validation.users), "ndcg": ndcg})


def _sha256(project: Project, day: str) -> str:
    return bundle_sha256(project.partitions.folder(SEQUENCE_MODEL, day) / FINAL)


def _version_of(project: Project, day: str) -> str:
    """The registered version of a day's network: equal weights are one version."""
    sha256 = _sha256(project, day)
    return next(version.version for version in project.models.versions(SEQUENCE_MODEL) if version.sha256 == sha256)


def _register(project: Project, day: str, validated: TrainedSequence) -> str:
    bundle = project.partitions.folder(SEQUENCE_MODEL, day) / FINAL
    known = [one for one in project.models.versions(SEQUENCE_MODEL) if one.sha256 == bundle_sha256(bundle)]
    if known:
        return known[-1].version
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "curves.png"
        picture.write_bytes(io.BytesIO(training_curve_figure(validated.curves)).getvalue())
        version = project.models.log_training(
            SEQUENCE_MODEL,
            params=project.config.recommenders.sequential.training.model_dump(),
            curves=validated.curves,
            bundle=bundle,
            figures={"curves": picture},
            tags={"day": day, "seed": str(project.config.seed)},
        )
    if day == max(project.partitions.keys(SEQUENCE_MODEL)):
        project.models.set_alias(SEQUENCE_MODEL, CHALLENGER, version.version)
    return version.version


ASSETS = [sequence_model, champion] if HAS_NETWORK else []
