"""Smaller and faster towers for serving: 8-bit layers, half precision, shorter vectors.

What a variant costs in quality is measured by `benchmarks/compression.py`, never assumed. Training a small tower to
imitate a large one belongs to `training.distillation`.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from genre_pipeline.contracts.errors import ConfigError, ModelFileError
from genre_pipeline.models.int8_linear import Int8Linear
from genre_pipeline.models.tower import ItemTower, encode_tokens
from genre_pipeline.models.tower_config import Int8Layer

_KEPT_ROWS = 512
_IS_WORTH_IT = 0.5
"""Smoothing costs time: it stays where it takes at least so much of the error away."""


def int8_tower(tower: ItemTower, texts: Sequence[str], *, tolerance: float = 0.08) -> ItemTower:
    """A copy of a finished tower whose linear layers compute in 8 bits, on a CPU.

    `texts` are a sample of what the tower will read: each layer's relative error on them decides whether its inputs
    are smoothed, and whether it stays in float32 (above `tolerance`). Raises `ConfigError` where no layer is changed.
    """
    inputs = layer_inputs(tower, tower.tokenise(texts))
    made = copy.deepcopy(tower)
    layers = []
    for name, given in inputs.items():
        linear = made.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        if (layer := _quantised(linear, given, tolerance)) is not None:
            made.set_submodule(name, layer)
            layers.append(Int8Layer(name=name, is_smoothed=layer.smoothing is not None))
    if not layers:
        raise ConfigError(
            f"No layer of the {tower.config.kind} tower can be computed in 8 bits", remedy="Use float16, or a `bert`."
        )
    made.config = tower.config.model_copy(update={"int8": tuple(layers)})
    return made.eval()


def open_int8_layers(tower: ItemTower) -> ItemTower:
    """Put empty 8-bit layers where `config.int8` names them, in place, for weights to be loaded into.

    Raises `ModelFileError` where there is no such layer.
    """
    modules = dict(tower.named_modules())
    for layer in tower.config.int8:
        linear = modules.get(layer.name)
        if not isinstance(linear, nn.Linear):
            raise ModelFileError(
                f"The {tower.config.kind} tower has no linear layer {layer.name!r} to compute in 8 bits",
                remedy="Compress the tower again, or take another version of it.",
            )
        empty = Int8Linear(
            linear.in_features,
            linear.out_features,
            has_bias=linear.bias is not None,
            is_smoothed=layer.is_smoothed,
        )
        tower.set_submodule(layer.name, empty)
    return tower


def layer_inputs(tower: ItemTower, tokens: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Rows [up to 512, I] that each linear layer is given when the tower reads these tokens, by the layer's name."""
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            if name not in inputs:
                rows = given[0].detach().flatten(0, -2)
                inputs[name] = rows[:: max(1, len(rows) // _KEPT_ROWS)][:_KEPT_ROWS].clone()

        return hook

    with _hooked({name: keep(name) for name, module in tower.named_modules() if isinstance(module, nn.Linear)}, tower):
        encode_tokens(tower, tokens)
    return inputs


@contextmanager
def _hooked(hooks: dict[str, Callable[[nn.Module, tuple[Tensor, ...]], None]], network: nn.Module) -> Iterator[None]:
    handles = [network.get_submodule(name).register_forward_pre_hook(hook) for name, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _quantised(linear: nn.Linear, given: Tensor, tolerance: float) -> Int8Linear | None:
    exact = linear(given)
    plain, smoothed = Int8Linear.of(linear), Int8Linear.of(linear, given.abs().amax(0))
    errors = [float((layer(given) - exact).norm() / exact.norm()) for layer in (plain, smoothed)]
    layer, error = (smoothed, errors[1]) if errors[1] < _IS_WORTH_IT * errors[0] else (plain, errors[0])
    return layer if error <= tolerance else None


@dataclass(frozen=True)
class Truncation:
    """Vectors of fewer dimensions: the first principal components of the training items' vectors."""

    mean: np.ndarray
    """float32 [W]"""
    components: np.ndarray
    """float32 [W, w], orthonormal columns, the widest spread first."""

    @classmethod
    def fitted(cls, vectors: np.ndarray, dimensions: int) -> Self:
        """From vectors float32 [items, W] of training items. Raises `ConfigError` where they have fewer dimensions."""
        if dimensions > min(vectors.shape):
            raise ConfigError(
                f"{len(vectors)} vectors of {vectors.shape[1]} dimensions cannot be truncated to {dimensions}",
                remedy="Ask for fewer dimensions.",
            )
        mean = vectors.mean(0)
        _left, _sizes, right = np.linalg.svd(vectors - mean, full_matrices=False)
        # A component's sign is chance: the largest value of each is made positive.
        right = right[:dimensions]
        signs = np.sign(right[np.arange(dimensions), np.abs(right).argmax(1)])
        return cls(mean, np.ascontiguousarray((right * signs[:, None]).T))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """float32 [items, W] -> [items, w], L2-normalised."""
        return normalised((vectors - self.mean) @ self.components)


def sliced(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """The first dimensions alone, L2-normalised: sound where a tower was trained so (Matryoshka, arXiv 2205.13147)."""
    return normalised(vectors[:, :dimensions])


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0))
