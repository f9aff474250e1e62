"""Vectors of words that were trained elsewhere, as the opening of a network's own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genre_pipeline.contracts.errors import ConfigError


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors."""

    words: Sequence[str]
    vectors: np.ndarray
    """float32 [words, E]"""

    def rows_of(self, vocabulary: Sequence[str], width: int) -> tuple[np.ndarray, np.ndarray]:
        """(positions in the vocabulary int64 [found], their vectors float32 [found, E]) of the words that are known.

        Raises `ConfigError` where the vectors are not `width` wide.
        """
        if self.vectors.shape[1] != width:
            raise ConfigError(
                f"The word vectors have {self.vectors.shape[1]} dimensions, the lstm's words {width}",
                remedy="Set `lstm.embedding_width` to theirs.",
            )
        place = {word: row for row, word in enumerate(self.words)}
        found = [(position, place[word]) for position, word in enumerate(vocabulary) if word in place]
        positions, rows = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return positions, self.vectors[rows]
