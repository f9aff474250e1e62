"""What Dagster loads: every asset explains itself, knows its days, and runs every night."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg
import pytest

from genre_pipeline.config import DaysConfig
from genre_pipeline.contracts import names
from genre_pipeline.definitions import defs
from genre_pipeline.defs.partitions import ALL_DAYS, DAILY, DAY_BEFORE, EARLIER_DAYS, SAME_DAY, daily_partitions

ASSETS = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
CHECKS = [spec for assets in defs.assets or () for spec in getattr(assets, "check_specs", ())]
NOT_ASSETS = {names.CHALLENGER, names.TRAINING_SERVICE, names.SCORING_SERVICE, names.IMPRESSION}
GROUPS = {"preprocessing", "features", "generation", "training", "recommenders", "evaluation", "output"}
AS_OF = {
    "items": {"interactions"},
    "item_statistics": {"interactions"},
    "item_vectors": {"interactions"},
    "user_statistics": {"interactions"},
    "user_histories": {"interactions"},
    "user_profiles": {"interactions"},
    "sequence_model": {"interactions"},
    "champion": {"interactions", "sequence_model"},
    "hybrid_settings": {"interactions"},
    "evaluation": {"interactions"},
    "recommendations": {"interactions"},
    "similar_items": {"interactions"},
    "popular_items": {"interactions"},
    "publication": {"interactions"},
    "run_report": {
        "items",
        "evaluation",
        "recommendations",
        "item_statistics",
        "user_statistics",
        "user_vectors",
        "item_text_vectors",
        "item_text_weighted",
        "item_image_vectors",
        "item_audio_vectors",
        "item_vectors",
    },
}
"""What each asset reads of all days up to its own."""


def mappings() -> Iterator[tuple[str, str, dg.PartitionMapping | None]]:
    for name, spec in ASSETS.items():
        for dep in spec.deps:
            yield name, dep.asset_key.to_user_string(), dep.partition_mapping


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_an_asset_has_a_description_a_group_an_owner_and_a_partition_a_day(name: str) -> None:
    spec = ASSETS[name]
    assert spec.description
    assert spec.description.strip().endswith(".")
    assert spec.group_name in GROUPS
    assert spec.owners
    assert spec.partitions_def == DAILY


def test_asset_keys_are_the_names_of_the_contract() -> None:
    known = {value for name, value in vars(names).items() if name.isupper()}
    assert set(ASSETS) <= known - NOT_ASSETS


def test_every_edge_says_which_days_it_reads() -> None:
    stated = (SAME_DAY, ALL_DAYS, EARLIER_DAYS, DAY_BEFORE)
    assert [(asset, dep) for asset, dep, days in mappings() if days not in stated] == []


def test_tables_as_of_a_day_read_all_days_up_to_it() -> None:
    found: dict[str, set[str]] = {}
    for asset, dep, days in mappings():
        if days == ALL_DAYS:
            found.setdefault(asset, set()).add(dep)
    assert found == AS_OF


def test_the_champion_goes_on_from_earlier_days_and_training_features_know_the_evening_before() -> None:
    assert {(asset, dep) for asset, dep, days in mappings() if days == EARLIER_DAYS} == {("champion", "champion")}
    evening = {(asset, dep) for asset, dep, days in mappings() if days == DAY_BEFORE}
    assert evening == {
        ("training_features", table)
        for table in ("item_statistics", "item_vectors", "user_statistics", "user_histories")
    }


@pytest.mark.parametrize(
    ("mapping", "first", "last"),
    [(SAME_DAY, "2024-03-05", "2024-03-05"), (ALL_DAYS, "2024-03-01", "2024-03-05"),
     (EARLIER_DAYS, "2024-03-01", "2024-03-04"), (DAY_BEFORE, "2024-03-04", "2024-03-04")],
)  # fmt: skip
def test_what_a_day_reads(mapping: dg.TimeWindowPartitionMapping, first: str, last: str) -> None:
    days = daily_partitions(DaysConfig(start=date(2024, 3, 1), end=date(2024, 3, 10)))
    subset = days.empty_subset().with_partition_keys(["2024-03-05"])
    found = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, days, days)
    keys = sorted(found.partitions_subset.get_partition_keys())
    assert (keys[0], keys[-1]) == (first, last)


def test_checks_are_named_after_their_asset_stop_what_follows_and_know_their_days() -> None:
    assert CHECKS
    for check in CHECKS:
        assert check.name.startswith(f"{check.asset_key.to_user_string()}_")
        assert check.blocking
        assert check.partitions_def == DAILY


def test_the_nightly_job_has_every_asset() -> None:
    nightly = defs.resolve_job_def("nightly")
    assert {key.to_user_string() for key in nightly.asset_layer.selected_asset_keys} == set(ASSETS)
    assert "dagster/max_runtime" in nightly.tags


def test_the_history_job_reads_the_source_once_for_many_days() -> None:
    history = defs.resolve_job_def("history")
    (key,) = history.asset_layer.selected_asset_keys
    assert key.to_user_string() == "interactions"
    assert history.asset_layer.get(key).backfill_policy == dg.BackfillPolicy.single_run()


def test_at_two_in_the_morning_the_day_that_has_just_ended_is_computed() -> None:
    yesterday = DAILY.get_last_partition_key()
    assert yesterday is not None
    night = datetime.combine(date.fromisoformat(yesterday) + timedelta(days=1), time(2), UTC)
    schedule = defs.resolve_schedule_def("every_night")
    tick = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=night))
    assert schedule.cron_schedule == "0 2 * * *"
    assert [request.partition_key for request in tick.run_requests or ()] == [yesterday]
