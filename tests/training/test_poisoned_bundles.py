"""Bundles that somebody tampered with: refused, and nothing in them ran (B14 of the reliability matrix)."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.training.bundle import json_bytes, load_bundle, load_weights, save_bundle, verify_bundle
from tests.fakes import poison

Poison = Callable[[Path, Path], None]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    save_bundle(
        tmp_path / "bundle", "item_tower", tensors=tensors, config={"width": 3}, files={"vocabulary.json": b'["a"]'}
    )
    return tmp_path / "bundle"


def _signed(bundle: Path, **listed: bytes) -> None:
    """What an attacker who can write the manifest does: digests of the poisoned files."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    for name, content in listed.items():
        (bundle / name).write_bytes(content)
    manifest["files"] |= {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in bundle.iterdir()
        if path.is_file() and path.name != "manifest.json"
    }
    (bundle / "manifest.json").write_bytes(json_bytes(manifest))


def pickle_beside_the_weights(bundle: Path, canary: Path) -> None:
    (bundle / "pytorch_model.bin").write_bytes(poison.pickle_bytes(canary))


def torch_file_beside_the_weights(bundle: Path, canary: Path) -> None:
    poison.write_torch_file(bundle / "optimizer.pt", canary)
    _signed(bundle)


def pickle_named_as_weights(bundle: Path, canary: Path) -> None:
    _signed(bundle, **{"weights.safetensors": poison.pickle_bytes(canary)})


def torch_file_named_as_weights(bundle: Path, canary: Path) -> None:
    poison.write_torch_file(bundle / "weights.safetensors", canary)
    _signed(bundle)


def object_array_named_as_weights(bundle: Path, canary: Path) -> None:
    poison.write_object_array(bundle / "weights.safetensors", canary)
    _signed(bundle)


def object_array_beside_the_weights(bundle: Path, canary: Path) -> None:
    poison.write_object_array(bundle / "vectors.npy", canary)
    _signed(bundle)


def script(bundle: Path, canary: Path) -> None:
    _signed(bundle, **{"modeling_bundle.py": f"open({str(canary)!r}, 'w')".encode()})


def archive(bundle: Path, canary: Path) -> None:
    _signed(bundle, **{"weights.tar": b"../../etc/cron.d/x"})


def folder(bundle: Path, canary: Path) -> None:
    (bundle / "code").mkdir()


def folder_named_as_a_file(bundle: Path, canary: Path) -> None:
    (bundle / "vocabulary.json").unlink()
    (bundle / "vocabulary.json").mkdir()


def pipe_named_as_a_file(bundle: Path, canary: Path) -> None:
    (bundle / "vocabulary.json").unlink()
    os.mkfifo(bundle / "vocabulary.json")


def link_to_elsewhere(bundle: Path, canary: Path) -> None:
    (bundle.parent / "outside.json").write_bytes((bundle / "vocabulary.json").read_bytes())
    (bundle / "vocabulary.json").unlink()
    (bundle / "vocabulary.json").symlink_to("../outside.json")


def manifest_of_a_file_outside(bundle: Path, canary: Path) -> None:
    (bundle.parent / "outside.json").write_bytes(b"{}")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["../outside.json"] = hashlib.sha256(b"{}").hexdigest()
    (bundle / "manifest.json").write_bytes(json_bytes(manifest))


def wrong_sha(bundle: Path, canary: Path) -> None:
    save_file({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, bundle / "weights.safetensors")


def digest_of_another_type(bundle: Path, canary: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["config.json"] = None
    (bundle / "manifest.json").write_bytes(json_bytes(manifest))


def weights_not_a_number(bundle: Path, canary: Path) -> None:
    save_file({"weight": torch.full((2, 3), torch.nan), "bias": torch.zeros(2)}, bundle / "weights.safetensors")
    _signed(bundle)


def weights_infinite(bundle: Path, canary: Path) -> None:
    save_file(
        {"weight": torch.full((2, 3), -torch.inf, dtype=torch.bfloat16), "bias": torch.zeros(2)},
        bundle / "weights.safetensors",
    )
    _signed(bundle)


def weights_of_another_width(bundle: Path, canary: Path) -> None:
    save_file({"weight": torch.ones(2, 4), "bias": torch.zeros(2)}, bundle / "weights.safetensors")
    _signed(bundle)


def weights_lack_a_tensor(bundle: Path, canary: Path) -> None:
    save_file({"weight": torch.ones(2, 3)}, bundle / "weights.safetensors")
    _signed(bundle)


def weights_of_a_stranger(bundle: Path, canary: Path) -> None:
    tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2), "backdoor": torch.ones(1)}
    save_file(tensors, bundle / "weights.safetensors")
    _signed(bundle)


