"""What the Dagster UI shows of a night, read from its own event log."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import AssetKey

from genre_pipeline.defs.materialise import sample_table
from tests.defs.worlds import NIGHTS, World
from tests.scenario import DAY_KEYS, USER_IDS

pytestmark = pytest.mark.slow

DAY = NIGHTS[-1]
KEPT_NOWHERE = {"online_features", "publication"}
"""Assets that go to a database, and have no partition on disk."""


@pytest.fixture
def instance(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(world.folder))
    monkeypatch.setenv("GENRE_HOME", str(world.folder / "home"))
    monkeypatch.delenv("GENRE_DATABASE_URL", raising=False)
    with dg.DagsterInstance.get() as opened:
        yield opened


def materialisations(instance: dg.DagsterInstance, day: str) -> dict[str, dg.AssetMaterialization]:
    found = {}
    for key in instance.get_asset_keys():
        records = instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=[day]), limit=1).records
        assert records, key
        materialisation = records[0].asset_materialization
        assert materialisation is not None
        found[key.to_user_string()] = materialisation
    return found


def test_every_asset_tells_its_rows_its_columns_and_a_sample(instance: dg.DagsterInstance, world: World) -> None:
    store = world.project.partitions
    found = materialisations(instance, DAY)
    assert len(found) == 29
    for name, materialisation in found.items():
        told = materialisation.metadata
        assert {"dagster/row_count", "dagster/column_schema", "sample"} <= told.keys(), name
        if name not in KEPT_NOWHERE:
            frame = store.read(name, DAY)
            assert told["dagster/row_count"].value == frame.height, name
            columns = told["dagster/column_schema"].value
            assert isinstance(columns, dg.TableSchema)
            assert [column.name for column in columns.columns] == frame.columns, name
            assert told["manifest"].value == store.manifest(name, DAY).fingerprint, name


def test_each_day_of_the_history_run_tells_of_itself(instance: dg.DagsterInstance, world: World) -> None:
    store = world.project.partitions
    runs = set()
    for day in DAY_KEYS[:-3]:
        filters = dg.AssetRecordsFilter(AssetKey("interactions"), asset_partitions=[day])
        (record,) = instance.fetch_materializations(filters, limit=5).records
        runs.add(record.run_id)
        assert record.asset_materialization is not None
        told = record.asset_materialization.metadata
        assert told["dagster/row_count"].value == store.read("interactions", day).height
        assert told["manifest"].value == store.manifest("interactions", day).fingerprint
    assert len(runs) == 1


def test_no_sample_names_a_user(instance: dg.DagsterInstance) -> None:
    samples = [materialisation.metadata["sample"].value for materialisation in materialisations(instance, DAY).values()]
    cells = {cell.strip() for sample in samples for cell in str(sample).replace("\n", "|").split("|")}
    assert cells & set(USER_IDS) == set()
    assert "·····" in cells


def test_a_sample_shows_five_rows_with_long_cells_cut_and_markup_escaped() -> None:
    import polars as pl

    frame = pl.DataFrame({"user_id": ["7"] * 6, "title": ["<b>a|b\nc", "x" * 61, None, "d", "e", "f"]})
    assert sample_table(frame).splitlines() == [
        "| user_id | title |",
        "| --- | --- |",
        "| ····· | &lt;b>a\\|b c |",
        f"| ····· | {'x' * 60}… |",
        "| ····· | None |",
        "| ····· | d |",
        "| ····· | e |",
    ]
