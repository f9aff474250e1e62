"""Model bundles: a folder of safetensors weights, JSON files and a manifest, verified before anything is read.

A bundle can hold no code: each kind has a fixed list of file names, weights are safetensors, no JSON may ask for code
to be run, and every byte is checked against the manifest first. Registries carry bundles as they are; they never
serialise a model themselves. What a kind's configuration means belongs to the module that builds its network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genre_pipeline.contracts.durable import sha256_of
from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.model_files import asked_code

if TYPE_CHECKING:
    from torch import Tensor, nn

BundleKind = Literal["sequence", "item_tower", "text_classifier"]

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
MANIFEST = "manifest.json"
ITEM_IDS = "item_ids.json"
VOCABULARY = "vocabulary.json"
MODEL_CARD = "README.md"
SIGNATURE = "signature.json"
INPUT_EXAMPLE = "input_example.json"
TOKENIZER_FILES = frozenset(
    {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt"}
)
REQUIRED = frozenset({WEIGHTS, CONFIG, MANIFEST})
_DESCRIBING = frozenset({MODEL_CARD, SIGNATURE, INPUT_EXAMPLE})
_READING = TOKENIZER_FILES | {VOCABULARY, "backbone.json"}
ALLOWED: Mapping[BundleKind, frozenset[str]] = {
    "sequence": REQUIRED | _DESCRIBING | {ITEM_IDS},
    "item_tower": REQUIRED | _DESCRIBING | _READING,
    "text_classifier": REQUIRED | _DESCRIBING | _READING,
}
"""Every file name that a bundle of a kind may have; `backbone.json` is a pretrained network's own configuration."""
FORMAT = 1
REMEDY = "Nothing was loaded. Train the model again, or take another version from the registry."


@dataclass(frozen=True)
class Bundle:
    """What a verified bundle holds."""

    kind: BundleKind
    tensors: Mapping[str, Tensor]
    """By name, on the CPU; every value is finite."""
    config: Mapping[str, Any]
    """Of `config.json`: what the network is built from."""
    files: Mapping[str, bytes]
    """The other files by name: tokenizer, vocabulary, item ids, model card."""
    decisions: Mapping[str, Any]
    """What the training decided."""
    sha256: str
    """Digest of the manifest, and by it of every file: equal digests mean equal models."""

    def json(self, name: str) -> Any:
        """A JSON file of the bundle as data. Raises `ModelFileError` where there is none."""
        if name not in self.files:
            raise ModelFileError(f"The bundle has no {name}", remedy=REMEDY)
        return json.loads(self.files[name])


