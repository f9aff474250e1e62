"""Keeping files."""

from hashlib import sha256
from pathlib import Path

import pytest

from genre_pipeline.contracts.durable import sha256_of, sync


def test_a_digest_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"bytes")
    assert sha256_of(tmp_path / "one") == sha256(b"bytes").hexdigest()


def test_files_and_folders_are_synced_and_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"bytes")
    sync(tmp_path / "one")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "other")
