"""Random change of training data, composed: what each modality may suffer; off until asked for, never in inference.

Belongs here: the composition, and showing one kind of change by itself. Kept out: the changes (`augmentation_text`,
`augmentation_image`, `augmentation_audio`).
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.preprocessing.augmentation_audio import AudioAugmentationConfig
from genre_pipeline.preprocessing.augmentation_image import ImageAugmentationConfig
from genre_pipeline.preprocessing.augmentation_text import TextAugmentationConfig

TEXT_KINDS = ("title_only", "field_dropout", "token_dropout", "span_deletion")
IMAGE_KINDS = ("crop", "flip", "jitter")
AUDIO_KINDS = ("shift", "noise", "masks")
_Config = TypeVar("_Config", TextAugmentationConfig, ImageAugmentationConfig, AudioAugmentationConfig)


class AugmentationConfig(Settings):
    """What training may change at random. Everything is off unless set."""

    text: TextAugmentationConfig = TextAugmentationConfig()
    """Texts that lose fields, words or a span."""
    image: ImageAugmentationConfig = ImageAugmentationConfig()
    """Pictures cropped, mirrored, in other light."""
    audio: AudioAugmentationConfig = AudioAugmentationConfig()
    """Sounds shifted, in noise, with bands and stretches masked."""


def is_on(config: ImageAugmentationConfig | AudioAugmentationConfig) -> bool:
    """Whether any kind of change may happen."""
    kinds = IMAGE_KINDS if isinstance(config, ImageAugmentationConfig) else AUDIO_KINDS
    return any(getattr(config, kind) > 0 for kind in kinds)


def each_alone(config: _Config, kinds: Sequence[str], *, strength: Mapping[str, float] | None = None) -> list[_Config]:
    """The configuration with one kind of change on and every other off, for each of `kinds`.

    A kind is certain (probability 1) unless `strength` says otherwise: 1 would leave no word of a text.
    """
    off = dict.fromkeys(kinds, 0.0)
    return [config.model_copy(update={**off, kind: (strength or {}).get(kind, 1.0)}) for kind in kinds]
