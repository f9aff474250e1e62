"""Single columns from whatever type a source gives them."""

from decimal import Decimal

import polars as pl
import pytest

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.preprocessing.cells import as_boolean, as_categories, as_id, as_number, as_word


@pytest.mark.parametrize(
    ("raw", "ids"),
    [
        (pl.Series(["007", " a", "", None]), ["007", " a", "", None]),
        (pl.Series([7, 2**53 + 1]), ["7", "9007199254740993"]),
        (pl.Series([7.0, 7.5, None, float("nan")]), ["7", "7.5", None, None]),
        (pl.Series(["a"], dtype=pl.Categorical), ["a"]),
    ],
)
def test_ids_are_text(raw: pl.Series, ids: list[str | None]) -> None:
    assert as_id(raw).to_list() == ids


@pytest.mark.parametrize(
    ("raw", "numbers"),
    [
        (pl.Series([" 1.5", "many", "", None, "1e3"]), [1.5, None, None, None, 1000.0]),
        (pl.Series([1, 2], dtype=pl.Int8), [1.0, 2.0]),
        (pl.Series([Decimal("1.25")]), [1.25]),
        (pl.Series([True, False]), [1.0, 0.0]),
    ],
)
def test_numbers(raw: pl.Series, numbers: list[float | None]) -> None:
    assert as_number(raw).to_list() == numbers


@pytest.mark.parametrize(
    ("raw", "booleans"),
    [
        (pl.Series(["true", "FALSE", " yes", "n", "1", "0", "maybe", "", None]),
         [True, False, True, False, True, False, None, None, None]),
        (pl.Series([0, 1, 2]), [False, True, None]),
        (pl.Series([1.0, 0.0, None]), [True, False, None]),
        (pl.Series([True, None]), [True, None]),
    ],
)  # fmt: skip
def test_booleans(raw: pl.Series, booleans: list[bool | None]) -> None:
    assert as_boolean(raw).to_list() == booleans


@pytest.mark.parametrize(
    ("raw", "lists"),
    [
        (pl.Series(["a|b", " a | |a", "", None, "e\u0301"]), [["a", "b"], ["a"], [], [], ["é"]]),
        (pl.Series([["a", None, "a", " b "], [], None]), [["a", "b"], [], []]),
        (pl.Series([["a", "b"]], dtype=pl.Array(pl.String, 2)), [["a", "b"]]),
        (pl.Series([[1, 2]]), [["1", "2"]]),
    ],
)
def test_categories(raw: pl.Series, lists: list[list[str]]) -> None:
    assert as_categories(raw.alias("categories")).to_list() == lists


def test_words_are_stripped() -> None:
    assert as_word(pl.Series([" a ", " ", None])).to_list() == ["a", None, None]


@pytest.mark.parametrize("read", [as_id, as_number, as_boolean, as_word])
def test_a_nested_column_is_refused_by_name(read: object) -> None:
    with pytest.raises(ContractError, match="'price'"):
        read(pl.Series("price", [[1], [2]]))  # type: ignore[operator]
