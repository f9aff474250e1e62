"""Events as they come in: ids derived from content, times in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from genre_pipeline.contracts.errors import RequestError
from genre_pipeline.contracts.tables import LOGGED_SCHEMA
from genre_pipeline.serving.answers import Event
from genre_pipeline.serving.limits import checked_events, checked_id
from genre_pipeline.serving.settings import ServingConfig

NOW = datetime(2024, 3, 11, 6, tzinfo=UTC)
SAME = {"user_id": "u", "item_id": "i", "timestamp": NOW, "event": "view", "value": 1.0}


def test_rows_of_the_event_log() -> None:
    local = datetime(2024, 3, 11, 2, tzinfo=timezone(timedelta(hours=2)))
    events = [Event(event_id="e1", user_id="u", item_id="i", timestamp=local, event="rating", value=4.0)]
    frame = checked_events(events, NOW, ServingConfig())
    assert frame.schema == LOGGED_SCHEMA
    assert frame.rows() == [("e1", "u", "i", datetime(2024, 3, 11, tzinfo=UTC), "rating", 4.0, None, None, None)]


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": "v"},
        {"item_id": "j"},
        {"timestamp": NOW - timedelta(microseconds=1)},
        {"event": "like"},
        {"value": None},
        {"run_id": "r"},
        {"variant": "a"},
        {"rank": 1},
    ],
)
def test_derived_id_tells_every_field_apart(changed: dict[str, object]) -> None:
    events = [Event(**SAME), Event(**SAME), Event(**{**SAME, **changed})]  # type: ignore[arg-type]
    first, same, other = checked_events(events, NOW, ServingConfig())["event_id"]
    assert first == same
    assert first != other


def test_time_left_out_is_now_and_naive_time_is_utc() -> None:
    events = [Event(user_id="u", item_id="i"), Event(user_id="u", item_id="i", timestamp=datetime(2024, 3, 1))]
    assert checked_events(events, NOW, ServingConfig())["timestamp"].to_list() == [
        NOW,
        datetime(2024, 3, 1, tzinfo=UTC),
    ]


def test_small_clock_differences_are_taken() -> None:
    config = ServingConfig(future_seconds=60)
    ahead = Event(user_id="u", item_id="i", timestamp=NOW + timedelta(seconds=60))
    assert checked_events([ahead], NOW, config).height == 1
    with pytest.raises(RequestError, match="future"):
        checked_events([ahead], NOW - timedelta(seconds=1), config)


def test_ids_are_counted_in_bytes() -> None:
    assert checked_id("user_id", "é" * 256, 512) == "é" * 256
    with pytest.raises(RequestError, match="514 bytes"):
        checked_id("user_id", "é" * 257, 512)


def test_an_impression_says_what_was_shown() -> None:
    shown = {"event": "impression", "run_id": "r", "variant": "a", "rank": 2}
    frame = checked_events([Event(**{**SAME, **shown})], NOW, ServingConfig())
    assert frame.select("run_id", "variant", "rank").rows() == [("r", "a", 2)]
    for missing in ("run_id", "variant", "rank"):
        with pytest.raises(RequestError, match="does not say what was shown"):
            checked_events([Event(**{**SAME, **shown, missing: None})], NOW, ServingConfig())
