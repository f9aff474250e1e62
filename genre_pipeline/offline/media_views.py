"""Views: pictures and sounds changed at random, once each, for what is learned of them; no list is made of one.

Belongs here: which change falls on which file. Kept out: the changes (`preprocessing.augmentation_*`), and encoding.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from genre_pipeline.contracts.media import ImageInput, MediaBatch, Modality, Picture, Sound
from genre_pipeline.preprocessing.augmentation import AugmentationConfig, is_on
from genre_pipeline.preprocessing.augmentation_audio import AudioAugmentationConfig, augment_windows, mask_windows
from genre_pipeline.preprocessing.augmentation_image import ImageAugmentationConfig, augment_squares
from genre_pipeline.preprocessing.image import ImageNormaliser

_SQUARE = ImageInput(size=256, crop_share=1)


def has_views(config: AugmentationConfig, modality: Modality) -> bool:
    """Whether anything may change in the modality."""
    return is_on(config.image if modality == "image" else config.audio)


def view_name(config: AugmentationConfig, modality: Modality, seed: int) -> str:
    """What decides how a file is changed: part of the key that its vector is kept under."""
    changes = config.image if modality == "image" else config.audio
    return f"view-{hashlib.sha256(f'{changes.model_dump_json()} {seed}'.encode()).hexdigest()[:12]}"


def changed(batches: Iterable[MediaBatch[Any]], config: AugmentationConfig, *, seed: int) -> Iterator[MediaBatch[Any]]:
    """Each medium as `config` changes it: a file's hash and the seed decide, so it is the same whatever lies beside."""
    for batch in batches:
        files = zip(batch.decoded, batch.content_hashes, strict=True)
        yield replace(batch, decoded=tuple(_changed(one, config, seed + int(name[:12], 16)) for one, name in files))


def _changed(medium: Picture | Sound, config: AugmentationConfig, seed: int) -> Picture | Sound:
    if isinstance(medium, Picture):
        return _changed_picture(medium, config.image, seed)
    return _changed_sound(medium, config.audio, seed)


def _changed_picture(picture: Picture, config: ImageAugmentationConfig, seed: int) -> Picture:
    square = augment_squares(ImageNormaliser(_SQUARE).squares([picture]), config, seed=seed)[0]
    return Picture(np.round(255 * square.transpose(1, 2, 0)).astype(np.uint8))


def _changed_sound(sound: Sound, config: AudioAugmentationConfig, seed: int) -> Sound:
    if not len(sound.samples):  # silent throughout
        return sound
    window = augment_windows(sound.samples[None], config, seed=seed)
    return Sound(mask_windows(window, config, seed=seed)[0], sound.sample_rate)
