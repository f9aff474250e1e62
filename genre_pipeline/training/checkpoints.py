"""Checkpoints of a training: safetensors and JSON, replaced in one step, verified before they are read.

A folder holds at most one checkpoint: `checkpoint.json` names the files that belong to it with their sha256, and is
renamed into place after they are on the disk. Killed at any moment, the folder holds the checkpoint before or the one
after, never half of either. No pickle: optimiser state and random generators are tensors like the weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genre_pipeline.contracts.durable import sha256_of, sync
from genre_pipeline.contracts.errors import ModelFileError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

RECORD = "checkpoint.json"
_WRITING = "writing."
_SHOWN_DIGITS = 16
_REMEDY = "Delete the folder to train from the beginning."


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a training."""

    state: Mapping[str, Tensor]
    """Weights, optimiser, generators and curve, by name."""
    best: Mapping[str, Tensor] | None
    """Weights of the best epoch so far."""
    record: Mapping[str, Any]
    """Where the training stands, as JSON."""


class CheckpointFolder:
    """The checkpoint of one training, in a folder of its own below `root`; `fingerprint` says which training it is.

    A training of other data, settings or seed has another place, and neither goes on with the other's.
    """

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.fingerprint = hashlib.sha256(fingerprint.encode()).hexdigest()
        self.folder = root / self.fingerprint[:_SHOWN_DIGITS]
        self._best: tuple[int, dict[str, str]] | None = None

    def save(
        self, name: str, state: Mapping[str, Tensor], best: Mapping[str, Tensor] | None, record: Mapping[str, Any]
    ) -> None:
        """Replace the checkpoint. `name` differs from the last one's; `record["best_epoch"]` names `best`, which is
        written again only when that changes.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if best is not None and (self._best is None or self._best[0] != record["best_epoch"]):
            written = self._write(f"best-{record['best_epoch']}.safetensors", best)
            self._best = record["best_epoch"], written
        files = {"state": self._write(f"state-{name}.safetensors", state), "best": self._best and self._best[1]}
        content = {"fingerprint": self.fingerprint, "files": files, "record": dict(record)}
        temporary = self.folder / f"{_WRITING}{RECORD}"
        temporary.write_text(json.dumps(content), encoding="utf-8")
        _put(temporary, self.folder / RECORD)
        self._prune({RECORD, *(one["name"] for one in files.values() if one)})

    def load(self) -> Checkpoint | None:
        """The checkpoint, None where there is none yet.

        Raises `ModelFileError` where a file is missing or altered.
        """
        if not (self.folder / RECORD).is_file():
            return None
        content = _content(self.folder / RECORD)
        best = content["files"]["best"]
        self._best = None if best is None else (content["record"]["best_epoch"], best)
        state = self._read(content["files"]["state"])
        return Checkpoint(state, None if best is None else self._read(best), content["record"])

    def _write(self, name: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        from safetensors.torch import save_file

        temporary = self.folder / f"{_WRITING}{name}"
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, temporary)
        _put(temporary, self.folder / name)
        return {"name": name, "sha256": sha256_of(self.folder / name)}

    def _read(self, file: Mapping[str, str]) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        path = self.folder / Path(file["name"]).name
        if not path.is_file() or sha256_of(path) != file["sha256"]:
            raise ModelFileError(f"The checkpoint {path} is missing or does not match its sha256", remedy=_REMEDY)
        tensors: dict[str, Tensor] = load_file(path)
        return tensors

    def _prune(self, kept: set[str]) -> None:
        for path in self.folder.iterdir():
            if path.name not in kept and path.name.startswith((_WRITING, "state-", "best-")):
                path.unlink()


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """An optimiser's state, `<parameter>.<name>` to tensor; its groups are configuration and are not kept."""
    for index, state in optimiser.state_dict()["state"].items():
        yield from ((f"{index}.{name}", tensor) for name, tensor in state.items())


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that `optimiser_tensors` took from another one of its shape."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def generators(device: str) -> dict[str, Tensor]:
    """State of torch's generators, uint8."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    return {**states, "cuda": torch.cuda.get_rng_state(device)} if device.startswith("cuda") else states


def set_generators(states: Mapping[str, Tensor], device: str) -> None:
    """Put torch's generators where `generators` found them."""
    import torch

    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.startswith("cuda"):
        torch.cuda.set_rng_state(states["cuda"], device)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name opens with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFileError(f"The checkpoint {path} is not JSON", remedy=_REMEDY) from error
    if not isinstance(content, dict) or not {"fingerprint", "files", "record"} <= set(content):
        raise ModelFileError(f"The checkpoint {path} is of another form", remedy=_REMEDY)
    return content


def _put(temporary: Path, place: Path) -> None:
    """Rename once the bytes are on the disk, and the name too before anything refers to it."""
    sync(temporary)
    temporary.replace(place)
    sync(place.parent)
