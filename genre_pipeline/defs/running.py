"""Running the graph from a terminal, in this process, on the same instance that the Dagster UI shows."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from genre_pipeline.contracts import errors
from genre_pipeline.contracts.errors import ConfigError, GenreError
from genre_pipeline.contracts.names import INTERACTIONS, ITEM_STATISTICS, USER_HISTORIES, USER_STATISTICS
from genre_pipeline.project import Project

_LOGGING: dict[str, Any] = {"loggers": {"console": {"config": {}}}}
_EVENING_BEFORE = (ITEM_STATISTICS, USER_STATISTICS, USER_HISTORIES)
_KINDS: list[type[GenreError]] = [GenreError, *GenreError.__subclasses__()]
_NAMED = {f"{errors.__name__}.{kind.__name__}": kind for kind in _KINDS}
_INSTANCE = """\
# Written once by `genre run`, where no dagster.yaml was in the working directory. Yours to change.
storage:
  custom: {module: genre_pipeline.defs.instance_storage, class: GenreStorage, config: {}}
local_artifact_storage: {module: genre_pipeline.defs.instance_storage, class: GenreArtifactStorage, config: {}}
compute_logs: {module: genre_pipeline.defs.instance_storage, class: GenreComputeLogs, config: {}}
telemetry: {enabled: false}
nux: {enabled: false}
"""
_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class RunOutcome:
    """What a run in this process came to."""

    run_id: str
    is_success: bool
    failed_steps: tuple[str, ...]
    failed_checks: tuple[str, ...]
    error: GenreError | None
    """The named error that stopped it, where there was one."""

    def checked(self, day: date) -> str:
        """The run's id. Raises the error that stopped it, or a `GenreError` that names what failed."""
        if self.is_success:
            return self.run_id
        if self.error is not None:
            raise self.error
        raise GenreError(
            f"The run {self.run_id} of {day} failed",
            remedy="The lines above say where; `make ui` shows the whole log. What was published before stays.",
            culprits=[*self.failed_steps, *self.failed_checks],
        )


def run_night(
    defs: dg.Definitions,
    project: Project,
    day: date,
    *,
    select: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> RunOutcome:
    """The nightly job of `day`, or only the selected assets of it; days before it that were never read come first.

    Raises `ConfigError` for a day that the configuration leaves out or that has not ended, and for an unknown asset.
    """
    _refuse_day(project, day)
    _refuse_assets(defs, select)
    with dagster_instance(project) as instance:
        if not select:
            filled = _fill_history(defs, project, day, instance, say)
            if filled is not None and not filled.is_success:
                return filled
        say(f"The night of {day}")
        return _run(defs, "nightly", instance, select=select, partition_key=day.isoformat())


def last_complete_day(project: Project) -> date:
    """The configured last day, or the day that ended last."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    end = project.config.days.end
    return min(end, yesterday) if end is not None else yesterday


def dagster_instance(project: Project) -> dg.DagsterInstance:
    """DAGSTER_HOME's instance; without one, that of the `dagster.yaml` here; without either, one under the home."""
    if "DAGSTER_HOME" not in os.environ:
        here = Path.cwd()
        os.environ["DAGSTER_HOME"] = str(here if (here / "dagster.yaml").is_file() else _own_instance(project))
    # The instance reads these two from the environment alone, so what genre.yaml says must stand there.
    os.environ.setdefault("GENRE_HOME", str(project.home))
    if project.config.database_url is not None:
        os.environ.setdefault("GENRE_DATABASE_URL", project.config.database_url.get_secret_value())
    project.home.mkdir(parents=True, exist_ok=True)
    return dg.DagsterInstance.get()


def _own_instance(project: Project) -> Path:
    """An instance of the project's own, which keeps what the one of the repository keeps, and tells nobody."""
    home = project.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").is_file():
        (home / "dagster.yaml").write_text(_INSTANCE, encoding="utf-8")
    return home


def _refuse_day(project: Project, day: date) -> None:
    first, last = project.config.days.start, last_complete_day(project)
    if not first <= day <= last:
        raise ConfigError(
            f"There is no night of {day}: the days go from {first} to {last}",
            remedy="Give a day between them, or change `days.start` and `days.end` in genre.yaml.",
        )


def _refuse_assets(defs: dg.Definitions, select: Sequence[str]) -> None:
    known = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    unknown = [name for name in select if name not in known]
    if unknown:
        raise ConfigError(
            "There is no such asset", remedy=f"Choose among: {', '.join(sorted(known))}.", culprits=unknown
        )


def _fill_history(
    defs: dg.Definitions, project: Project, day: date, instance: dg.DagsterInstance, say: Callable[[str], None]
) -> RunOutcome | None:
    first, before = project.config.days.start, day - timedelta(days=1)
    present = set(project.partitions.keys(INTERACTIONS))
    missing = [key for key in _days(first, before) if key not in present]
    if missing:
        say(f"First the interactions from {missing[0]} to {missing[-1]}, which were never read")
        outcome = _run(defs, "history", instance, tags={_RANGE_START: missing[0], _RANGE_END: missing[-1]})
        if not outcome.is_success:
            return outcome
    if day > first and not all(project.partitions.has(table, before.isoformat()) for table in _EVENING_BEFORE):
        say(f"Then what was known on the evening of {before}")
        return _run(defs, "nightly", instance, select=_EVENING_BEFORE, partition_key=before.isoformat())
    return None


def _run(
    defs: dg.Definitions,
    job: str,
    instance: dg.DagsterInstance,
    *,
    select: Sequence[str] = (),
    partition_key: str | None = None,
    tags: dict[str, str] | None = None,
) -> RunOutcome:
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=partition_key,
        tags=tags,
        run_config=_LOGGING,
        raise_on_error=False,
        asset_selection=[dg.AssetKey(name) for name in select] or None,
    )
    failures = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    checks = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    return RunOutcome(
        result.run_id,
        result.success,
        tuple(event.step_key or "" for event in failures),
        tuple(checks),
        next((error for error in map(named_error, failures) if error is not None), None),
    )


def named_error(event: dg.DagsterEvent) -> GenreError | None:
    """The error as the asset raised it. Dagster keeps errors as text, in which problem and remedy stand together."""
    error = event.step_failure_data.error
    while error is not None:
        name, _, message = error.message.strip().partition(": ")
        kind = _NAMED.get(name)
        if kind is not None:
            return kind(message.rstrip("."), remedy=f"(asset {event.step_key})")
        error = error.cause
    return None


def _days(first: date, last: date) -> list[str]:
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
