"""The LSTM item tower: a vocabulary of the training texts, a bidirectional LSTM over it, its states pooled.

Trained from scratch, or from given word vectors. Sequences are packed: padding is neither computed nor read, in either
direction. What is trained on top (next items, a classifier's one logit) does not belong here.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Self, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from genre_pipeline.contracts.errors import ConfigError, ModelFileError
from genre_pipeline.models.token_batches import shortened
from genre_pipeline.models.tower import ItemTower, pooled
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.models.word_vectors import WordVectors

VOCABULARY = "vocabulary.json"
PAD, UNKNOWN = "<pad>", "<unk>"
_MARKUP = r"<[^<>]*>"
_WORD = r"\w+(?:['’]\w+)*|[^\w\s]"
_LARGEST_START = 0.1
"""Words open within ± this: small against what training moves them by."""


def words_of(texts: Sequence[str]) -> pl.Series:
    """List(String) by text: lower-case words and single signs, markup left out."""
    plain = pl.Series("word", texts, dtype=pl.String).str.replace_all(_MARKUP, " ")
    return plain.str.to_lowercase().str.extract_all(_WORD)


def vocabulary_of(texts: Sequence[str], size: int, least_count: int) -> list[str]:
    """`<pad>`, `<unk>`, then the most frequent words of the texts: at most `size`, each seen `least_count` times.

    Ties in alphabetical order, so that the order of the texts does not matter.
    """
    counted = words_of(texts).explode().drop_nulls().value_counts(name="count")
    kept = counted.filter(pl.col("count") >= least_count).sort("count", "word", descending=[True, False])
    return [PAD, UNKNOWN, *kept["word"].head(size - 2)]


class LstmTower(ItemTower):
    """Words -> vectors -> an LSTM in each direction -> pooled -> projected."""

    pad = 0

    def __init__(self, config: TowerConfig, vocabulary: Sequence[str], vectors: WordVectors | None = None) -> None:
        super().__init__()
        self.config, self.vocabulary, shape = config, tuple(vocabulary), config.lstm
        self.words = nn.Embedding(len(vocabulary), shape.embedding_width, padding_idx=self.pad)
        self._open_words(vectors)
        self.lstm = nn.LSTM(
            shape.embedding_width,
            shape.hidden_width,
            num_layers=shape.layers,
            dropout=shape.dropout if shape.layers > 1 else 0.0,
            bidirectional=True,
            batch_first=True,
        )
        self.dropout = nn.Dropout(shape.dropout)
        parts = 2 if config.pooled_by == "max_mean" else 1
        self.states_width = 2 * shape.hidden_width * parts
        self.project = nn.Linear(self.states_width, config.projection, bias=False) if config.projection else None
        trains = config.fine_tune == "full"
        self.words.requires_grad_(trains)
        self.lstm.requires_grad_(trains)

    @classmethod
    def of_texts(cls, config: TowerConfig, texts: Sequence[str], vectors: WordVectors | None = None) -> Self:
        """A new tower that knows the words of these texts, which are the training's alone.

        Words that `vectors` holds open there, the others at random, drawn from torch's global generator. Raises
        `ConfigError` where no word is frequent enough or the vectors have another width.
        """
        vocabulary = vocabulary_of(texts, config.lstm.vocabulary_size, config.lstm.least_count)
        if len(vocabulary) == 2:
            raise ConfigError(
                f"No word occurs {config.lstm.least_count} times in the {len(texts)} texts of an lstm",
                remedy="Give more texts, lower `lstm.least_count`, or use a `bert` tower.",
            )
        return cls(config, vocabulary, vectors)

    @classmethod
    def blank(cls, config: TowerConfig, files: Mapping[str, bytes], identity: str) -> Self:
        """The tower of a bundle's `vocabulary.json`, with weights yet to be loaded. Raises `ModelFileError`."""
        vocabulary = json.loads(files[VOCABULARY])
        if (
            not isinstance(vocabulary, list)
            or vocabulary[:2] != [PAD, UNKNOWN]
            or len(set(vocabulary)) < len(vocabulary)
        ):
            raise ModelFileError(
                f"{VOCABULARY} is no list of different words that opens with {PAD}, {UNKNOWN}",
                remedy="Train the tower again, or take another version of it.",
            )
        return cls(config, vocabulary)

    @property
    def width(self) -> int:
        """Dimensions of the vector."""
        return self.config.projection or self.states_width

    @property
    def layers(self) -> int:
        """Stacked layers of the LSTM."""
        return self.config.lstm.layers

    @property
    def identity(self) -> str:
        """The vocabulary, and what decides the tokens; its first weights are the training seed's."""
        digest = sha256("\n".join(self.vocabulary).encode()).hexdigest()[:16]
        return f"lstm-{digest}-{self.config.max_tokens}-{self.config.tail_tokens}"

    def tokenise(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Positions in the vocabulary, int64, of each text, cut at `config.max_tokens`; at least one each."""
        words = words_of(texts)
        lengths = words.list.len().to_numpy()
        known = words.explode(empty_as_null=False).cast(self._known, strict=False).to_physical()
        flat = known.cast(pl.Int64).fill_null(self.vocabulary.index(UNKNOWN)).to_numpy()
        unknown = np.array([self.vocabulary.index(UNKNOWN)])
        rows = np.split(flat, np.cumsum(lengths)[:-1]) if len(texts) else []
        return [
            shortened(row, self.config.max_tokens, self.config.tail_tokens) if len(row) else unknown for row in rows
        ]

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens int64 [B, T], mask bool [B, T] -> float32 [B, W]."""
        lengths = mask.sum(1)
        words = self.dropout(self.words(self._forgotten(tokens)))  # [B, T, E]
        packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _lengths = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=tokens.shape[1])
        vectors = pooled(states, mask, self.config.pooled_by)  # [B, W]
        return vectors if self.project is None else cast(Tensor, self.project(vectors)).float()

    def train(self, mode: bool = True) -> Self:
        """A frozen tower reads the same in training as it does in serving."""
        super().train(mode)
        if self.config.fine_tune == "frozen":
            self.words.train(False)
            self.lstm.train(False)
            self.dropout.train(False)
        return self

    def files(self) -> Mapping[str, bytes]:
        """The vocabulary, in the order of its tokens."""
        return {VOCABULARY: json.dumps(list(self.vocabulary), ensure_ascii=False, indent=0).encode()}

    def _forgotten(self, tokens: Tensor) -> Tensor:
        """In training a share of the words is not known: the network learns not to lean on single ones."""
        share = self.config.lstm.word_dropout
        if not (self.dropout.training and share):
            return tokens
        lost = torch.rand(tokens.shape, device=tokens.device) < share
        return tokens.masked_fill(lost & (tokens != self.pad), self.vocabulary.index(UNKNOWN))

    @cached_property
    def _known(self) -> pl.Enum:
        return pl.Enum(self.vocabulary)

    @torch.no_grad()
    def _open_words(self, vectors: WordVectors | None) -> None:
        self.words.weight.uniform_(-_LARGEST_START, _LARGEST_START)
        if vectors is not None:
            rows, found = vectors.rows_of(self.vocabulary, self.config.lstm.embedding_width)
            self.words.weight[torch.from_numpy(rows)] = torch.from_numpy(found)
        self.words.weight[self.pad] = 0
