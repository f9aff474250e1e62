"""Where an encoder computes and in what precision: the few decisions that every network here shares."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["auto", "float32", "bfloat16"]
"""`auto` computes in bfloat16 on a GPU and in float32 elsewhere. Vectors come out as float32 either way."""


@dataclass(frozen=True)
class Device:
    """A device by torch's name (`cpu`, `cuda`, `cuda:1` …), and the precision asked for."""

    name: str = "cpu"
    asked: Precision = "auto"

    @property
    def kind(self) -> str:
        """The name without a number."""
        return self.name.split(":", 1)[0]

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        """What is computed in: part of a model's identity."""
        if self.asked != "auto":
            return self.asked
        return "bfloat16" if self.kind == "cuda" else "float32"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which a network is run."""
        import torch

        return torch.autocast(self.kind, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def move(self, tensor: "Tensor") -> "Tensor":
        """A batch onto the device; towards a GPU from pinned memory, so that the copy does not hold the work up."""
        if self.kind != "cuda":
            return tensor.to(self.name)
        return tensor.pin_memory().to(self.name, non_blocking=True)
