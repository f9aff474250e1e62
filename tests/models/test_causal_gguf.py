import hashlib
import json
from pathlib import Path

import pytest

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.causal_gguf import converted_gguf, find_gguf

GARBAGE = b"no model at all"
SHA256 = hashlib.sha256(GARBAGE).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "source" / "model.gguf"
    file.parent.mkdir()
    file.write_bytes(GARBAGE)
    return file


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """A folder as a conversion of the garbage would have left it."""
    folder = tmp_path / "cache" / f"{SHA256[:16]}-1"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    digests = {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    (folder / "converted.json").write_text(json.dumps(digests))
    return folder


def test_a_file_and_the_one_in_a_directory_are_found(source: Path, tmp_path: Path) -> None:
    assert find_gguf(str(source)) == source
    assert find_gguf(str(source.parent)) == source
    assert find_gguf(str(tmp_path)) is None
    assert find_gguf("owner/name") is None
    with pytest.raises(ModelFileError, match="not installed"):
        find_gguf("package:no-such-package")


def test_several_files_are_a_question(source: Path) -> None:
    (source.parent / "other.gguf").write_bytes(GARBAGE)
    with pytest.raises(ModelFileError, match="several") as caught:
        find_gguf(str(source.parent))
    assert caught.value.culprits == ("model.gguf", "other.gguf")


def test_what_is_converted_and_whole_is_not_converted_again(source: Path, converted: Path) -> None:
    told: list[str] = []
    assert converted_gguf(source, converted.parent, say=told.append) == converted
    assert converted_gguf(source, converted.parent, sha256=SHA256, say=told.append) == converted
    assert told == []


def test_other_weights_than_the_pinned_are_refused(source: Path, converted: Path) -> None:
    with pytest.raises(ModelFileError, match="not the pinned ones"):
        converted_gguf(source, converted.parent, sha256="0" * 64)


@pytest.mark.parametrize("damage", ["model.safetensors", "converted.json"])
def test_a_damaged_conversion_is_made_again_and_garbage_is_named(source: Path, converted: Path, damage: str) -> None:
    (converted / damage).write_bytes(b"{}" if damage == "converted.json" else b"weight\0")
    told: list[str] = []
    with pytest.raises(ModelFileError, match=r"model\.gguf cannot be read"):
        converted_gguf(source, converted.parent, say=told.append)
    assert len(told) == 1
    assert told[0].startswith("model.gguf: converted from GGUF")
    assert [path.name for path in converted.parent.iterdir()] == [converted.name]
