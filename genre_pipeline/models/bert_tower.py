"""The item tower of the BERT family: any Hugging Face encoder, its token states pooled by their mean or the first one.

Attention is PyTorch's scaled-dot-product kernel, chosen by transformers; batches come sorted by length.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from genre_pipeline.models.pretrained_tower import PretrainedTower, part_of


class BertTower(PretrainedTower):
    """Tokens -> embeddings -> layers, each seeing the whole text -> pooled -> projected."""

    layer_paths: ClassVar[Mapping[str, str]] = {
        "bert": "encoder.layer",
        "roberta": "encoder.layer",
        "xlm-roberta": "encoder.layer",
        "camembert": "encoder.layer",
        "mpnet": "encoder.layer",
        "distilbert": "transformer.layer",
    }

    def _states(self, part: Any, mask: Tensor, **given: Tensor) -> Tensor:
        return cast(Tensor, part(attention_mask=mask.long(), **given).last_hidden_state)  # [B, T, H]

    def _lower_part(self, keep: int) -> Any:
        return part_of(self.network, self.layer_path, slice(0, keep))

    def _upper_part(self, keep: int) -> Any:
        return part_of(self.network, self.layer_path, slice(keep, None), embeddings=_Embedded())

    def _embeddings(self) -> list[Any]:
        return [self.network.embeddings]


class _Embedded(nn.Module):
    """Stands where the embeddings were, when what comes in are states already."""

    def forward(self, *_tokens: object, inputs_embeds: Tensor, **_others: object) -> Tensor:
        return inputs_embeds  # [B, T, H]
