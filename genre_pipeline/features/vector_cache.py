"""Encode once: vectors kept by content hash and model, so that only what is new or changed is ever encoded.

On disk, `<folder>/<sha256 of the model's identity>/<sha256 of the segment>.parquet`: a segment is named by its own
content, appears whole by a rename and is never changed, so that a killed run, or two runs at once, lose and spoil
nothing, and a damaged one gives itself away. There is no index to fall out of step.
"""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import dataframely as dy
import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import CONTENT_HASH, ITEM_ID, VECTOR
from genre_pipeline.contracts.durable import sync
from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.contracts.tables import ItemTexts, ItemVectors
from genre_pipeline.features.extractor import Report, TextExtractor
from genre_pipeline.features.item_texts import TEXT
from genre_pipeline.features.vector_column import to_column

MODEL = "model"
_SEGMENT = pl.Schema([(MODEL, pl.String()), (CONTENT_HASH, pl.String()), (VECTOR, pl.List(pl.Float32))])


@dataclass(frozen=True)
class EncodingCounts:
    """What a call of `encode_items` did. items = without_text + reused + encoded."""

    items: int
    """Rows of the table."""
    without_text: int
    """Items whose text is null."""
    reused: int
    """Items whose vector was there already: in the cache, or of another item with the same text."""
    encoded: int
    """Distinct texts that were encoded now."""
    corrupt_segments: tuple[str, ...] = ()
    """A warning: cache files that did not match their checksum; set aside, and what they held encoded again."""


