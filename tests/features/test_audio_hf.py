import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from genre_pipeline.contracts.errors import ConfigError, ModelFileError
from genre_pipeline.features.audio_hf import HfAudio, HfAudioConfig
from genre_pipeline.models.media_encoders import tiny_spectrogram_transformer, tiny_wav2vec2
from tests.features.media_contract import AudioContract, tone


@pytest.fixture(scope="module")
def waveform_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_wav2vec2(tmp_path_factory.mktemp("wav2vec2"))


@pytest.fixture(scope="module")
def spectrogram_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_spectrogram_transformer(tmp_path_factory.mktemp("ast"))


class TestWaveformModelContract(AudioContract):
    @pytest.fixture
    def extractor(self, waveform_model: Path) -> HfAudio:
        return HfAudio(HfAudioConfig(source=str(waveform_model), window_seconds=0.5))


class TestSpectrogramModelContract(AudioContract):
    @pytest.fixture
    def extractor(self, spectrogram_model: Path) -> HfAudio:
        return HfAudio(HfAudioConfig(source=str(spectrogram_model), window_seconds=0.5, pooling="first"))


def test_one_window_is_the_models_own_states(waveform_model: Path) -> None:
    from transformers import AutoFeatureExtractor, AutoModel

    one = tone(300, 0.4, rate=16_000)
    inputs = AutoFeatureExtractor.from_pretrained(waveform_model)(
        one.samples, sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        mean = AutoModel.from_pretrained(waveform_model).eval()(inputs["input_values"]).last_hidden_state[0].mean(0)
    vector = HfAudio(HfAudioConfig(source=str(waveform_model))).encode([one])[0]
    np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)


def test_a_long_sound_is_the_mean_of_its_windows_by_length(waveform_model: Path) -> None:
    extractor = HfAudio(HfAudioConfig(source=str(waveform_model), window_seconds=0.5, windows_at_once=1))
    long = tone(300, 0.8, rate=16_000)
    parts = [type(long)(long.samples[:8000], 16_000), type(long)(long.samples[8000:], 16_000)]
    first, second = extractor.encode(parts)
    expected = first * 8000 + second * 4800
    np.testing.assert_allclose(extractor.encode([long])[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_a_model_without_a_projection_says_so(waveform_model: Path) -> None:
    with pytest.raises(ConfigError, match="no projection"):
        HfAudio(HfAudioConfig(source=str(waveform_model), pooling="projected")).encode([tone(300, 0.4)])


def test_a_missing_reader_or_model_is_named(waveform_model: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(waveform_model, tmp_path / "copy"))
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(ModelFileError, match="has no preprocessor_config"):
        HfAudio(HfAudioConfig(source=str(copy))).encode([tone(300, 0.4)])
    with pytest.raises(ModelFileError) as caught:
        _ = HfAudio(HfAudioConfig(source="./nowhere")).model
    assert all(way in str(caught.value) for way in ("./nowhere", "directory", "pip install", "hub id"))
