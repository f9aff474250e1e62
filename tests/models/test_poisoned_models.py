"""Folders of pretrained models that somebody tampered with: refused, and nothing in them ran."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.bert import load_encoder, load_word_embeddings, locate_encoder, tiny_encoder
from tests.fakes import poison

Poison = Callable[[Path, Path], None]
WEIGHTS = "model.safetensors"
WORDS = "embeddings.word_embeddings.weight"


def _changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _settings(folder: Path, name: str, **keys: object) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def pickle_in_the_place_of_weights(folder: Path, canary: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(poison.pickle_bytes(canary))


def torch_file_in_the_place_of_weights(folder: Path, canary: Path) -> None:
    (folder / WEIGHTS).unlink()
    poison.write_torch_file(folder / "model.pt", canary)


def pickle_named_as_weights(folder: Path, canary: Path) -> None:
    (folder / WEIGHTS).write_bytes(poison.pickle_bytes(canary))


def torch_file_named_as_weights(folder: Path, canary: Path) -> None:
    poison.write_torch_file(folder / WEIGHTS, canary)


def object_array_named_as_weights(folder: Path, canary: Path) -> None:
    poison.write_object_array(folder / WEIGHTS, canary)


def remote_code(folder: Path, canary: Path) -> None:
    (folder / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Model: pass")
    _settings(folder, "config.json", auto_map={"AutoModel": "modeling_evil.Model"})


def remote_code_of_the_tokenizer(folder: Path, canary: Path) -> None:
    (folder / "tokenization_evil.py").write_text(f"open({str(canary)!r}, 'w')\nclass Tokenizer: pass")
    _settings(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.Tokenizer", None]})


def remote_code_deep_down(folder: Path, canary: Path) -> None:
    _settings(folder, "config.json", text_config={"auto_map": {"AutoModel": "modeling_evil.Model"}})


def endless_nesting(folder: Path, canary: Path) -> None:
    (folder / "config.json").write_text("[" * 200_000)


def oversized_header(folder: Path, canary: Path) -> None:
    (folder / WEIGHTS).write_bytes(poison.oversized_header())


def lying_header(folder: Path, canary: Path) -> None:
    (folder / WEIGHTS).write_bytes(poison.lying_header())


def shards_outside_the_folder(folder: Path, canary: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
    save_file({"a": torch.ones(1)}, folder / "other.safetensors")
    index = {"metadata": {}, "weight_map": {WORDS: "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def shards_that_are_pickles(folder: Path, canary: Path) -> None:
    (folder / WEIGHTS).rename(folder / "other.safetensors")
    poison.write_torch_file(folder / "shard.bin", canary)
    index = {"metadata": {}, "weight_map": {WORDS: "shard.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def weights_not_a_number(folder: Path, canary: Path) -> None:
    _changed(folder, lambda tensors: tensors[WORDS][3].fill_(torch.nan))


def weights_infinite(folder: Path, canary: Path) -> None:
    _changed(folder, lambda tensors: tensors[WORDS][3].fill_(torch.inf))


def weights_of_another_width(folder: Path, canary: Path) -> None:
    _changed(folder, lambda tensors: tensors.update({WORDS: tensors[WORDS][:, :16].clone()}))


def configuration_of_another_width(folder: Path, canary: Path) -> None:
    _settings(folder, "config.json", hidden_size=64)


def weights_lack_a_tensor(folder: Path, canary: Path) -> None:
    _changed(folder, lambda tensors: tensors.pop(WORDS))


POISONS = [
    pickle_in_the_place_of_weights, torch_file_in_the_place_of_weights, pickle_named_as_weights,
    torch_file_named_as_weights, object_array_named_as_weights, remote_code, remote_code_of_the_tokenizer,
    remote_code_deep_down, endless_nesting, oversized_header, lying_header, shards_outside_the_folder,
    shards_that_are_pickles, weights_not_a_number, weights_infinite, weights_of_another_width,
    configuration_of_another_width, weights_lack_a_tensor,
]  # fmt: skip


@pytest.mark.parametrize("poisoned_by", POISONS, ids=lambda poison: poison.__name__)
def test_a_poisoned_model_folder_is_refused(tmp_path: Path, poisoned_by: Poison) -> None:
    folder, canary = tiny_encoder(tmp_path / "model", ["film"]), tmp_path / "canary"
    poisoned_by(folder, canary)
    with pytest.raises(ModelFileError):
        load_encoder(str(folder), offline=True)
    assert not canary.exists()


# The weights of `configuration_of_another_width` are the pinned ones: it is judged when they are loaded.
@pytest.mark.parametrize(
    "poisoned_by",
    [poison for poison in POISONS if poison is not configuration_of_another_width],
    ids=lambda poison: poison.__name__,
)
def test_pinned_weights_refuse_what_was_changed_unread(tmp_path: Path, poisoned_by: Poison) -> None:
    folder, canary = tiny_encoder(tmp_path / "model", ["film"]), tmp_path / "canary"
    pin = locate_encoder(str(folder)).weights_sha256
    poisoned_by(folder, canary)
    with pytest.raises(ModelFileError):
        locate_encoder(str(folder), weights_sha256=pin)
    assert not canary.exists()


def test_a_pickle_beside_sound_weights_is_never_opened(tmp_path: Path) -> None:
    folder, canary = tiny_encoder(tmp_path / "model", ["film"]), tmp_path / "canary"
    (folder / "pytorch_model.bin").write_bytes(poison.pickle_bytes(canary))
    load_encoder(str(folder), offline=True)
    assert not canary.exists()


@pytest.mark.parametrize("poisoned_by", [weights_not_a_number, weights_infinite, lying_header, pickle_named_as_weights])
def test_word_embeddings_alone_are_refused_too(tmp_path: Path, poisoned_by: Poison) -> None:
    folder, canary = tiny_encoder(tmp_path / "model", ["film"]), tmp_path / "canary"
    poisoned_by(folder, canary)
    with pytest.raises(ModelFileError):
        load_word_embeddings(locate_encoder(str(folder)))
    assert not canary.exists()
