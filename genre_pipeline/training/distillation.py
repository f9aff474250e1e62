"""Distillation: a small item tower learns to give the vectors of a large one (Hinton et al. 2015, arXiv 1503.02531)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.models.compression import normalised
from genre_pipeline.models.token_batches import lengths_of, padded
from genre_pipeline.models.tower import ItemTower, encode_tokens
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.models.towers import build_tower
from genre_pipeline.training.batches import batches_by_length
from genre_pipeline.training.task import LoopConfig, StepLoss, TrainingTask

COSINE = "validation_cosine"


class DistillationConfig(LoopConfig):
    """How a small tower is trained to imitate a large one."""

    student: TowerConfig = TowerConfig(kind="lstm", fine_tune="full", max_tokens=64)
    """The small tower; its projection is set to the large one's width."""
    batch_size: int = Field(default=64, ge=1)
    """Texts in a batch."""
    validation_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the texts that only judge."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the data at most."""


class DistillationBatch(NamedTuple):
    """B texts, padded at the end, and what the large tower says of them."""

    tokens: Tensor
    """int64 [B, T]"""
    mask: Tensor
    """bool [B, T]"""
    wanted: Tensor
    """float32 [B, W], of length 1"""


class DistillationTask(TrainingTask[DistillationBatch]):
    """1 - cosine between the small tower's vector of a text and the large one's; validated on texts held back."""

    decides: ClassVar[str | None] = COSINE
    model: ItemTower

    def __init__(self, texts: Sequence[str], vectors: np.ndarray, config: DistillationConfig, *, seed: int) -> None:
        """`vectors` float32 [texts, W] are the large tower's. Raises `TrainingError` where there are too few texts."""
        self.held_back = int(len(texts) * config.validation_share)
        if len(texts) != len(vectors) or not self.held_back:
            raise TrainingError(
                f"{len(texts)} texts with {len(vectors)} vectors are too few to learn from",
                remedy="Give a vector a text, and enough texts to hold some back.",
            )
        order = np.random.default_rng(seed).permutation(len(texts))
        self.texts = [texts[row] for row in order]
        self.vectors = normalised(vectors.astype(np.float32))[order]
        self.config, self.seed = config, seed

    def prepare(self) -> None:
        """Build the small tower: of an lstm the words of the training texts alone."""
        student = self.config.student.model_copy(update={"projection": self.vectors.shape[1]})
        self.model = build_tower(student, self.texts[self.held_back :])
        self.tokens = self.model.tokenise(self.texts)

    def batches(self, epoch: int) -> Iterator[DistillationBatch]:
        """Every training text once, with others of like length."""
        lengths = lengths_of(self.tokens[self.held_back :])
        random = np.random.default_rng([self.seed, epoch])
        for rows in batches_by_length(lengths, self.config.batch_size, random):
            ids, mask = padded([self.tokens[self.held_back + row] for row in rows], pad=self.model.pad)
            wanted = torch.from_numpy(self.vectors[self.held_back + rows])
            yield DistillationBatch(torch.from_numpy(ids), torch.from_numpy(mask), wanted)

    def batch_count(self) -> int:
        """Batches in an epoch."""
        return -(-(len(self.texts) - self.held_back) // self.config.batch_size)

    def loss(self, batch: DistillationBatch) -> StepLoss:
        """Mean of 1 - cosine."""
        cosine = nn.functional.cosine_similarity(self.model(batch.tokens, batch.mask), batch.wanted)
        return StepLoss((1 - cosine).mean(), float(len(cosine)), int(batch.mask.sum()), len(cosine))

    def validate(self) -> Mapping[str, float]:
        """Mean cosine on the texts held back."""
        given = normalised(encode_tokens(self.model, self.tokens[: self.held_back]))
        return {COSINE: float((given * self.vectors[: self.held_back]).sum(1).mean())}

    def fingerprint(self) -> str:
        """The network, the texts, the vectors."""
        digest = hashlib.sha256("\0".join(self.texts).encode() + self.vectors.tobytes())
        return f"{super().fingerprint()} {digest.hexdigest()}"
