"""How much memory a training will take, told before it starts: a configuration that cannot fit is refused, and what
would fit is named.

Counted are weights, gradients, AdamW's two moments, the copy of the best weights, and the activations that the backward
pass needs; the coefficients of a Transformer layer follow Korthikanti et al. (arXiv 2205.05198) for fused attention,
which never stores the attention matrix, and were held against PyTorch's allocator.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.training.task import LoopConfig

if TYPE_CHECKING:
    from torch import nn

_FLOAT, _HALF = 4, 2
_LAYER_WIDTHS = 10.5
"""Tensors of the layer's width that its backward pass needs, in floats a token: norms, query, key, value, outputs."""
_INNER_WIDTHS = 2.0
"""The same of the feed-forward width: before and after the activation function."""
_HALF_SHARE = 0.6
"""Of those bytes in bf16 autocast: matrix products are halved, norms and sums are not."""
_OVERHEAD = 1.1
"""What the allocator rounds up and the largest passing tensors take."""
_LORA_RANK, _MIB = 8, 2**20
_PLANNED_SHARE = 0.9
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class NetworkSize:
    """What of a network decides its memory."""

    parameters: int
    """All of them."""
    trained: int
    """Those with gradients."""
    layers: int
    """Layers whose activations are kept: from the lowest trained one to the top."""
    width: int
    inner_width: int
    """Of the feed-forward part."""
    vocabulary: int = 0
    """Logits a token, where the loss needs them; 0 for an encoder."""

    def with_lora(self, rank: int = _LORA_RANK) -> NetworkSize:
        """Frozen, with low-rank adapters at the query and value matrices of every layer."""
        return replace(self, trained=4 * rank * self.width * max(self.layers, 1))


@dataclass(frozen=True)
class Footprint:
    """A training as far as its memory goes."""

    size: NetworkSize
    batch_size: int
    """Sequences in a batch."""
    length: int
    """Tokens of a sequence, padding included, at most."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by purpose."""

    weights: int
    gradients: int
    optimiser: int
    best_weights: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes at the peak, with what the allocator rounds up."""
        held = self.weights + self.gradients + self.optimiser + self.best_weights + self.activations
        return int(_OVERHEAD * held)

    def __str__(self) -> str:
        parts = {name.replace("_", " "): value for name, value in vars(self).items() if value}
        return f"{_mb(self.total)} ({', '.join(f'{name} {_mb(value)}' for name, value in parts.items())})"


def network_size(model: nn.Module, *, layers: int, width: int, inner_width: int, vocabulary: int = 0) -> NetworkSize:
    """The size of a model as it stands, frozen parts and adapters included; the rest is its configuration's to say."""
    counts = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    trained = sum(count for count, is_trained in counts if is_trained)
    return NetworkSize(sum(count for count, _ in counts), trained, layers, width, inner_width, vocabulary)


def estimate_memory(footprint: Footprint, config: LoopConfig) -> MemoryEstimate:
    """Bytes that training takes at its peak. Accumulated batches take the memory of one."""
    size = footprint.size
    tokens = footprint.batch_size * footprint.length
    is_half = config.precision == "bfloat16"
    share = _HALF_SHARE if is_half else 1.0
    layer = int(tokens * (_LAYER_WIDTHS * size.width + _INNER_WIDTHS * size.inner_width) * _FLOAT * share)
    kept = tokens * size.width * _FLOAT
    layers = size.layers * kept + layer if config.gradient_checkpointing else size.layers * layer
    # Logits, their softmax and its gradient; the words' embeddings, before and after their norm.
    around = int(3 * tokens * size.vocabulary * _FLOAT) + 2 * kept
    casts = size.parameters * _HALF if is_half else 0
    return MemoryEstimate(
        weights=size.parameters * _FLOAT,
        gradients=size.trained * _FLOAT,
        optimiser=2 * size.trained * _FLOAT,
        best_weights=size.trained * _FLOAT,
        activations=layers + around + casts,
    )


def require_memory(footprint: Footprint, config: LoopConfig, *, available: int) -> MemoryEstimate:
    """The estimate, where it fits into `available` bytes.

    Raises `TrainingError` otherwise, with the changes that would make it fit, the mildest of each kind.
    """
    needed = estimate_memory(footprint, config)
    if needed.total <= available:
        return needed
    fitting = {
        kind: words
        for kind, words, smaller, changed in reversed(list(_changes(footprint, config)))
        if estimate_memory(smaller, changed).total <= available
    }
    remedy = f"What would fit: {'; or '.join(reversed(fitting.values()))}."
    raise TrainingError(
        f"This training needs about {needed}, and {_mb(available)} may be used",
        remedy=remedy if fitting else "Take a smaller network or shorter texts.",
    )


def available_memory(device: str, limit_mb: float | None = None) -> int:
    """Bytes that a training on `device` may plan with: `limit_mb`, or nine tenths of what is free there now."""
    if limit_mb is not None:
        return int(limit_mb * _MIB)
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0] * _PLANNED_SHARE)
    return int(_free_memory() * _PLANNED_SHARE)


def _free_memory() -> int:
    """Bytes that this machine can give without swapping; where it does not say, all that it has."""
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        if "MemAvailable" in lines:
            return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _changes(footprint: Footprint, config: LoopConfig) -> Iterator[tuple[str, str, Footprint, LoopConfig]]:
    """Kind and words of each change, and what it makes of footprint and settings; the mildest of a kind first."""
    half = {"precision": "bfloat16"} if config.precision != "bfloat16" else {}
    again = {"gradient_checkpointing": True} if not config.gradient_checkpointing else {}
    smaller = footprint.batch_size
    while smaller > 1:
        smaller //= 2
        steps = config.accumulate * -(-footprint.batch_size // smaller)
        words = f"batch_size {smaller} with accumulate {steps}"
        yield "batch", words, replace(footprint, batch_size=smaller), config
    if again:
        yield "again", "gradient_checkpointing: true", footprint, config.model_copy(update=again)
    if half:
        yield "half", "precision: bfloat16", footprint, config.model_copy(update=half)
    adapters = footprint.size.with_lora()
    if footprint.size.trained > adapters.trained:
        yield "lora", f"LoRA of rank {_LORA_RANK}", replace(footprint, size=adapters), config
        words = "LoRA, batch_size 1, gradient_checkpointing and bfloat16 together"
        least = config.model_copy(update={**half, **again})
        yield "all", words, Footprint(adapters, 1, footprint.length), least


def _mb(value: int) -> str:
    return f"{value / _MIB:,.0f} MB"
