"""A linear layer in 8 bits, for serving on a CPU: weights quantised once, inputs at each call.

The kernel adds products of neighbours in 16 bits, which overflow with 8-bit weights and inputs. torch's own dynamic
quantisation takes the bit from the inputs, whose few large channels need it most; here the weights give it up, which
have a scale for each output. Channels of the input that stand out can hand a part of their size to the weights
(SmoothQuant, Xiao et al. 2022, arXiv 2211.10438).
"""

import warnings
from typing import Any, Self

import torch
from torch import Tensor, nn

_LARGEST = 63
"""Of a weight: 255 × 63 twice is what 16 bits hold."""
_SMALLEST = 1e-5


class Int8Linear(nn.Module):
    """x [..., I] -> x Wᵀ + b, float32 [..., O]; on a CPU alone, and not to be trained."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None
    smoothing: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, has_bias: bool = True, is_smoothed: bool = False) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(outputs))
        self.register_buffer("bias", torch.zeros(outputs) if has_bias else None)
        self.register_buffer("smoothing", torch.ones(inputs) if is_smoothed else None)
        self._packed: Any = None

    @classmethod
    def of(cls, linear: nn.Linear, peaks: Tensor | None = None, *, strength: float = 0.7) -> Self:
        """A layer's quantised twin; smoothed where the largest sizes of its inputs, float32 [I], are given.

        `strength` is the share of a channel's size that moves into the weights.
        """
        outputs, inputs = linear.weight.shape
        made = cls(inputs, outputs, has_bias=linear.bias is not None, is_smoothed=peaks is not None)
        weight = linear.weight.detach().float()
        if peaks is not None:
            factor = _smoothing(weight, peaks, strength)
            made.smoothing, weight = 1 / factor, weight * factor
        made.scale = weight.abs().amax(1).clamp(min=_SMALLEST) / _LARGEST
        made.weight = (weight / made.scale.unsqueeze(1)).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        made.bias = None if linear.bias is None else linear.bias.detach().float().clone()
        return made

    def forward(self, x: Tensor) -> Tensor:
        """float32 [..., I] -> [..., O]."""
        if self._packed is None:
            self._packed = self._pack()
        smooth = x if self.smoothing is None else x * self.smoothing
        given: Tensor = torch.ops.quantized.linear_dynamic(smooth, self._packed, False)
        return given

    def _pack(self) -> Any:
        zeros = torch.zeros(len(self.scale), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the tensor type is to go, the kernels are not
            quantised = torch._make_per_channel_quantized_tensor(self.weight, self.scale.double(), zeros, 0)
            return torch.ops.quantized.linear_prepack(quantised, self.bias)

    def _load_from_state_dict(self, *given: Any, **named: Any) -> None:
        super()._load_from_state_dict(*given, **named)
        self._packed = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = type(self)(
            *reversed(self.weight.shape), has_bias=self.bias is not None, is_smoothed=self.smoothing is not None
        )
        copied.load_state_dict(self.state_dict())
        return copied


def _smoothing(weight: Tensor, peaks: Tensor, strength: float) -> Tensor:
    """float32 [I], mean 1."""
    sizes = weight.abs().amax(0).clamp(min=_SMALLEST)
    factor = peaks.clamp(min=_SMALLEST) ** strength / sizes ** (1 - strength)
    return (factor / factor.mean()).clamp(min=1e-3)
