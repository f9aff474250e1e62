"""What the towers of pretrained networks share: a network of stacked layers, cut in two without copying a weight.

`bert_tower` and `gpt_tower` say how texts become tokens and where a network keeps its layers. Which weights are trained
is decided here, once.
"""

import copy
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.models.bert import load_tokenizer
from genre_pipeline.models.lora import add_adapters
from genre_pipeline.models.model_files import ModelFiles, load_network, unreadable
from genre_pipeline.models.token_batches import shortened, tokens_within
from genre_pipeline.models.tower import LayeredTower, pooled
from genre_pipeline.models.tower_config import TowerConfig

BACKBONE = "backbone.json"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


class PretrainedTower(LayeredTower):
    """A tower over a network of transformers."""

    layer_paths: ClassVar[Mapping[str, str]]
    """Model type to where its stacked layers lie: the types that can be cut in two."""

    def __init__(self, config: TowerConfig, network: Any, tokenizer: Any, identity: str) -> None:
        super().__init__()
        if getattr(network, "pooler", None) is not None:
            network.pooler = None  # a head for another task
        self.config, self.network, self.tokenizer = config, network, tokenizer
        self.pad = tokenizer.pad_token_id or 0
        self._identity = identity
        hidden = int(network.config.hidden_size)
        self.project = nn.Linear(hidden, config.projection, bias=False) if config.projection else None
        self._choose_what_is_trained()

    @classmethod
    def load(cls, config: TowerConfig, files: ModelFiles) -> Self:
        """The tower of a located model, with its weights. Raises `ModelFileError`, `ConfigError`."""
        return cls(config, load_network(files), load_tokenizer(files.folder), files.identity)

    @classmethod
    def blank(cls, config: TowerConfig, files: Mapping[str, bytes], identity: str) -> Self:
        """The tower that `files()` describes, with weights yet to be loaded. Raises `ModelFileError`."""
        from transformers import AutoConfig, AutoModel

        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "config.json").write_bytes(files[BACKBONE])
            for name in _TOKENIZER:
                (folder / name).write_bytes(files[name])
            try:
                settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
                network = AutoModel.from_config(settings, trust_remote_code=False, dtype=torch.float32)
            except (OSError, ValueError, KeyError) as error:
                raise unreadable(BACKBONE, error) from error
            return cls(config, network, load_tokenizer(folder), identity)

    @property
    def width(self) -> int:
        """Dimensions of the vector."""
        return self.config.projection or int(self.network.config.hidden_size)

    @property
    def layers(self) -> int:
        """Stacked layers of the network."""
        return int(self.network.config.num_hidden_layers)

    @property
    def identity(self) -> str:
        """The weights, and what decides the tokens."""
        return f"{self._identity}-{self.config.max_tokens}-{self.config.tail_tokens}-{self.config.instruction}"

    def tokenise(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids int64 of each text, cut at `config.max_tokens`; a text without tokens is one token of padding."""
        if not texts:
            return []
        config, tail = self.config, self.config.tail_tokens
        most = tokens_within(self.network, config.max_tokens, config.source)
        prompted = [config.instruction + text for text in texts]
        cut = {"verbose": False} if tail else {"truncation": True, "max_length": most}
        encoded = self.tokenizer(prompted, return_attention_mask=False, **cut)["input_ids"]
        return [shortened(np.asarray(ids or [self.pad], dtype=np.int64), most, tail) for ids in encoded]

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens int64 [B, T], mask bool [B, T] -> float32 [B, W]."""
        keep = self.frozen_layers
        if keep:
            return self.upper(self.lower(tokens, mask, keep), mask, keep)
        return self._vectors(self._states(self.network, mask, input_ids=tokens), mask)

    @torch.no_grad()
    def lower(self, tokens: Tensor, mask: Tensor, keep: int) -> Tensor:
        """States after the first `keep` layers: [B, T], [B, T] -> [B, T, H]."""
        return self._states(self._lower_part(keep), mask, input_ids=tokens)

    def upper(self, hidden: Tensor, mask: Tensor, keep: int) -> Tensor:
        """The layers after the first `keep`, pooled: [B, T, H], [B, T] -> float32 [B, W]."""
        return self._vectors(self._states(self._upper_part(keep), mask, inputs_embeds=hidden), mask)

    def train(self, mode: bool = True) -> Self:
        """What is frozen stays in evaluation mode: its dropout would make two readings of an item differ."""
        super().train(mode)
        for module in [self.network] if self.config.fine_tune == "frozen" else self._lower_modules():
            module.train(False)
        return self

    def files(self) -> Mapping[str, bytes]:
        """The network's own configuration, and its tokenizer."""
        with tempfile.TemporaryDirectory() as scratch:
            self.tokenizer.save_pretrained(scratch)
            tokenizer = {name: (Path(scratch) / name).read_bytes() for name in _TOKENIZER}
        return {BACKBONE: self.network.config.to_json_string(use_diff=False).encode(), **tokenizer}

    @abstractmethod
    def _states(self, part: Any, mask: Tensor, **given: Tensor) -> Tensor:
        """Last states [B, T, H] of a part of the network, given `input_ids` [B, T] or `inputs_embeds` [B, T, H]."""

    @abstractmethod
    def _lower_part(self, keep: int) -> Any:
        """The network up to its layer `keep`, which gives that layer's states."""

    @abstractmethod
    def _upper_part(self, keep: int) -> Any:
        """The network from there on, which takes them."""

    def _vectors(self, states: Tensor, mask: Tensor) -> Tensor:
        vectors = pooled(states, mask, self.config.pooled_by)  # [B, H]
        return vectors if self.project is None else self.project(vectors).float()

    def _choose_what_is_trained(self) -> None:
        how = self.config.fine_tune
        if how == "lora":
            add_adapters(self.network, self.config.lora)
            return
        self.network.requires_grad_(how in ("full", "top_layers"))
        if how == "top_layers":
            for module in self._lower_modules():
                module.requires_grad_(False)

    def _lower_modules(self) -> list[Any]:
        """What lies below the trained layers: the embeddings and the frozen layers."""
        if self.config.fine_tune != "top_layers":
            return []
        layers = self.network.get_submodule(self.layer_path)
        return [*self._embeddings(), *layers[: self.frozen_layers]] if self.frozen_layers else []

    def _embeddings(self) -> list[Any]:
        return [self.network.get_input_embeddings()]

    @property
    def layer_path(self) -> str:
        """Where the network keeps its stacked layers. Raises `ConfigError` for a type that is not known."""
        kind = self.network.config.model_type
        if kind not in self.layer_paths:
            raise ConfigError(
                f"A network of type {kind!r} cannot be cut into lower and upper layers",
                remedy=f"Use `fine_tune: lora` or `full`, or one of these: {', '.join(sorted(self.layer_paths))}.",
            )
        return self.layer_paths[kind]


def part_of(network: Any, layer_path: str, layers: slice, **replaced: nn.Module) -> Any:
    """The network with some of its layers, and other modules in the place of its own: the same weights, none copied."""
    part = copy.copy(network)
    part._modules = {**network._modules, **replaced}
    child, _dot, rest = layer_path.partition(".")
    below = network._modules[child]
    part._modules[child] = part_of(below, rest, layers) if rest else nn.ModuleList(below[layers])
    return part