def oversized_header(bundle: Path, canary: Path) -> None:
    _signed(bundle, **{"weights.safetensors": poison.oversized_header()})


def lying_header(bundle: Path, canary: Path) -> None:
    _signed(bundle, **{"weights.safetensors": poison.lying_header()})


def remote_code(bundle: Path, canary: Path) -> None:
    _signed(bundle, **{"config.json": b'{"width": 3, "auto_map": {"AutoModel": "modeling_bundle.Model"}}'})


def remote_code_deep_down(bundle: Path, canary: Path) -> None:
    _signed(bundle, **{"backbone.json": b'{"text": [{"trust_remote_code": true}]}'})


def endless_nesting(bundle: Path, canary: Path) -> None:
    _signed(bundle, **{"config.json": b'{"a":' * 100_000 + b"1" + b"}" * 100_000})


def endless_nesting_of_the_manifest(bundle: Path, canary: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"[" * 200_000)


def manifest_that_is_no_text(bundle: Path, canary: Path) -> None:
    (bundle / "manifest.json").write_bytes(poison.pickle_bytes(canary))


def no_manifest(bundle: Path, canary: Path) -> None:
    (bundle / "manifest.json").unlink()


POISONS = [
    pickle_beside_the_weights, torch_file_beside_the_weights, pickle_named_as_weights, torch_file_named_as_weights,
    object_array_named_as_weights, object_array_beside_the_weights, script, archive, folder, folder_named_as_a_file,
    pipe_named_as_a_file, link_to_elsewhere, manifest_of_a_file_outside, wrong_sha, digest_of_another_type,
    weights_not_a_number, weights_infinite, weights_of_another_width, weights_lack_a_tensor, weights_of_a_stranger,
    oversized_header, lying_header, remote_code, remote_code_deep_down, endless_nesting,
    endless_nesting_of_the_manifest, manifest_that_is_no_text, no_manifest,
]  # fmt: skip
SEEN_IN_THE_WEIGHTS = {
    pickle_named_as_weights, torch_file_named_as_weights, object_array_named_as_weights, weights_not_a_number,
    weights_infinite, weights_of_another_width, weights_lack_a_tensor, weights_of_a_stranger, oversized_header,
    lying_header,
}  # fmt: skip
"""Poisons that an attacker who signs the manifest anew hides until the weights are read."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("poisoned_by", POISONS, ids=lambda poison: poison.__name__)
def test_a_poisoned_bundle_is_refused(bundle: Path, tmp_path: Path, poisoned_by: Poison) -> None:
    canary = tmp_path / "canary"
    poisoned_by(bundle, canary)
    network = nn.Linear(3, 2)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    with pytest.raises(ModelFileError):
        load_weights(network, load_bundle(bundle, "item_tower"))
    assert not canary.exists()
    if poisoned_by not in {weights_of_another_width, weights_lack_a_tensor, weights_of_a_stranger}:
        assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


@pytest.mark.parametrize("poisoned_by", POISONS, ids=lambda poison: poison.__name__)
def test_what_was_registered_refuses_every_poison_unread(bundle: Path, tmp_path: Path, poisoned_by: Poison) -> None:
    """A registry knows the digest of the manifest: no signature made anew gets past it."""
    registered = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    poisoned_by(bundle, tmp_path / "canary")
    with pytest.raises(ModelFileError):
        verify_bundle(bundle, sha256=registered)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("poisoned_by", sorted(set(POISONS) - SEEN_IN_THE_WEIGHTS, key=POISONS.index))
def test_all_but_the_weights_is_judged_before_a_weight_is_read(
    bundle: Path, tmp_path: Path, poisoned_by: Poison
) -> None:
    poisoned_by(bundle, tmp_path / "canary")
    with pytest.raises(ModelFileError):
        verify_bundle(bundle)


def test_the_canary_sings(tmp_path: Path) -> None:
    """The payload itself works: what the other tests do not see could have happened."""
    poison.write_torch_file(tmp_path / "weights.pt", tmp_path / "canary")
    torch.load(tmp_path / "weights.pt", weights_only=False)
    assert (tmp_path / "canary").exists()
