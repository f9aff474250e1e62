import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.training.bundle import ALLOWED, json_bytes, load_bundle, load_weights, save_bundle, verify_bundle

TENSORS = {"weight": torch.arange(6.0).view(2, 3), "codes": torch.tensor([1, 2], dtype=torch.int8)}


def _save(folder: Path, **options: object) -> str:
    values: dict = {"tensors": TENSORS, "config": {"width": 3}, "files": {"vocabulary.json": b'["a"]'}, **options}
    return save_bundle(folder, "item_tower", **values)


def test_a_bundle_comes_back_as_it_was(tmp_path: Path) -> None:
    sha256 = _save(tmp_path / "one", decisions={"seed": 3})
    bundle = load_bundle(tmp_path / "one", "item_tower", sha256=sha256)
    assert {name: tensor.tolist() for name, tensor in bundle.tensors.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert (bundle.config, bundle.json("vocabulary.json"), bundle.decisions) == ({"width": 3}, ["a"], {"seed": 3})
    assert _save(tmp_path / "two", decisions={"seed": 3}) == sha256


def test_another_kind_is_refused(tmp_path: Path) -> None:
    _save(tmp_path / "one")
    with pytest.raises(ModelFileError, match="kind 'item_tower', not 'text_classifier'"):
        load_bundle(tmp_path / "one", "text_classifier")


@pytest.mark.parametrize("name", ["model.pkl", "modeling.py", "item_ids.json", "../vocabulary.json", "manifest.json"])
def test_only_names_of_the_kind_are_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="never has"):
        _save(tmp_path / "one", files={name: b"{}"})
    assert not (tmp_path / "one").exists()


def test_a_file_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    _save(tmp_path / "one")
    (tmp_path / "one" / "merges.txt").write_text("a b")
    with pytest.raises(ModelFileError) as caught:
        verify_bundle(tmp_path / "one")
    assert caught.value.culprits == ("merges.txt",)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "backbone.json"])
def test_a_configuration_that_asks_for_code_is_refused(tmp_path: Path, name: str) -> None:
    asking = {"deep": [{"auto_map": {"AutoModel": "evil.Model"}}]}
    if name == "config.json":
        _save(tmp_path / "one", config=asking)
    else:
        _save(tmp_path / "one", files={name: json_bytes(asking)})
    with pytest.raises(ModelFileError, match="asks for code"):
        load_bundle(tmp_path / "one", "item_tower")


def test_tied_weights_are_written_under_both_names(tmp_path: Path) -> None:
    shared = torch.ones(2, 2)
    _save(tmp_path / "one", tensors={"a": shared, "b": shared})
    assert set(load_bundle(tmp_path / "one", "item_tower").tensors) == {"a", "b"}


def test_weights_of_other_dimensions_do_not_load(tmp_path: Path) -> None:
    _save(tmp_path / "one", tensors={"weight": torch.ones(2, 3), "bias": torch.ones(2)})
    bundle = load_bundle(tmp_path / "one", "item_tower")
    network = nn.Linear(3, 2)
    load_weights(network, bundle)
    assert network.weight.sum() == 6
    with pytest.raises(ModelFileError, match="other dimensions"):
        load_weights(nn.Linear(4, 2), bundle)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(ALLOWED["item_tower"] - {"manifest.json"})), st.integers(0, 7), st.floats(0, 0.999))
def test_any_flipped_bit_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, name: str, bit: int, place: float
) -> None:
    folder = tmp_path_factory.mktemp("bundle") / "one"
    files = dict.fromkeys(ALLOWED["item_tower"], b'{"some": "content"}')
    reserved = ("weights.safetensors", "config.json", "manifest.json")
    _save(folder, files={one: content for one, content in files.items() if one not in reserved})
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFileError, match="sha256") as caught:
        load_bundle(folder, "item_tower")
    assert caught.value.culprits == (name,)


def test_the_manifest_itself_is_pinned_by_the_digest(tmp_path: Path) -> None:
    sha256 = _save(tmp_path / "one")
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    (tmp_path / "one" / "manifest.json").write_text(json.dumps({**manifest, "decisions": {"seed": 4}}))
    load_bundle(tmp_path / "one", "item_tower")
    with pytest.raises(ModelFileError, match="sha256"):
        load_bundle(tmp_path / "one", "item_tower", sha256=sha256)


def test_a_manifest_of_another_form_is_refused(tmp_path: Path) -> None:
    _save(tmp_path / "one")
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    said = json.dumps({**manifest, "decisions": ["not", "a", "mapping"]})
    for text in ("{}", "[]", "no json", '{"format": 1, "kind": "item_tower", "files": {}, "decisions": {}}', said):
        (tmp_path / "one" / "manifest.json").write_text(text)
        with pytest.raises(ModelFileError, match=r"manifest\.json"):
            verify_bundle(tmp_path / "one")


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "vocabulary.json", "manifest.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    _save(tmp_path / "one")
    (tmp_path / "one" / name).unlink()
    with pytest.raises(ModelFileError, match="lacks") as caught:
        verify_bundle(tmp_path / "one")
    assert caught.value.culprits == (name,)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ModelFileError, match="NaN or infinite"):
        _save(tmp_path / "one", tensors={"weight": torch.tensor([1.0, value])})
    assert not (tmp_path / "one").exists()


def test_a_bundle_never_overwrites(tmp_path: Path) -> None:
    _save(tmp_path / "one")
    with pytest.raises(ModelFileError, match="not empty"):
        _save(tmp_path / "one")
    with pytest.raises(ModelFileError, match="no model bundle"):
        verify_bundle(tmp_path / "nowhere")
