"""Text classification on any item tower: one logit a text, trained by the one loop.

The task, its settings and what is measured of a classifier. How it is stored is `classifier_bundle`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.models.token_batches import lengths_of, padded, rows_by_length
from genre_pipeline.models.tower import ItemTower, LayeredTower
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.models.towers import build_tower
from genre_pipeline.training.batches import batches_by_length
from genre_pipeline.training.memory import Footprint
from genre_pipeline.training.task import LoopConfig, StepLoss, TrainingTask
from genre_pipeline.training.tower_memory import text_footprint

if TYPE_CHECKING:
    from genre_pipeline.training.layer_cache import LayerCache, LayerStates

VALIDATION = "validation"
_BATCH_TOKENS = 16_384


class ClassificationConfig(LoopConfig):
    """How a text classifier is trained."""

    tower: TowerConfig = TowerConfig(max_tokens=256)
    """The network that reads a text, and what of it is trained."""
    head_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of the pooled values dropped in training before the logit."""
    batch_size: int = Field(default=32, ge=1)
    """Texts in a batch."""
    epochs: int = Field(default=4, ge=1)
    """Passes over the data at most."""
    patience: int = Field(default=2, ge=1)
    """Validations without a smaller loss before training stops."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts of two classes."""

    texts: pl.Series
    """String, without nulls."""
    labels: np.ndarray
    """float32 [texts], 0 or 1."""

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels) or not np.isin(self.labels, (0, 1)).all():
            raise TrainingError(
                "Labels are one a text, each 0 or 1", remedy="Drop texts without a label, and code the classes as 0, 1."
            )


class TextBatch(NamedTuple):
    """B texts, padded at the end."""

    inputs: Tensor
    """Tokens int64 [B, T], or cached states [B, T, H]."""
    mask: Tensor
    """bool [B, T]"""
    labels: Tensor
    """float32 [B]"""


