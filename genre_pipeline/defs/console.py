"""Live progress of a run on a terminal: a line when a step ends, with its seconds, and what it says meanwhile."""

import logging
import sys
import time
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from genre_pipeline.contracts import errors

_SHOWN = {"STEP_START", "STEP_SUCCESS", "STEP_FAILURE", "ASSET_CHECK_EVALUATION"}
_ERRORS = f"{errors.__name__}."
_CHECK_FAILED = "DagsterAssetCheckFailedError"
"""Its line is there already."""
_OF_DAGSTER = "Dependencies for step "
"""How Dagster says that a step is skipped: in words alone, without an event."""


class ConsoleHandler(logging.Handler):
    """Turns Dagster's structured records into lines a person reads."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._started: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """One line for the end of a step, a failed check, or what an asset says; nothing for Dagster's own talk."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        line = self._told(record, meta) if event is None else self._event(event)
        if line:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def _told(self, record: logging.LogRecord, meta: dict[str, Any]) -> str | None:
        message, step = str(meta.get("orig_message", "")), meta.get("step_key")
        if not step or record.levelno < logging.INFO:
            return None
        return f"  –   {step}  skipped" if message.startswith(_OF_DAGSTER) else f"      {message}"

    def _event(self, event: dg.DagsterEvent) -> str | None:
        kind, step = event.event_type_value, event.step_key or ""
        if kind not in _SHOWN:
            return None
        if kind == "STEP_START":
            self._started[step] = time.monotonic()
            return f"  …   {step}"
        if kind == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            return None if check.passed else f"  ✗   check {check.check_name} failed"
        seconds = time.monotonic() - self._started.get(step, time.monotonic())
        if kind == "STEP_FAILURE":
            return "\n".join(filter(None, [f"  ✗   {step}  {seconds:.1f} s", _why(event)]))
        return f"  ✓   {step}  {seconds:.1f} s"


def _why(event: dg.DagsterEvent) -> str:
    """The innermost cause, and where it was raised unless it is one of ours, whose message is enough."""
    error = event.step_failure_data.error
    if error is None or error.cls_name == _CHECK_FAILED:
        return ""
    while error.cause is not None and not _is_named(error):
        error = error.cause
    where = "" if _is_named(error) else "".join(error.stack[-2:])
    return f"      {error.message.strip().removeprefix(_ERRORS)}\n{where}".rstrip()


def _is_named(error: SerializableErrorInfo) -> bool:
    return error.message.startswith(_ERRORS)


def _console_logger(context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("genre.console", logging.DEBUG)
    logger.addHandler(ConsoleHandler())
    return logger


console_logger = dg.LoggerDefinition(_console_logger, description="Steps, seconds and progress on standard error.")
"""Chosen by run configuration; the UI keeps Dagster's own."""
