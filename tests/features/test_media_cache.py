import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import ContractError, ModelFileError
from genre_pipeline.contracts.media import MediaBatch, RejectedMedia, Sound
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.features.media_cache import NO_CONTENT, MediaCounts, encode_media, held_media, media_model
from genre_pipeline.features.media_extractor import AudioExtractor
from genre_pipeline.features.vector_cache import VectorCache


class Loudness(AudioExtractor):
    """A technique one can check by eye: (samples, sum); says what it was asked, and can be told to die."""

    name = "loudness"
    width = 2

    def __init__(self, version: int = 1, dies_at: int | None = None, gives: float = 1) -> None:
        self.version, self.dies_at, self.gives = version, dies_at, gives
        self.asked: list[float] = []

    @property
    def model(self) -> str:
        return f"loudness/{self.version}"

    def encode_batch(self, media: Sequence[Sound]) -> np.ndarray:
        if self.dies_at is not None and len(self.asked) >= self.dies_at:
            raise KeyboardInterrupt
        self.asked += [float(sound.samples.sum()) for sound in media]
        rows = [[len(sound.samples), sound.samples.sum()] if sound.samples.any() else [0, 0] for sound in media]
        return np.array(rows, dtype=np.float32) * np.float32(self.gives)


FILES: dict[str, str | None] = {"a": "one", "b": "two", "c": None, "d": "one", "e": "broken", "f": "silent"}
SOUNDS = {"one": [1.0], "two": [1.0, 2.0], "silent": [0.0, 0.0], "three": [3.0]}


def content(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def read(files: dict[str, str | None], known: set[str], size: int = 2) -> Iterator[MediaBatch[Sound]]:
    """A reader that keeps the contract of `sources.media`, over files in memory."""
    present = [(item_id, name) for item_id, name in files.items() if name is not None]
    for start in range(0, len(present), size):
        part = present[start : start + size]
        fine = [(item_id, name) for item_id, name in part if name != "broken"]
        decoded = [(item_id, name) for item_id, name in fine if content(name) not in known]
        skipped = [(item_id, name) for item_id, name in fine if content(name) in known]
        broken = [item_id for item_id, name in part if name == "broken"]
        rejected = {"item_id": broken, "modality": "audio", "location": "x.wav", "rule": "undecodable", "detail": "no"}
        yield MediaBatch(
            item_ids=tuple(item_id for item_id, _ in decoded),
            decoded=tuple(Sound(np.array(SOUNDS[name], dtype=np.float32), 8_000) for _, name in decoded),
            content_hashes=tuple(content(name) for _, name in decoded),
            known_item_ids=tuple(item_id for item_id, _ in skipped),
            known_hashes=tuple(content(name) for _, name in skipped),
            rejected=RejectedMedia.validate(
                pl.DataFrame(rejected, schema=RejectedMedia.create_empty().schema)
                if broken
                else RejectedMedia.create_empty()
            ),
        )


def night(
    files: dict[str, str | None], extractor: Loudness, cache: VectorCache, **arguments: object
) -> tuple[pl.DataFrame, pl.DataFrame, MediaCounts]:
    held = held_media(cache, media_model(extractor))
    batches = read(files, set(held["content_hash"]))
    return encode_media(pl.Series(list(files)), batches, extractor, cache, held=held, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "cache")


def test_one_row_an_item_in_order_and_null_where_there_is_nothing(cache: VectorCache) -> None:
    vectors, rejected, counts = night(FILES, Loudness(), cache)
    hashes = [content("one"), content("two"), NO_CONTENT, content("one"), NO_CONTENT, content("silent")]
    expected = pl.DataFrame(
        {
            "item_id": list("abcdef"),
            "model": "loudness/1",
            "content_hash": hashes,
            "vector": pl.Series([[1, 1], [2, 3], None, [1, 1], None, None], dtype=pl.List(pl.Float32)),
        }
    )
    assert_frame_equal(vectors, expected)
    ItemVectors.validate(vectors)
    assert rejected["item_id"].to_list() == ["e"]
    assert counts == MediaCounts(items=6, without_media=1, rejected=1, reused=1, encoded=3)


def test_a_second_night_decodes_and_encodes_nothing(cache: VectorCache) -> None:
    first, _, _ = night(FILES, Loudness(), cache)
    extractor = Loudness()
    second, rejected, counts = night(FILES, extractor, VectorCache(cache.folder))
    assert_frame_equal(second, first)
    assert extractor.asked == []
    assert rejected["item_id"].to_list() == ["e"]
    assert counts == MediaCounts(items=6, without_media=1, rejected=1, reused=4, encoded=0)


def test_only_new_and_changed_files_are_encoded(cache: VectorCache) -> None:
    night(FILES, Loudness(), cache)
    extractor = Loudness()
    vectors, _, counts = night({"a": "three", "b": "one", "g": "three"}, extractor, cache)
    assert extractor.asked == [3.0]
    assert vectors["vector"].to_list() == [[1, 3], [1, 1], [1, 3]]
    assert (counts.encoded, counts.reused) == (1, 2)


def test_another_model_or_preparation_has_vectors_of_its_own(cache: VectorCache) -> None:
    night(FILES, Loudness(1), cache)
    assert night(FILES, Loudness(2), cache)[2].encoded == 3
    model = media_model(Loudness(1), "trimmed")
    assert model == "loudness/1|trimmed"
    assert held_media(cache, model).is_empty()


def test_a_killed_night_keeps_its_finished_chunks(cache: VectorCache) -> None:
    with pytest.raises(KeyboardInterrupt):
        night({"a": "one", "b": "two", "c": "three"}, Loudness(dies_at=2), cache, chunk=1)
    assert night({"a": "one", "b": "two", "c": "three"}, Loudness(), cache)[2].encoded == 1


def test_progress_counts_items(cache: VectorCache) -> None:
    seen: list[tuple[int, int]] = []
    night(FILES, Loudness(), cache, report=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 6), (4, 6), (5, 6)]


def test_vectors_that_are_not_finite_are_not_kept(cache: VectorCache) -> None:
    with pytest.raises(ModelFileError, match="not finite") as caught:
        night(FILES, Loudness(gives=float("nan")), cache)
    assert content("one") in caught.value.culprits
    assert held_media(cache, "loudness/1").is_empty()


def test_a_file_that_was_skipped_without_a_vector_is_an_error(cache: VectorCache) -> None:
    batches = read(FILES, {content("one")})
    with pytest.raises(ContractError, match="skipped files"):
        encode_media(pl.Series(list(FILES)), batches, Loudness(), cache)


def test_no_items_give_an_empty_table(cache: VectorCache) -> None:
    vectors, rejected, counts = night({}, Loudness(), cache)
    assert (vectors.height, rejected.height) == (0, 0)
    assert counts == MediaCounts(items=0, without_media=0, rejected=0, reused=0, encoded=0)
