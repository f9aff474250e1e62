"""Bundles of the user-sequence network: its weights, its configuration and the catalogue behind its positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.training.bundle import (
    CONFIG,
    ITEM_IDS,
    REMEDY,
    Bundle,
    BundleKind,
    json_bytes,
    load_bundle,
    load_weights,
    save_bundle,
)
from genre_pipeline.training.signature import signature_files

if TYPE_CHECKING:
    from genre_pipeline.models.sequence import SequenceModel

KIND: BundleKind = "sequence"


@dataclass(frozen=True)
class SequenceBundle:
    """What a bundle holds."""

    model: SequenceModel
    """On the CPU, in evaluation mode."""
    item_ids: pl.Series
    """String [n_items], sorted: the catalogue behind the model's positions."""
    decisions: Mapping[str, Any]
    """What the training decided."""
    sha256: str
    """Digest of the manifest, and by it of every file: equal digests mean equal models."""


def save_sequence_bundle(
    model: SequenceModel,
    folder: Path,
    *,
    item_ids: pl.Series,
    decisions: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> str:
    """Write a bundle into `folder`, new or empty, and return its sha256. Equal models give equal bytes.

    Raises `ModelFileError` where the ids do not match the model, and as `save_bundle`.
    """
    if len(item_ids) != model.n_items:
        raise ModelFileError(
            f"The model has {model.n_items} items, but {len(item_ids)} ids were given", remedy="Give its own item ids."
        )
    return save_bundle(
        folder,
        KIND,
        tensors=model.state_dict(),
        config={
            "network": model.config.model_dump(),
            "content_width": model.items.content.shape[1],
            "event_types": list(model.event_types),
        },
        files={**(files or {}), ITEM_IDS: json_bytes(item_ids.to_list()), **_signature(model.config)},
        decisions=decisions,
    )


def load_sequence_bundle(folder: Path, *, sha256: str | None = None) -> SequenceBundle:
    """Verify and load a bundle; with `sha256`, only that very one.

    Raises `ModelFileError` as `load_bundle`, and where weights and ids are not those of the configured network.
    """
    bundle = load_bundle(folder, KIND, sha256=sha256)
    ids = bundle.json(ITEM_IDS)
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise ModelFileError(f"{ITEM_IDS} in {folder} is not a list of ids", remedy=REMEDY)
    model = _model_of(bundle, len(ids), folder)
    return SequenceBundle(model, pl.Series("item_id", ids, dtype=pl.String), bundle.decisions, bundle.sha256)


def _signature(config: SequenceConfig) -> dict[str, bytes]:
    windows = ("int64", (-1, config.length))
    window = np.zeros((1, config.length))
    example = {"items": window, "lengths": np.ones(1), "gaps": window, "events": window}
    return signature_files(
        {"items": windows, "lengths": ("int64", (-1,)), "gaps": windows, "events": windows},
        {"states": ("float32", (-1, config.width))},
        {name: values.astype(np.int64) for name, values in example.items()},
    )


def _model_of(bundle: Bundle, n_items: int, folder: Path) -> SequenceModel:
    import torch

    from genre_pipeline.models.sequence import SequenceModel

    try:
        network = SequenceConfig.model_validate(bundle.config["network"])
        content_width = int(bundle.config["content_width"])
        event_types = [str(one) for one in bundle.config.get("event_types", ())]
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise ModelFileError(f"{CONFIG} in {folder} cannot be read: {error}", remedy=REMEDY) from error
    blank = torch.zeros(n_items, content_width), torch.zeros(n_items, dtype=torch.bool)
    model = SequenceModel(network, content=blank[0], has_id=blank[1], event_types=event_types)
    load_weights(model, bundle)
    return model.eval()
