"""Bag of words: how often each word of a learned vocabulary occurs in a text. Sparse, counted in columns.

A word is a run of letters, marks and digits of any script after Unicode NFKC and lower-casing, at least
`min_word_characters` long; everything else separates words. Scripts written without spaces come out as whole runs.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.extractor import SparseTextExtractor, not_fitted

_WORD = r"[\p{L}\p{M}\p{N}]+"
_ROWS_AT_ONCE = 8192


class BagOfWordsConfig(Settings):
    """Which words are counted."""

    min_word_characters: int = Field(default=2, ge=1)
    """Shorter words are left out."""
    min_documents: int = Field(default=1, ge=1)
    """A word in fewer texts than this is left out."""
    max_document_share: float = Field(default=1.0, gt=0, le=1)
    """A word in a larger share of the texts than this is left out."""
    max_words: int = Field(default=2048, ge=1)
    """The vocabulary's size: the words in the most texts are kept, equal ones in alphabetical order."""


class BagOfWords(SparseTextExtractor):
    """Word counts, float32 [texts, words], columns in alphabetical order. Rows are not normalised."""

    name: ClassVar[str] = "text_bag_of_words"

    def __init__(self, config: BagOfWordsConfig | None = None) -> None:
        self.config = config or BagOfWordsConfig()
        self._vocabulary: pl.DataFrame | None = None
        self.n_documents = 0

    @property
    def vocabulary(self) -> pl.DataFrame:
        """The fitted words: word (String, sorted), documents (UInt32, texts that hold it), position (Int64)."""
        if self._vocabulary is None:
            raise not_fitted(self.name)
        return self._vocabulary

    @property
    def model(self) -> str:
        """Settings and the fitted vocabulary's fingerprint."""
        return f"{self.name}/{self.fingerprint[:32]}"

    @property
    def fingerprint(self) -> str:
        """sha256 over the settings, the corpus' size, and every word with its document frequency."""
        digest = hashlib.sha256(f"{self.config.model_dump_json()}\n{self.n_documents}\n".encode())
        digest.update(self.vocabulary.select("word", "documents").write_csv().encode())
        return digest.hexdigest()

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the vocabulary and the document frequencies."""
        counted = [
            block.group_by("word").agg(pl.col("row").n_unique().cast(pl.UInt32).alias("documents"))
            for block in self._words(texts)
        ]
        empty = pl.DataFrame(schema={"word": pl.String, "documents": pl.UInt32})
        found = pl.concat([empty, *counted]).group_by("word").agg(pl.col("documents").sum())
        most = self.config.max_document_share * len(texts)
        kept = found.filter(pl.col("documents").is_between(self.config.min_documents, most))
        top = kept.sort("documents", "word", descending=[True, False]).head(self.config.max_words)
        self._vocabulary = top.sort("word").with_columns(pl.row_index("position").cast(pl.Int64))
        self.n_documents = len(texts)
        return self

    def encode_sparse(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """float32 counts [texts, words]."""
        width = self.vocabulary.height
        blocks = [self._counts(block, min(_ROWS_AT_ONCE, len(texts) - start)) for start, block in self._blocks(texts)]
        if not blocks:
            return sparse.csr_matrix((0, width), dtype=np.float32)
        return sparse.csr_matrix(sparse.vstack(blocks, format="csr", dtype=np.float32))

    def _counts(self, words: pl.DataFrame, rows: int) -> sparse.csr_matrix:
        cells = (
            words.join(self.vocabulary, on="word")
            .group_by("row", "position")
            .agg(pl.len().cast(pl.Float32).alias("count"))
            .sort("row", "position")
        )
        where = (cells["row"].to_numpy(), cells["position"].to_numpy())
        return sparse.csr_matrix((cells["count"].to_numpy(), where), shape=(rows, self.vocabulary.height))

    def _blocks(self, texts: Sequence[str]) -> Iterator[tuple[int, pl.DataFrame]]:
        yield from zip(range(0, len(texts), _ROWS_AT_ONCE), self._words(texts), strict=True)

    def _words(self, texts: Sequence[str]) -> Iterator[pl.DataFrame]:
        """For each block of texts: row (within the block), word; one row an occurrence."""
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            block = pl.DataFrame({"text": pl.Series(texts[start : start + _ROWS_AT_ONCE], dtype=pl.String)})
            words = pl.col("text").str.normalize("NFKC").str.to_lowercase().str.extract_all(_WORD)
            yield (
                block.select(pl.row_index("row").cast(pl.Int64), words.alias("word"))
                .explode("word")
                .filter(pl.col("word").str.len_chars() >= self.config.min_word_characters)
            )
