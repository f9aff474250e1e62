"""MLflow: trainings, their curves and pictures, and the registry of model versions behind aliases.

MLflow carries bundles as opaque files (see `training.bundle`): it never pickles a model nor loads one. Deciding which
version deserves an alias does not belong here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from genre_pipeline.contracts.errors import ContractError, ModelFileError
from genre_pipeline.contracts.names import CHAMPION
from genre_pipeline.training.bundle import MODEL_CARD, bundle_sha256, verify_bundle

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as RegisteredVersion
    from mlflow.entities.model_registry import RegisteredModel

FIGURES = "figures"
SHA256 = "sha256"
PAST_CHAMPIONS = "past_champions"
ROLLED_BACK = "rolled_back"
DAY = "day"
STEPS = "steps/"
"""Opens the names of metrics by step; those by epoch have plain names."""
_GUARDS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_PARAM_LIMIT = 6000
_DESCRIPTION_LIMIT = 5000
_PAST_KEPT = 100
_WHEN = "unix_milliseconds"


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a model."""

    run_id: str
    """The MLflow run that trained it."""
    version: str
    sha256: str
    """Digest of its bundle, as `save_bundle` returned it."""
    is_rolled_back: bool = False
    """Whether it was champion and was sent away: it never becomes champion again."""
    day: str | None = None
    """The day whose data it was trained on, where its training said so in the tag `day`."""


