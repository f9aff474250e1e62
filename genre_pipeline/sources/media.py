"""Reading media: a catalogue's locations in, decoded pictures or sounds out, in batches and ahead of who asks.

Belongs here: the configuration, and the threads that keep the decoder processes busy. Kept out: bytes (`media_files`),
decoding (`decoding`), and fitting arrays to an encoder (`preprocessing`).
"""

import hashlib
import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, overload

import dataframely as dy
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import ITEM_ID
from genre_pipeline.contracts.media import MediaBatch, Modality, Picture, RejectedMedia, Sound
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.sources.decode_ahead import DecodeAhead, FileResult
from genre_pipeline.sources.decoder import DECODE, Decoder
from genre_pipeline.sources.decoding import MAX_RATE, RefusedError
from genre_pipeline.sources.fetching import Fetcher, Resolve, UrlPolicy, system_resolver
from genre_pipeline.sources.file_index import FileIndex, Refusal, Signature
from genre_pipeline.sources.media_files import MediaFiles

Report = Callable[[int, int], None]
"""Called with (done, total) files as work goes on."""
ImageFormat = Literal["JPEG", "PNG", "WEBP"]
AudioFormat = Literal["WAV", "FLAC", "OGG", "MP3"]
_MEGABYTE = 1024 * 1024
_MAY_PASS = frozenset({"too_slow", "decoder_crashed"})
"""Refusals that may be the machine's fault, busy or out of memory: such a file is tried again."""


class MediaConfig(Settings):
    """How pictures and sounds are read, and what one file may cost."""

    image_formats: tuple[ImageFormat, ...] = ("JPEG", "PNG", "WEBP")
    """Picture formats that are read, told by content; an ending means nothing."""
    audio_formats: tuple[AudioFormat, ...] = ("WAV", "FLAC", "OGG", "MP3")
    """Sound formats that are read, told by content."""
    max_bytes: int = Field(default=32 * _MEGABYTE, ge=1, le=1024 * _MEGABYTE)
    """The largest file that is read, in bytes."""
    seconds: float = Field(default=5.0, gt=0, le=600)
    """The longest that decoding one file may take, in seconds."""
    memory_mb: int = Field(default=512, ge=192, le=65_536)
    """Address space of a decoder process, in MB; the process itself takes about 120 of it."""
    max_pixels: int = Field(default=40_000_000, ge=1)
    """The most pixels that a picture's header may announce: checked before decoding."""
    picture_side: int = Field(default=512, ge=16, le=4096)
    """Pictures are shrunk until their longest side has at most this many pixels."""
    max_sound_seconds: float = Field(default=60.0, gt=0, le=3600)
    """How much of a sound is read from its start; what lies beyond is left out."""
    workers: int = Field(default=2, ge=1, le=64)
    """Decoder processes, each fed by a thread that reads or fetches its files."""
    batch_size: int = Field(default=64, ge=1)
    """The most items of one batch."""
    batch_mb: int = Field(default=128, ge=1)
    """A batch ends when its arrays reach this many MB; as many may be decoded ahead of it."""
    urls: UrlPolicy = UrlPolicy()
    """Which http(s) addresses are fetched from."""
    max_rejected_share: float = Field(default=0.2, ge=0, le=1)
    """The largest share of a modality's files that may be rejected in a night; above it the run stops."""


@overload
def read_media(
    items: pl.DataFrame, modality: Literal["image"], *, root: str | None, config: MediaConfig,
    known: Container[str] = ..., index: FileIndex | None = ..., report: Report | None = ..., resolve: Resolve = ...,
    decode: str = ...,
) -> Iterator[MediaBatch[Picture]]: ...  # fmt: skip


@overload
def read_media(
    items: pl.DataFrame, modality: Literal["audio"], *, root: str | None, config: MediaConfig,
    known: Container[str] = ..., index: FileIndex | None = ..., report: Report | None = ..., resolve: Resolve = ...,
    decode: str = ...,
) -> Iterator[MediaBatch[Sound]]: ...  # fmt: skip


def read_media(
    items: pl.DataFrame,
    modality: Modality,
    *,
    root: str | None,
    config: MediaConfig,
    known: Container[str] = frozenset(),
    index: FileIndex | None = None,
    report: Report | None = None,
    resolve: Resolve = system_resolver,
    decode: str = DECODE,
) -> Iterator[MediaBatch[Any]]:
    """Read the files of `items` (item_id and location, String; rows without a location are passed over).

    `root` is the folder or URL that relative locations start from (`RawDataset.root`). A file whose SHA-256 is in
    `known` is not decoded; one that `index` remembers with such a hash, or as refused under these very limits, and
    that is unchanged since, is not even read. Batches come in the order of `items`, bounded by `batch_size` and
    `batch_mb`, and the next one is decoded while the caller works on this one. `decode` names the decoder processes'
    function as "module:function". A file that cannot be read is a row of `rejected`. Raises SourceError where the root
    is no folder or no decoder starts.
    """
    wanted = items.select(ITEM_ID, "location").drop_nulls("location")
    rows: list[tuple[str, str]] = wanted.rows()
    fetcher = Fetcher(config.urls, max_bytes=config.max_bytes, resolve=resolve)
    files = MediaFiles(root, fetcher, max_bytes=config.max_bytes)
    limits = _limits(modality, config)
    kept = None if index is None else _Remembered(index, files, known, _fingerprint(limits, decode))
    asked = [_Asked(location, kept) for _, location in rows]
    unread = [one.location for one in asked if one.known is None]
    with DecodeAhead(
        unread,
        read=files.read,
        known=known,
        decoders=[Decoder(limits, decode=decode) for _ in range(min(config.workers, len(unread)))],
        max_items=config.batch_size,
        max_bytes=config.batch_mb * _MEGABYTE,
    ) as results:
        yield from _batched(rows, asked, results, modality, config, report)
    if index is not None:
        index.save()