def save_bundle(
    folder: Path,
    kind: BundleKind,
    *,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
    decisions: Mapping[str, Any] | None = None,
) -> str:
    """Write a bundle into `folder`, new or empty, and return its sha256. Equal models give equal bytes.

    `tensors` of any dtype, tied ones under each of their names; `config` and `decisions` are JSON values; `files` are
    the others that the kind allows (see `json_bytes`). Raises `ModelFileError` where a weight is not finite, a name is
    not allowed, or the folder is in use.
    """
    from safetensors.torch import save_file

    others = dict(files or {})
    _refuse_names(set(others), ALLOWED[kind] - REQUIRED, folder)
    _refuse_not_finite(tensors, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ModelFileError(f"{folder} is not empty", remedy="Give a new folder for the bundle.")
    save_file({name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}, folder / WEIGHTS)
    for name, content in {**others, CONFIG: json_bytes(config)}.items():
        (folder / name).write_bytes(content)
    digests = {name: sha256_of(folder / name) for name in sorted({WEIGHTS, CONFIG, *others})}
    manifest = {"format": FORMAT, "kind": kind, "files": digests, "decisions": dict(decisions or {})}
    (folder / MANIFEST).write_bytes(json_bytes(manifest))
    return bundle_sha256(folder)


def load_bundle(folder: Path, kind: BundleKind, *, sha256: str | None = None) -> Bundle:
    """Verify and read a bundle of this kind; with `sha256`, only that very one.

    Raises `ModelFileError` as `verify_bundle`, and where weights cannot be read or hold NaN or infinite values.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    manifest = verify_bundle(folder, kind=kind, sha256=sha256)
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ModelFileError(f"{WEIGHTS} in {folder} cannot be read: {error}", remedy=REMEDY) from error
    _refuse_not_finite(tensors, folder)
    config = json.loads((folder / CONFIG).read_bytes())
    if not isinstance(config, dict):
        raise ModelFileError(f"{CONFIG} in {folder} does not hold named keys", remedy=REMEDY)
    others = {name: (folder / name).read_bytes() for name in manifest["files"] if name not in REQUIRED}
    return Bundle(kind, tensors, config, others, manifest["decisions"], bundle_sha256(folder))


def load_weights(network: nn.Module, bundle: Bundle) -> None:
    """Put a bundle's weights into the network built from its configuration.

    Raises `ModelFileError` where names or dimensions are not the network's.
    """
    try:
        network.load_state_dict(dict(bundle.tensors))
    except RuntimeError as error:
        raise ModelFileError(
            f"The weights have other dimensions than their configuration: {error}", remedy=REMEDY
        ) from error


def verify_bundle(folder: Path, *, kind: BundleKind | None = None, sha256: str | None = None) -> dict[str, Any]:
    """Check names, kinds and digests of a bundle's files without reading a weight; returns the manifest.

    Raises `ModelFileError` where a file is missing, unexpected (a pickle, a script, a link), altered, asks for code to
    be run, or the bundle is not of `kind`.
    """
    if not folder.is_dir():
        raise ModelFileError(f"There is no model bundle at {folder}", remedy=REMEDY)
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    plain = {name if _is_plain(path) else f"{name} (no plain file)" for name, path in present.items()}
    _refuse_names(plain, frozenset[str]().union(*ALLOWED.values()), folder)
    manifest = _manifest(folder, kind)
    missing = sorted((REQUIRED | set(manifest["files"])) - set(present))
    if missing:
        raise ModelFileError(f"{folder} lacks files of a bundle", remedy=REMEDY, culprits=missing)
    _refuse_names(set(present) - {MANIFEST}, frozenset(manifest["files"]) & ALLOWED[manifest["kind"]], folder)
    _check_digests(folder, manifest, sha256)
    for name in sorted(manifest["files"]):
        if name.endswith(".json"):
            _refuse_code(folder, name)
    return manifest


def bundle_sha256(folder: Path) -> str:
    """Digest of a bundle's manifest."""
    return sha256_of(folder / MANIFEST)


def json_bytes(value: Any) -> bytes:
    """Canonical JSON: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode()


def _manifest(folder: Path, kind: BundleKind | None) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        raise ModelFileError(f"{folder} lacks files of a bundle", remedy=REMEDY, culprits=[MANIFEST])
    manifest = _read_json(folder, MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or manifest.get("kind") not in ALLOWED:
        raise ModelFileError(f"{MANIFEST} in {folder} is not of format {FORMAT}", remedy=REMEDY)
    if kind is not None and manifest["kind"] != kind:
        raise ModelFileError(f"{folder} holds a model of kind {manifest['kind']!r}, not {kind!r}", remedy=REMEDY)
    files = manifest.get("files")
    if not isinstance(files, dict) or not REQUIRED - {MANIFEST} <= set(files):
        raise ModelFileError(f"{MANIFEST} in {folder} does not list the bundle's files", remedy=REMEDY)
    if not isinstance(manifest.get("decisions"), dict):
        raise ModelFileError(f"{MANIFEST} in {folder} does not say what the training decided", remedy=REMEDY)
    return manifest


def _check_digests(folder: Path, manifest: Mapping[str, Any], sha256: str | None) -> None:
    altered = sorted(name for name, digest in manifest["files"].items() if sha256_of(folder / name) != digest)
    if sha256 is not None and bundle_sha256(folder) != sha256:
        altered.append(MANIFEST)
    if altered:
        raise ModelFileError(f"The bundle in {folder} does not match its sha256", remedy=REMEDY, culprits=altered)


def _refuse_names(names: set[str], allowed: frozenset[str], folder: Path) -> None:
    refused = sorted(names - allowed)
    if refused:
        raise ModelFileError(
            f"{folder} holds files that such a bundle never has: pickles, scripts and links are refused",
            remedy=REMEDY,
            culprits=refused,
        )


def _is_plain(path: Path) -> bool:
    """No link, folder, pipe or device."""
    return path.is_file() and not path.is_symlink()


def _refuse_code(folder: Path, name: str) -> None:
    asked = asked_code(_read_json(folder, name))
    if asked:
        raise ModelFileError(f"{name} in {folder} asks for code to be run", remedy=REMEDY, culprits=asked)


def _refuse_not_finite(tensors: Mapping[str, Tensor], folder: Path) -> None:
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise ModelFileError(f"Weights for {folder} hold NaN or infinite values", remedy=REMEDY, culprits=bad)


def _read_json(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{name} in {folder} is not JSON", remedy=REMEDY) from error
