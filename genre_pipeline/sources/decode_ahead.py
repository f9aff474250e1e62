"""Decoding ahead: threads that keep one decoder process each busy, and results in the order of the files.

Belongs here: order, bounds and shutdown. Kept out: what reading and decoding mean.
"""

import hashlib
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from genre_pipeline.contracts.media import Picture, Sound
from genre_pipeline.sources.decoder import Decoder
from genre_pipeline.sources.decoding import RefusedError


@dataclass(frozen=True)
class FileResult:
    """What became of one file: decoded, refused, or neither because its hash is known."""

    content_hash: str = ""
    """Empty where the file's bytes could not be had."""
    decoded: Picture | Sound | None = None
    refusal: RefusedError | None = None

    @property
    def size(self) -> int:
        """Bytes of the decoded array."""
        array = self.decoded.samples if isinstance(self.decoded, Sound) else getattr(self.decoded, "pixels", None)
        return int(array.nbytes) if isinstance(array, np.ndarray) else 0


class DecodeAhead:
    """Results of `locations` in order, worked on before they are asked for.

    At most `max_items` files are taken ahead of the one asked for, and none while `max_bytes` of arrays wait; so at
    most one array a decoder lies beyond that. Leaving the context ends every decoder at once.
    """

    def __init__(
        self,
        locations: Sequence[str],
        *,
        read: Callable[[str], bytes],
        known: Container[str],
        decoders: Sequence[Decoder],
        max_items: int,
        max_bytes: int,
    ) -> None:
        self._locations, self._read, self._known = locations, read, known
        self._decoders = decoders
        self._max_items, self._max_bytes = max_items, max_bytes
        self._change = threading.Condition()
        self._waiting: dict[int, FileResult] = {}
        self._waiting_bytes = 0
        self._taken = self._given = 0
        self._failure: BaseException | None = None
        self._is_closed = False
        self._threads = ThreadPoolExecutor(max(1, len(decoders)), thread_name_prefix="media")

    def __enter__(self) -> Iterator[FileResult]:
        for decoder in self._decoders:
            self._threads.submit(self._work, decoder).add_done_callback(self._note_failure)
        return self._results()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._change:
            self._is_closed = True
            self._change.notify_all()
        for decoder in self._decoders:
            decoder.kill()
        self._threads.shutdown()

    def _results(self) -> Iterator[FileResult]:
        for position in range(len(self._locations)):
            with self._change:
                while position not in self._waiting and self._failure is None:
                    self._change.wait()
                if position not in self._waiting:
                    assert self._failure is not None
                    raise self._failure
                result = self._waiting.pop(position)
                self._given = position + 1
                self._waiting_bytes -= result.size
                self._change.notify_all()
            yield result

    def _work(self, decoder: Decoder) -> None:
        try:
            while (position := self._take()) is not None:
                result = self._one(decoder, self._locations[position])
                with self._change:
                    self._waiting[position] = result
                    self._waiting_bytes += result.size
                    self._change.notify_all()
        finally:
            decoder.close()

    def _note_failure(self, worked: Future[None]) -> None:
        with self._change:
            self._failure = self._failure or worked.exception()
            self._change.notify_all()

    def _take(self) -> int | None:
        """The next file, once there is room for it; None at the end."""
        with self._change:
            self._change.wait_for(self._has_room)
            if self._is_closed or self._failure is not None or self._taken >= len(self._locations):
                return None
            self._taken += 1
            return self._taken - 1

    def _has_room(self) -> bool:
        is_over = self._is_closed or self._failure is not None or self._taken >= len(self._locations)
        is_free = self._taken - self._given < self._max_items and self._waiting_bytes < self._max_bytes
        return is_over or is_free

    def _one(self, decoder: Decoder, location: str) -> FileResult:
        content_hash = ""
        try:
            contents = self._read(location)
            content_hash = hashlib.sha256(contents).hexdigest()
            if content_hash in self._known:
                return FileResult(content_hash)
            array, rate = decoder.decode(contents)
        except RefusedError as refusal:
            return FileResult(content_hash, refusal=refusal)
        return FileResult(content_hash, Sound(array, rate) if rate else Picture(array))
