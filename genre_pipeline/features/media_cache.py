"""Encode media once: vectors by the hash of a file's bytes and by model, in the segments of `vector_cache`.

A file's hash is known before it is decoded: what is held already is named to the reader, which then decodes nothing of
it. Reading ahead is the reader's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

import dataframely as dy
import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import CONTENT_HASH, ITEM_ID, VECTOR
from genre_pipeline.contracts.errors import ContractError, ModelFileError
from genre_pipeline.contracts.media import Decoded, MediaBatch, RejectedMedia
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.features.extractor import Report
from genre_pipeline.features.media_extractor import MediaExtractor
from genre_pipeline.features.vector_cache import MODEL, VectorCache
from genre_pipeline.features.vector_column import to_column

NO_CONTENT = sha256(b"").hexdigest()
"""The content hash of an item without a readable file."""
_HELD = pl.Schema([(CONTENT_HASH, pl.String()), (VECTOR, pl.List(pl.Float32))])


@dataclass(frozen=True)
class MediaCounts:
    """What a call of `encode_media` did. items = without_media + rejected + reused + encoded."""

    items: int
    """Rows of the table."""
    without_media: int
    """Items that no batch spoke of: they have no file of this modality."""
    rejected: int
    """Items whose file could not be read."""
    reused: int
    """Items whose vector was there already: in the cache, or of another item with the same file."""
    encoded: int
    """Distinct files that were encoded now."""


@dataclass
class _Work:
    """What has been seen so far: each file's vector, each item's file."""

    vectors: list[pl.DataFrame]
    known: set[str]
    unsaved: list[pl.DataFrame] = field(default_factory=list)
    hash_of: dict[str, str] = field(default_factory=dict)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    encoded: int = 0


def media_model(extractor: MediaExtractor[Decoded], preparation: str = "") -> str:
    """The identity that vectors are kept under. `preparation` names what was done to media before the extractor."""
    return f"{extractor.model}|{preparation}" if preparation else extractor.model


def held_media(cache: VectorCache, model: str) -> pl.DataFrame:
    """All vectors held of a model (content_hash, vector): its hashes are what a reader need not decode."""
    return cache.load_all(model)[0]


def encode_media(
    item_ids: pl.Series,
    batches: Iterable[MediaBatch[Decoded]],
    extractor: MediaExtractor[Decoded],
    cache: VectorCache,
    *,
    preparation: str = "",
    held: pl.DataFrame | None = None,
    report: Report | None = None,
    chunk: int = 1024,
) -> tuple[dy.DataFrame[ItemVectors], dy.DataFrame[RejectedMedia], MediaCounts]:
    """Vectors of all items in the order of `item_ids`, the files set aside, and what was done.

    Each distinct new file is encoded once, as its batch comes; every `chunk` vectors are kept at once, so that a
    killed run is taken up where it stopped. `held`, from `held_media`, is what the reader was told is known (read from
    the cache unless given). An item without a file, with a rejected one, or in whose file the technique finds nothing
    (silence) has a null vector. `report` counts items.

    Raises:
        ModelFileError: the model gives vectors that are not finite; nothing of that batch is kept.
        ContractError: a batch names as known a file of which no vector is held.
    """
    model = media_model(extractor, preparation)
    held = held_media(cache, model) if held is None else held
    work: _Work = _Work([held.select(list(_HELD)).cast(_HELD)], set(held[CONTENT_HASH]))
    done = 0
    for batch in batches:
        _take(batch, extractor, work)
        if sum(part.height for part in work.unsaved) >= chunk:
            _save(cache, model, work)
        done += len(batch.item_ids) + len(batch.known_item_ids) + batch.rejected.height
        if report is not None:
            report(done, len(item_ids))
    _save(cache, model, work)
    rejected = RejectedMedia.validate(pl.concat([RejectedMedia.create_empty(), *work.rejected]))
    return _joined(item_ids, model, work), rejected, _counts(item_ids, work, rejected)


def _take(batch: MediaBatch[Decoded], extractor: MediaExtractor[Decoded], work: _Work) -> None:
    """Encode what is new in a batch, and remember whose file is which."""
    unknown = [content for content in batch.known_hashes if content not in work.known]
    if unknown:
        raise ContractError(
            "The reader skipped files of which no vector is held",
            remedy="Name to the reader the hashes of `held_media` of this very model.",
            culprits=unknown,
        )
    new = {
        content: medium
        for content, medium in zip(batch.content_hashes, batch.decoded, strict=True)
        if content not in work.known
    }
    if new:
        matrix = extractor.encode(list(new.values()))
        _finite(matrix, extractor.model, list(new))
        part = pl.DataFrame({CONTENT_HASH: list(new)}).with_columns(to_column(matrix))
        work.vectors.append(part)
        work.unsaved.append(part)
        work.known.update(new)
        work.encoded += len(new)
    work.hash_of.update(zip(batch.item_ids, batch.content_hashes, strict=True))
    work.hash_of.update(zip(batch.known_item_ids, batch.known_hashes, strict=True))
    if batch.rejected.height:
        work.rejected.append(batch.rejected)


def _finite(matrix: np.ndarray, model: str, hashes: list[str]) -> None:
    bad = ~np.isfinite(matrix).all(axis=1)
    if bad.any():
        raise ModelFileError(
            f"{model} gives vectors that are not finite for {int(bad.sum())} of {len(bad)} files",
            remedy="The weights are damaged, or their numbers overflow: fetch them again, or use precision float32.",
            culprits=[content for content, is_bad in zip(hashes, bad, strict=True) if is_bad],
        )


def _save(cache: VectorCache, model: str, work: _Work) -> None:
    if work.unsaved:
        cache.append(model, pl.concat(work.unsaved))
        work.unsaved.clear()


def _joined(item_ids: pl.Series, model: str, work: _Work) -> dy.DataFrame[ItemVectors]:
    files = pl.DataFrame(
        {ITEM_ID: list(work.hash_of), CONTENT_HASH: list(work.hash_of.values())},
        schema={ITEM_ID: pl.String, CONTENT_HASH: pl.String},
    )
    vectors = pl.concat(work.vectors).unique(CONTENT_HASH, keep="first")
    items = pl.DataFrame({ITEM_ID: item_ids}, schema={ITEM_ID: pl.String}).join(
        files, on=ITEM_ID, how="left", maintain_order="left"
    )
    joined = items.join(vectors, on=CONTENT_HASH, how="left", maintain_order="left")
    content = pl.col(CONTENT_HASH).fill_null(NO_CONTENT)
    return ItemVectors.validate(joined.select(ITEM_ID, pl.lit(model).alias(MODEL), content, VECTOR))


def _counts(item_ids: pl.Series, work: _Work, rejected: pl.DataFrame) -> MediaCounts:
    failed = rejected[ITEM_ID].n_unique()
    return MediaCounts(
        items=len(item_ids),
        without_media=len(item_ids) - len(work.hash_of) - failed,
        rejected=failed,
        reused=len(work.hash_of) - work.encoded,
        encoded=work.encoded,
    )
