"""Where media bytes come from: the data set's own folder or object store, or an http(s) URL through the guard.

Belongs here: what a location may name. Kept out: fetching URLs (`fetching`) and decoding (`decoding`). A location is
somebody else's word: it names a file inside the data set's root, or it is refused.
"""

import os
import posixpath
import re
import stat
from pathlib import Path

import fsspec

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.sources.decoding import RefusedError
from genre_pipeline.sources.fetching import Fetcher
from genre_pipeline.sources.file_index import Signature

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_WEB = ("http", "https")
_LOCAL = ("file://", "local://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class MediaFiles:
    """Bytes of files by location. Safe to share between threads."""

    def __init__(self, root: str | None, fetcher: Fetcher, *, max_bytes: int) -> None:
        """`root` is a folder, an object-store URL, an http(s) URL, or None where only full http(s) URLs are read."""
        for scheme in _LOCAL:
            root = root.removeprefix(scheme) if root is not None else None
        self._fetcher = fetcher
        self._max_bytes = max_bytes
        self._url = root.rstrip("/") if root is not None and "://" in root else None
        self._folder = Path(root).resolve() if root is not None and self._url is None else None
        if self._folder is not None and not self._folder.is_dir():
            raise SourceError(f"{root} is not a folder", remedy="Name the data set's folder, or a URL of one.")

    def read(self, location: str) -> bytes:
        """The file's bytes. Raises RefusedError, naming the rule."""
        if _CONTROL.search(location) or not location.strip():
            raise RefusedError("location_invalid", "The location is blank or has control characters")
        scheme = _SCHEME.match(location)
        if scheme is not None and scheme[1].lower() in _WEB:
            return self._fetcher.fetch(location)
        if self._url is not None:
            return self._read_store(self._url, location)
        if scheme is not None and "://" in location:
            raise RefusedError("scheme_refused", f"{scheme[1]}: is not read from a catalogue")
        return self._read_folder(location)

    def signature(self, location: str) -> Signature | None:
        """What the file system says of a regular file of the folder; None of anything else. Reads nothing."""
        if self._folder is None or _SCHEME.match(location) or _CONTROL.search(location):
            return None
        try:
            status = (self._folder / location).stat()
        except OSError:
            return None  # `read` says why
        return Signature.of(status) if stat.S_ISREG(status.st_mode) else None

    def _read_folder(self, location: str) -> bytes:
        if self._folder is None:
            raise RefusedError("outside_root", "The data set has no folder that paths could start from")
        path = Path(os.path.realpath(self._folder / location))
        if not path.is_relative_to(self._folder):
            raise RefusedError("outside_root", "The path, with links followed, leads out of the data set's folder")
        try:
            # Not blocking, or a named pipe would hold the thread for good; no link, or the check above could be undone.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise RefusedError("file_missing", f"Cannot be opened: {error.strerror}") from error
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            raise RefusedError("not_a_file", "The path names a folder, a device or a pipe")
        with os.fdopen(handle, "rb") as file:
            return self._bounded(file.read(self._max_bytes + 1), status.st_size)

    def _read_store(self, root: str, location: str) -> bytes:
        """A key below the root's own prefix; chained and foreign URLs are not."""
        key = location.removeprefix(f"{root}/")
        parts = posixpath.normpath(key).split("/")
        if "::" in key or "://" in key or "\\" in key or key.startswith("/") or ".." in parts:
            raise RefusedError("outside_root", "The location leads out of the data set's own store")
        if root.partition("://")[0].lower() in _WEB:
            return self._fetcher.fetch(f"{root}/{'/'.join(parts)}")
        try:
            with fsspec.open(f"{root}/{'/'.join(parts)}", "rb") as file:
                contents: bytes = file.read(self._max_bytes + 1)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise RefusedError("file_missing", "The store has no such object") from error
        except (OSError, ValueError) as error:
            raise RefusedError("fetch_failed", f"The store does not give it: {error}") from error
        return self._bounded(contents, len(contents))

    def _bounded(self, contents: bytes, size: int) -> bytes:
        if max(len(contents), size) > self._max_bytes:
            raise RefusedError("too_many_bytes", f"{size:,} bytes; {self._max_bytes:,} are allowed")
        return contents
