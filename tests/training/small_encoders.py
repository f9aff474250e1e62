"""Encoders built from their configuration, trained to say nothing in particular."""

from collections.abc import Iterator

import torch
from torch import nn

from genre_pipeline.training.memory import Footprint, network_size
from genre_pipeline.training.task import StepLoss, TrainingTask

TINY = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 16, "intermediate_size": 4096}
"""Large enough for a GPU to be busy."""


def encoder(shape: dict[str, int], *, vocab_size: int = 1000) -> nn.Module:
    from transformers import BertConfig, BertModel

    # Without dropout on attention, which a CPU can only compute with the whole attention matrix.
    config = BertConfig(vocab_size=vocab_size, attention_probs_dropout_prob=0.0, **shape)
    return BertModel(config, add_pooling_layer=False)


class Encoding(TrainingTask[torch.Tensor]):
    """Batches of one size, and a loss of every token's vector."""

    def __init__(
        self, shape: dict[str, int], *, batch_size: int, length: int, steps: int = 3, trained: str = "all"
    ) -> None:
        self.shape, self.batch_size, self.length, self.steps, self.trained = shape, batch_size, length, steps, trained

    def prepare(self) -> None:
        self.model = encoder(self.shape)
        if self.trained == "top":
            self.model.requires_grad_(False)
            self.model.encoder.layer[-1].requires_grad_(True)

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(self.steps):
            yield torch.randint(1000, (self.batch_size, self.length), generator=generator)

    def loss(self, batch: torch.Tensor) -> StepLoss:
        states = self.model(batch).last_hidden_state
        return StepLoss(states.float().pow(2).mean(), float(len(batch)), batch.numel(), len(batch))

    def footprint(self) -> Footprint:
        layers = 1 if self.trained == "top" else self.shape["num_hidden_layers"]
        width, inner = self.shape["hidden_size"], self.shape["intermediate_size"]
        size = network_size(self.model, layers=layers, width=width, inner_width=inner)
        return Footprint(size, self.batch_size, self.length)
