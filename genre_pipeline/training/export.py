"""Model bundles: a folder of safetensors weights, two JSON files and a manifest, verified before anything is read.

A bundle can hold no code: the set of file names is fixed, weights are safetensors, and every byte is checked against
the manifest first. Registries carry bundles as they are; they never serialise a model themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.sequence_config import SequenceConfig

if TYPE_CHECKING:
    from torch import Tensor

    from genre_pipeline.models.sequence import SequenceModel

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
ITEM_IDS = "item_ids.json"
MANIFEST = "manifest.json"
BUNDLE_FILES = frozenset({WEIGHTS, CONFIG, ITEM_IDS, MANIFEST})
FORMAT = 1
_REMEDY = "Nothing was loaded. Train the model again, or take another version from the registry."


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


def save_bundle(
    model: SequenceModel, folder: Path, *, item_ids: pl.Series, decisions: Mapping[str, Any] | None = None
) -> str:
    """Write a bundle into `folder`, new or empty, and return its sha256. Equal models give equal bytes.

    Raises `ModelFileError` where a weight is not finite, the ids do not match the model, or the folder is in use.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ModelFileError(f"{folder} is not empty", remedy="Give a new folder for the bundle.")
    if len(item_ids) != model.n_items:
        raise ModelFileError(
            f"The model has {model.n_items} items, but {len(item_ids)} ids were given", remedy="Give its own item ids."
        )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(model.state_dict().items())}
    _refuse_not_finite(tensors, folder)
    save_file(tensors, folder / WEIGHTS)
    _write_json(folder / CONFIG, {"network": model.config.model_dump(), "content_width": model.items.content.shape[1]})
    _write_json(folder / ITEM_IDS, item_ids.to_list())
    digests = {name: _sha256(folder / name) for name in sorted(BUNDLE_FILES - {MANIFEST})}
    manifest = {"format": FORMAT, "kind": "sequence", "files": digests, "decisions": dict(decisions or {})}
    _write_json(folder / MANIFEST, manifest)
    return bundle_sha256(folder)


def load_bundle(folder: Path, *, sha256: str | None = None) -> SequenceBundle:
    """Verify and load a bundle; with `sha256`, only that very one.

    Raises `ModelFileError` where a file is missing, unexpected (a pickle, a script, a link), altered, of other
    dimensions than its configuration says, or holds NaN or infinite weights.
    """
    manifest = verify_bundle(folder, sha256=sha256)
    config = _read_json(folder / CONFIG, folder)
    ids = _read_json(folder / ITEM_IDS, folder)
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise ModelFileError(f"{ITEM_IDS} in {folder} is not a list of ids", remedy=_REMEDY)
    model = _model_of(folder, config, len(ids))
    return SequenceBundle(
        model, pl.Series("item_id", ids, dtype=pl.String), manifest["decisions"], bundle_sha256(folder)
    )


def verify_bundle(folder: Path, *, sha256: str | None = None) -> dict[str, Any]:
    """Check names, kinds and digests of a bundle's files without reading a weight; returns the manifest."""
    if not folder.is_dir():
        raise ModelFileError(f"There is no model bundle at {folder}", remedy=_REMEDY)
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    refused = sorted(name for name, path in present.items() if name not in BUNDLE_FILES or path.is_symlink())
    if refused:
        raise ModelFileError(
            f"{folder} holds files that a bundle never has: pickles, scripts and links are refused",
            remedy=_REMEDY,
            culprits=refused,
        )
    missing = sorted(BUNDLE_FILES - set(present))
    if missing:
        raise ModelFileError(f"{folder} lacks files of a bundle", remedy=_REMEDY, culprits=missing)
    manifest = _read_json(folder / MANIFEST, folder)
    _check_digests(folder, manifest, sha256)
    return dict(manifest)


def bundle_sha256(folder: Path) -> str:
    """Digest of a bundle's manifest."""
    return _sha256(folder / MANIFEST)


def _check_digests(folder: Path, manifest: Any, sha256: str | None) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or manifest.get("kind") != "sequence":
        raise ModelFileError(f"{MANIFEST} in {folder} is not of format {FORMAT}", remedy=_REMEDY)
    files = manifest.get("files")
    if not isinstance(files, dict) or set(files) != BUNDLE_FILES - {MANIFEST}:
        raise ModelFileError(f"{MANIFEST} in {folder} does not list the bundle's files", remedy=_REMEDY)
    if not isinstance(manifest.get("decisions"), dict):
        raise ModelFileError(f"{MANIFEST} in {folder} does not say what the training decided", remedy=_REMEDY)
    altered = sorted(name for name, digest in files.items() if _sha256(folder / name) != digest)
    if sha256 is not None and bundle_sha256(folder) != sha256:
        altered.append(MANIFEST)
    if altered:
        raise ModelFileError(f"The bundle in {folder} does not match its sha256", remedy=_REMEDY, culprits=altered)


def _model_of(folder: Path, config: Any, n_items: int) -> SequenceModel:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from genre_pipeline.models.sequence import SequenceModel

    try:
        network = SequenceConfig.model_validate(config["network"])
        content_width = int(config["content_width"])
        tensors = load_file(folder / WEIGHTS)
    except (KeyError, TypeError, ValueError, ValidationError, SafetensorError) as error:
        raise ModelFileError(f"{CONFIG} or {WEIGHTS} in {folder} cannot be read: {error}", remedy=_REMEDY) from error
    _refuse_not_finite(tensors, folder)
    blank = torch.zeros(n_items, content_width), torch.zeros(n_items, dtype=torch.bool)
    model = SequenceModel(network, content=blank[0], has_id=blank[1])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelFileError(
            f"The weights in {folder} have other dimensions than their configuration: {error}", remedy=_REMEDY
        ) from error
    return model.eval()


def _refuse_not_finite(tensors: Mapping[str, Tensor], folder: Path) -> None:
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise ModelFileError(f"Weights for {folder} hold NaN or infinite values", remedy=_REMEDY, culprits=bad)


def _read_json(path: Path, folder: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFileError(f"{path.name} in {folder} is not JSON", remedy=_REMEDY) from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1), encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
