"""The configuration of sources, and the choice between them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from genre_pipeline.sources.dataset import SourceConfig, read_dataset
from tests.scenario import raw_interactions, write_standard_folder

GIVEN_TO_THE_WRONG_KIND = [
    {},
    {"kind": "movielens"},
    {"path": "x", "url": "sqlite://"},
    {"path": "x", "queries": {"interactions": "SELECT 1"}},
    {"kind": "sql", "url": "sqlite://"},
    {"kind": "sql", "queries": {"interactions": "SELECT 1"}},
    {"kind": "sql", "url": "sqlite://", "queries": {"interactions": "SELECT 1"}, "path": "x"},
    {"path": "x", "queries": {"orders": "SELECT 1"}},
    {"path": "x", "pathh": "y"},
]


@pytest.mark.parametrize("given", GIVEN_TO_THE_WRONG_KIND)
def test_a_setting_that_would_be_ignored_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SourceConfig.model_validate(given)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_folder_is_read_by_its_kind(tmp_path: Path, form: str) -> None:
    folder = write_standard_folder(tmp_path, form=form)
    raw = read_dataset(SourceConfig(path=str(folder), name="world"))
    assert (raw.name, raw.interactions.collect().height) == ("world", raw_interactions().height)


def test_movielens_is_read_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t2\t3\t4\n")
    raw = read_dataset(SourceConfig(kind="movielens", path=str(tmp_path)))
    assert raw.interactions.collect().row(0) == ("1", "2", "4", "rating", "3")


def test_sql_is_read_by_its_kind_and_its_password_stays_hidden() -> None:
    given = {"kind": "sql", "url": "sqlite://", "queries": {"interactions": "SELECT 1 user_id, 2 item_id, 3 timestamp"}}
    config = SourceConfig.model_validate(given)
    assert read_dataset(config).interactions.collect().row(0) == ("1", "2", 3)
    assert "sqlite" not in repr(config)
