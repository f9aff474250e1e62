from genre_pipeline.preprocessing.augmentation import (
    AUDIO_KINDS,
    IMAGE_KINDS,
    TEXT_KINDS,
    AugmentationConfig,
    each_alone,
)
from genre_pipeline.preprocessing.augmentation_image import ImageAugmentationConfig


def test_everything_is_off_unless_asked_for() -> None:
    config = AugmentationConfig()
    for of_modality, kinds in ((config.text, TEXT_KINDS), (config.image, IMAGE_KINDS), (config.audio, AUDIO_KINDS)):
        assert {kind: getattr(of_modality, kind) for kind in kinds} == dict.fromkeys(kinds, 0.0)


def test_one_kind_at_a_time_keeps_the_strengths() -> None:
    config = ImageAugmentationConfig(flip=0.5, jitter=0.1, jitter_strength=0.7)
    alone = each_alone(config, IMAGE_KINDS, strength={"jitter": 0.4})
    assert [(one.crop, one.flip, one.jitter) for one in alone] == [(1, 0, 0), (0, 1, 0), (0, 0, 0.4)]
    assert {one.jitter_strength for one in alone} == {0.7}
