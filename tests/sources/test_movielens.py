"""MovieLens' forms, each on a small file written here, and on the real data sets where a machine has them."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.sources.movielens import is_movielens, read_movielens, tidy_title
from genre_pipeline.sources.raw_dataset import RawDataset
from tests.sources.real_data import real_data

RATINGS = pl.DataFrame(
    {
        "user_id": ["2", "1", "1"],
        "item_id": ["11", "10", "11"],
        "timestamp": ["900", "900", "800"],
        "event": ["rating"] * 3,
        "value": ["4", "3", "5"],
    }
)
FILMS = pl.DataFrame(
    {
        "item_id": ["10", "11"],
        "title": ["The Matrix (1999)", "Léon"],
        "categories": [["Action", "Sci-Fi"], []],
        "year": [1999, None],
    },
    schema_overrides={"categories": pl.List(pl.String), "year": pl.Int32},
)


def flags(*genres: int) -> str:
    return "|".join("1" if position in genres else "0" for position in range(19))


def grouplens(folder: Path) -> None:
    (folder / "u.data").write_text("2\t11\t4\t900\n1\t10\t3\t900\n1\t11\t5\t800\n")
    films = f"10|Matrix, The (1999)|31-Mar-1999||http://x|{flags(1, 15)}\n11|Léon|||http://x|{flags(0)}\n"
    (folder / "u.item").write_text(films, encoding="latin-1")


def comma_separated(folder: Path) -> None:
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n2,11,4,900\n1,10,3,900\n1,11,5,800\n")
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n10,"Matrix, The (1999)",Action|Sci-Fi\n11,Léon,(no genres listed)\n', encoding="utf-8"
    )


def double_colon(folder: Path, encoding: str = "utf-8") -> None:
    (folder / "ratings.dat").write_text("2::11::4::900\n1::10::3::900\n1::11::5::800\n")
    (folder / "movies.dat").write_text("10::Matrix, The (1999)::Action|Sci-Fi\n11::Léon::\n", encoding=encoding)


def double_colon_latin1(folder: Path) -> None:
    double_colon(folder, "latin-1")


def atomic(folder: Path) -> None:
    (folder / "x.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n2\t11\t4\t900\n1\t10\t3\t900\n1\t11\t5\t800\n"
    )
    (folder / "x.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "10\tMatrix, The\t1999\tAction Sci-Fi\n11\tLéon\t\tunknown\n",
        encoding="utf-8",
    )


def items_of(raw: RawDataset) -> pl.DataFrame:
    assert raw.items is not None
    return raw.items.collect()


@pytest.mark.parametrize("form", [grouplens, comma_separated, double_colon, double_colon_latin1, atomic])
def test_every_form_gives_the_same_tables(tmp_path: Path, form: object) -> None:
    form(tmp_path)  # type: ignore[operator]
    raw = read_movielens(tmp_path)
    assert_frame_equal(raw.interactions.collect(), RATINGS)
    films = items_of(raw)
    films = films.with_columns(pl.col("categories").fill_null(pl.lit([], pl.List(pl.String))))
    assert_frame_equal(films.select(FILMS.columns), FILMS)


def test_grouplens_knows_the_day_a_film_came_out(tmp_path: Path) -> None:
    grouplens(tmp_path)
    assert [str(day) for day in items_of(read_movielens(tmp_path))["published_at"]] == [
        "1999-03-31 00:00:00+00:00",
        "None",
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Matrix, The", "The Matrix"),
        ("Avventura, L'", "L'Avventura"),
        (
            "City of Lost Children, The (Cité des enfants perdus, La)",
            "The City of Lost Children (La Cité des enfants perdus)",
        ),
        ("Good, The Bad and The Ugly, The", "The Good, The Bad and The Ugly"),
        ("Bye Bye, Love", "Bye Bye, Love"),
        ("Theory", "Theory"),
        ("", ""),
    ],
)
def test_titles_read_as_people_say_them(written: str, read: str) -> None:
    assert pl.select(tidy_title(pl.lit(written))).item() == read


def test_a_folder_is_told_by_its_files(tmp_path: Path) -> None:
    assert not is_movielens(tmp_path)
    grouplens(tmp_path)
    assert is_movielens(tmp_path)
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\n")
    assert not is_movielens(tmp_path)


def test_a_folder_of_no_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no form of MovieLens"):
        read_movielens(tmp_path)


def test_a_folder_of_two_forms_is_refused(tmp_path: Path) -> None:
    grouplens(tmp_path)
    comma_separated(tmp_path)
    with pytest.raises(SourceError, match="several forms"):
        read_movielens(tmp_path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating\n1,2,3\n")
    with pytest.raises(SourceError, match="'timestamp'"):
        read_movielens(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("")
    with pytest.raises(SourceError, match=r"u\.data"):
        read_movielens(tmp_path)


@pytest.mark.parametrize(
    ("name", "n_ratings", "n_users", "n_items"),
    [
        ("ml-100k", 100_000, 943, 1_682),
        ("ml-latest-small", 100_836, 610, 9_742),
        ("movietweetings-100k", 100_000, 16_554, 10_506),
    ],
)
def test_real_data_sets_read_whole(name: str, n_ratings: int, n_users: int, n_items: int) -> None:
    raw = read_movielens(real_data(name))
    ratings, films = raw.interactions.collect(), items_of(raw)
    assert (ratings.height, ratings["user_id"].n_unique(), films.height) == (n_ratings, n_users, n_items)
    assert films["title"].null_count() == 0
