"""Weights that come in another format, turned into safetensors once: pinned before they are read, checked after.

A converted file is named `<sha256 of the source>-<version>-<its own sha256>.safetensors` (16 digits each, its own
whole), so that a damaged one gives itself away and is made again, and one that is there needs no source any more.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from genre_pipeline.contracts.durable import sha256_of
from genre_pipeline.contracts.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

Convert = Callable[[Path], Mapping[str, "Tensor"]]


def converted(find: Callable[[], Path], sha256: str, cache: Path, convert: Convert, *, version: str = "1") -> Path:
    """The safetensors made of the file that `find` finds and whose sha256 is `sha256`; made now if not in `cache`.

    `convert` sees only a file whose sha256 is the pinned one. `version` is the conversion's: a new one converts anew.

    Raises:
        ModelFileError: the file is not the pinned one, or what `find` raises.
    """
    stem = f"{sha256[:16]}-{version}"
    for held in sorted(cache.glob(f"{stem}-*.safetensors")):
        if sha256_of(held) == held.stem.rsplit("-", 1)[1]:
            return held
    source = find()
    check_sha256(source, sha256)
    return _keep(convert(source), cache, stem)


def check_sha256(path: Path, expected: str) -> None:
    """Raises `ModelFileError` unless the file's sha256 is the expected one."""
    found = sha256_of(path)
    if found != expected:
        raise ModelFileError(
            f"The weights {path.name} are not the pinned ones: expected sha256 {expected}, found {found}",
            remedy="Install the package again, in the version that is named.",
            culprits=[path.name],
        )


def _keep(tensors: Mapping[str, "Tensor"], cache: Path, stem: str) -> Path:
    from safetensors.torch import save

    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"})
    target = cache / f"{stem}-{hashlib.sha256(data).hexdigest()}.safetensors"
    cache.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=cache)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target
