"""Any image model of Hugging Face by name, without torchvision: transformers, CLIP's picture side, CNNs.

Its preprocessor_config.json is read as data; no code of it is run. The network is loaded when the first picture comes.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.media import ImageInput, Picture
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.device import Device, Precision
from genre_pipeline.features.media_extractor import ImageExtractor
from genre_pipeline.features.pixels import to_pixels
from genre_pipeline.models.media_encoders import VISION, image_input
from genre_pipeline.models.model_files import ModelFiles, load_network, locate_model


class HfImageConfig(Settings):
    """Which model, how its states become one vector, and how the work is cut into batches."""

    source: str
    """The model: a directory, `package:<installed package>`, or a hub id such as `facebook/dinov2-small`."""
    weights_sha256: str | None = None
    """Refuse other weights than these."""
    pooling: Literal["mean", "first", "projected"] = "mean"
    """`mean` over patches or map cells; `first` takes the class token; `projected` is CLIP's own picture vector, which
    lies in one space with its texts."""
    input: ImageInput | None = None
    """What the model reads; unset, as its preprocessor_config.json says."""
    batch_size: int = Field(default=16, ge=1)
    """Pictures at once."""
    precision: Precision = "auto"
    """`auto` computes in bfloat16 on a GPU and in float32 elsewhere."""


class HfImage(ImageExtractor):
    """float32 [pictures, width], rows of length 1."""

    name: ClassVar[str] = "image_hf"

    def __init__(self, config: HfImageConfig, *, device: str = "cpu", offline: bool = False) -> None:
        self.config = config
        self.device = Device(device, config.precision)
        self._offline = offline

    @property
    def model(self) -> str:
        """The model's identity with everything else that moves a vector."""
        given = self._input
        shape = f"{given.size}-{given.crop_share:g}-{given.mean}-{given.deviation}".replace(" ", "")
        return f"{self.name}/{self._files.identity}/{self.config.pooling}-{shape}-{self.device.precision}"

    @property
    def width(self) -> int:
        """Known from one grey picture: models name their width in many ways."""
        return self._width

    @property
    def batch_size(self) -> int:
        """As configured."""
        return self.config.batch_size

    def encode_batch(self, media: Sequence[Picture]) -> np.ndarray:
        """Pooled states of the last layer, or the model's own projection."""
        import torch

        pixels = to_pixels(media, self._input)  # [b, 3, size, size]
        with torch.inference_mode(), self.device.autocast():
            pooled = self._pooled(self.device.move(pixels))  # [b, width]
        unit = torch.nn.functional.normalize(pooled.float(), dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    def _pooled(self, pixels: Any) -> Any:
        if self.config.pooling == "projected":
            return self._project(pixels)
        tower = getattr(self._network, "vision_model", self._network)
        states = tower(pixel_values=pixels).last_hidden_state
        if states.ndim == 4:  # a feature map [b, channels, h, w]
            states = states.flatten(2).transpose(1, 2)  # [b, h * w, channels]
            if self.config.pooling == "first":
                raise self._refused("has no class token")
        return states.float().mean(1) if self.config.pooling == "mean" else states[:, 0]

    def _project(self, pixels: Any) -> Any:
        if not hasattr(self._network, "get_image_features"):
            raise self._refused("has no projection of pictures")
        projected = self._network.get_image_features(pixel_values=pixels)
        return getattr(projected, "pooler_output", projected)

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(
            f"The image model {self.config.source} {why}",
            remedy="Set `pooling` of the image encoder to `mean`.",
            culprits=[self.config.pooling],
        )

    @cached_property
    def _files(self) -> ModelFiles:
        pin = self.config.weights_sha256
        return locate_model(self.config.source, VISION, weights_sha256=pin, offline=self._offline)

    @cached_property
    def _input(self) -> ImageInput:
        return self.config.input or image_input(self._files)

    @cached_property
    def _network(self) -> Any:
        return load_network(self._files).to(self.device.name)

    @cached_property
    def _width(self) -> int:
        grey = np.full((self._input.size, self._input.size, 3), 127, dtype=np.uint8)
        return int(self.encode_batch([Picture(grey)]).shape[1])
