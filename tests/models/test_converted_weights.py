import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.converted_weights import converted

SHA256 = hashlib.sha256(b"weights").hexdigest()


class Source:
    """A file that counts how often it was looked for and converted."""

    def __init__(self, folder: Path, content: bytes = b"weights") -> None:
        self.path = folder / "source.pth"
        self.path.write_bytes(content)
        self.found = self.converted = 0

    def find(self) -> Path:
        self.found += 1
        return self.path

    def convert(self, path: Path) -> dict[str, torch.Tensor]:
        self.converted += 1
        return {"size": torch.tensor([len(path.read_bytes())]), "turned": torch.arange(6).reshape(2, 3).T}


def test_a_source_is_converted_once(tmp_path: Path) -> None:
    source, cache = Source(tmp_path), tmp_path / "cache"
    first = converted(source.find, SHA256, cache, source.convert)
    assert converted(source.find, SHA256, cache, source.convert) == first
    assert (source.found, source.converted) == (1, 1)
    assert {name: tensor.tolist() for name, tensor in load_file(first).items()} == {
        "size": [7],
        "turned": [[0, 3], [1, 4], [2, 5]],
    }


def test_other_weights_than_the_pinned_are_never_read(tmp_path: Path) -> None:
    source = Source(tmp_path, b"something else")
    with pytest.raises(ModelFileError, match="not the pinned ones"):
        converted(source.find, SHA256, tmp_path / "cache", source.convert)
    assert source.converted == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_damaged_file_is_made_again(tmp_path: Path, position: int) -> None:
    source, cache = Source(tmp_path), tmp_path / "cache"
    held = converted(source.find, SHA256, cache, source.convert)
    whole = held.read_bytes()
    damaged = bytearray(whole)
    damaged[position] ^= 1
    held.write_bytes(damaged)
    assert converted(source.find, SHA256, cache, source.convert).read_bytes() == whole
    assert source.converted == 2


def test_a_new_version_of_the_conversion_converts_anew(tmp_path: Path) -> None:
    source, cache = Source(tmp_path), tmp_path / "cache"
    paths = {converted(source.find, SHA256, cache, source.convert, version=version) for version in ("1", "2", "2")}
    assert (len(paths), source.converted) == (2, 2)


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    source, cache = Source(tmp_path), tmp_path / "cache"
    held = converted(source.find, SHA256, cache, source.convert)
    assert list(cache.iterdir()) == [held]