class ModelRegistry:
    """Trainings and model versions in one MLflow database (SQLite or PostgreSQL) with artifacts under one folder."""

    def __init__(self, tracking_uri: str, artifact_root: Path) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = Path(artifact_root)
        self._connected: MlflowClient | None = None

    def log_training(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        curves: pl.DataFrame,
        bundle: Path,
        steps: pl.DataFrame | None = None,
        figures: Mapping[str, Path] | None = None,
        tags: Mapping[str, str] | None = None,
        version_tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Record a training and register its verified bundle as the next version of the model `name`.

        `params` may be nested; `curves` needs the column `epoch` and its other columns become metrics by epoch, those
        of `steps`, with the column `step`, metrics `steps/<name>` by step; a column `seconds` since the start places
        both in time. `figures` maps names to picture files; `tags` say where data and code came from, `version_tags`
        what tells this version from others. The model card in the bundle becomes the version's description. Raises
        `ModelFileError` where the bundle is not sound.
        """
        kind = verify_bundle(bundle)["kind"]
        experiment = self._experiment(name)
        named = {**(version_tags or {}), SHA256: bundle_sha256(bundle), **_day_of(tags)}
        run_id = self._client().create_run(experiment, run_name=name, tags=dict(tags or {})).info.run_id
        status = "FAILED"
        try:
            self._log_params(run_id, params)
            self._log_curve(run_id, curves, "epoch", "")
            if steps is not None:
                self._log_curve(run_id, steps, "step", STEPS)
            for figure, path in (figures or {}).items():
                self._client().log_artifact(run_id, str(path), f"{FIGURES}/{figure}")
            version = self._register(name, experiment, run_id, bundle, kind, named)
            status = "FINISHED"
        finally:
            self._client().set_terminated(run_id, status=status)
        return self._version(name, version)

    def log_evaluation(
        self, name: str, *, run_name: str, metrics: Mapping[str, float], files: Sequence[Path], tags: Mapping[str, str]
    ) -> str:
        """Record numbers and files as a run of the experiment `name`, beside the trainings; no model is made.

        Metric names may hold letters, digits, spaces and `_-./:`. Returns the run's id.
        """
        client, experiment = self._client(), self._experiment(name)
        run_id = str(client.create_run(experiment, run_name=run_name, tags=dict(tags)).info.run_id)
        status = "FAILED"
        try:
            row = pl.DataFrame({"step": [0], **{metric: [value] for metric, value in metrics.items()}})
            self._log_curve(run_id, row, "step", "")
            for path in files:
                client.log_artifact(run_id, str(path))
            status = "FINISHED"
        finally:
            client.set_terminated(run_id, status=status)
        return run_id

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point `alias` ("champion", "challenger") at a version; a new champion remembers those it came after."""
        self._version(name, version)
        current = self.alias(name, alias)
        if alias == CHAMPION and current is not None and current.version != version:
            self._remember(name, [*self._past(name), current.version])
        self._client().set_registered_model_alias(name, alias, version)

    def alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version behind an alias, None where there is no such model or alias."""
        registered = self._registered(name)
        if registered is None or alias not in registered.aliases:
            return None
        return self._version(name, str(registered.aliases[alias]))

    def versions(self, name: str) -> list[ModelVersion]:
        """Every version, oldest first; empty where there is no such model."""
        # A checked name holds no quote.
        found = self._client().search_model_versions(f"name='{_checked(name)}'", order_by=["version_number ASC"])
        return [_as_version(one) for one in found]

    def names(self) -> list[str]:
        """Every model there is, sorted."""
        return sorted(str(one.name) for one in self._client().search_registered_models())

    def aliases(self, name: str) -> dict[str, str]:
        """Alias to version; empty where there is no such model."""
        registered = self._registered(name)
        return {} if registered is None else {alias: str(one) for alias, one in registered.aliases.items()}

    def overview(self) -> list[dict[str, Any]]:
        """Every version of every model: model, version, day, aliases, is_rolled_back, sha256."""
        return [
            {
                "model": name,
                "version": one.version,
                "day": one.day,
                "aliases": sorted(alias for alias, version in aliases.items() if version == one.version),
                "is_rolled_back": one.is_rolled_back,
                "sha256": one.sha256,
            }
            for name in self.names()
            for aliases in [self.aliases(name)]
            for one in self.versions(name)
        ]

    def previous_champion(self, name: str) -> ModelVersion | None:
        """The champion before the present one that was not rolled back."""
        current = self.alias(name, CHAMPION)
        before = [self._version(name, version) for version in reversed(self._past(name))]
        return next((one for one in before if one != current and not one.is_rolled_back), None)

    def roll_back(self, name: str) -> ModelVersion:
        """Make the previous champion champion again, and mark the present one so that no night takes it up again.

        Raises `ModelFileError` where there is none to go back to.
        """
        current, previous = self.alias(name, CHAMPION), self.previous_champion(name)
        if current is None or previous is None:
            raise ModelFileError(
                f"{name} has no champion to go back to",
                remedy="`genre models` lists what there is; train another one.",
            )
        self._client().set_model_version_tag(name, current.version, ROLLED_BACK, "true")
        past = self._past(name)
        self._remember(name, past[: len(past) - 1 - past[::-1].index(previous.version)])
        self._client().set_registered_model_alias(name, CHAMPION, previous.version)
        return previous

    def download(self, name: str, alias_or_version: str, folder: Path) -> Path:
        """Copy a version's bundle to `folder`, which it replaces once it is verified against the registered sha256.

        Raises `ModelFileError` where there is no such version, or what arrived is not what was registered.
        """
        wanted = self.alias(name, alias_or_version) or self._version(name, alias_or_version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".downloading-", dir=folder.parent) as scratch:
            arrived = self._fetched(name, wanted.version, Path(scratch))
            verify_bundle(arrived, sha256=wanted.sha256)
            shutil.rmtree(folder, ignore_errors=True)
            arrived.replace(folder)
        return folder

    def _client(self) -> MlflowClient:
        if self._connected is None:
            # MLflow reads these when it is imported and when it loads a model, so they must stand before.
            os.environ.update(_GUARDS)
            from mlflow import MlflowClient

            self._connected = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
        return self._connected

    def _experiment(self, name: str) -> str:
        found = self._client().get_experiment_by_name(_checked(name))
        if found is not None:
            return str(found.experiment_id)
        place = (self.artifact_root / name).resolve()
        place.mkdir(parents=True, exist_ok=True)
        return str(self._client().create_experiment(name, artifact_location=place.as_uri()))

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        flat = [Param(key, str(value)[:_PARAM_LIMIT]) for key, value in _flattened(params)]
        for start in range(0, max(len(flat), 1), 100):
            self._client().log_batch(run_id, params=flat[start : start + 100])

    def _log_curve(self, run_id: str, curve: pl.DataFrame, index: str, prefix: str) -> None:
        """Every column but `index` as a metric."""
        from mlflow.entities import Metric

        started = self._client().get_run(run_id).info.start_time
        seconds = pl.col("seconds") if "seconds" in curve.columns else pl.lit(0.0)
        placed = curve.with_columns((started + seconds * 1000).cast(pl.Int64).alias(_WHEN))
        long = placed.unpivot(index=[index, _WHEN], variable_name="metric", value_name="value").drop_nulls("value")
        metrics = [Metric(f"{prefix}{name}", value, when, step) for step, when, name, value in long.iter_rows()]
        for start in range(0, len(metrics), 1000):
            self._client().log_batch(run_id, metrics=metrics[start : start + 1000])

    def _register(self, name: str, experiment: str, run_id: str, bundle: Path, kind: str, tags: dict[str, str]) -> str:
        client = self._client()
        logged = client.create_logged_model(experiment, name=name, source_run_id=run_id, model_type=kind)
        client.log_model_artifacts(logged.model_id, str(bundle))
        place = client.finalize_logged_model(logged.model_id, "READY").artifact_location
        if self._registered(name) is None:
            client.create_registered_model(name)
        # The place itself, not `models:/…`: that is resolved against the process-wide tracking database.
        card = bundle / MODEL_CARD
        made = client.create_model_version(
            name, place, run_id=run_id, tags=tags,
            description=card.read_text(encoding="utf-8")[:_DESCRIPTION_LIMIT] if card.is_file() else None,
        )  # fmt: skip
        return str(made.version)

    def _past(self, name: str) -> list[str]:
        """Versions that were champion before, oldest first."""
        registered = self._registered(name)
        return [] if registered is None else json.loads(registered.tags.get(PAST_CHAMPIONS, "[]"))

    def _remember(self, name: str, versions: list[str]) -> None:
        self._client().set_registered_model_tag(name, PAST_CHAMPIONS, json.dumps(versions[-_PAST_KEPT:]))

    def _registered(self, name: str) -> RegisteredModel | None:
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            return client.get_registered_model(_checked(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _version(self, name: str, version: str) -> ModelVersion:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client().get_model_version(_checked(name), version)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            raise ModelFileError(
                f"{name} has no alias or version {version!r} in {redacted(self.tracking_uri)}",
                remedy="Train and register one, or name one that `versions` lists.",
            ) from error
        return _as_version(found)

    def _fetched(self, name: str, version: str, folder: Path) -> Path:
        client = self._client()
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            place = client.get_model_version_download_uri(name, version)
            return Path(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=self.tracking_uri))
        except (MlflowException, OSError) as error:
            raise ModelFileError(
                f"The files of {name}, version {version}, cannot be fetched: {error}",
                remedy="Restore the artifact folder, or roll back to another version.",
            ) from error


def redacted(uri: str) -> str:
    """A database URI that may be shown: without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", uri)


def _as_version(found: RegisteredVersion) -> ModelVersion:
    return ModelVersion(
        str(found.run_id),
        str(found.version),
        found.tags.get(SHA256, ""),
        ROLLED_BACK in found.tags,
        found.tags.get(DAY),
    )


def _day_of(tags: Mapping[str, str] | None) -> dict[str, str]:
    return {} if tags is None or DAY not in tags else {DAY: tags[DAY]}


def _checked(name: str) -> str:
    """Model names become folder names."""
    if not _SAFE_NAME.fullmatch(name):
        raise ContractError(
            "A model name has characters outside A-Z a-z 0-9 _ . -", remedy="Rename it.", culprits=[name]
        )
    return name


def _flattened(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{"network": {"width": 64}}` as `network.width`."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
