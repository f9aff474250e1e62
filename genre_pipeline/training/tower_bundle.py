"""Bundles of item towers: weights, configuration, tokenizer or vocabulary; verified before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.training.bundle import CONFIG, REMEDY, Bundle, BundleKind, load_bundle, load_weights, save_bundle

if TYPE_CHECKING:
    from genre_pipeline.models.tower import ItemTower

KIND: BundleKind = "item_tower"


@dataclass(frozen=True)
class TowerBundle:
    """What a bundle holds."""

    tower: ItemTower
    """On the CPU, in evaluation mode, nothing of it to train."""
    decisions: Mapping[str, Any]
    """What the training decided."""
    sha256: str
    """Digest of the manifest, and by it of every file: equal digests mean equal models."""


def save_tower_bundle(
    tower: ItemTower,
    folder: Path,
    *,
    decisions: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> str:
    """Write a finished tower (`finish_tower`) into `folder`, new or empty, and return its sha256.

    `files` describe the model: its card, signature, example. Raises `ModelFileError` as `save_bundle`.
    """
    return save_bundle(
        folder,
        KIND,
        tensors=tower.state_dict(),
        config={"tower": tower.config.model_dump(mode="json"), "width": tower.width},
        files={**(files or {}), **tower.files()},
        decisions=decisions,
    )


def load_tower_bundle(folder: Path, *, sha256: str | None = None) -> TowerBundle:
    """Verify and load a bundle; with `sha256`, only that very one.

    Raises `ModelFileError` as `load_bundle`, and where the weights or their width are not the configured network's.
    """
    bundle = load_bundle(folder, KIND, sha256=sha256)
    tower = tower_of(bundle, folder, f"{KIND}-{bundle.sha256[:16]}")
    load_weights(tower, bundle)
    if tower.width != bundle.config.get("width"):
        raise ModelFileError(
            f"The tower in {folder} is {tower.width} wide, its configuration says {bundle.config.get('width')}",
            remedy=REMEDY,
        )
    return TowerBundle(tower.requires_grad_(False).eval(), bundle.decisions, bundle.sha256)


def tower_of(bundle: Bundle, folder: Path, identity: str) -> ItemTower:
    """The tower that a bundle's configuration and files describe, its weights yet to be loaded.

    Raises `ModelFileError` where they describe none.
    """
    from genre_pipeline.models.towers import blank_tower

    try:
        return blank_tower(TowerConfig.model_validate(bundle.config["tower"]), bundle.files, identity)
    except KeyError as error:
        raise ModelFileError(f"The bundle in {folder} lacks {error}, which its tower needs", remedy=REMEDY) from error
    except ValidationError as error:
        raise ModelFileError(f"{CONFIG} in {folder} describes no tower: {error}", remedy=REMEDY) from error
