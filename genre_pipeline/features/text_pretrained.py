"""What the sentence embeddings of pretrained networks share: texts in batches by length, states pooled to length 1.

After Sentence-BERT (Reimers and Gurevych 2019, arXiv 1908.10084). Equal texts are encoded once, texts are sorted by
length and batched by a budget of tokens, so that little is spent on padding. The network is loaded when the first text
comes: an unchanged catalogue costs the hash of the weights only. Which network, and how it is asked, is said by
`text_llm` and `text_causal`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.device import Device, Precision
from genre_pipeline.features.extractor import Report, TextExtractor
from genre_pipeline.models.bert import load_tokenizer
from genre_pipeline.models.model_files import ModelFiles, load_network
from genre_pipeline.models.token_batches import Side, token_batches, tokenise, tokens_within

if TYPE_CHECKING:
    from torch import Tensor


class PretrainedTextConfig(Settings):
    """Which network, how much of a text it reads, and how its work is cut into batches."""

    source: str
    """The model: a directory, `package:<installed package>`, or a hub id."""
    weights_sha256: str | None = None
    """Refuse other weights than these."""
    pooling: Literal["mean", "first", "last"] = "mean"
    """How the states of the tokens become one vector."""
    max_tokens: int = Field(default=256, ge=3)
    """A longer text is cut; also bounded by the model's own positions."""
    tokens_per_batch: int | None = Field(default=None, ge=1)
    """A batch holds as many texts as fit, each counted at the batch's longest; one text always fits. Unset, 2,048,
    which stays in a processor's cache; on a GPU 65,536, or 32,768 for a causal model."""
    precision: Precision = "auto"
    """`auto` computes in bfloat16 on a GPU and in float32 elsewhere. Vectors come out as float32 either way."""


class PretrainedText(TextExtractor):
    """Sentence vectors of a network of transformers, float32 [texts, width], each of length 1; zero without a token."""

    padding: ClassVar[Side] = "right"
    """On the left, every text of a batch ends at its end; on the right, every one begins at its beginning."""
    gpu_tokens: ClassVar[int] = 65_536
    """Tokens a batch on a GPU, where the configuration names none."""

    def __init__(self, config: PretrainedTextConfig, *, device: str = "cpu", offline: bool = False) -> None:
        self.config = config
        self.device = Device(device, config.precision)
        self._offline = offline

    @property
    def model(self) -> str:
        """The network's identity with everything else that moves a vector. The batch size does not."""
        config = self.config
        return f"{self.name}/{self._files.identity}/{config.pooling}-{config.max_tokens}-{self.device.precision}"

    def encode(self, texts: Sequence[str], report: Report | None = None) -> np.ndarray:
        """Encode each distinct text once. The order of `texts` changes nothing, not a bit."""
        model, tokenizer = self._loaded
        series = pl.Series("text", texts, dtype=pl.String)
        distinct = series.unique().sort()
        vectors = np.zeros((len(distinct), model.config.hidden_size), dtype=np.float32)
        most = tokens_within(model, self.config.max_tokens, self.config.source)
        tokens = tokenise(tokenizer, self._prompted(distinct.to_list()), most)
        done, pad = int((tokens.list.len() == 0).sum()), tokenizer.pad_token_id or 0
        for rows, ids, mask in token_batches(tokens, self._tokens_per_batch, pad=pad, padding=self.padding):
            vectors[rows] = self._forward(ids, mask)
            done += len(rows)
            if report is not None:
                report(len(texts) * done // len(distinct), len(texts))
        inverse = series.rank("dense").to_numpy().astype(np.int64) - 1
        return np.ascontiguousarray(vectors[inverse])

    @cached_property
    @abstractmethod
    def _files(self) -> ModelFiles:
        """The located model."""

    @abstractmethod
    def _states(self, ids: "Tensor", attention: "Tensor") -> "Tensor":
        """Last states [b, length, width] of token ids int64 and attention bool, both [b, length]."""

    def _prompted(self, texts: list[str]) -> list[str]:
        return texts

    def _forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        import torch

        attention = self.device.move(torch.from_numpy(mask))  # [b, length]
        with torch.inference_mode(), self.device.autocast():
            states = self._states(self.device.move(torch.from_numpy(ids)), attention).float()  # [b, length, width]
        with torch.inference_mode():
            if self.config.pooling == "mean":
                weight = attention.unsqueeze(-1).float()  # [b, length, 1]
                pooled = (states * weight).sum(1) / weight.sum(1)  # [b, width]
            else:
                pooled = states[:, 0 if self.config.pooling == "first" else -1]
            return np.asarray(torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy(), dtype=np.float32)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return load_network(self._files).to(self.device.name), load_tokenizer(self._files.folder)

    @property
    def _tokens_per_batch(self) -> int:
        return self.config.tokens_per_batch or (self.gpu_tokens if self.device.kind == "cuda" else 2048)
