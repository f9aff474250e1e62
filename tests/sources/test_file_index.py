"""Files remembered by their signatures: unchanged ones are not read, and no change goes unseen."""

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from genre_pipeline.sources.decoder import DECODE
from genre_pipeline.sources.file_index import FileIndex, Signature
from genre_pipeline.sources.media import MediaConfig, read_media
from genre_pipeline.sources.media_files import MediaFiles
from tests.sources import decoders_gone_wrong

SIGNATURE = Signature(size=10, modified_ns=1_000, changed_ns=2_000, inode=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / f"{number}.png")
    return root


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Locations whose bytes were asked for."""
    asked: list[str] = []
    read = MediaFiles.read

    def noted(files: MediaFiles, location: str) -> bytes:
        asked.append(location)
        return read(files, location)

    monkeypatch.setattr(MediaFiles, "read", noted)
    return asked


def _night(folder: Path, index: FileIndex, known: frozenset[str]) -> Iterator[str]:
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "location": ["0.png", "1.png", "2.png"]})
    for batch in read_media(items, "image", root=str(folder), config=MediaConfig(), known=known, index=index):
        yield from (*batch.content_hashes, *batch.known_hashes)


def test_an_unchanged_file_is_not_read_again(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    first = list(_night(folder, FileIndex(tmp_path / "index", racy_ns=0), frozenset()))
    assert sorted(reads) == ["0.png", "1.png", "2.png"]
    reads.clear()
    # Written in the same tick as the files, the index would trust none of them.
    _older_than_the_index(tmp_path / "index")
    known = frozenset(first)
    assert list(_night(folder, FileIndex(tmp_path / "index", racy_ns=0), known)) == first
    assert reads == []
    assert list(_night(folder, FileIndex(tmp_path / "index", racy_ns=0), frozenset(first[:2]))) == [
        first[2],
        *first[:2],
    ]
    assert reads == ["2.png"]


def test_a_change_is_seen_though_size_and_time_are_the_same(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    first = list(_night(folder, FileIndex(tmp_path / "index"), frozenset()))
    _older_than_the_index(tmp_path / "index")
    reads.clear()
    changed = folder / "1.png"
    status = changed.stat()
    other = (folder / "0.png").read_bytes()
    changed.write_bytes(other + bytes(status.st_size - len(other)))
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert changed.stat().st_size == status.st_size
    again = list(_night(folder, FileIndex(tmp_path / "index", racy_ns=0), frozenset(first)))
    assert reads == ["1.png"]
    assert len({*first, *again}) == 4


def test_what_changed_just_before_the_index_was_written_is_read(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    first = list(_night(folder, FileIndex(tmp_path / "index"), frozenset()))
    reads.clear()
    list(_night(folder, FileIndex(tmp_path / "index"), frozenset(first)))
    assert sorted(reads) == ["0.png", "1.png", "2.png"]


def test_a_rejected_file_is_rejected_again_unread_until_it_or_the_limits_change(
    folder: Path, tmp_path: Path, reads: list[str]
) -> None:
    (folder / "1.png").write_bytes(b"no picture")
    (folder / "2.png").unlink()
    first = _rejected(folder, tmp_path / "index")
    assert first.select("item_id", "rule").rows() == [("b", "format_refused"), ("c", "file_missing")]
    _older_than_the_index(tmp_path / "index")
    reads.clear()
    again = _rejected(folder, tmp_path / "index")
    assert again.equals(first)
    assert reads == ["0.png", "2.png"]  # nobody holds the vector of one, nobody knows what the other is
    reads.clear()
    _rejected(folder, tmp_path / "index", MediaConfig(image_formats=("PNG",)))
    assert "1.png" in reads
    reads.clear()
    Image.new("RGB", (8, 8)).save(folder / "1.png")
    assert _rejected(folder, tmp_path / "index")["item_id"].to_list() == ["c"]
    assert "1.png" in reads


@pytest.mark.parametrize(("behaviour", "is_tried_again"), [("eat", False), ("segfault", True), ("hang", True)])
def test_what_the_machine_may_be_to_blame_for_is_tried_again(
    folder: Path, tmp_path: Path, reads: list[str], behaviour: str, is_tried_again: bool
) -> None:
    (folder / "1.png").write_bytes(behaviour.encode())
    config = MediaConfig(workers=1, seconds=0.5 if behaviour == "hang" else 30, memory_mb=256)
    first = _rejected(folder, tmp_path / "index", config, decode=decoders_gone_wrong.PATH)
    _older_than_the_index(tmp_path / "index")
    reads.clear()
    again = _rejected(folder, tmp_path / "index", config, decode=decoders_gone_wrong.PATH)
    assert again["rule"].to_list() == first["rule"].to_list()
    assert ("1.png" in reads) is is_tried_again


def test_an_index_of_an_earlier_version_costs_reading_once_more(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"location": ["a.png"], "content_hash": ["hash"]}).write_parquet(buffer)
    (tmp_path / f"{hashlib.sha256(buffer.getvalue()).hexdigest()}.parquet").write_bytes(buffer.getvalue())
    assert FileIndex(tmp_path).content_hash("a.png", SIGNATURE) is None


def _rejected(folder: Path, index: Path, config: MediaConfig | None = None, decode: str = DECODE) -> pl.DataFrame:
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "location": ["0.png", "1.png", "2.png"]})
    kept = FileIndex(index, racy_ns=0)
    batches = read_media(items, "image", root=str(folder), config=config or MediaConfig(), index=kept, decode=decode)
    return pl.concat([batch.rejected for batch in batches])


@pytest.mark.parametrize("what", ["size", "modified_ns", "changed_ns", "inode"])
def test_every_part_of_a_signature_counts(tmp_path: Path, what: str) -> None:
    index = FileIndex(tmp_path)
    index.note("a.png", SIGNATURE, "hash")
    index.save()
    index = FileIndex(tmp_path)
    assert index.content_hash("a.png", SIGNATURE) == "hash"
    assert index.content_hash("a.png", replace(SIGNATURE, **{what: 4_000})) is None
    assert index.content_hash("b.png", SIGNATURE) is None


def test_the_last_note_holds_and_nothing_new_writes_nothing(tmp_path: Path) -> None:
    index = FileIndex(tmp_path)
    index.save()
    assert list(tmp_path.iterdir()) == []
    index.note("a.png", SIGNATURE, "one")
    index.save()
    index = FileIndex(tmp_path)
    index.note("a.png", replace(SIGNATURE, size=11), "other")
    index.note("b.png", SIGNATURE, "one")
    index.save()
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    index = FileIndex(tmp_path)
    assert index.content_hash("a.png", replace(SIGNATURE, size=11)) == "other"
    index.note("b.png", SIGNATURE, "one")
    index.save()
    assert path.stat().st_mtime_ns == before


def test_a_damaged_index_is_an_empty_one(tmp_path: Path) -> None:
    index = FileIndex(tmp_path)
    index.note("a.png", SIGNATURE, "hash")
    index.save()
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert FileIndex(tmp_path).content_hash("a.png", SIGNATURE) is None


def test_only_regular_files_of_the_folder_have_a_signature(folder: Path) -> None:
    files = MediaFiles(str(folder), None, max_bytes=10)  # type: ignore[arg-type]
    os.mkfifo(folder / "pipe")
    assert files.signature("0.png") is not None
    for location in ("pipe", ".", "none.png", "http://host/0.png", "0.png\n"):
        assert files.signature(location) is None


def _older_than_the_index(folder: Path) -> None:
    """Let the index have been written a minute later."""
    (path,) = folder.iterdir()
    later = path.stat().st_mtime_ns + 60_000_000_000
    os.utime(path, ns=(later, later))
