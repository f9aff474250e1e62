"""What the training loop trains: its settings, and the task that brings network, batches, loss and validation.

The loop itself is `training.loop`; each kind of network has its task beside its own code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from genre_pipeline.training.memory import Footprint

Batch = TypeVar("Batch")


class LoopConfig(Settings):
    """How a network is trained, whatever it is."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the data at most."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of the schedule: linear warm-up, then cosine to zero at the last planned epoch."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps spent warming up."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decay of weight matrices; embeddings, biases and norms are left alone."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Gradients are scaled down to this norm."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before a step: the memory of one, the step of all."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass; `bfloat16` is autocast, weights and optimiser stay float32."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass instead of kept: about a third slower, far less memory."""
    memory_limit_mb: float | None = Field(default=None, gt=0)
    """Memory that the training may take; `null` plans with nine tenths of what its device has free."""
    patience: int = Field(default=3, ge=1)
    """Validations without a better score before training stops."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs from one validation to the next."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Time budget. After the first epoch the plan is cut to the epochs that fit into it; `null` knows no clock."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Steps from one checkpoint to the next, where checkpoints are kept; 0 writes one after each epoch only."""


@dataclass(frozen=True)
class StepLoss:
    """The loss of one batch, and what it counts."""

    loss: Tensor
    """Scalar: the mean over what the batch holds."""
    weight: float
    """How much that mean counts among other batches: the number of targets, or the sum of their weights; > 0."""
    tokens: int
    """Positions computed, without padding."""
    items: int
    """Examples: windows, texts or pairs."""


class TrainingTask(ABC, Generic[Batch]):
    """What is trained: a network, its batches, its loss, its validation."""

    model: nn.Module
    """The network; given when the task is made, or built by `prepare`. `train` moves it to the device."""
    decides: ClassVar[str | None] = None
    """The validation metric that picks the best epoch; None keeps the last."""
    larger_is_better: ClassVar[bool] = True
    """Whether a larger value of that metric is better."""

    def prepare(self) -> None:
        """Called once, after the seed is set and before anything else: build here what draws its first weights."""

    @abstractmethod
    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, from 1; fixed by the epoch (and the task's own seed) alone, so that a resumed
        training can skip to where it was. Draws nothing from torch's global generator.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> StepLoss:
        """The loss of a batch; tensors in it are on the model's device, arrays are as `batches` gave them."""

    def validate(self) -> Mapping[str, float]:
        """Metrics by name, empty where there is nothing to validate on. Free to call `model.eval()`."""
        return {}

    def batch_count(self) -> int:
        """Batches in an epoch, for the schedule; counted, where a task knows no faster way."""
        return sum(1 for _ in self.batches(0))

    def parameter_groups(self, config: LoopConfig) -> list[dict[str, Any]]:
        """AdamW's groups of trainable parameters: matrices decay; embeddings, biases and norms do not.

        A group may carry `lr_scale`, a factor of the scheduled rate, and any option of `torch.optim.AdamW`.
        """
        return decay_groups(self.model, config.weight_decay)

    def footprint(self) -> Footprint | None:
        """What the memory estimate goes by, once `prepare` has made the network; None where the task cannot say, and
        nothing is refused.
        """
        return None

    def fingerprint(self) -> str:
        """What a checkpoint must match to be gone on with; as it stands, names and shapes of the parameters and the
        number of batches. A task that can name its data adds that.
        """
        shapes = [f"{name}{tuple(weight.shape)}" for name, weight in self.model.named_parameters()]
        return f"{type(self).__name__} {self.batch_count()} {' '.join(shapes)}"

    def checkpoint_gradients(self) -> None:
        """Turn on `gradient_checkpointing`; as it stands, through the network's own switch. Raises `TrainingError`."""
        for module in self.model.modules():
            switch = getattr(module, "gradient_checkpointing_enable", None)
            if switch is not None:
                switch(gradient_checkpointing_kwargs={"use_reentrant": False})
                return
        raise TrainingError(
            f"{type(self.model).__name__} cannot compute its activations again",
            remedy="Set `gradient_checkpointing: false`, or take smaller batches and accumulate.",
        )


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: those that decay, and embeddings, biases and norms, which do not."""
    from torch import nn

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    decayed = [weight for weight in trained if weight.ndim > 1 and id(weight) not in embeddings]
    others = [weight for weight in trained if weight.ndim <= 1 or id(weight) in embeddings]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
