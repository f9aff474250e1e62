"""A training in the registry: registered once, with where it came from, its curves and its picture."""

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from genre_pipeline.adapters.code_version import code_version
from genre_pipeline.adapters.model_registry import ModelVersion
from genre_pipeline.contracts.names import INTERACTIONS, TRAINING_SERVICE
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.project import Project
from genre_pipeline.training.bundle import bundle_sha256
from genre_pipeline.training.figures import training_curve_figure
from genre_pipeline.training.sequence_training import TrainedSequence
from genre_pipeline.training.tower_training import TrainedTower


def registered(
    project: Project,
    name: str,
    day: str,
    bundle: Path,
    *,
    config: Settings,
    trained: TrainedSequence | TrainedTower,
    tables: Sequence[str],
    features: Sequence[str],
) -> ModelVersion:
    """The version of `bundle`: the one that is registered already, or a new one with how `trained` went.

    `tables` are what it read beside interactions, `features` those of them that are vectors.
    """
    known = [one for one in project.models.versions(name) if one.sha256 == bundle_sha256(bundle)]
    if known:
        return known[-1]
    gpu = {} if trained.peak_gpu_mb is None else {"peak_gpu_mb": f"{trained.peak_gpu_mb:.0f}"}
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "curves.png"
        picture.write_bytes(training_curve_figure(trained.curves))
        return project.models.log_training(
            name,
            params=config.model_dump(),
            curves=trained.curves,
            steps=trained.steps,
            bundle=bundle,
            figures={"curves": picture},
            tags={**origin(project, day, tables, features), **gpu},
        )


def origin(project: Project, day: str, tables: Sequence[str], features: Sequence[str]) -> dict[str, str]:
    """Tags of a training that read all interactions up to `day` and its `tables`, of which `features` are vectors."""
    days = [key for key in project.partitions.keys(INTERACTIONS) if key <= day]
    read = [(INTERACTIONS, key) for key in days] + [(table, day) for table in tables]
    lines = [f"{table} {key} {project.partitions.manifest(table, key).fingerprint}" for table, key in read]
    return {
        "day": day,
        "seed": str(project.config.seed),
        "data_fingerprint": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "feature_service": TRAINING_SERVICE,
        "feature_tables": ", ".join(features),
        "mlflow.source.git.commit": code_version(),
    }
