"""The whole data set: the books of all tables, and where a run stops."""

import polars as pl
import pytest

from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.tables import Interactions, Items, RejectedRows
from genre_pipeline.preprocessing.cleaning import PreprocessingConfig, RowCounts
from genre_pipeline.preprocessing.dataset import Dataset, clean_dataset
from tests.scenario import (
    AS_OF,
    BAD_INTERACTIONS,
    BAD_ITEMS,
    N_DUPLICATE_INTERACTIONS,
    N_ITEMS,
    N_USERS,
    clean_interaction_rows,
    raw_interactions,
    raw_items,
    raw_users,
)

CONFIG = PreprocessingConfig()


def cleaned(interactions: pl.DataFrame, config: PreprocessingConfig = CONFIG) -> Dataset:
    return clean_dataset(interactions.lazy(), None, None, config, name="small")


def test_the_scenario_is_cleaned_and_its_books_add_up() -> None:
    frames = (raw_interactions().lazy(), raw_items().lazy(), raw_users().lazy())
    dataset = clean_dataset(*frames, CONFIG, name="world", as_of=AS_OF)
    n_good, n_bad = len(clean_interaction_rows()), len(BAD_INTERACTIONS)
    assert dataset.counts == {
        "interactions": RowCounts(n_good + n_bad + N_DUPLICATE_INTERACTIONS, n_good, n_bad, N_DUPLICATE_INTERACTIONS),
        "items": RowCounts(N_ITEMS + len(BAD_ITEMS), N_ITEMS, len(BAD_ITEMS), 0),
        "users": RowCounts(N_USERS, N_USERS, 0, 0),
    }
    assert dataset.has_clock
    assert dataset.users is not None
    Interactions.validate(dataset.interactions)
    Items.validate(dataset.items)
    RejectedRows.validate(dataset.rejected)
    assert dataset.rejected["table"].to_list() == ["interactions"] * n_bad + ["items"] * len(BAD_ITEMS)


def test_without_a_catalogue_the_items_are_those_of_the_interactions() -> None:
    dataset = cleaned(pl.DataFrame({"user_id": [1, 1], "item_id": [30, 4], "timestamp": [1, 2]}))
    assert dataset.items["item_id"].to_list() == ["30", "4"]
    assert list(dataset.counts) == ["interactions"]
    assert not dataset.has_clock


def test_too_many_rejected_rows_stop_the_run_and_name_the_rules() -> None:
    bad = {"user_id": ["", "", "a", *["b"] * 7], "item_id": ["i"] * 10, "timestamp": [*range(10**9, 10**9 + 10)]}
    raw = pl.DataFrame(bad).with_columns(
        value=pl.when(pl.col("user_id") == "a").then(pl.lit("x")).otherwise(pl.lit("1"))
    )
    with pytest.raises(
        ContractError, match=r"3 of 10 rows of interactions.*30\.0%.*min_length: 2 rows.*value_is_a_number: 1 rows"
    ):
        cleaned(raw)
    assert cleaned(raw, PreprocessingConfig(max_rejected_share=0.3)).counts["interactions"].rejected == 3


def test_milliseconds_read_as_seconds_stop_the_run() -> None:
    with pytest.raises(ContractError, match="timestamp_in_range"):
        cleaned(pl.DataFrame({"user_id": ["a"], "item_id": ["i"], "timestamp": [1_709_640_000_000]}))


def test_a_data_set_without_a_usable_interaction_is_refused() -> None:
    empty = raw_interactions().clear()
    with pytest.raises(ContractError, match="no usable interaction"):
        cleaned(empty)
    bad = pl.DataFrame({"user_id": [""], "item_id": ["i"], "timestamp": [10**9]})
    with pytest.raises(ContractError, match="no usable interaction"):
        cleaned(bad, PreprocessingConfig(max_rejected_share=1))


def test_counts_that_do_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ContractError, match="do not add up"):
        RowCounts(read=3, kept=1, rejected=1, duplicates=0)
