"""Sentence embeddings of a causal language model (GPT family): its states of a text, pooled, rows of length 1.

A causal model has read the whole text only at its last token, so `last` takes that one's state (Wang et al. 2024, arXiv
2401.00368, for models trained to it); `mean` over all tokens suits models that were not. Padding is on the left, where
a causal model reads first and masks it, so that every text of a batch ends at the batch's end. Equal texts are encoded
once. The model is loaded when the first text comes.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.device import Device, Precision
from genre_pipeline.features.extractor import Report, TextExtractor
from genre_pipeline.models.causal import load_causal, locate_causal
from genre_pipeline.models.model_files import ModelFiles
from genre_pipeline.models.token_batches import token_batches, tokenise


class CausalTextConfig(Settings):
    """Which language model, how much of a text it reads, and how its work is cut into batches."""

    source: str
    """The model: a directory, `package:<installed package>`, or a hub id such as `HuggingFaceTB/SmolLM2-135M`."""
    weights_sha256: str | None = None
    """Refuse other weights than these."""
    pooling: Literal["mean", "last"] = "mean"
    """`mean` over all tokens; `last` takes the last token's state, for models trained that way."""
    prompt: str = ""
    """Set before every text, as some models were trained with."""
    max_tokens: int = Field(default=256, ge=1)
    """A longer text is cut; also bounded by the model's own positions."""
    tokens_per_batch: int | None = Field(default=None, ge=1)
    """A batch holds as many texts as fit, each counted at the batch's longest; one text always fits. Unset, 2,048,
    which stays in a processor's cache, and 32,768 on a GPU."""
    precision: Precision = "auto"
    """`auto` computes in bfloat16 on a GPU and in float32 elsewhere."""


class CausalText(TextExtractor):
    """Sentence vectors of a causal language model, float32 [texts, width], each of length 1."""

    name: ClassVar[str] = "text_causal"

    def __init__(self, config: CausalTextConfig, *, device: str = "cpu", offline: bool = False) -> None:
        self.config = config
        self.device = Device(device, config.precision)
        self._offline = offline

    @property
    def model(self) -> str:
        """The model's identity with everything else that moves a vector. The batch size does not."""
        config = self.config
        settings = f"{config.pooling}-{config.max_tokens}-{self.device.precision}"
        return f"{self.name}/{self._files.identity}/{settings}" + (f"/{config.prompt}" if config.prompt else "")

    def encode(self, texts: Sequence[str], report: Report | None = None) -> np.ndarray:
        """Encode each distinct text once. The order of `texts` changes nothing, not a bit."""
        model, tokenizer = self._loaded
        series = pl.Series("text", texts, dtype=pl.String)
        distinct = series.unique().sort()
        vectors = np.zeros((len(distinct), model.config.hidden_size), dtype=np.float32)
        tokens = tokenise(tokenizer, [self.config.prompt + text for text in distinct], self._max_tokens)
        done = int((tokens.list.len() == 0).sum())  # what has no token stays zero
        pad = tokenizer.pad_token_id or 0
        for rows, ids, mask in token_batches(tokens, self._tokens_per_batch, pad=pad, padding="left"):
            vectors[rows] = self._forward(ids, mask)
            done += len(rows)
            if report is not None:
                report(len(texts) * done // len(distinct), len(texts))
        inverse = series.rank("dense").to_numpy().astype(np.int64) - 1
        return np.ascontiguousarray(vectors[inverse])

    def _forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        import torch

        model, _tokenizer = self._loaded
        attention = self.device.move(torch.from_numpy(mask))  # [b, length]
        # A text begins at position 0 wherever its padding ends.
        positions = (attention.long().cumsum(1) - 1).clamp_min(0)  # [b, length]
        with torch.inference_mode(), self.device.autocast():
            states = model(
                input_ids=self.device.move(torch.from_numpy(ids)),
                attention_mask=attention.long(),
                position_ids=positions,
                use_cache=False,
            ).last_hidden_state.float()  # [b, length, width]
        with torch.inference_mode():
            weight = attention.unsqueeze(-1).float()  # [b, length, 1]
            is_mean = self.config.pooling == "mean"
            pooled = (states * weight).sum(1) / weight.sum(1) if is_mean else states[:, -1]  # [b, width]
            unit = torch.nn.functional.normalize(pooled, dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    @cached_property
    def _files(self) -> ModelFiles:
        return locate_causal(self.config.source, weights_sha256=self.config.weights_sha256, offline=self._offline)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return load_causal(self._files, device=self.device.name)

    @property
    def _max_tokens(self) -> int:
        positions = int(self._loaded[0].config.max_position_embeddings)
        if self.config.max_tokens > positions:
            raise ConfigError(
                f"The language model {self.config.source} reads at most {positions} tokens",
                remedy=f"Set `max_tokens` of the causal text encoder to {positions} or less.",
                culprits=[self.config.max_tokens],
            )
        return self.config.max_tokens

    @property
    def _tokens_per_batch(self) -> int:
        return self.config.tokens_per_batch or (32_768 if self.device.kind == "cuda" else 2048)
