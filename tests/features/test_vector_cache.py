import hashlib
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.features.extractor import Report, TextExtractor
from genre_pipeline.features.vector_cache import EncodingCounts, VectorCache, encode_items


class Lengths(TextExtractor):
    """A technique one can check by eye: (characters, words); says what it was asked, and can be told to die."""

    name: ClassVar[str] = "lengths"

    def __init__(self, version: int = 1, dies_at: int | None = None) -> None:
        self.version, self.dies_at = version, dies_at
        self.asked: list[str] = []

    @property
    def model(self) -> str:
        return f"lengths/{self.version}"

    def encode(self, texts: Sequence[str], report: Report | None = None) -> np.ndarray:
        if self.dies_at is not None and len(self.asked) >= self.dies_at:
            raise KeyboardInterrupt
        self.asked += texts
        if report is not None:
            report(len(texts), len(texts))
        rows = [[self.version * len(text), len(text.split())] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, 2)


def texts_frame(**texts: str | None) -> pl.DataFrame:
    hashes = [hashlib.sha256((text or "").encode()).hexdigest() for text in texts.values()]
    return pl.DataFrame(
        {"item_id": list(texts), "text": list(texts.values()), "content_hash": hashes},
        schema={"item_id": pl.String, "text": pl.String, "content_hash": pl.String},
    )


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


TEXTS = texts_frame(d="one two", a="three", b="one two", c=None, e="")


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path / "cache")


def test_one_row_an_item_in_order_and_null_where_there_is_nothing(cache: VectorCache) -> None:
    vectors, counts = encode_items(TEXTS, Lengths(), cache)
    expected = TEXTS.select(
        "item_id",
        pl.lit("lengths/1").alias("model"),
        "content_hash",
        pl.Series("vector", [[7, 2], [5, 1], [7, 2], None, None], dtype=pl.List(pl.Float32)),
    )
    assert_frame_equal(vectors, expected)
    ItemVectors.validate(vectors)
    assert counts == EncodingCounts(items=5, without_text=1, reused=1, encoded=3)


def test_a_second_run_encodes_nothing_and_gives_the_same(cache: VectorCache) -> None:
    first, _ = encode_items(TEXTS, Lengths(), cache)
    extractor = Lengths()
    second, counts = encode_items(TEXTS, extractor, VectorCache(cache.folder))
    assert_frame_equal(second, first)
    assert counts == EncodingCounts(items=5, without_text=1, reused=4, encoded=0)
    assert extractor.asked == []


def test_only_new_and_changed_texts_are_encoded(cache: VectorCache) -> None:
    encode_items(TEXTS, Lengths(), cache)
    extractor = Lengths()
    vectors, counts = encode_items(texts_frame(d="one two", a="changed", f="new"), extractor, cache)
    assert sorted(extractor.asked) == ["changed", "new"]
    assert counts == EncodingCounts(items=3, without_text=0, reused=1, encoded=2)
    assert vectors["vector"].to_list() == [[7, 2], [7, 1], [3, 1]]


def test_another_model_has_vectors_of_its_own(cache: VectorCache) -> None:
    encode_items(TEXTS, Lengths(1), cache)
    vectors, counts = encode_items(TEXTS, Lengths(2), cache)
    assert counts.encoded == 3
    assert vectors["vector"][0].to_list() == [14, 2]
    assert encode_items(TEXTS, Lengths(1), cache)[0]["vector"][0].to_list() == [7, 2]


def test_a_killed_run_keeps_its_finished_chunks(cache: VectorCache) -> None:
    texts = texts_frame(**{f"i{number}": "x" * (number + 1) for number in range(10)})
    with pytest.raises(KeyboardInterrupt):
        encode_items(texts, Lengths(dies_at=6), cache, chunk=3)
    extractor = Lengths()
    vectors, counts = encode_items(texts, extractor, cache, chunk=3)
    assert (counts.reused, counts.encoded) == (6, 4)
    assert vectors["vector"].list.first().to_list() == [float(number + 1) for number in range(10)]


