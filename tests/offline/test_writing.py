from pathlib import Path

import polars as pl
import pytest

from genre_pipeline.contracts.errors import ConfigError, SourceError
from genre_pipeline.offline.writing import check_list_file, check_report_folder, read_users, write_lists

LISTS = pl.DataFrame(
    {"user_id": ["007"], "item_id": ["a,b"], "rank": [1], "score": [0.5]},
    schema_overrides={"rank": pl.UInt32, "score": pl.Float32},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user_id\n007\n7\n007\n", ["007", "7"]),
        ("country,user_id\nde,007\nfr,\n", ["007"]),
        ('"user_id"\n"a, b"\n', ["a, b"]),
        ("\ufeffuser_id\n007\n", ["007"]),
        ("\ufeff007\n7\n", ["007", "7"]),
        ("007\n\n  7  \n007", ["007", "7"]),
        ("b\na, b\n", ["b", "a, b"]),
        ("b\r\na\r\n", ["b", "a"]),
    ],
)
def test_forms_of_a_users_file(tmp_path: Path, text: str, expected: list[str]) -> None:
    path = tmp_path / "users.csv"
    path.write_text(text, encoding="utf-8")
    found = read_users(path)
    assert (found.to_list(), found.dtype, found.name) == (expected, pl.String, "user_id")


def test_a_parquet_users_file(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pl.DataFrame({"user_id": [7, 8, 7, None], "x": 1}).write_parquet(path)
    assert read_users(path).to_list() == ["7", "8"]
    pl.DataFrame({"user": ["a"], "x": 1}).write_parquet(path)
    with pytest.raises(SourceError, match="no column user_id") as caught:
        read_users(path)
    assert caught.value.culprits == ("user", "x")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("u.csv", b"", "names no user"),
        ("u.csv", b"user_id\n", "names no user"),
        ("u.csv", b"a,b\n1,2\n", r"no column user_id \('a', 'b'\)"),
        ("u.csv", b"user_id,x\n1,2,3\n", "cannot be read"),
        ("u.txt", b"\xff\xfe\x00\x01", "cannot be read"),
        ("u.parquet", b"PAR1 no parquet PAR1", "cannot be read"),
    ],
)
def test_a_users_file_that_cannot_be_used(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        read_users(tmp_path / name)


def test_a_users_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        read_users(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("name", ["lists.csv", "lists.parquet"])
def test_lists_are_written_by_the_files_ending(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    check_list_file(path)
    write_lists(LISTS, path)
    read = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, schema=LISTS.schema)
    assert read.equals(LISTS)


def test_a_place_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in '\.xlsx'.*\.csv, \.parquet"):
        check_list_file(tmp_path / "lists.xlsx")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match="--out is a folder"):
        check_list_file(tmp_path / "folder.csv")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--out is a file"):
        check_report_folder(tmp_path / "file")
    check_report_folder(tmp_path / "new")
    check_report_folder(tmp_path)
