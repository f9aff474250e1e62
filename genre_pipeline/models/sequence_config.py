"""The shape of the sequence network, apart from the network so that reading a configuration does not load torch."""

from typing import Literal

from pydantic import Field, model_validator

from genre_pipeline.contracts.settings import Settings


class SequenceConfig(Settings):
    """Shape and scoring of the user-sequence network (SASRec, arXiv 1808.09781, with the changes of 2508.06450)."""

    width: int = Field(default=64, ge=4, le=1024)
    """Dimensions of an item and of a user state."""
    encoder: Literal["transformer", "gru", "lstm", "attention_pooling"] = "transformer"
    """What reads the history: causal attention, a recurrent network, or a learned weighted mean of it."""
    blocks: int = Field(default=1, ge=1, le=12)
    """Blocks of the encoder, one above the other."""
    heads: int = Field(default=2, ge=1)
    """Attention heads; `width` must be a multiple. Recurrent encoders have none."""
    ids: bool = True
    """Represent an item with history by an embedding of its id too. Without it content alone speaks, and a new item is
    as well known as an old one."""
    expansion: int = Field(default=2, ge=1, le=8)
    """Width of the feed-forward layer, in multiples of `width`."""
    length: int = Field(default=50, ge=1, le=2048)
    """How many of a user's latest interactions the network reads."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of input and residual values dropped in training."""
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of items that a training step shows by content alone, so that items without history are scored sensibly."""
    time_gaps: bool = True
    """Read how long each interaction came after the one before. Without effect on a source that knows an order only."""
    event_types: bool = True
    """Read what kind of event each interaction was. Without effect on a source that has one kind only."""
    similarity: Literal["dot", "cosine"] = "dot"
    """How a user state and an item are compared."""
    temperature: float = Field(default=1.0, gt=0)
    """Scores are divided by this; about 0.1 suits `cosine`."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "SequenceConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
