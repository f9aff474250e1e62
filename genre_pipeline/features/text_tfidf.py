"""TF-IDF: word counts weighted by how rare each word is in the catalogue.

Two weightings. `smoothed` is the standard one, count · (ln((1+n)/(1+DF)) + 1) with rows of length 1 (Salton and Buckley
1988). `article` is the seed article's TF / DF: the count in the text over the number of texts that hold the word.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import polars as pl
from scipy import sparse

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.extractor import SparseTextExtractor
from genre_pipeline.features.text_bag_of_words import BagOfWords, BagOfWordsConfig

Weighting = Literal["smoothed", "article"]


class TfidfConfig(Settings):
    """Which words are weighted, and how."""

    weighting: Weighting = "smoothed"
    """`smoothed` for ln((1+n)/(1+DF)) + 1 with rows of length 1, `article` for TF / DF."""
    words: BagOfWordsConfig = BagOfWordsConfig()
    """Which words are counted."""


class Tfidf(SparseTextExtractor):
    """TF-IDF weights, float32 [texts, words], columns in alphabetical order."""

    name: ClassVar[str] = "text_tfidf"

    def __init__(self, config: TfidfConfig | None = None) -> None:
        self.config = config or TfidfConfig()
        self._bag = BagOfWords(self.config.words)

    @property
    def model(self) -> str:
        """The weighting and the fitted vocabulary's fingerprint."""
        return f"{self.name}/{self.config.weighting}/{self._bag.fingerprint[:32]}"

    @property
    def vocabulary(self) -> pl.DataFrame:
        """The fitted words: word, documents, position."""
        return self._bag.vocabulary

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the vocabulary and the document frequencies."""
        self._bag.fit(texts)
        return self

    def encode_sparse(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """float32 weights [texts, words]."""
        documents = self.vocabulary["documents"].to_numpy()
        counts = self._bag.encode_sparse(texts)
        return tfidf_weights(counts, documents, self._bag.n_documents, self.config.weighting)


def tfidf_weights(
    counts: sparse.csr_matrix, documents: np.ndarray, n_documents: int, weighting: Weighting
) -> sparse.csr_matrix:
    """Weight counts [texts, words] by the texts that hold each word, `documents` int [words] of `n_documents`.

    A word that no text of the corpus holds counts as held by one under `article`, so that nothing is divided by zero.
    """
    rarity = (
        np.log((1 + n_documents) / (1 + documents.astype(np.float64))) + 1
        if weighting == "smoothed"
        else 1 / np.maximum(documents, 1)
    )
    weighted = counts.astype(np.float32, copy=True)
    weighted.data *= rarity.astype(np.float32)[weighted.indices]
    return _unit_rows(weighted) if weighting == "smoothed" else weighted


def _unit_rows(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    rows.data /= np.repeat(lengths, np.diff(rows.indptr)).astype(np.float32)
    return rows