class TextClassifier(nn.Module):
    """A tower and one logit over its vector."""

    def __init__(self, tower: ItemTower, dropout: float = 0.0) -> None:
        super().__init__()
        self.tower, self.dropout = tower, nn.Dropout(dropout)
        self.head = nn.Linear(tower.width, 1)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, T] or cached states [B, T, H], mask bool [B, T] -> logits float32 [B]."""
        if inputs.ndim == 3:
            assert isinstance(self.tower, LayeredTower)
            vectors = self.tower.upper(inputs.float(), mask, self.tower.frozen_layers)
        else:
            vectors = self.tower(inputs, mask)  # [B, W]
        logits: Tensor = self.head(self.dropout(vectors)).squeeze(1).float()
        return logits


class ClassificationTask(TrainingTask[TextBatch]):
    """Binary cross-entropy of texts; every set of `watched` is measured by epoch, and `validation` decides.

    With a `cache`, a tower's frozen layers read every text once, for all epochs and trainings.
    """

    decides: ClassVar[str | None] = f"{VALIDATION}_loss"
    larger_is_better: ClassVar[bool] = False
    model: TextClassifier

    def __init__(
        self,
        data: LabelledTexts,
        config: ClassificationConfig,
        *,
        seed: int,
        watched: Mapping[str, LabelledTexts],
        cache: LayerCache | None = None,
        offline: bool = False,
        device: str = "cpu",
    ) -> None:
        if VALIDATION not in watched:
            raise TrainingError("A classifier needs texts for validation", remedy=f"Give `watched` a {VALIDATION!r}.")
        self.data, self.config, self.seed, self.watched = data, config, seed, watched
        self.cache, self.offline, self.device = cache, offline, device

    def prepare(self) -> None:
        """Build the tower, with a vocabulary of the training texts alone where it has its own, and read all texts."""
        tower = build_tower(self.config.tower, self.data.texts.to_list(), offline=self.offline)
        self.model = TextClassifier(tower, self.config.head_dropout)
        cache = self.cache if isinstance(tower, LayeredTower) and tower.frozen_layers else None
        if cache is not None:
            tower.to(self.device)
        self.read = read_texts(self.data, tower, cache)
        self.read_watched = {name: read_texts(one, tower, cache) for name, one in self.watched.items()}

    def batches(self, epoch: int) -> Iterator[TextBatch]:
        """Every text once, with others of like length."""
        random = np.random.default_rng([self.seed, epoch])
        for rows in batches_by_length(self.read.lengths, self.config.batch_size, random):
            yield self.read.batch(rows)

    def batch_count(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.data.labels) // self.config.batch_size)

    def loss(self, batch: TextBatch) -> StepLoss:
        """Mean binary cross-entropy of the batch."""
        logits = self.model(batch.inputs, batch.mask)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
        return StepLoss(loss, float(len(logits)), int(batch.mask.sum()), len(logits))

    def validate(self) -> Mapping[str, float]:
        """`<set>_loss` and `<set>_accuracy` of each watched set."""
        is_half = self.config.precision == "bfloat16"
        measured = {name: measure(self.model, read, is_half=is_half) for name, read in self.read_watched.items()}
        return {f"{name}_{what}": value for name, one in measured.items() for what, value in one.items()}

    def footprint(self) -> Footprint | None:
        """Of a batch of the longest texts."""
        return text_footprint(self.model.tower, self.config.batch_size)

    def fingerprint(self) -> str:
        """Network, texts, labels."""
        digest = hashlib.sha256()
        for one in (self.data, *self.watched.values()):
            digest.update(one.texts.hash(seed=0).to_numpy().tobytes() + one.labels.tobytes())
        return f"{super().fingerprint()} {self.model.tower.identity} {digest.hexdigest()}"


@dataclass(frozen=True)
class ReadTexts:
    """Texts as the network takes them."""

    tokens: list[np.ndarray] | None
    states: LayerStates | None
    """Of the frozen layers, where they are cached; in the place of tokens."""
    labels: np.ndarray
    pad: int

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64 [texts]"""
        if self.states is not None:
            return self.states.length
        assert self.tokens is not None
        return lengths_of(self.tokens)

    def batch(self, rows: np.ndarray) -> TextBatch:
        """The texts of these rows, int64 [B]."""
        labels = torch.from_numpy(self.labels[rows])
        if self.states is not None:
            return TextBatch(*self.states.take(rows), labels)
        assert self.tokens is not None
        ids, mask = padded([self.tokens[row] for row in rows], pad=self.pad)
        return TextBatch(torch.from_numpy(ids), torch.from_numpy(mask), labels)


def read_texts(data: LabelledTexts, tower: ItemTower, cache: LayerCache | None = None) -> ReadTexts:
    """Tokens of all texts; with a `cache`, their states after the frozen layers of a `LayeredTower`."""
    if cache is not None and isinstance(tower, LayeredTower):
        hashes = pl.Series([hashlib.sha256(text.encode()).hexdigest() for text in data.texts])
        return ReadTexts(None, cache.states(tower, hashes, data.texts), data.labels, tower.pad)
    return ReadTexts(tower.tokenise(data.texts.to_list()), None, data.labels, tower.pad)


def measure(classifier: TextClassifier, read: ReadTexts, *, is_half: bool = False) -> dict[str, float]:
    """`loss`, the mean binary cross-entropy, and `accuracy`, in evaluation mode."""
    logits = torch.from_numpy(predict(classifier, read, is_half=is_half))
    labels = torch.from_numpy(read.labels)
    loss = nn.functional.binary_cross_entropy_with_logits(logits.double(), labels.double())
    return {"loss": float(loss), "accuracy": float(((logits > 0) == (labels > 0)).double().mean())}


@torch.inference_mode()
def predict(classifier: TextClassifier, read: ReadTexts, *, is_half: bool = False) -> np.ndarray:
    """Logits float32 [texts], in evaluation mode, in batches of at most so many tokens; bf16 inside if `is_half`."""
    device, logits = next(classifier.parameters()).device, np.zeros(len(read.labels), dtype=np.float32)
    classifier.eval()
    for rows in rows_by_length(read.lengths, _BATCH_TOKENS):
        batch = read.batch(rows)
        with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
            logits[rows] = classifier(batch.inputs.to(device), batch.mask.to(device)).cpu().numpy()
    return logits
