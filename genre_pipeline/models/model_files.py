"""Where a pretrained model's files come from, and what makes them safe to load.

A source is a directory, an installed package (`package:<name>`) or a hub id (`owner/name`). Weights are safetensors
only, nothing a model folder carries is ever executed, and a model's identity is the sha256 of its files, never its
path, so that equal weights share one cache. A family of models is a `ModelFamily`; its networks, pooling and batching
live elsewhere.
"""

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from genre_pipeline.contracts.durable import sha256_of
from genre_pipeline.contracts.errors import ModelFileError

PACKAGE_PREFIX = "package:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines"})
_INDEX = "*.safetensors.index.json"
_SETTINGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class ModelFamily:
    """What a kind of model is called, and what its folder holds beside config.json and the safetensors."""

    name: str
    """Opens the identity: `bert`, `vision` …"""
    noun: str
    """What errors call it: `encoder`, `image model` …"""
    companions: tuple[str, ...]
    """Files beside the weights that move a vector; part of the identity where they exist."""
    hub_files: tuple[str, ...]
    """Patterns of what is fetched from the hub beside weights and config.json."""
    three_ways: str
    """The remedy of a missing model: a directory, a package or a hub id, with an example of each."""


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk, checked but not loaded."""

    folder: Path
    identity: str
    """`<family>-<weights>-<the rest>`: of the sha256 of the weights, and of their companions, 16 digits each."""
    weights_sha256: str


def locate_model(
    source: str, family: ModelFamily, *, weights_sha256: str | None = None, offline: bool = False
) -> ModelFiles:
    """Find a model's files and check them, without loading a weight.

    A directory and a package never touch the network; a hub id does unless `offline` (or the hub library's own
    `HF_HUB_OFFLINE`) says not to, and then is served from its local cache. `weights_sha256` pins the weights.

    Raises:
        ModelFileError: nothing is there, the weights are pickles, the configuration asks for code to be run, or the
            weights are not the pinned ones.
    """
    folder = _folder(source, family, offline)
    _refuse_code(folder)
    _refuse_shards_elsewhere(folder)
    digest = files_sha256(weight_files(folder, family))
    if weights_sha256 is not None and digest != weights_sha256:
        raise ModelFileError(
            f"The weights of {source} are not the pinned ones: expected sha256 {weights_sha256}, found {digest}",
            remedy="Fetch the model again from where it was pinned, or correct `weights_sha256`.",
        )
    rest = files_sha256([path for path in sorted(folder.iterdir()) if path.name in ("config.json", *family.companions)])
    return ModelFiles(folder, f"{family.name}-{digest[:16]}-{rest[:16]}", digest)


def load_network(files: ModelFiles, *, kind: Literal["AutoModel", "AutoModelForCausalLM"] = "AutoModel") -> Any:
    """The network of a located model that transformers knows: evaluation mode, float32, on the processor.

    `kind` is the class of transformers that reads it: without a head, or with the one that gives the next token.

    Raises:
        ModelFileError: the files are not such a model, or lack tensors that its configuration asks for, which
            transformers would fill with random numbers, or hold values that are not finite.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    try:
        with without_progress_bar():
            model, info = getattr(transformers, kind).from_pretrained(
                files.folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise unreadable(str(files.folder), error) from error
    # The pooler is a head for another task, which no pooling here reads.
    missing = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelFileError(
            f"The weights in {files.folder} lack tensors that their configuration asks for",
            remedy="Fetch the model's files again: config.json and model.safetensors do not belong together.",
            culprits=missing,
        )
    _refuse_not_finite(model, str(files.folder))
    return model.eval()


def model_settings(files: ModelFiles, name: str) -> dict[str, Any]:
    """A settings file of a located model as data; empty where it has none. Raises `ModelFileError` if unreadable."""
    path = files.folder / name
    settings = _json(path) if path.is_file() else {}
    if not isinstance(settings, dict):
        raise unreadable(str(path), ValueError("not a JSON object"))
    return settings


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """A tenth of a second needs no bar across somebody's output."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _folder(source: str, family: ModelFamily, offline: bool) -> Path:
    if source.startswith(PACKAGE_PREFIX):
        return package_folder(source, family)
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    if _HUB_ID.fullmatch(source):
        return _hub_folder(source, family, offline)
    raise missing_model(f"There is no {family.noun} directory {source!r}", family)


def package_folder(source: str, family: ModelFamily) -> Path:
    """The folder with config.json and weights in an installed package, found without importing it."""
    found = [
        path.parent
        for root in package_roots(source, family)
        for path in root.rglob("config.json")
        if _has_weights(path.parent)
    ]
    if not found:
        raise missing_model(f"The package {source!r} carries no {family.noun}", family)
    return min(found, key=lambda folder: (len(folder.parts), folder.as_posix()))


def package_roots(source: str, family: ModelFamily) -> list[Path]:
    """Where `package:<name>` is installed. Raises `ModelFileError` where it is not."""
    module = source.removeprefix(PACKAGE_PREFIX).replace("-", "_")
    # Only a top-level name is found without importing anything: a dotted one would import its parents.
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise missing_model(f"The {family.noun}'s package is not installed: {source!r}", family)
    return [Path(location) for location in spec.submodule_search_locations]


def _hub_folder(source: str, family: ModelFamily, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    patterns = ["*.safetensors", "*.safetensors.index.json", "config.json", *family.hub_files]
    try:
        return Path(snapshot_download(source, allow_patterns=patterns, local_files_only=offline))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        how = "in the hub's local cache (offline)" if offline else "on the hub"
        raise missing_model(
            f"The {family.noun} {source!r} could not be had {how}: {type(error).__name__}", family
        ) from error


def _has_weights(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in ("*.safetensors", *_PICKLES))


def weight_files(folder: Path, family: ModelFamily) -> list[Path]:
    """The safetensors of a model folder, sorted. Raises `ModelFileError` where they are missing or pickles."""
    files = sorted(folder.glob("*.safetensors"))
    if files and (folder / "config.json").is_file():
        return files
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelFileError(
            f"The {family.noun} in {folder} has its weights in a pickle, which can run code when it is read",
            remedy="Convert them to model.safetensors where you trust them, or use a model that ships safetensors.",
            culprits=pickles,
        )
    raise missing_model(f"The directory {folder} holds no config.json with model.safetensors beside it", family)


def _refuse_code(folder: Path) -> None:
    for name in _SETTINGS:
        path = folder / name
        settings = _json(path) if path.is_file() else {}
        if asked := asked_code(settings):
            raise ModelFileError(
                f"{path} asks for the model's own code to be run, which is never done here",
                remedy="Use a model whose architecture transformers knows.",
                culprits=asked,
            )


def asked_code(settings: Any) -> list[str]:
    """The keys of a JSON value, however deep, that ask for code to be run; sorted."""
    found: set[str] = set()
    waiting = [settings]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found |= _CODE_KEYS & set(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return sorted(found)


def _refuse_shards_elsewhere(folder: Path) -> None:
    """An index names the files that a network's tensors are read from: safetensors beside it, and nothing else."""
    for path in sorted(folder.glob(_INDEX)):
        index = _json(path)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(shards, dict):
            raise unreadable(str(path), ValueError("no weight_map"))
        beside = {weights.name for weights in folder.glob("*.safetensors")}
        strangers = sorted({str(name) for name in shards.values()} - beside)
        if strangers:
            raise ModelFileError(
                f"{path} reads weights from elsewhere than the safetensors beside it",
                remedy="Fetch the model's files again, or use one whose shards are safetensors.",
                culprits=strangers,
            )


def _refuse_not_finite(model: Any, source: str) -> None:
    bad = [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]
    if bad:
        raise ModelFileError(
            f"The weights in {source} hold NaN or infinite values", remedy="Fetch them again.", culprits=bad
        )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise unreadable(str(path), error) from error


def files_sha256(paths: Sequence[Path]) -> str:
    """sha256 of one file; of several, of their names and sha256 line by line."""
    digests = [sha256_of(path) for path in paths]
    if len(digests) == 1:
        return digests[0]
    lines = "".join(f"{path.name} {digest}\n" for path, digest in zip(paths, digests, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def missing_model(problem: str, family: ModelFamily) -> ModelFileError:
    """The error of a model that is nowhere, with the three ways to get one."""
    return ModelFileError(problem, remedy=family.three_ways)


def unreadable(source: str, error: Exception) -> ModelFileError:
    """The error of files that are there and cannot be loaded."""
    first_line = str(error).strip().split("\n", 1)[0]
    return ModelFileError(
        f"The model {source} cannot be read: {type(error).__name__}: {first_line}",
        remedy="Fetch its files again; it must be one that transformers knows.",
    )
