"""Features of musicnn, a network that tags music: its last layer before the tags, averaged over 3-second windows."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.media import Sound
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.device import Device, Precision
from genre_pipeline.features.media_extractor import AudioExtractor
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.spectrum import mel_power
from genre_pipeline.features.waveform import at_rate

if TYPE_CHECKING:
    from torch import Tensor

    from genre_pipeline.models.musicnn import Musicnn


class MusicnnConfig(Settings):
    """How sounds are cut, and in what precision they are read."""

    max_windows: int = Field(default=10, ge=1)
    """Windows of 3 seconds of one sound, spread evenly over it where it has more."""
    windows_at_once: int = Field(default=8, ge=1)
    """Windows in one pass of the network: each takes about 20 MB of memory."""
    precision: Precision = "auto"
    """`auto` computes in bfloat16 on a GPU and in float32 elsewhere."""


class MusicnnFeatures(AudioExtractor):
    """float32 [sounds, 200], rows of length 1; all zero for silence."""

    name: ClassVar[str] = "audio_musicnn"

    def __init__(self, cache: Path, config: MusicnnConfig | None = None, *, device: str = "cpu") -> None:
        """`cache` is the folder where converted weights are kept."""
        self.config = config or MusicnnConfig()
        self.device = Device(device, self.config.precision)
        self._cache = cache

    @property
    def model(self) -> str:
        """The weights, the windows and the precision."""
        return f"{self.name}/{self._located[1]}/{self.config.max_windows}-{self.device.precision}"

    @property
    def width(self) -> int:
        """Units of the layer before the tags."""
        from genre_pipeline.models.musicnn import WIDTH

        return WIDTH

    def encode_batch(self, media: Sequence[Sound]) -> np.ndarray:
        """Windows in blocks, then each sound's averaged."""
        import torch

        windows = [self._windows(sound) for sound in media]  # each [k, FRAMES, bands]
        owners = np.repeat(np.arange(len(media)), [len(cut) for cut in windows])
        vectors = np.zeros((len(media), self.width), dtype=np.float32)
        for start in range(0, len(owners), self.config.windows_at_once):
            part = slice(start, start + self.config.windows_at_once)
            with torch.inference_mode(), self.device.autocast():
                features = self._network.features(self.device.move(torch.cat(windows)[part]))  # [windows, 200]
            np.add.at(vectors, owners[part], features.float().cpu().numpy())
        return l2_normalise(vectors)

    def _windows(self, sound: Sound) -> "Tensor":
        """[k, FRAMES, BANDS]; a short sound is repeated to fill one window; none of silence."""
        import torch

        from genre_pipeline.models.musicnn import BANDS, FRAMES, HOP, N_FFT, SAMPLE_RATE

        samples = at_rate(sound, SAMPLE_RATE)
        if not len(samples):
            return torch.zeros((0, FRAMES, BANDS))
        samples = np.resize(samples, max(len(samples), FRAMES * HOP))
        count = max(1, round(len(samples) / (FRAMES * HOP) - 0.25))
        chosen = np.unique(np.linspace(0, count - 1, min(count, self.config.max_windows)).round().astype(int))
        spectra = torch.log10(10_000 * mel_power(samples, SAMPLE_RATE, N_FFT, HOP, BANDS) + 1)  # [T, bands]
        starts = [min(one * FRAMES, len(spectra) - FRAMES) for one in chosen]
        return torch.stack([spectra[start : start + FRAMES] for start in starts])

    @cached_property
    def _located(self) -> tuple[Path, str]:
        from genre_pipeline.models.musicnn import locate_musicnn

        return locate_musicnn(self._cache)

    @cached_property
    def _network(self) -> "Musicnn":
        from genre_pipeline.models.musicnn import load_musicnn

        return load_musicnn(self._located[0]).to(self.device.name)
