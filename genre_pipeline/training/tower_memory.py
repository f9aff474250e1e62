"""What the memory estimate goes by where a text tower is trained."""

from __future__ import annotations

from genre_pipeline.models.pretrained_tower import PretrainedTower
from genre_pipeline.models.tower import ItemTower
from genre_pipeline.training.memory import Footprint, network_size


def text_footprint(tower: ItemTower, texts: int) -> Footprint | None:
    """Of so many texts a batch, each of all the tokens that the tower reads; None for a tower without Transformer
    layers, whose memory the estimate does not know.
    """
    if not isinstance(tower, PretrainedTower):
        return None
    network = tower.network.config
    width = int(network.hidden_size)
    inner = getattr(network, "intermediate_size", None) or getattr(network, "n_inner", None) or 4 * width
    layers = tower.layers - tower.frozen_layers
    return Footprint(
        network_size(tower, layers=layers, width=width, inner_width=int(inner)), texts, tower.config.max_tokens
    )
