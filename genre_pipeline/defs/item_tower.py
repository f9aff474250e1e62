"""The item tower of each day: a language model that reads items and learned from what users did, and its vectors."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import polars as pl

from genre_pipeline.contracts.names import CHALLENGER, CHAMPION, INTERACTIONS, ITEM_TOWER, ITEM_TOWER_VECTORS, ITEMS
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.defs.curves import CURVE_CLAIM, curve_check, curve_picture, teller
from genre_pipeline.defs.features import seen, write_vectors
from genre_pipeline.defs.launchpad import launched, launchpad_schema
from genre_pipeline.defs.materialise import Result, daily_asset, keeps_contract, result
from genre_pipeline.defs.registering import registered
from genre_pipeline.defs.shape import CONFIG, VECTOR_TABLES
from genre_pipeline.offline.item_tower import LearnedTower, learn_tower
from genre_pipeline.project import Project
from genre_pipeline.training.bundle import MODEL_CARD
from genre_pipeline.training.model_card import model_card
from genre_pipeline.training.tower_bundle import save_tower_bundle
from genre_pipeline.training.tower_config import TowerTrainingConfig
from genre_pipeline.training.tower_training import TrainedTower

GROUP = "training"
VALIDATED, FINAL, VECTORS = "validated", "final", "vectors.parquet"
_TRIAL_CLAIM = "beats_the_frozen_one"
_AGAINST = {name: table for name, table in VECTOR_TABLES.items() if name == CONFIG.item_tower.against}
_PURPOSE = "Turns an item's text into a vector whose neighbours are what the same users take."
_LIMITS = "It knows the language of its first weights and the behaviour it was trained on, and reads text alone."


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, *_AGAINST.values()],
    all_days=[INTERACTIONS],
    checks=[CURVE_CLAIM, _TRIAL_CLAIM],
    pool="gpu",
    config_schema=launchpad_schema(TowerTrainingConfig),
)
def item_tower(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """A text tower trained on the day's past and judged on its last fifth against the same user tower on frozen
    vectors; where it wins, trained as long again on everything. Curves, parameters and weights go to MLflow. A run's
    own configuration changes settings of `item_tower` for that run.
    """
    day, entered = context.partition_key, context.op_execution_context.op_config or {}
    training, checkpoints = launched(project.config.item_tower, entered), project.checkpoints(ITEM_TOWER, day)
    learned = learn_tower(
        project.partitions.read(ITEMS, day),
        project.partitions.scan(INTERACTIONS, until=day).collect(),
        {name: project.partitions.read(table, day) for name, table in _AGAINST.items()},
        project.config,
        training=training,
        checkpoints=checkpoints,
        say=context.log.info,
        report=teller(context),
    )
    curves = learned.validated.curves.drop("seconds")
    manifest = project.partitions.write(
        ITEM_TOWER,
        day,
        curves,
        decisions={**learned.validated.decisions, "launched_with": dict(entered)},
        companions=lambda folder: _save(folder, learned, training),
    )
    shutil.rmtree(checkpoints, ignore_errors=True)
    version = _register(project, day, training, learned)
    return result(
        curves,
        manifest,
        checks=[curve_check(ITEM_TOWER, curves), _trial_check(learned)],
        mlflow_version=version,
        verdict=str(learned.validated.verdict),
        curve=curve_picture(curves),
    )


@daily_asset(
    group=GROUP,
    same_day=[ITEMS, ITEM_TOWER],
    checks=["keeps_its_contract"],
)
def item_tower_vectors(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Vectors of the day's items by the tower that serves; by the frozen one where the tower did not beat it."""
    day = context.partition_key
    frame = ItemVectors.validate(pl.read_parquet(project.partitions.folder(ITEM_TOWER, day) / VECTORS))
    manifest = write_vectors(project, ITEM_TOWER_VECTORS, day, frame)
    checks = [keeps_contract(ITEM_TOWER_VECTORS, frame, ItemVectors)]
    return result(frame, manifest, checks=checks, **seen(project, day, ITEM_TOWER_VECTORS, frame))


def _trial_check(learned: LearnedTower) -> dg.AssetCheckResult:
    """A warning where the tower lost: the night goes on with the frozen vectors."""
    verdict = learned.validated.verdict
    assert verdict is not None, "a tower is never trained without being judged"
    return dg.AssetCheckResult(
        passed=verdict.beats_frozen,
        check_name=f"{ITEM_TOWER}_{_TRIAL_CLAIM}",
        asset_key=ITEM_TOWER,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=dict(vars(verdict)),
    )


def _save(folder: Path, learned: LearnedTower, training: TowerTrainingConfig) -> None:
    learned.vectors.write_parquet(folder / VECTORS)
    for name, trained in _bundles(learned).items():
        card = model_card(
            ITEM_TOWER, purpose=_PURPOSE, limits=_LIMITS,
            config=training.model_dump(), decisions=trained.decisions, epochs=trained.curves,
        )  # fmt: skip
        save_tower_bundle(trained.tower, folder / name, decisions=trained.decisions, files={MODEL_CARD: card})


def _bundles(learned: LearnedTower) -> Mapping[str, TrainedTower]:
    """What was trained: the tower that serves, where one does, beside the one that was judged."""
    return {VALIDATED: learned.validated, **({} if learned.final is None else {FINAL: learned.final})}


def _register(project: Project, day: str, training: TowerTrainingConfig, learned: LearnedTower) -> str:
    """The registered version of the day's tower: challenger, and champion where it serves and was not sent away."""
    serves = learned.final is not None
    bundle = project.partitions.folder(ITEM_TOWER, day) / (FINAL if serves else VALIDATED)
    vectors = list(_AGAINST.values())
    version = registered(
        project, ITEM_TOWER, day, bundle,
        config=training, trained=learned.validated, tables=[ITEMS, *vectors], features=vectors,
    )  # fmt: skip
    if day == max(project.partitions.keys(ITEM_TOWER)):
        for alias in (CHALLENGER, CHAMPION) if serves and not version.is_rolled_back else (CHALLENGER,):
            project.models.set_alias(ITEM_TOWER, alias, version.version)
    return version.version


ASSETS = [item_tower, item_tower_vectors] if CONFIG.item_tower.enabled else []
