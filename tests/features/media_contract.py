"""What every picture or sound extractor must keep: a technique's test inherits one and gives an `extractor`."""

from typing import Any, ClassVar

import numpy as np
import pytest

from genre_pipeline.contracts.media import Picture, Sound
from genre_pipeline.features.media_extractor import MediaExtractor

RATE = 8_000


def picture(height: int, width: int, seed: int) -> Picture:
    """Coarse noise: a picture with colours and edges."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Picture(coarse[np.arange(height) * 4 // height][:, np.arange(width) * 5 // width])


def tone(hertz: float, seconds: float, rate: int = RATE) -> Sound:
    time = np.arange(int(seconds * rate)) / rate
    decaying = np.sin(2 * np.pi * hertz * time) * np.exp(-time) * 0.5
    return Sound(decaying.astype(np.float32), rate)


class MediaContract:
    """Subclasses give the fixture `extractor`; the subclasses of this one give `media` and `odd`."""

    media: ClassVar[list[Any]]
    odd: ClassVar[list[Any]]
    tolerance: ClassVar[float] = 2e-5

    @pytest.fixture
    def extractor(self) -> MediaExtractor[Any]:
        raise NotImplementedError

    def test_a_float32_row_of_the_stated_width_for_each(self, extractor: MediaExtractor[Any]) -> None:
        vectors = extractor.encode(self.media)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(self.media), extractor.width)
        assert np.isfinite(vectors).all()
        assert vectors.any(axis=1).all()

    def test_the_same_media_give_the_same_bits(self, extractor: MediaExtractor[Any]) -> None:
        np.testing.assert_array_equal(extractor.encode(self.media), extractor.encode(self.media))

    def test_order_and_company_change_a_vector_by_no_more_than_rounding(self, extractor: MediaExtractor[Any]) -> None:
        together = extractor.encode(self.media)
        alone = np.concatenate([extractor.encode([medium]) for medium in self.media])
        np.testing.assert_allclose(alone, together, atol=self.tolerance)
        np.testing.assert_allclose(extractor.encode(self.media[::-1])[::-1], together, atol=self.tolerance)

    def test_others_differ(self, extractor: MediaExtractor[Any]) -> None:
        vectors = extractor.encode(self.media)
        assert not np.allclose(vectors[0], vectors[1], atol=1e-4)

    def test_nothing_gives_no_rows_of_the_same_width(self, extractor: MediaExtractor[Any]) -> None:
        vectors = extractor.encode([])
        assert vectors.dtype == np.float32
        assert vectors.shape == (0, extractor.width)

    def test_odd_media_are_finite(self, extractor: MediaExtractor[Any]) -> None:
        vectors = extractor.encode([*self.odd, self.media[0]])
        assert np.isfinite(vectors).all()
        np.testing.assert_allclose(vectors[-1], extractor.encode([self.media[0]])[0], atol=self.tolerance)

    def test_progress_ends_with_all_done(self, extractor: MediaExtractor[Any]) -> None:
        seen: list[tuple[int, int]] = []
        extractor.encode(self.media, lambda done, total: seen.append((done, total)))
        assert seen == sorted(seen)
        assert seen[-1] == (len(self.media), len(self.media))

    def test_the_identity_is_stable_and_starts_with_the_name(self, extractor: MediaExtractor[Any]) -> None:
        before = extractor.model
        extractor.encode(self.media)
        assert extractor.model == before
        assert before.startswith(f"{extractor.name}/")
        assert "/tmp" not in before


class ImageContract(MediaContract):
    media: ClassVar[list[Any]] = [picture(*size, seed) for seed, size in enumerate([(40, 60), (90, 30), (64, 64)])]
    odd: ClassVar[list[Any]] = [
        picture(1, 1, 3),
        picture(2, 300, 4),
        Picture(np.zeros((20, 20, 3), dtype=np.uint8)),
        Picture(np.full((7, 9, 3), 255, dtype=np.uint8)),
    ]

    def test_the_modality_is_named(self, extractor: MediaExtractor[Any]) -> None:
        assert extractor.modality == "image"

    def test_a_picture_is_not_changed(self, extractor: MediaExtractor[Any]) -> None:
        before = self.media[0].pixels.copy()
        extractor.encode(self.media)
        np.testing.assert_array_equal(self.media[0].pixels, before)


class AudioContract(MediaContract):
    media: ClassVar[list[Any]] = [tone(440, 0.5), tone(900, 1.3), tone(200, 0.5, rate=11_025)]
    odd: ClassVar[list[Any]] = [
        tone(440, 1 / RATE * 3),
        Sound(np.ones(1, dtype=np.float32), RATE),
        Sound(np.ones(5000, dtype=np.float32), 44_100),
        tone(100, 0.2, rate=48_000),
    ]

    def test_the_modality_is_named(self, extractor: MediaExtractor[Any]) -> None:
        assert extractor.modality == "audio"

    def test_silence_says_nothing(self, extractor: MediaExtractor[Any]) -> None:
        vectors = extractor.encode([Sound(np.zeros(4000, dtype=np.float32), RATE), self.media[0]])
        assert not vectors[0].any()
        assert vectors[1].any()
