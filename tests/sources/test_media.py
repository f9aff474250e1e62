"""Reading media: good files right, bad files with their reason, and no file's trouble anybody else's."""

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.contracts.media import MediaBatch, Modality, RejectedMedia
from genre_pipeline.sources.media import MediaConfig, read_media
from tests.sources import bad_media, decoders_gone_wrong
from tests.sources.bad_media import DECODED, EITHER, BadFile, picture, saved, sound

ONE = MediaConfig(workers=1)
RULES = {
    "file_empty", "format_refused", "undecodable", "too_many_pixels", "sound_empty", "sound_not_finite",
    "too_many_channels", "rate_refused", "too_slow", "too_much_memory", "decoder_crashed",
}  # fmt: skip


def read(
    folder: Path, files: Sequence[BadFile], modality: Modality, config: MediaConfig = ONE, **options: object
) -> list[MediaBatch]:
    for file in files:
        (folder / file.name).write_bytes(file.contents)
    items = pl.DataFrame({"item_id": [file.name for file in files]}).with_columns(location="item_id")
    return list(read_media(items, modality, root=str(folder), config=config, **options))  # type: ignore[call-overload]


def outcomes(batches: Sequence[MediaBatch]) -> dict[str, str]:
    found = {item: DECODED for batch in batches for item in (*batch.item_ids, *batch.known_item_ids)}
    rejected = pl.concat([batch.rejected for batch in batches])
    return found | dict(rejected.select("item_id", "rule").iter_rows())


def arrays(batches: Sequence[MediaBatch], modality: Modality) -> dict[str, np.ndarray]:
    name = "pixels" if modality == "image" else "samples"
    return {
        item: getattr(one, name) for batch in batches for item, one in zip(batch.item_ids, batch.decoded, strict=True)
    }


def check_outcomes(files: Sequence[BadFile], found: dict[str, str]) -> None:
    wanted = {file.name: file.outcome for file in files if file.outcome != EITHER}
    assert {name: found[name] for name in wanted} == wanted
    assert set(found) == {file.name for file in files}
    assert set(found.values()) <= RULES | {DECODED}


def check_pixels(found: dict[str, np.ndarray], side: int) -> None:
    for array in found.values():
        assert array.dtype == np.uint8
        assert array.ndim == 3
        assert array.shape[2] == 3
        assert min(array.shape[:2]) >= 1
        assert max(array.shape[:2]) <= side


def check_samples(found: dict[str, np.ndarray]) -> None:
    for array in found.values():
        assert (array.dtype, array.ndim) == (np.float32, 1)
        assert len(array) > 0
        assert np.abs(array).max() <= 1


def test_decoders_start_where_an_editable_install_is_on_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = Path(__file__).parents[2]
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path and Path(path).resolve() != house])
    monkeypatch.chdir(tmp_path)
    assert outcomes(read(tmp_path, [BadFile("good.png", saved(picture(), "PNG"), DECODED)], "image")) == {
        "good.png": DECODED
    }


def test_every_odd_picture_is_decoded_or_rejected_for_its_reason(tmp_path: Path) -> None:
    files = list(bad_media.pictures())
    batches = read(tmp_path, files, "image")
    check_outcomes(files, outcomes(batches))
    check_pixels(arrays(batches, "image"), 512)
    assert len(files) >= 95


def test_every_odd_sound_is_decoded_or_rejected_for_its_reason(tmp_path: Path) -> None:
    files = list(bad_media.sounds())
    batches = read(tmp_path, files, "audio")
    check_outcomes(files, outcomes(batches))
    check_samples(arrays(batches, "audio"))
    assert len(files) >= 95


@pytest.mark.parametrize("count", [150, pytest.param(2_000, marks=pytest.mark.slow)])
def test_mutants_cost_nobody_but_themselves(tmp_path: Path, count: int) -> None:
    pictures = list(bad_media.mutants(bad_media.whole_pictures(), count, seed=1))
    batches = read(tmp_path, pictures, "image")
    check_outcomes(pictures, outcomes(batches))
    check_pixels(arrays(batches, "image"), 512)
    sounds = list(bad_media.mutants(bad_media.whole_sounds(), count, seed=2))
    heard = read(tmp_path, sounds, "audio")
    check_outcomes(sounds, outcomes(heard))
    check_samples(arrays(heard, "audio"))


