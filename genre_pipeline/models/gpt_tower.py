"""The item tower of the GPT family: any causal language model, read at the last token, behind an instruction.

The last token alone has seen the whole text (Wang et al. 2024, arXiv 2401.00368). Padding stands at the end, where a
causal model never looks back at it: no mask is needed, and attention is the fused causal kernel.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from genre_pipeline.models.pretrained_tower import PretrainedTower, part_of


class GptTower(PretrainedTower):
    """Tokens -> embeddings -> layers, each token seeing those before it -> last norm -> last token -> projected."""

    layer_paths: ClassVar[Mapping[str, str]] = {
        "llama": "layers",
        "mistral": "layers",
        "qwen2": "layers",
        "qwen3": "layers",
        "phi3": "layers",
    }

    def _states(self, part: Any, mask: Tensor, **given: Tensor) -> Tensor:
        return cast(Tensor, part(use_cache=False, **given).last_hidden_state)  # [B, T, H]

    def _lower_part(self, keep: int) -> Any:
        return part_of(self.network, self.layer_path, slice(0, keep), norm=nn.Identity())

    def _upper_part(self, keep: int) -> Any:
        return part_of(self.network, self.layer_path, slice(keep, None))
