"""The model card of a training: Markdown made of what it decided and measured, the same for equal trainings."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from genre_pipeline.training.curves import METRIC_PREFIX

_CELL = 80


def model_card(
    name: str,
    *,
    purpose: str,
    limits: str,
    config: Mapping[str, Any],
    decisions: Mapping[str, Any],
    epochs: pl.DataFrame,
) -> bytes:
    """What the model is for, how good it was when trained, what was decided, and how it was configured. UTF-8.

    `epochs` as `TrainingResult` has them; times are left out, so that equal trainings have equal cards.
    """
    measured = [one for one in epochs.columns if one in {"epoch", "train_loss"} or one.startswith(METRIC_PREFIX)]
    parts = [
        f"# Model card: {name}",
        purpose,
        "## Limits",
        limits,
        "## Curve",
        _table(measured, [[_number(value) for value in row] for row in epochs.select(measured).iter_rows()]),
        "## Decided in training",
        _table(["what", "value"], [[key, str(value)] for key, value in sorted(decisions.items())]),
        "## Configuration",
        _table(["key", "value"], [[key, str(value)] for key, value in _flat(config)]),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)])


def _cell(text: str) -> str:
    clean = text.replace("|", "\\|").replace("\n", " ")
    return clean if len(clean) <= _CELL else f"{clean[:_CELL]}…"


def _number(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        flat += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return flat
