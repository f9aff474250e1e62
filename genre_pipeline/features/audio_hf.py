"""Any audio model of Hugging Face by name: of waveforms (wav2vec 2.0, HuBERT) and of spectrograms (AST, Whisper, CLAP).

Its feature extractor makes what it reads, from preprocessor_config.json; no code of the model's folder is run. Sounds
are read in windows, and only windows of equal length share a batch: padding would move the vectors of models that were
trained without it. The network is loaded when the first sound comes.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.media import Sound
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.device import Device, Precision
from genre_pipeline.features.media_extractor import AudioExtractor
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.waveform import at_rate, cut_windows
from genre_pipeline.models.media_encoders import SOUND, load_sound_reader
from genre_pipeline.models.model_files import ModelFiles, load_network, locate_model

_LEAST_SECONDS = 0.1


class HfAudioConfig(Settings):
    """Which model, how its states become one vector, and how sounds are cut."""

    source: str
    """The model: a directory, `package:<installed package>`, or a hub id such as `facebook/wav2vec2-base`."""
    weights_sha256: str | None = None
    """Refuse other weights than these."""
    pooling: Literal["mean", "first", "projected"] = "mean"
    """`mean` over time; `first` takes the first token, for models trained that way (AST); `projected` is CLAP's own
    sound vector, which lies in one space with its texts."""
    window_seconds: float = Field(default=10.0, gt=0.2, le=60)
    """A longer sound is read in windows, whose vectors are averaged by their length."""
    max_windows: int = Field(default=6, ge=1)
    """Windows of one sound, spread evenly over it where it has more."""
    windows_at_once: int = Field(default=4, ge=1)
    """Windows in one pass of the network; 4 windows of 10 seconds take about a gigabyte with wav2vec 2.0."""
    precision: Precision = "auto"
    """`auto` computes in bfloat16 on a GPU and in float32 elsewhere."""


class HfAudio(AudioExtractor):
    """float32 [sounds, width], rows of length 1; all zero for silence."""

    name: ClassVar[str] = "audio_hf"

    def __init__(self, config: HfAudioConfig, *, device: str = "cpu", offline: bool = False) -> None:
        self.config = config
        self.device = Device(device, config.precision)
        self._offline = offline

    @property
    def model(self) -> str:
        """The model's identity with everything else that moves a vector."""
        config = self.config
        settings = f"{config.pooling}-{config.window_seconds:g}-{config.max_windows}-{self.device.precision}"
        return f"{self.name}/{self._files.identity}/{settings}"

    @property
    def width(self) -> int:
        """Known from a second of noise: models name their width in many ways."""
        return self._width

    def encode_batch(self, media: Sequence[Sound]) -> np.ndarray:
        """Windows of equal length together, then each sound's windows averaged."""
        by_length: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
        for position, sound in enumerate(media):
            for window in self._windows(sound):
                by_length[len(window)].append((position, window))
        vectors = np.zeros((len(media), self.width), dtype=np.float32)
        for length, windows in by_length.items():
            for start in range(0, len(windows), self.config.windows_at_once):
                owners, cut = zip(*windows[start : start + self.config.windows_at_once], strict=True)
                np.add.at(vectors, np.array(owners), self._forward(list(cut)) * np.float32(length))
        return l2_normalise(vectors)

    def _windows(self, sound: Sound) -> list[np.ndarray]:
        rate = self._rate
        length, least = round(self.config.window_seconds * rate), round(_LEAST_SECONDS * rate)
        return cut_windows(at_rate(sound, rate), length, self.config.max_windows, least)

    def _forward(self, windows: list[np.ndarray]) -> np.ndarray:
        import torch

        read = self._reader(windows, sampling_rate=self._rate, return_tensors="pt")
        inputs = {name: self.device.move(read[name]) for name in self._reader.model_input_names if name in read}
        inputs.pop("attention_mask", None)  # nothing is padded
        with torch.inference_mode(), self.device.autocast():
            pooled = self._pooled(inputs)  # [windows, width]
        unit = torch.nn.functional.normalize(pooled.float(), dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    def _pooled(self, inputs: dict[str, Any]) -> Any:
        if self.config.pooling == "projected":
            if not hasattr(self._network, "get_audio_features"):
                raise ConfigError(
                    f"The audio model {self.config.source} has no projection of sounds",
                    remedy="Set `pooling` of the audio encoder to `mean`.",
                    culprits=[self.config.pooling],
                )
            projected = self._network.get_audio_features(**inputs)
            return getattr(projected, "pooler_output", projected)
        tower = getattr(self._network, "audio_model", self._network)
        if self._network.config.is_encoder_decoder:
            tower = self._network.get_encoder()
        states = tower(**inputs).last_hidden_state
        if states.ndim == 4:  # a feature map [b, width, bands, time]
            states = states.flatten(2).transpose(1, 2)
        return states.float().mean(1) if self.config.pooling == "mean" else states[:, 0]

    @property
    def _rate(self) -> int:
        return int(self._reader.sampling_rate)

    @cached_property
    def _files(self) -> ModelFiles:
        pin = self.config.weights_sha256
        return locate_model(self.config.source, SOUND, weights_sha256=pin, offline=self._offline)

    @cached_property
    def _reader(self) -> Any:
        return load_sound_reader(self._files)

    @cached_property
    def _network(self) -> Any:
        return load_network(self._files).to(self.device.name)

    @cached_property
    def _width(self) -> int:
        noise = np.random.default_rng(0).standard_normal(self._rate).astype(np.float32) / 10
        return int(self._forward([noise]).shape[1])
