"""Partitions on disk: parquet with a manifest, written atomically and checked on load.

A partition is a folder `<root>/<table>/<key>/` holding `part.parquet`, any companion files and `manifest.json` (rows,
sha256 of every file, hash of the schema, the decisions that made it, and a sha256 of all that). It appears whole or not
at all: written to a temporary folder on the same file system, synced, then exchanged with what was there, in one step
where the system can. Nothing here knows about days beyond sorting keys.
"""

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from genre_pipeline.contracts.durable import sha256_of, sync
from genre_pipeline.contracts.errors import ContractError, CorruptPartitionError, MissingPartitionError

PART = "part.parquet"
MANIFEST = "manifest.json"
SINGLE = "all"
"""The key of a table that is not partitioned."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SUM = "sha256"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}


@dataclass(frozen=True)
class Manifest:
    """What a partition holds, and what decided it. Equal inputs give equal manifests, byte for byte."""

    table: str
    key: str
    rows: int
    schema: str
    """sha256 over column names and types."""
    files: Mapping[str, str]
    """File name to sha256."""
    decisions: Mapping[str, Any]
    """Whatever the computation decided or was given: seeds, weights, thresholds, fingerprints of its inputs."""

    @property
    def fingerprint(self) -> str:
        """sha256 of the manifest itself: equal fingerprints mean equal bytes."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The canonical text: sorted keys, no spaces to vary."""
        return _canonical(vars(self))

    def to_file(self) -> str:
        """What lies on disk: the canonical text with its own `sha256`, so that a flipped bit gives itself away."""
        return _canonical({**vars(self), _SUM: self.fingerprint})

    @classmethod
    def from_file(cls, text: str) -> "Manifest":
        """The inverse of `to_file`. Raises `ValueError` where the text is not what was written."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.keys() != {*cls.__dataclass_fields__, _SUM}:
            raise ValueError("not a manifest")
        fields.pop(_SUM)
        manifest = cls(**fields)
        if manifest.to_file() != text:
            raise ValueError("the manifest does not match its own sha256")
        return manifest


class PartitionStore:
    """Tables as folders of partitions under one root."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def write(
        self,
        table: str,
        key: str,
        frame: pl.DataFrame,
        *,
        decisions: Mapping[str, Any] | None = None,
        companions: Callable[[Path], None] | None = None,
    ) -> Manifest:
        """Replace one partition. `companions` may write further files into the folder it is given."""
        target = self._folder(table, key)
        with _replacing(target) as folder:
            frame.write_parquet(folder / PART, statistics=True)
            if companions is not None:
                companions(folder)
            files = {
                path.relative_to(folder).as_posix(): sha256_of(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            manifest = Manifest(table, key, frame.height, _schema_hash(frame.schema), files, dict(decisions or {}))
            (folder / MANIFEST).write_text(manifest.to_file(), encoding="utf-8")
        return manifest

    def read(self, table: str, key: str) -> pl.DataFrame:
        """One partition, its checksum verified."""
        self.verify(table, key)
        return pl.read_parquet(self._folder(table, key) / PART, glob=False)

    def scan(self, table: str, *, until: str | None = None) -> pl.LazyFrame:
        """All partitions in key order, up to and including the key `until`, each verified, as one lazy frame."""
        keys = [key for key in self.keys(table) if until is None or key <= until]
        if not keys:
            raise self._missing(table, until or "any")
        for key in keys:
            self.verify(table, key)
        return pl.concat([pl.scan_parquet(self._folder(table, key) / PART, glob=False) for key in keys])

    def manifest(self, table: str, key: str) -> Manifest:
        """The manifest of one partition; it is checked against itself, the files are not."""
        path = self._folder(table, key) / MANIFEST
        if not path.is_file():
            raise self._missing(table, key)
        try:
            manifest = Manifest.from_file(path.read_bytes().decode())
        except ValueError as error:
            raise self._corrupt(table, key, MANIFEST) from error
        if (manifest.table, manifest.key) != (table, key):
            raise self._corrupt(table, key, MANIFEST)
        return manifest

    def verify(self, table: str, key: str) -> Manifest:
        """Check every file of a partition against its manifest. parquet alone does not notice a flipped bit."""
        manifest = self.manifest(table, key)
        folder = self._folder(table, key)
        bad = [
            name
            for name, digest in manifest.files.items()
            if not (folder / name).is_file() or sha256_of(folder / name) != digest
        ]
        if bad:
            raise self._corrupt(table, key, *bad)
        return manifest

    def folder(self, table: str, key: str) -> Path:
        """Where a partition's verified files lie, for readers of companion files."""
        self.verify(table, key)
        return self._folder(table, key)

    def keys(self, table: str) -> list[str]:
        """The keys that exist, sorted."""
        folder = self.root / _checked(table)
        return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))

    def has(self, table: str, key: str) -> bool:
        """Whether a partition exists."""
        return (self._folder(table, key) / MANIFEST).is_file()

    def _folder(self, table: str, key: str) -> Path:
        return self.root / _checked(table) / _checked(key)

    def _missing(self, table: str, key: str) -> MissingPartitionError:
        return MissingPartitionError(
            f"{table} has no partition {key!r} under {self.root}",
            remedy="Materialise it with `genre run --select … --date …`, or a backfill in the Dagster UI.",
        )

    def _corrupt(self, table: str, key: str, *files: str) -> CorruptPartitionError:
        return CorruptPartitionError(
            f"{table}, partition {key!r}, does not match its manifest",
            remedy="Materialise it again with `genre run --select … --date …`. Nothing was read from it.",
            culprits=files,
        )


def _checked(name: str) -> str:
    """Partition keys come from outside: a name that could leave the root is refused."""
    if not _SAFE_NAME.fullmatch(name):
        raise ContractError(
            "A table or partition name has characters outside A-Z a-z 0-9 _ . -", remedy="Rename it.", culprits=[name]
        )
    return name


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
    try:
        yield folder
        for path in folder.rglob("*"):
            sync(path)
        sync(folder)
        if not target.exists():
            folder.replace(target)
        elif not _exchange(folder, target):
            _retire(target)
            folder.replace(target)
        sync(target.parent)
    finally:
        # After an exchange this is the old partition.
        shutil.rmtree(folder, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, so that neither a reader nor a killed process finds nothing; False if it cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _retire(target: Path) -> None:
    """Out of the way and gone: for systems without an exchange, where a reader may for a moment find nothing."""
    retired = Path(tempfile.mkdtemp(prefix=".retired-", dir=target.parent))
    target.replace(retired / target.name)
    shutil.rmtree(retired)


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False)


def _schema_hash(schema: pl.Schema) -> str:
    text = json.dumps([[name, str(dtype)] for name, dtype in schema.items()])
    return hashlib.sha256(text.encode()).hexdigest()
