"""Where a training came from, as tags of its run: day, data, features, code."""

import hashlib
from collections.abc import Sequence

from genre_pipeline.adapters.code_version import code_version
from genre_pipeline.contracts.names import INTERACTIONS, TRAINING_SERVICE
from genre_pipeline.project import Project


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
