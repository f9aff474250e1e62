import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.sequence import SequenceModel
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.training.sequence_bundle import load_sequence_bundle, save_sequence_bundle

IDS = pl.Series("item_id", ["007", "a\nb", "ü"])


def _model(seed: int = 1) -> SequenceModel:
    torch.manual_seed(seed)
    config = SequenceConfig(width=4, blocks=1, heads=1, length=3)
    return SequenceModel(config, content=torch.randn(3, 2), has_id=torch.tensor([True, True, False])).eval()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    save_sequence_bundle(_model(), tmp_path / "bundle", item_ids=IDS, decisions={"seed": 1})
    return tmp_path / "bundle"


def _with_true_digests(folder: Path) -> None:
    """What an attacker who can write the manifest too would do."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_network_that_reads_event_types_comes_back_with_them(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = SequenceConfig(width=4, blocks=1, heads=1, length=3)
    blank = torch.zeros(3, 2), torch.tensor([True, True, False])
    model = SequenceModel(config, content=blank[0], has_id=blank[1], event_types=("buy", "view")).eval()
    save_sequence_bundle(model, tmp_path / "bundle", item_ids=IDS)
    loaded = load_sequence_bundle(tmp_path / "bundle").model
    assert loaded.event_types == ("buy", "view")
    assert torch.equal(loaded.events.weight, model.events.weight)


def test_a_bundle_comes_back_as_it_was(bundle: Path) -> None:
    loaded = load_sequence_bundle(bundle)
    expected = _model()
    assert loaded.item_ids.to_list() == IDS.to_list()
    assert loaded.decisions == {"seed": 1}
    assert loaded.model.config == expected.config
    assert not loaded.model.training
    weights = loaded.model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.state_dict().items())


def test_equal_models_have_equal_digests(bundle: Path, tmp_path: Path) -> None:
    same = save_sequence_bundle(_model(), tmp_path / "same", item_ids=IDS, decisions={"seed": 1})
    other = save_sequence_bundle(_model(2), tmp_path / "other", item_ids=IDS, decisions={"seed": 1})
    assert load_sequence_bundle(bundle, sha256=same).sha256 == same
    with pytest.raises(ModelFileError, match="does not match its sha256"):
        load_sequence_bundle(bundle, sha256=other)


def test_other_dimensions_than_the_configuration_says_are_refused(bundle: Path) -> None:
    tensors = load_file(bundle / "weights.safetensors")
    tensors["items.ids.weight"] = torch.zeros(4, 4)
    save_file(tensors, bundle / "weights.safetensors")
    _with_true_digests(bundle)
    with pytest.raises(ModelFileError, match="other dimensions"):
        load_sequence_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", '{"network": {"width": 4}, "content_width": "two"}'),
        ("item_ids.json", '{"a": 1}'),
        ("item_ids.json", "[1, 2, 3]"),
    ],
)
def test_files_of_another_form_are_refused(bundle: Path, name: str, text: str) -> None:
    (bundle / name).write_text(text)
    _with_true_digests(bundle)
    with pytest.raises(ModelFileError, match=name.replace(".", r"\.")):
        load_sequence_bundle(bundle)


def test_ids_must_match_the_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="3 items, but 2 ids"):
        save_sequence_bundle(_model(), tmp_path / "new", item_ids=IDS.head(2))


def test_the_signature_is_one_that_mlflow_reads(bundle: Path) -> None:
    from mlflow.models import ModelSignature

    signature = ModelSignature.from_dict(json.loads((bundle / "signature.json").read_text()))
    assert signature.inputs.input_names() == ["items", "lengths", "gaps", "events"]
    assert signature.outputs.to_dict()[0]["tensor-spec"] == {"dtype": "float32", "shape": (-1, 4)}
    example = json.loads((bundle / "input_example.json").read_text())["inputs"]
    inputs = [torch.tensor(example[name]) for name in ("items", "lengths", "gaps", "events")]
    model = load_sequence_bundle(bundle).model
    with torch.inference_mode():
        assert model(*inputs, model.table()).shape == (1, 4)