def test_texts_of_like_length_share_a_chunk_longest_first_and_progress_adds_up(cache: VectorCache) -> None:
    extractor, seen = Lengths(), []
    texts = texts_frame(a="xx", b="xxxx", c="x", d="xxx")
    encode_items(texts, extractor, cache, lambda done, total: seen.append((done, total)), chunk=3)
    assert extractor.asked == ["xxxx", "xxx", "xx", "x"]
    assert seen == [(3, 4), (4, 4)]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_corrupt_segment_is_never_served(cache: VectorCache, damage: str) -> None:
    first, _ = encode_items(TEXTS, Lengths(), cache)
    (path,) = segments(cache.folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flip": bytes(data), "truncate": bytes(data[:-9]), "empty": b""}[damage])
    again, counts = encode_items(TEXTS, Lengths(), cache)
    assert_frame_equal(again, first)
    assert counts == EncodingCounts(items=5, without_text=1, reused=1, encoded=3, corrupt_segments=(path.name,))
    assert encode_items(TEXTS, Lengths(), cache)[1] == EncodingCounts(items=5, without_text=1, reused=4, encoded=0)
    assert [path.suffix for path in cache.folder.rglob("*.corrupt")] == [".corrupt"]


def test_every_flipped_bit_of_a_segment_is_noticed(cache: VectorCache) -> None:
    encode_items(TEXTS, Lengths(), cache)
    (path,) = segments(cache.folder)
    whole = path.read_bytes()
    for position in range(0, len(whole), 37):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        path.write_bytes(data)
        held, corrupt = cache.load("lengths/1", TEXTS["content_hash"])
        assert held.is_empty()
        assert corrupt == (path.name,)


def test_half_written_files_are_not_looked_at(cache: VectorCache) -> None:
    encode_items(TEXTS, Lengths(), cache)
    (path,) = segments(cache.folder)
    (path.parent / ".writing-abc").write_bytes(b"PAR1")
    assert encode_items(TEXTS, Lengths(), cache)[1].encoded == 0


def _encode_in_a_process(folder: str, start: int) -> None:
    texts = texts_frame(**{f"i{number}": "y" * (number + 1) for number in range(start, start + 12)})
    encode_items(texts, Lengths(), VectorCache(Path(folder)), chunk=1)


@pytest.mark.slow
def test_two_processes_at_once_lose_nothing(cache: VectorCache) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_encode_in_a_process, args=(str(cache.folder), start)) for start in (0, 6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    texts = texts_frame(**{f"i{number}": "y" * (number + 1) for number in range(18)})
    vectors, counts = encode_items(texts, Lengths(), cache)
    assert counts == EncodingCounts(items=18, without_text=0, reused=18, encoded=0)
    assert vectors["vector"].list.first().to_list() == [float(number + 1) for number in range(18)]
    assert not list(cache.folder.rglob(".writing-*"))


class NotFinite(Lengths):
    def encode(self, texts: Sequence[str], report: Report | None = None) -> np.ndarray:
        return np.where(super().encode(texts, report) == 5, np.nan, 1).astype(np.float32)


def test_vectors_that_are_not_finite_are_refused_and_not_kept(cache: VectorCache) -> None:
    with pytest.raises(ModelFileError, match="not finite for 1 of 3 texts") as caught:
        encode_items(TEXTS, NotFinite(), cache)
    assert caught.value.culprits == (TEXTS["content_hash"][1],)
    assert segments(cache.folder) == []


def test_without_a_cache_everything_is_encoded_and_nothing_written(tmp_path: Path) -> None:
    vectors, counts = encode_items(TEXTS, Lengths(), None)
    assert counts == EncodingCounts(items=5, without_text=1, reused=1, encoded=3)
    assert vectors["vector"].to_list() == [[7, 2], [5, 1], [7, 2], None, None]
    assert list(tmp_path.iterdir()) == []


def test_no_texts_at_all(cache: VectorCache) -> None:
    vectors, counts = encode_items(texts_frame(a=None, b=None), Lengths(), cache)
    assert vectors["vector"].to_list() == [None, None]
    assert counts == EncodingCounts(items=2, without_text=2, reused=0, encoded=0)
    assert encode_items(texts_frame(), Lengths(), cache)[0].height == 0


def test_models_that_are_not_named_are_pruned(cache: VectorCache) -> None:
    encode_items(TEXTS, Lengths(1), cache)
    encode_items(TEXTS, Lengths(2), cache)
    assert cache.prune(["lengths/2", "lengths/3"]) == 1
    assert encode_items(TEXTS, Lengths(1), cache)[1].encoded == 3
    assert encode_items(TEXTS, Lengths(2), cache)[1].encoded == 0