def test_a_picture_is_upright_whatever_its_orientation(tmp_path: Path) -> None:
    upright = picture()
    files = [
        BadFile(f"{value}.png", saved(_turned(upright, value), "PNG", exif=bad_media.exif(value)), DECODED)
        for value in range(1, 9)
    ]
    found = arrays(read(tmp_path, files, "image"), "image")
    assert len(found) == 8
    for array in found.values():
        assert np.array_equal(array, np.asarray(upright))


def _turned(upright: "bad_media.Image.Image", orientation: int) -> "bad_media.Image.Image":
    """As a camera that was held so would store it: the inverse of what a viewer does."""
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
             7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    if orientation == 1:
        return upright
    return upright.transpose(getattr(bad_media.Image.Transpose, turns[orientation]))


def test_colours_survive_their_modes(tmp_path: Path) -> None:
    clear = bad_media.Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = bad_media.Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    grey = bad_media.Image.fromarray(np.full((4, 4), 0x80FF, dtype=np.uint16))
    images = {"clear": (clear, [255] * 3), "half": (half, [255, 127, 127]), "grey": (grey, [128] * 3)}
    files = [BadFile(f"{name}.png", saved(image, "PNG"), DECODED) for name, (image, _) in images.items()]
    found = arrays(read(tmp_path, files, "image"), "image")
    assert {name: found[f"{name}.png"][0, 0].tolist() for name in images} == {
        name: colour for name, (_, colour) in images.items()
    }


def test_large_pictures_are_shrunk_and_keep_their_proportions(tmp_path: Path) -> None:
    files = [BadFile(f"a.{form}", saved(picture(1_200, 800), form), DECODED) for form in ("JPEG", "PNG", "WEBP")]
    found = arrays(read(tmp_path, files, "image", ONE.model_copy(update={"picture_side": 96})), "image")
    assert [array.shape for array in found.values()] == [(64, 96, 3)] * 3


def test_a_sound_is_one_channel_and_no_longer_than_allowed(tmp_path: Path) -> None:
    left = np.full((8_000, 2), [0.5, -0.1])
    files = [BadFile("a.wav", bad_media.written(left, 8_000, "WAV", "FLOAT"), DECODED)]
    [batch] = read(tmp_path, files, "audio", ONE.model_copy(update={"max_sound_seconds": 0.25}))
    assert batch.decoded[0].sample_rate == 8_000
    assert batch.decoded[0].samples == pytest.approx(np.full(2_000, 0.2), abs=1e-6)


