"""The one contract of every technique that turns texts into vectors.

A technique is a subclass in a file of its own. It sees texts only: which columns make a text is `item_texts`' matter,
what was encoded before is `vector_cache`'s.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from genre_pipeline.contracts.errors import TrainingError

Report = Callable[[int, int], None]
"""Called with (done, total) texts as work goes on."""


class TextExtractor(ABC):
    """Texts in, vectors out. Equal texts under an equal `model` give equal vectors, in whatever order they come."""

    name: ClassVar[str]
    """The technique, which is also the key under which its vectors are known."""

    @property
    @abstractmethod
    def model(self) -> str:
        """The identity of what decides a vector: weights, fitted vocabulary, settings. Part of a cache key."""

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn what depends on the corpus. A pretrained technique learns nothing."""
        del texts
        return self

    @abstractmethod
    def encode(self, texts: Sequence[str], report: Report | None = None) -> np.ndarray:
        """float32 [len(texts), width], always finite; all zero where a text holds nothing the technique knows."""


class SparseTextExtractor(TextExtractor):
    """A technique whose natural form is a sparse row over a learned vocabulary. `encode` gives the same rows, dense."""

    @abstractmethod
    def encode_sparse(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """float32 [len(texts), width] with sorted column indices."""

    def encode(self, texts: Sequence[str], report: Report | None = None) -> np.ndarray:
        """The sparse rows, dense: 4 bytes a text and word of the vocabulary. Large catalogues want `encode_sparse`."""
        rows = self.encode_sparse(texts).toarray()
        if report is not None:
            report(len(texts), len(texts))
        return np.ascontiguousarray(rows, dtype=np.float32)


def not_fitted(name: str) -> TrainingError:
    """The error of an extractor that is asked for vectors before it has seen a corpus."""
    return TrainingError(f"{name} has not been fitted", remedy="Call `fit` with the catalogue's texts first.")
