from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.adapters.tables import Tables
from genre_pipeline.contracts.errors import ContractError
from genre_pipeline.contracts.tables import TIME
from tests.adapters.staged_runs import a_day

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
SCHEMA = {"user_id": pl.String, "item_id": pl.String, "timestamp": TIME, "event": pl.String, "value": pl.Float64}


def an_event(event_id: str, at: datetime, value: float | None = None, user_id: str = "u") -> dict[str, object]:
    return {
        "event_id": event_id, "user_id": user_id, "item_id": "i", "timestamp": at, "event": "rating", "value": value
    }  # fmt: skip


def test_events_come_back_by_day_in_order(tables: Tables) -> None:
    late = an_event("b", MIDNIGHT - timedelta(microseconds=1), 3.5)
    early = an_event("c", MIDNIGHT - timedelta(days=1))
    next_day = an_event("a", MIDNIGHT)
    assert tables.append_events([next_day, late, early]) == 3
    rows = [("u", "i", early["timestamp"], "rating", None), ("u", "i", late["timestamp"], "rating", 3.5)]
    assert_frame_equal(tables.events_of(a_day(0)), pl.DataFrame(rows, schema=SCHEMA, orient="row"))
    assert tables.events_since(MIDNIGHT).height == 1
    assert tables.events_of(a_day(5)).is_empty()


def test_each_event_counts_once(tables: Tables) -> None:
    events = [an_event("a", MIDNIGHT), an_event("b", MIDNIGHT), an_event("a", MIDNIGHT, 2.0)]
    assert tables.append_events(events) == 2
    assert tables.append_events(events) == 0
    fresh = tables.append_new_events(pl.DataFrame([*events, an_event("c", MIDNIGHT)]))
    assert fresh["event_id"].to_list() == ["c"]
    assert tables.events_since(MIDNIGHT)["value"].to_list() == [None, None, None]
    assert tables.append_events([]) == 0


def test_a_time_of_another_zone_is_the_same_instant(tables: Tables) -> None:
    kiritimati = timezone(timedelta(hours=14))
    frame = pl.DataFrame([an_event("a", MIDNIGHT)]).with_columns(pl.col("timestamp").dt.convert_time_zone("Asia/Tokyo"))
    tables.append_events(frame)
    tables.append_events([an_event("b", MIDNIGHT.astimezone(kiritimati))])
    assert tables.events_since(MIDNIGHT)["timestamp"].to_list() == [MIDNIGHT, MIDNIGHT]


@pytest.mark.parametrize(
    "broken",
    [
        {"event_id": ""},
        {"event_id": None},
        {"event_id": "a\0"},
        {"user_id": None},
        {"item_id": "i" * 600},
        {"event": ""},
        {"timestamp": datetime(1901, 1, 1, tzinfo=UTC)},
        {"timestamp": "yesterday"},
    ],
)
def test_an_event_that_breaks_the_contract_is_refused(tables: Tables, broken: dict[str, object]) -> None:
    with pytest.raises(ContractError, match="Events"):
        tables.append_events([an_event("good", MIDNIGHT), an_event("bad", MIDNIGHT) | broken])
    assert tables.events_since(datetime(1970, 1, 1, tzinfo=UTC)).is_empty()


def test_a_frame_without_a_needed_column_is_refused(tables: Tables) -> None:
    with pytest.raises(ContractError, match="event_id"):
        tables.append_events(pl.DataFrame([an_event("a", MIDNIGHT)]).drop("event_id"))


def test_an_impression_is_feedback_and_nothing_that_a_user_did(tables: Tables) -> None:
    shown = {"run_id": "r", "variant": "a", "rank": 3}
    click = an_event("c", MIDNIGHT + timedelta(seconds=5)) | {"event": "click"}
    other = an_event("o", MIDNIGHT + timedelta(seconds=6))
    tables.append_events([an_event("s", MIDNIGHT) | {"event": "impression"} | shown])
    assert tables.append_events([an_event("s", MIDNIGHT) | {"event": "impression"} | shown]) == 0
    tables.append_events([click, other])
    assert tables.events_since(MIDNIGHT)["event"].to_list() == ["click", "rating"]
    assert tables.events_of(MIDNIGHT.date())["event"].to_list() == ["click", "rating"]
    end = MIDNIGHT + timedelta(days=1)
    found = tables.feedback(MIDNIGHT, end, ["click"]).select("event_id", "event", "run_id", "variant", "rank")
    assert found.rows() == [("s", "impression", "r", "a", 3), ("c", "click", None, None, None)]
    assert tables.feedback(MIDNIGHT - timedelta(days=1), MIDNIGHT, ["click"]).is_empty()


@pytest.mark.parametrize("missing", ["run_id", "variant", "rank"])
def test_an_impression_of_no_list_is_refused(tables: Tables, missing: str) -> None:
    shown = {"event": "impression", "run_id": "r", "variant": "a", "rank": 1} | {missing: None}
    with pytest.raises(ContractError, match="what was shown"):
        tables.append_events([an_event("s", MIDNIGHT) | shown])