def test_batches_keep_order_hashes_and_bounds(tmp_path: Path) -> None:
    good = [BadFile(f"{number}.png", saved(picture(8, number + 1), "PNG"), DECODED) for number in range(7)]
    files = [*good[:4], BadFile("bad.png", b"", "file_empty"), *good[4:]]
    seen: list[tuple[int, int]] = []
    config = MediaConfig(workers=2, batch_size=3)
    batches = read(
        tmp_path, files, "image", config,
        known={hashlib.sha256(good[0].contents).hexdigest()}, report=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert [batch.item_ids for batch in batches] == [("1.png", "2.png"), ("3.png", "4.png"), ("5.png", "6.png")]
    assert [batch.known_item_ids for batch in batches] == [("0.png",), (), ()]
    assert [batch.rejected["item_id"].to_list() for batch in batches] == [[], ["bad.png"], []]
    hashes = {name: one for batch in batches for name, one in zip(batch.item_ids, batch.content_hashes, strict=True)}
    assert hashes == {file.name: hashlib.sha256(file.contents).hexdigest() for file in good[1:]}
    assert batches[0].known_hashes == (hashlib.sha256(good[0].contents).hexdigest(),)
    assert [array.shape[0] for array in arrays(batches, "image").values()] == [2, 3, 4, 5, 6, 7]
    assert seen == [(done, 8) for done in range(1, 9)]


def test_a_batch_ends_at_its_megabytes(tmp_path: Path) -> None:
    files = [BadFile(f"{number}.wav", sound(frames=200_000), DECODED) for number in range(5)]
    batches = read(tmp_path, files, "audio", ONE.model_copy(update={"batch_mb": 1}))
    assert [len(batch.item_ids) for batch in batches] == [2, 2, 1]


def test_items_without_a_location_are_passed_over(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": ["a"], "location": [None]}, schema={"item_id": pl.String, "location": pl.String})
    assert list(read_media(items, "image", root=str(tmp_path), config=ONE)) == []


def test_the_rejected_row_says_everything(tmp_path: Path) -> None:
    items = pl.DataFrame({"item_id": ["7"], "location": ["../secret.png"]})
    [batch] = read_media(items, "image", root=str(tmp_path), config=ONE)
    detail = "The path, with links followed, leads out of the data set's folder"
    row = {"item_id": "7", "modality": "image", "location": "../secret.png", "rule": "outside_root", "detail": detail}
    assert batch.rejected.equals(RejectedMedia.validate(pl.DataFrame([row])))


def test_equal_files_are_rejected_in_equal_words(tmp_path: Path) -> None:
    twice = [BadFile(name, sound()[:20], "undecodable") for name in ("a.wav", "b.wav")]
    [batch] = read(tmp_path, twice, "audio")
    assert batch.rejected["detail"].n_unique() == 1
    assert "0x" not in batch.rejected["detail"][0]


def test_formats_that_are_not_allowed_are_refused(tmp_path: Path) -> None:
    files = [
        BadFile("a.png", saved(picture(), "PNG"), "format_refused"),
        BadFile("a.jpg", saved(picture(), "JPEG"), DECODED),
    ]
    config = ONE.model_copy(update={"image_formats": ("JPEG",)})
    check_outcomes(files, outcomes(read(tmp_path, files, "image", config)))


def test_a_file_over_the_size_is_refused_unread(tmp_path: Path) -> None:
    files = [BadFile("a.png", bytes(1_001), "too_many_bytes")]
    found = outcomes(read(tmp_path, files, "image", ONE.model_copy(update={"max_bytes": 1_000})))
    assert found == {"a.png": "too_many_bytes"}


def test_decoders_that_go_wrong_cost_one_item_each(tmp_path: Path) -> None:
    wrong = {
        "hang": "too_slow", "spin": "too_slow", "eat": "too_much_memory", "exit": "decoder_crashed",
        "segfault": "decoder_crashed", "killed": "decoder_crashed", "babble": DECODED, "write": "decoder_crashed",
        "limits": DECODED,
    }  # fmt: skip
    good = saved(picture(), "PNG")
    files = [
        file
        for name, outcome in wrong.items()
        for file in (BadFile(name, name.encode(), outcome), BadFile(f"after-{name}.png", good, DECODED))
    ]
    config = MediaConfig(workers=2, seconds=0.8, memory_mb=256)
    start = time.monotonic()
    found = outcomes(read(tmp_path, files, "image", config, decode=decoders_gone_wrong.PATH))
    assert found == {file.name: file.outcome for file in files}
    assert time.monotonic() - start < 20


def test_leaving_early_ends_the_decoders(tmp_path: Path) -> None:
    good = saved(picture(), "PNG")
    names = ["a.png", "b.png", "hang", "c.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"hang" if name == "hang" else good)
    items = pl.DataFrame({"item_id": names, "location": names})
    config = MediaConfig(workers=1, seconds=60, batch_size=1)
    start = time.monotonic()
    batches = read_media(items, "image", root=str(tmp_path), config=config, decode=decoders_gone_wrong.PATH)
    assert next(batches).item_ids == ("a.png",)
    batches.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 20


def test_a_decoder_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    files = [BadFile("a.png", saved(picture(), "PNG"), DECODED)]
    with pytest.raises(SourceError, match="does not start"):
        read(tmp_path, files, "image", decode=decoders_gone_wrong.START_FAILS)


@pytest.mark.slow
def test_the_largest_allowed_picture_fits_the_memory(tmp_path: Path) -> None:
    pixels = np.zeros((6_300, 6_300, 4), dtype=np.uint8)
    pixels[::7, ::5] = 200
    image = bad_media.Image.fromarray(pixels)
    files = [
        BadFile("alpha.png", saved(image, "PNG", compress_level=1), DECODED),
        BadFile("progressive.jpg", saved(image.convert("RGB"), "JPEG", progressive=True), DECODED),
        BadFile("four.jpg", saved(image.convert("CMYK"), "JPEG", quality=40), DECODED),
    ]
    check_outcomes(files, outcomes(read(tmp_path, files, "image")))