class VectorCache:
    """Vectors by model and content hash, in one folder. Safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def load(self, model: str, content_hashes: pl.Series) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """What is held of these hashes: (content_hash, vector; one row a hash), and the segments found corrupt.

        Every segment is read once and its checksum verified on the very bytes that are used; a corrupt one is renamed
        to `….corrupt` and served to nobody. Reading stops when everything asked for is found.
        """
        wanted = pl.DataFrame({CONTENT_HASH: content_hashes.unique()}, schema={CONTENT_HASH: pl.String})
        return self._read_segments(model, wanted)

    def load_all(self, model: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Everything held of a model, in the form of `load`."""
        return self._read_segments(model, None)

    def _read_segments(self, model: str, wanted: pl.DataFrame | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
        found = [pl.DataFrame(schema=_SEGMENT).drop(MODEL)]
        corrupt = []
        for path in sorted(self._model_folder(model).glob("*.parquet")):
            if wanted is not None and wanted.is_empty():
                break
            data = _read(path)
            if data is None:
                corrupt.append(path.name)
                continue
            rows = pl.read_parquet(io.BytesIO(data)).filter(pl.col(MODEL) == model).drop(MODEL)
            if wanted is not None:
                rows = rows.join(wanted, on=CONTENT_HASH, how="semi")
                wanted = wanted.join(rows, on=CONTENT_HASH, how="anti")
            found.append(rows)
        return pl.concat(found).unique(CONTENT_HASH, keep="first", maintain_order=True), tuple(corrupt)

    def append(self, model: str, vectors: pl.DataFrame) -> None:
        """Keep vectors (content_hash, vector) as one new segment; it is on disk, whole, when this returns."""
        rows = vectors.select(pl.lit(model).alias(MODEL), CONTENT_HASH, VECTOR).cast(_SEGMENT)
        buffer = io.BytesIO()
        rows.write_parquet(buffer)
        data = buffer.getvalue()
        folder = self._model_folder(model)
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(folder / f"{hashlib.sha256(data).hexdigest()}.parquet")
        finally:
            Path(name).unlink(missing_ok=True)
        sync(folder)

    def prune(self, keep: Collection[str]) -> int:
        """Drop the vectors of every model that is not named, and say of how many. Call it when no run is encoding."""
        kept = {self._model_folder(model).name for model in keep}
        dropped = [path for path in self.folder.glob("*") if path.is_dir() and path.name not in kept]
        for path in dropped:
            shutil.rmtree(path)
        return len(dropped)

    def _model_folder(self, model: str) -> Path:
        return self.folder / hashlib.sha256(model.encode()).hexdigest()


def encode_items(
    texts: pl.DataFrame,
    extractor: TextExtractor,
    cache: VectorCache | None,
    report: Report | None = None,
    *,
    chunk: int = 1024,
) -> tuple[dy.DataFrame[ItemVectors], EncodingCounts]:
    """Vectors of all items (schema ItemTexts) in their order, encoding each distinct new text once.

    Finished chunks of `chunk` texts are kept in the cache at once, so that a killed run is taken up where it stopped.
    Without a cache everything is encoded: right for a fitted technique, whose identity changes with every corpus. A
    null text, or one in which the technique knows nothing (an all-zero vector), has a null vector. `report` counts
    the texts to encode.

    Raises:
        ModelFileError: the model gives vectors that are not finite; nothing of that chunk is kept.
    """
    texts = ItemTexts.validate(texts)
    model = extractor.model
    distinct = texts.drop_nulls(TEXT).select(CONTENT_HASH, TEXT).unique(CONTENT_HASH, maintain_order=True)
    nothing: tuple[pl.DataFrame, tuple[str, ...]] = pl.DataFrame(schema=_SEGMENT).drop(MODEL), ()
    held, corrupt = cache.load(model, distinct[CONTENT_HASH]) if cache is not None else nothing
    # Texts of like length share a chunk, longest first: little padding, and a time to go that only gets better.
    order = [pl.col(TEXT).str.len_bytes(), pl.col(CONTENT_HASH)]
    new = distinct.join(held, on=CONTENT_HASH, how="anti").sort(order, descending=[True, False])
    vectors = [held]
    for start in range(0, new.height, chunk):
        part = new[start : start + chunk]
        vectors.append(_encode_chunk(part, extractor, _shifted(report, start, new.height)))
        if cache is not None:
            cache.append(model, vectors[-1])
    without_text = texts[TEXT].null_count()
    counts = EncodingCounts(
        texts.height, without_text, texts.height - without_text - new.height, new.height, corrupt_segments=corrupt
    )
    return _joined(texts, pl.concat(vectors), model), counts


def _encode_chunk(part: pl.DataFrame, extractor: TextExtractor, report: Report | None) -> pl.DataFrame:
    matrix = extractor.encode(part[TEXT].to_list(), report)
    bad = ~np.isfinite(matrix).all(axis=1)
    if bad.any():
        raise ModelFileError(
            f"{extractor.model} gives vectors that are not finite for {int(bad.sum())} of {len(bad)} texts",
            remedy="The weights are damaged, or their numbers overflow: fetch them again, or use precision float32.",
            culprits=part[CONTENT_HASH].filter(pl.Series(bad)).to_list(),
        )
    return part.select(CONTENT_HASH).with_columns(to_column(matrix))


def _joined(texts: pl.DataFrame, vectors: pl.DataFrame, model: str) -> dy.DataFrame[ItemVectors]:
    # A null text and an empty one have the same hash, but only the empty one was read.
    vector = pl.when(pl.col(TEXT).is_not_null()).then(VECTOR).alias(VECTOR)
    joined = texts.join(vectors, on=CONTENT_HASH, how="left", maintain_order="left").select(
        ITEM_ID, pl.lit(model).alias(MODEL), CONTENT_HASH, vector
    )
    return ItemVectors.validate(joined)


def _shifted(report: Report | None, start: int, total: int) -> Report | None:
    if report is None:
        return None
    return lambda done, _part: report(start + done, total)


def _read(path: Path) -> bytes | None:
    """The bytes of a segment, or None after setting a corrupt one aside."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() == path.stem:
        return data
    # Another process may have set it aside first.
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_suffix(".corrupt"))
    return None