def _batched(
    rows: Sequence[tuple[str, str]],
    asked: Sequence["_Asked"],
    results: Iterator[FileResult],
    modality: Modality,
    config: MediaConfig,
    report: Report | None,
) -> Iterator[MediaBatch[Any]]:
    """What is known without reading and what comes decoded, in the order of `rows`."""
    pending: list[FileResult] = []
    waiting = 0
    for done, one in enumerate(asked, start=1):
        result = next(results) if one.known is None else one.known
        one.note(result)
        pending.append(result)
        waiting += result.size
        if report is not None:
            report(done, len(rows))
        if len(pending) >= config.batch_size or waiting >= config.batch_mb * _MEGABYTE or done == len(rows):
            yield _batch(rows[done - len(pending) : done], pending, modality)
            pending, waiting = [], 0


@dataclass(frozen=True)
class _Remembered:
    """What earlier nights know: whose vectors are held, and which files were refused under the same limits."""

    index: FileIndex
    files: MediaFiles
    known: Container[str]
    limits: str

    def of(self, location: str, signature: Signature) -> FileResult | None:
        content_hash = self.index.content_hash(location, signature)
        if content_hash is None:
            return None
        if content_hash in self.known:
            return FileResult(content_hash)
        refusal = self.index.refusal(location, signature, self.limits)
        return None if refusal is None else FileResult(content_hash, refusal=RefusedError(refusal.rule, refusal.detail))

    def note(self, location: str, signature: Signature, result: FileResult) -> None:
        refusal = None if result.refusal is None else Refusal(result.refusal.rule, result.refusal.detail, self.limits)
        if result.content_hash and (refusal is None or refusal.rule not in _MAY_PASS):
            self.index.note(location, signature, result.content_hash, refusal)


class _Asked:
    """A file that is asked for, and what is known of it without its being read."""

    def __init__(self, location: str, kept: _Remembered | None) -> None:
        self.location = location
        self._kept = kept
        self._signature = None if kept is None else kept.files.signature(location)
        self.known = None if kept is None or self._signature is None else kept.of(location, self._signature)

    def note(self, result: FileResult) -> None:
        """Remember what was read."""
        if self._kept is not None and self._signature is not None:
            self._kept.note(self.location, self._signature, result)


def _fingerprint(limits: Mapping[str, Any], decode: str) -> str:
    """Of all that decides whether bytes are refused."""
    decided = [sorted(limits.items()), decode, *(version(name) for name in ("pillow", "soundfile"))]
    return hashlib.sha256(json.dumps(decided).encode()).hexdigest()[:16]


def _batch(rows: Sequence[tuple[str, str]], results: Sequence[FileResult], modality: Modality) -> MediaBatch[Any]:
    pairs = list(zip(rows, results, strict=True))
    decoded = [(item_id, one) for (item_id, _), one in pairs if one.decoded is not None]
    unread = [(item_id, one) for (item_id, _), one in pairs if one.decoded is None and one.refusal is None]
    refused = [
        (item_id, modality, location, one.refusal.rule, one.refusal.detail)
        for (item_id, location), one in pairs
        if one.refusal is not None
    ]
    return MediaBatch(
        item_ids=tuple(item_id for item_id, _ in decoded),
        decoded=tuple(one.decoded for _, one in decoded),
        content_hashes=tuple(one.content_hash for _, one in decoded),
        known_item_ids=tuple(item_id for item_id, _ in unread),
        known_hashes=tuple(one.content_hash for _, one in unread),
        rejected=_rejected(refused),
    )


def _rejected(rows: Sequence[tuple[str, ...]]) -> dy.DataFrame[RejectedMedia]:
    return RejectedMedia.validate(pl.DataFrame(rows, schema=_none().schema, orient="row")) if rows else _none()


@cache
def _none() -> dy.DataFrame[RejectedMedia]:
    """Most batches reject nothing, and a frame's making is not free."""
    return RejectedMedia.create_empty()


def _limits(modality: Modality, config: MediaConfig) -> Mapping[str, Any]:
    """What a decoder process is told. Its answers are bounded too: an array that could not be is not read."""
    is_image = modality == "image"
    largest = config.picture_side**2 * 3 if is_image else int(config.max_sound_seconds * MAX_RATE + 1) * 4
    return {
        "modality": modality,
        "formats": list(config.image_formats if is_image else config.audio_formats),
        "max_body": largest,
        **config.model_dump(
            include={"max_bytes", "seconds", "memory_mb", "max_pixels", "picture_side", "max_sound_seconds"}
        ),
    }
