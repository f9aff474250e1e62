"""Files that were read before: unchanged by all that the file system says of them, they are not read again.

The way of git's index: size, times and inode are kept beside the hash of the bytes. A change sets the change time,
which no program can set back; what had changed shortly before the index was written could change once more within one
tick of the clock, and is read again ("racily clean"). What was refused for what its bytes are is remembered with the
reason. Belongs here: remembering. Kept out: reading (`media_files`).
"""

import hashlib
import io
import os
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path

import polars as pl

from genre_pipeline.contracts.columns import CONTENT_HASH

_SECOND = 1_000_000_000
_RACY_NS = 2 * _SECOND
"""Coarser than the times of any file system in use."""
_SCHEMA = pl.Schema(
    {
        "location": pl.String(), "size": pl.Int64(), "modified_ns": pl.Int64(), "changed_ns": pl.Int64(),
        "inode": pl.UInt64(), CONTENT_HASH: pl.String(),
        "rule": pl.String(), "detail": pl.String(), "limits": pl.String(),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Signature:
    """What the file system says of a file."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Signature":
        """From what `stat` gives."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True)
class Refusal:
    """Why bytes were refused, and under which limits: others may be wide enough."""

    rule: str
    detail: str
    limits: str


_Kept = tuple[Signature, str, Refusal | None]


class FileIndex:
    """Content hashes and refusals by location and signature, in one folder: the files of one root.

    One run writes at a time.
    """

    def __init__(self, folder: Path, *, racy_ns: int = _RACY_NS) -> None:
        """Read what is there; a damaged index is an empty one, and costs reading the files once more."""
        self._folder = folder
        self._kept: dict[str, _Kept] = {}
        self._trusted: dict[str, _Kept] = {}
        self._is_new = False
        for path in sorted(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == path.stem:
                self._read(data, before_ns=path.stat().st_mtime_ns - racy_ns)

    def content_hash(self, location: str, signature: Signature) -> str | None:
        """The hash of the file's bytes, as long as its signature is what it was; None where it has to be read."""
        kept = self._trusted.get(location)
        return kept[1] if kept is not None and kept[0] == signature else None

    def refusal(self, location: str, signature: Signature, limits: str) -> Refusal | None:
        """Why the file was refused under these limits, as long as its signature is what it was."""
        kept = self._trusted.get(location)
        if kept is None or kept[0] != signature or kept[2] is None or kept[2].limits != limits:
            return None
        return kept[2]

    def note(self, location: str, signature: Signature, content_hash: str, refusal: Refusal | None = None) -> None:
        """Remember a file that was read, or read and refused; `signature` is from before the reading."""
        kept = signature, content_hash, refusal
        if self._kept.get(location) != kept or location not in self._trusted:
            self._kept[location] = kept
            self._is_new = True

    def save(self) -> None:
        """Write what was noted, whole or not at all; nothing where nothing is new."""
        if not self._is_new:
            return
        nothing = (None, None, None)
        rows = [
            (location, *astuple(signature), known, *(nothing if refusal is None else astuple(refusal)))
            for location, (signature, known, refusal) in sorted(self._kept.items())
        ]
        buffer = io.BytesIO()
        pl.DataFrame(rows, schema=_SCHEMA, orient="row").write_parquet(buffer)
        data = buffer.getvalue()
        self._folder.mkdir(parents=True, exist_ok=True)
        older = list(self._folder.glob("*.parquet"))
        handle, name = tempfile.mkstemp(prefix=".writing-", dir=self._folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        written = Path(name).replace(self._folder / f"{hashlib.sha256(data).hexdigest()}.parquet")
        for path in older:
            if path != written:
                path.unlink(missing_ok=True)
        self._is_new = False

    def _read(self, data: bytes, before_ns: int) -> None:
        table = pl.read_parquet(io.BytesIO(data))
        if table.schema != _SCHEMA:
            return  # of an earlier version: the files are read once more
        for location, *numbers, known, rule, detail, limits in table.rows():
            signature = Signature(*numbers)
            refusal = None if rule is None else Refusal(rule, detail, limits)
            self._kept[location] = signature, known, refusal
            if max(signature.modified_ns, signature.changed_ns) < before_ns:
                self._trusted[location] = signature, known, refusal
