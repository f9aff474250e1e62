"""The catalogue and the users: one test a rule, and which row of an id counts."""

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.tables import Items, Users
from genre_pipeline.preprocessing.cleaning import RowCounts
from genre_pipeline.preprocessing.items import catalogue_of, clean_items
from genre_pipeline.preprocessing.users import clean_users
from tests.scenario import BAD_ITEMS, HTML_ITEM, TEXTLESS_ITEM, UNAVAILABLE_ITEM, UNICODE_ITEM, raw_items

GOOD = {
    "item_id": "1",
    "title": "A",
    "available": "true",
    "published_at": "2024-03-05",
    "price": "1.5",
    "colour": "red",
}


def frame(*changes: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame([GOOD | change for change in changes], schema=dict.fromkeys(GOOD, pl.String))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"item_id": None}, "item_id|nullability"),
        ({"item_id": ""}, "item_id|min_length"),
        ({"item_id": "x" * 513}, "item_id_is_short"),
        ({"item_id": "2", "available": "perhaps"}, "available_is_boolean"),
        ({"item_id": "2", "published_at": "spring"}, "published_at_is_parsable"),
        ({"item_id": "2", "price": "cheap"}, "price_is_a_number"),
        ({"item_id": "2", "price": "-1"}, "price|min"),
        ({"item_id": "2", "price": "nan"}, "price|nan"),
    ],
)
def test_a_row_that_breaks_a_rule_is_set_aside_with_the_rule(change: dict[str, object], rule: str) -> None:
    result = clean_items(frame({}, change))
    assert result.counts == RowCounts(read=2, kept=1, rejected=1, duplicates=0)
    assert result.rejected.select("table", "rule", "day").row(0) == ("items", rule, None)


def test_a_good_row_becomes_the_contract_and_keeps_its_other_columns() -> None:
    kept = clean_items(frame({"title": "<b>A</b>", "available": None})).kept
    expected: dict[str, object] = {
        "item_id": "1", "title": "A", "description": None, "categories": [], "image": None, "audio": None,
        "available": True, "published_at": datetime(2024, 3, 5, tzinfo=UTC), "price": 1.5, "colour": "red",
    }  # fmt: skip
    assert kept.row(0, named=True) == expected
    assert list(kept.columns) == list(expected)


def test_an_id_alone_is_an_item() -> None:
    kept = clean_items(pl.DataFrame({"item_id": [7, 8]})).kept
    assert kept["item_id"].to_list() == ["7", "8"]
    assert kept["available"].all()
    Items.validate(kept)


def test_the_last_of_different_rows_counts_and_equal_rows_are_duplicates() -> None:
    result = clean_items(frame({"title": "old"}, {"title": "new"}, {"item_id": "2"}, {"title": "new"}))
    assert result.kept.select("item_id", "title").rows() == [("2", "A"), ("1", "new")]
    assert result.rejected["rule"].to_list() == ["item_id_superseded"]
    assert result.counts == RowCounts(read=4, kept=2, rejected=1, duplicates=1)


def test_a_bad_row_does_not_supersede_a_good_one() -> None:
    result = clean_items(frame({"title": "good"}, {"title": "bad", "price": "-1"}))
    assert result.kept["title"].to_list() == ["good"]
    assert result.rejected["rule"].to_list() == ["price|min"]


def test_the_scenario_catalogue() -> None:
    result = clean_items(raw_items())
    Items.validate(result.kept)
    assert result.rejected["rule"].to_list() == list(BAD_ITEMS)
    rows = {row["item_id"]: row for row in result.kept.iter_rows(named=True)}
    assert rows[HTML_ITEM]["title"] == "Nebula & dust"
    assert rows[UNICODE_ITEM]["title"] == "Crème brûlée for two"
    assert (rows[TEXTLESS_ITEM]["title"], rows[TEXTLESS_ITEM]["categories"]) == (None, [])
    assert [item_id for item_id, row in rows.items() if not row["available"]] == [UNAVAILABLE_ITEM]


def test_a_catalogue_is_made_of_ids_where_there_is_none() -> None:
    catalogue = clean_items(catalogue_of(pl.DataFrame({"item_id": ["b", "a", "b"]}))).kept
    assert catalogue["item_id"].to_list() == ["a", "b"]
    Items.validate(catalogue)


def test_a_catalogue_without_ids_is_refused() -> None:
    with pytest.raises(ContractError, match="'item_id'"):
        clean_items(pl.DataFrame({"sku": ["1"]}))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"item_id": st.sampled_from(["1", "2", "3", ""]), "title": st.sampled_from(["a", "b", None]),
             "price": st.sampled_from(["1", "-1", None])}
        ),
        max_size=20,
    )
)  # fmt: skip
def test_books_add_up_and_cleaning_twice_changes_nothing(rows: list[dict[str, object]]) -> None:
    once = clean_items(frame(*rows))
    assert once.counts.read == len(rows)
    assert once.kept["item_id"].is_unique().all()
    assert_frame_equal(clean_items(once.kept).kept, once.kept)


@pytest.mark.parametrize(
    ("user_id", "rule"),
    [(None, "user_id|nullability"), ("", "user_id|min_length"), ("x" * 513, "user_id_is_short")],
)
def test_a_user_that_breaks_a_rule_is_set_aside_with_the_rule(user_id: str | None, rule: str) -> None:
    result = clean_users(pl.DataFrame({"country": ["de", "fr"], "user_id": ["007", user_id]}))
    assert result.kept.rows() == [("007", "de")]
    assert result.rejected["rule"].to_list() == [rule]


def test_the_last_row_of_a_user_counts() -> None:
    result = clean_users(pl.DataFrame({"user_id": ["1", "1", "2", "2"], "country": ["de", "fr", "jp", "jp"]}))
    assert result.kept.rows() == [("1", "fr"), ("2", "jp")]
    assert result.rejected["rule"].to_list() == ["user_id_superseded"]
    assert result.counts == RowCounts(read=4, kept=2, rejected=1, duplicates=1)
    Users.validate(result.kept, cast=True)
