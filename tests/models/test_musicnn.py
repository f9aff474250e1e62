import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.features.spectrum import mel_power
from genre_pipeline.models.musicnn import Musicnn, load_musicnn, locate_musicnn, named_tensors

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("musicnn") is None, reason="the package musicnn is not installed"
)


def as_checkpoint(network: Musicnn) -> dict[str, np.ndarray]:
    """The network's tensors as TensorFlow names and turns them."""
    variables: dict[str, np.ndarray] = {}

    def numbered(kind: str) -> str:
        count = len({name.split("/")[0] for name in variables if name.split("/")[0].rstrip("_0123456789") == kind})
        return f"{kind}_{count}" if count else kind

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            name = numbered("conv2d")
            variables[f"{name}/kernel"] = module.weight.detach().numpy().transpose(2, 3, 1, 0)
            variables[f"{name}/bias"] = module.bias.detach().numpy() if module.bias is not None else np.zeros(0)
        elif isinstance(module, torch.nn.Linear):
            name = numbered("dense")
            variables[f"{name}/kernel"] = module.weight.detach().numpy().T
            variables[f"{name}/bias"] = module.bias.detach().numpy()
        elif isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            name = numbered("batch_normalization")
            assert module.running_mean is not None
            assert module.running_var is not None
            variables[f"{name}/gamma"] = module.weight.detach().numpy()
            variables[f"{name}/beta"] = module.bias.detach().numpy()
            variables[f"{name}/moving_mean"] = module.running_mean.numpy()
            variables[f"{name}/moving_variance"] = module.running_var.numpy()
    return variables


def test_a_checkpoints_names_lead_to_the_same_network() -> None:
    torch.manual_seed(0)
    network, again = Musicnn().eval(), Musicnn().eval()
    for norm in (
        module for module in network.modules() if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)
    ):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        norm.running_mean = torch.rand_like(norm.weight).detach()
    again.load_state_dict(named_tensors(as_checkpoint(network)))
    spectra = torch.rand(2, 187, 96)
    with torch.inference_mode():
        assert network(spectra).shape == (2, 50)
        torch.testing.assert_close(again.features(spectra), network.features(spectra))


def test_a_missing_package_names_the_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError) as caught:
        locate_musicnn(tmp_path)
    assert all(way in str(caught.value) for way in ("musicnn", "directory", "pip install", "hub id"))


@needs_package
def test_the_packages_weights_tell_a_quiet_tone_from_loud_noise(tmp_path: Path) -> None:
    """Of MagnaTagATune's tags, 23 is `loud` and 24 is `quiet`."""
    path, identity = locate_musicnn(tmp_path)
    assert identity == "musicnn-041f3935e981a65c"
    tone = 0.05 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 16_000)
    noise = np.random.default_rng(0).standard_normal(48_000) / 3
    powers = [mel_power(sound.astype(np.float32), 16_000, 512, 256, 96)[:187] for sound in (tone, noise)]
    with torch.inference_mode():
        tags = load_musicnn(path)(torch.log10(10_000 * torch.stack(powers) + 1))
    assert (tags[:, 23] > tags[:, 24]).tolist() == [False, True]
