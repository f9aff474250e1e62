"""Sentence embeddings of a causal language model (GPT family): its states of a text, pooled, rows of length 1.

A causal model has read the whole text only at its last token, so `last` takes that one's state (Wang et al. 2024, arXiv
2401.00368, for models trained to it); `mean` over all tokens suits models that were not. Padding is on the left, where
a causal model reads first and masks it, so that every text of a batch ends at the batch's end.
"""

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from genre_pipeline.features.text_pretrained import PretrainedText, PretrainedTextConfig
from genre_pipeline.models.causal import locate_causal
from genre_pipeline.models.model_files import ModelFiles
from genre_pipeline.models.token_batches import Side

if TYPE_CHECKING:
    from torch import Tensor


class CausalTextConfig(PretrainedTextConfig):
    """Which language model, how much of a text it reads, and how its work is cut into batches."""

    source: str
    """The model: a directory, `package:<installed package>`, or a hub id such as `HuggingFaceTB/SmolLM2-135M`."""
    pooling: Literal["mean", "last"] = "mean"
    """`mean` over all tokens; `last` takes the last token's state, for models trained that way."""
    max_tokens: int = Field(default=256, ge=1)
    """A longer text is cut; also bounded by the model's own positions."""
    prompt: str = ""
    """Set before every text, as some models were trained with."""


class CausalText(PretrainedText):
    """Sentence vectors of a causal language model, float32 [texts, width], each of length 1."""

    name: ClassVar[str] = "text_causal"
    padding: ClassVar[Side] = "left"
    gpu_tokens: ClassVar[int] = 32_768
    config: CausalTextConfig

    def __init__(self, config: CausalTextConfig, *, device: str = "cpu", offline: bool = False) -> None:
        super().__init__(config, device=device, offline=offline)

    @property
    def model(self) -> str:
        """The model's identity with everything else that moves a vector. The batch size does not."""
        return super().model + (f"/{self.config.prompt}" if self.config.prompt else "")

    @cached_property
    def _files(self) -> ModelFiles:
        return locate_causal(self.config.source, weights_sha256=self.config.weights_sha256, offline=self._offline)

    def _prompted(self, texts: list[str]) -> list[str]:
        return [self.config.prompt + text for text in texts]

    def _states(self, ids: "Tensor", attention: "Tensor") -> "Tensor":
        model, _tokenizer = self._loaded
        # A text begins at position 0 wherever its padding ends.
        positions = (attention.long().cumsum(1) - 1).clamp_min(0)  # [b, length]
        read = model(input_ids=ids, attention_mask=attention.long(), position_ids=positions, use_cache=False)
        return cast("Tensor", read.last_hidden_state)
