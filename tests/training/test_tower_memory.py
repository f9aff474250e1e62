from pathlib import Path

from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.models.towers import build_tower
from genre_pipeline.training.tower_memory import text_footprint

TEXTS = ["a red shirt", "a blue hat"]


def test_frozen_layers_keep_no_activations_and_adapters_have_few_gradients(tmp_path: Path) -> None:
    tiny_encoder(tmp_path / "encoder", TEXTS)
    sizes = {}
    for how in ("full", "lora", "top_layers"):
        config = TowerConfig(source=str(tmp_path / "encoder"), fine_tune=how, top_layers=1, max_tokens=16)
        footprint = text_footprint(build_tower(config), 8)
        assert footprint is not None
        assert (footprint.batch_size, footprint.length) == (8, 16)
        sizes[how] = footprint.size
    assert sizes["full"].trained == sizes["full"].parameters > sizes["top_layers"].trained > 0
    assert sizes["lora"].trained < sizes["full"].trained
    assert sizes["full"].layers > sizes["top_layers"].layers == 1


def test_a_recurrent_tower_is_not_judged() -> None:
    assert text_footprint(build_tower(TowerConfig(kind="lstm", fine_tune="full"), TEXTS), 8) is None
