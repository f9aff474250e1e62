"""The standard folder in every form, and every way it can be wrong."""

import random
from pathlib import Path

import fsspec
import polars as pl
import pytest

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.sources.folder import read_folder
from tests.scenario import MISSING_IMAGE_ITEM, raw_interactions, raw_items, write_standard_folder

INTERACTIONS = pl.DataFrame(
    {"user_id": ["007", "8"], "item_id": ["01", "2"], "timestamp": ["1700000000", "1700000001"]}
)


def write(frame: pl.DataFrame, path: Path) -> None:
    ending = path.suffix
    if ending == ".parquet":
        frame.write_parquet(path)
    elif ending in (".csv", ".tsv"):
        frame.write_csv(path, separator="\t" if ending == ".tsv" else ",")
    else:
        frame.write_ndjson(path)


@pytest.mark.parametrize("form", ["parquet", "csv", "tsv", "jsonl", "ndjson"])
def test_every_form_gives_the_same_rows_and_keeps_leading_zeros(tmp_path: Path, form: str) -> None:
    write(INTERACTIONS, tmp_path / f"interactions.{form}")
    raw = read_folder(tmp_path)
    assert raw.interactions.collect().equals(INTERACTIONS)
    assert (raw.items, raw.users, raw.name, raw.root) == (None, None, tmp_path.name, str(tmp_path))


def test_number_ids_become_text(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [7], "item_id": [2**53 + 1], "timestamp": [1]}).write_parquet(
        tmp_path / "interactions.parquet"
    )
    row = read_folder(tmp_path).interactions.collect()
    assert row.select("user_id", "item_id").row(0) == ("7", "9007199254740993")


def test_the_scenario_folder_reads_whole(tmp_path: Path) -> None:
    raw = read_folder(write_standard_folder(tmp_path / "world"))
    assert raw.items is not None
    assert raw.interactions.collect().equals(raw_interactions())
    assert raw.items.collect().equals(raw_items())
    named = raw.items.collect().drop_nulls("image").select("item_id", "image").rows()
    absent = [item_id for item_id, path in named if not Path(raw.media_location(path)).is_file()]
    assert absent == [MISSING_IMAGE_ITEM]


def test_an_object_store_url_is_read_through_fsspec() -> None:
    with fsspec.open("memory://shop/interactions.csv", "wb") as handle:
        handle.write(INTERACTIONS.write_csv().encode())
    raw = read_folder("memory://shop")
    assert raw.interactions.collect().equals(INTERACTIONS)
    assert raw.media_location("a/b.png") == "memory://shop/a/b.png"


def test_a_file_url_is_read_by_polars(tmp_path: Path) -> None:
    write(INTERACTIONS, tmp_path / "interactions.parquet")
    assert read_folder(f"file://{tmp_path}").interactions.collect().equals(INTERACTIONS)


def test_columns_are_renamed_as_configured(tmp_path: Path) -> None:
    write(INTERACTIONS.rename({"user_id": "customer"}), tmp_path / "interactions.csv")
    raw = read_folder(tmp_path, columns={"interactions": {"customer": "user_id"}})
    assert raw.interactions.collect().equals(INTERACTIONS)


@pytest.mark.parametrize(
    ("renames", "message"),
    [
        ({"interactions": {"nobody": "event"}}, "nobody"),
        ({"interactions": {"item_id": "user_id"}}, "twice"),
        ({"items": {"sku": "item_id"}}, "no table items"),
    ],
)
def test_a_rename_that_does_not_fit_is_refused(
    tmp_path: Path, renames: dict[str, dict[str, str]], message: str
) -> None:
    write(INTERACTIONS, tmp_path / "interactions.csv")
    with pytest.raises(SourceError, match=message):
        read_folder(tmp_path, columns=renames)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        read_folder(tmp_path / "absent")


def test_a_folder_without_interactions_is_refused(tmp_path: Path) -> None:
    write(pl.DataFrame({"item_id": ["1"]}), tmp_path / "items.csv")
    with pytest.raises(SourceError, match="no interactions table"):
        read_folder(tmp_path)


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    write(INTERACTIONS.drop("timestamp"), tmp_path / "interactions.csv")
    with pytest.raises(
        SourceError, match=r"interactions\.csv lacks a required column \('timestamp'\).*user_id, item_id"
    ):
        read_folder(tmp_path)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_an_empty_table_is_refused(tmp_path: Path, form: str) -> None:
    write(INTERACTIONS.clear(), tmp_path / f"interactions.{form}")
    with pytest.raises(SourceError, match="has no rows"):
        read_folder(tmp_path)


def test_one_table_in_two_forms_is_refused(tmp_path: Path) -> None:
    write(INTERACTIONS, tmp_path / "interactions.csv")
    write(INTERACTIONS, tmp_path / "interactions.parquet")
    with pytest.raises(SourceError, match="several forms"):
        read_folder(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_a_broken_parquet_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "interactions.parquet"
    write(INTERACTIONS, path)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "text": b"user_id,item_id\n1,2\n"}[damage])
    with pytest.raises(SourceError, match=r"cannot be read from .*interactions\.parquet"):
        read_folder(tmp_path)


def test_no_flipped_bit_brings_a_foreign_error(tmp_path: Path) -> None:
    """polars panics on some damage, with an exception that is not an Exception."""
    path = tmp_path / "interactions.parquet"
    pl.concat([INTERACTIONS] * 500).write_parquet(path)
    content, draw, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(120):
        flipped, position = bytearray(content), draw.randrange(len(content))
        flipped[position] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            read_folder(tmp_path)
        except SourceError:
            refused += 1
    assert refused > 10


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_bytes(b"user_id,item_id,timestamp\nJos\xe9,1,5\n")
    with pytest.raises(SourceError, match=r"interactions\.csv"):
        read_folder(tmp_path)


def test_an_unknown_scheme_is_refused_with_a_remedy() -> None:
    with pytest.raises(SourceError, match="nowhere://"):
        read_folder("nowhere://bucket/shop")


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "a/../../b.png", ".."])
def test_a_media_path_cannot_leave_the_folder(tmp_path: Path, path: str) -> None:
    write(INTERACTIONS, tmp_path / "interactions.csv")
    raw = read_folder(tmp_path)
    with pytest.raises(SourceError, match="leads out"):
        raw.media_location(path)
    assert raw.media_location("https://cdn.example/x.png") == "https://cdn.example/x.png"
