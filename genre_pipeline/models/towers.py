"""From a configuration to its item tower: the one place that knows every kind."""

from collections.abc import Mapping, Sequence

from genre_pipeline.models.bert import locate_encoder
from genre_pipeline.models.bert_tower import BertTower
from genre_pipeline.models.causal import locate_causal
from genre_pipeline.models.compression import open_int8_layers
from genre_pipeline.models.gpt_tower import GptTower
from genre_pipeline.models.lora import merge_adapters
from genre_pipeline.models.pretrained_tower import PretrainedTower
from genre_pipeline.models.tower import ItemTower
from genre_pipeline.models.tower_config import TowerConfig


def build_tower(config: TowerConfig, texts: Sequence[str] = (), *, offline: bool = False) -> ItemTower:
    """The tower of a configuration, on the processor: pretrained weights, or an `lstm` with the vocabulary of `texts`.

    New weights (a projection, adapters, an `lstm`) come from torch's global generator. Raises `ModelFileError` where
    the source is not there or not sound, `ConfigError` where it cannot do what is asked.
    """
    if config.kind == "lstm":
        from genre_pipeline.models.lstm import LstmTower

        return LstmTower.of_texts(config, texts)
    pin = config.weights_sha256
    if config.kind == "gpt":
        return GptTower.load(config, locate_causal(config.source, weights_sha256=pin, offline=offline))
    return BertTower.load(config, locate_encoder(config.source, weights_sha256=pin, offline=offline))


def blank_tower(config: TowerConfig, files: Mapping[str, bytes], identity: str) -> ItemTower:
    """The tower whose `files()` these are, its weights yet to be loaded. Raises `ModelFileError`."""
    if config.kind == "lstm":
        from genre_pipeline.models.lstm import LstmTower

        return LstmTower.blank(config, files, identity)
    tower = (GptTower if config.kind == "gpt" else BertTower).blank(config, files, identity)
    return open_int8_layers(tower)


def finish_tower(tower: ItemTower) -> ItemTower:
    """The trained tower as it serves: adapters merged, nothing left to train, in evaluation mode. Changed in place."""
    if tower.config.fine_tune == "lora" and isinstance(tower, PretrainedTower):
        merge_adapters(tower.network)
    tower.config = tower.config.model_copy(update={"fine_tune": "frozen"})
    return tower.requires_grad_(False).eval()
