"""What a night does with what it cannot use: a named error, exit code 1, and what was published stays as it was."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.defs.worlds import CONFIG, NIGHTS, World
from tests.scenario import BAD_INTERACTIONS, BAD_ITEMS

pytestmark = pytest.mark.slow

BEFORE, DAY = NIGHTS[-2:]
GOOD = {"user_id": "001", "item_id": "i01", "timestamp": f"{DAY}T08:00:00Z", "event": "view", "value": None}
GOOD_ITEM = {"item_id": "i01", "title": "Comet", "available": "true", "published_at": "2024-01-15", "price": "4.50"}
LONG = "x" * 513

BAD_ROWS = {
    ("interactions", "user_id|min_length"): {**GOOD, "user_id": ""},
    ("interactions", "user_id|nullability"): {**GOOD, "user_id": None},
    ("interactions", "item_id|min_length"): {**GOOD, "item_id": ""},
    ("interactions", "item_id|nullability"): {**GOOD, "item_id": None},
    ("interactions", "user_id_is_short"): {**GOOD, "user_id": LONG},
    ("interactions", "item_id_is_short"): {**GOOD, "item_id": LONG},
    ("interactions", "timestamp|nullability"): {**GOOD, "timestamp": None},
    ("interactions", "timestamp_in_range"): {**GOOD, "timestamp": "2999-12-31T00:00:00Z"},
    ("interactions", "timestamp_is_parsable"): {**GOOD, "timestamp": "yesterday"},
    ("interactions", "value_is_a_number"): {**GOOD, "value": "many"},
    ("items", "item_id|min_length"): {**GOOD_ITEM, "item_id": ""},
    ("items", "item_id|nullability"): {**GOOD_ITEM, "item_id": None},
    ("items", "item_id_is_short"): {**GOOD_ITEM, "item_id": LONG},
    ("items", "price|min"): {**GOOD_ITEM, "item_id": "i02", "price": "-1"},
    ("items", "price_is_a_number"): {**GOOD_ITEM, "item_id": "i02", "price": "cheap"},
    ("items", "available_is_boolean"): {**GOOD_ITEM, "item_id": "i02", "available": "perhaps"},
    ("items", "published_at_is_parsable"): {**GOOD_ITEM, "item_id": "i02", "published_at": "soon"},
    ("items", "item_id_superseded"): {**GOOD_ITEM, "title": "Comet, the film"},
    ("users", "user_id|min_length"): {"user_id": "", "country": "de"},
    ("users", "user_id|nullability"): {"user_id": None, "country": "de"},
    ("users", "user_id_is_short"): {"user_id": LONG, "country": "de"},
    ("users", "user_id_superseded"): {"user_id": "001", "country": "fr"},
}  # fmt: skip
"""The table and the rule that each row breaks, beside one good row: half of the table, where a fifth is tolerated."""
GOOD_ROWS = {"interactions": GOOD, "items": GOOD_ITEM, "users": {"user_id": "001", "country": "de"}}


@pytest.mark.parametrize(("table", "rule"), BAD_ROWS, ids=lambda part: part)
def test_too_many_rows_that_break_a_rule_stop_the_night(own_world: World, table: str, rule: str) -> None:
    published, manifest = own_world.published(), own_world.manifests(DAY)[table]
    bad = BAD_ROWS[table, rule]
    _write(own_world, table, [bad, GOOD_ROWS[table]])

    answer = own_world.genre("run", "--date", DAY, "--select", table)

    assert answer.code == 1
    assert f"ContractError: 1 of 2 rows of {table} break a rule (50.0%; 20.0% are tolerated)" in answer.notes
    assert rule in answer.notes
    assert own_world.published() == published
    assert own_world.manifests(DAY)[table] == manifest
    kept_aside = own_world.project.partitions.read(f"rejected_rows.{table}", DAY)
    expected = [{"table": table, "rule": rule, "day": date.fromisoformat(DAY), "raw": bad}]
    assert [{**row, "raw": json.loads(row["raw"])} for row in kept_aside.to_dicts()] == expected


def _without_rows(world: World) -> None:
    file = world.folder / "source" / "interactions.parquet"
    pl.read_parquet(file).clear().write_parquet(file)


def _without_users(world: World) -> None:
    file = world.folder / "source" / "interactions.parquet"
    pl.read_parquet(file).drop("user_id").write_parquet(file)


def _cut_short(world: World) -> None:
    file = world.folder / "source" / "interactions.parquet"
    file.write_bytes(file.read_bytes()[:-200])


def _only_an_order(world: World) -> None:
    rows = [{**GOOD, "timestamp": str(place)} for place in range(5)]
    _write(world, "interactions", rows)


def _no_source(world: World) -> None:
    world.configure({"source": {"kind": "folder", "path": "elsewhere"}})


def _no_modality(world: World) -> None:
    world.configure({"features": {**CONFIG["features"], "techniques": ["text_weighted"], "for_recommenders": []}})


def _no_reasons(world: World) -> None:
    world.configure({"reasons": {"vectors": "text_weighted"}})


def _unknown_key(world: World) -> None:
    world.configure({"recomenders": {}})


BAD_SOURCES: dict[str, tuple[Callable[[World], None], str, str]] = {
    "no rows": (_without_rows, "SourceError", "interactions.parquet"),
    "no column": (_without_users, "SourceError", "user_id"),
    "a file cut short": (_cut_short, "SourceError", "interactions.parquet"),
    "an order, no clock": (_only_an_order, "ConfigError", "genre batch"),
    "no folder": (_no_source, "SourceError", "elsewhere"),
    "an unknown key": (_unknown_key, "ConfigError", "genre.yaml, line 10: recomenders"),
    "nothing for user vectors": (_no_modality, "ConfigError", "text_llm"),
    "nothing for reasons": (_no_reasons, "ConfigError", "reasons.vectors"),
}


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_a_source_or_configuration_that_cannot_be_used(own_world: World, case: str) -> None:
    spoil, kind, named = BAD_SOURCES[case]
    published, manifest = own_world.published(), own_world.manifests(DAY)["interactions"]
    spoil(own_world)

    answer = own_world.genre("run", "--date", DAY, "--select", "interactions", "--json")

    assert (answer.code, answer.output) == (1, "")
    last = answer.notes.strip().splitlines()[-1]
    assert last.startswith(f"{kind}: ")
    assert named in last
    assert "Traceback" not in answer.notes
    own_world.configure({})
    assert own_world.published() == published
    assert own_world.manifests(DAY)["interactions"] == manifest


def test_a_flipped_bit_in_a_stored_partition(own_world: World) -> None:
    published = own_world.published()
    file = own_world.folder / "home" / "data" / "interactions" / BEFORE / "part.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)

    answer = own_world.genre("run", "--date", DAY, "--select", "item_statistics")

    assert answer.code == 1
    expected = f"CorruptPartitionError: interactions, partition '{BEFORE}', does not match its manifest"
    assert expected in answer.notes.splitlines()[-1]
    assert own_world.published() == published


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--date", "2024-02-29"), "There is no night of 2024-02-29: the days go from 2024-03-01 to 2024-03-10"),
        (("--date", "2024-03-11"), "There is no night of 2024-03-11: the days go from 2024-03-01 to 2024-03-10"),
        (("--select", "films"), "There is no such asset ('films')"),
    ],
)
def test_a_day_or_an_asset_that_is_not_there(world: World, arguments: tuple[str, str], expected: str) -> None:
    answer = world.genre("run", *arguments)
    assert answer.code == 1
    assert answer.notes.splitlines()[-1].startswith(f"ConfigError: {expected}")


def test_the_scenarios_own_bad_rows_are_kept_aside_and_all_rows_are_accounted_for(world: World) -> None:
    store = world.project.partitions
    rejected = pl.concat([store.read("rejected_rows", day) for day in NIGHTS]).unique(maintain_order=True)
    of_items = rejected.filter(table="items")
    assert of_items.select("rule", "day").rows() == [
        (rule, date.fromisoformat(day)) for day in NIGHTS for rule in BAD_ITEMS
    ]
    all_days = store.keys("interactions")
    of_interactions = pl.concat([store.read("rejected_rows.interactions", day) for day in all_days])
    found = {row["rule"]: json.loads(row["raw"]) for row in of_interactions.to_dicts()}
    assert found == dict(BAD_INTERACTIONS)
    books = (
        pl.DataFrame([dict(store.manifest("interactions", day).decisions) for day in all_days]).sum().row(0, named=True)
    )
    source = pl.read_parquet(world.folder / "source" / "interactions.parquet")
    assert books["read"] == source.height
    assert books["read"] == books["kept"] + books["rejected"] + books["duplicates"]
    assert books["kept"] == store.scan("interactions").collect().height
    assert books["rejected"] == of_interactions.height == len(BAD_INTERACTIONS)


def _write(world: World, table: str, rows: list[dict[str, str | None]]) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String))
    frame.write_parquet(Path(world.folder / "source" / f"{table}.parquet"))
