"""What applications post of shown lists becomes the metrics of its day, by variant, once however often it is posted."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from genre_pipeline.defs.feedback import EXPERIMENT_FILE
from tests.defs.worlds import NIGHTS, World

pytestmark = pytest.mark.slow

BEFORE, DAY = NIGHTS[-2:]
NOON = datetime.fromisoformat(f"{DAY}T12:00:00").replace(tzinfo=UTC)


def test_a_night_without_feedback_says_so_and_goes_on(world: World) -> None:
    assert world.project.partitions.read("online_metrics", DAY).is_empty()
    assert world.published() is not None


def test_generated_feedback_with_a_known_rate_is_recovered(own_world: World) -> None:
    project = own_world.project
    own_world.configure({"rules": {"variants": [{"name": "bold", "share": 0.5}]}})
    posted = feedback("default", every=4) + feedback("bold", every=2)
    assert project.tables.append_events(posted) == len(posted)
    first = run(own_world)
    found = project.partitions.read("online_metrics", DAY)
    assert found.select("day", "variant", "impressions", "clicks", "users", "ctr", "is_final").rows() == [
        (date.fromisoformat(DAY), "bold", 80, 40, 20, 0.5, False),
        (date.fromisoformat(DAY), "default", 80, 20, 20, 0.25, False),
    ]
    assert all(row["low"] <= row["ctr"] <= row["high"] for row in found.to_dicts())
    folder = project.partitions.folder("online_metrics", DAY)
    (difference,) = json.loads((folder / EXPERIMENT_FILE).read_text(encoding="utf-8"))["differences"]
    assert (difference["variant"], difference["difference"]) == ("bold", 0.25)
    assert project.tables.append_events(posted) == 0
    assert run(own_world) == first
    # One that arrives late, of the evening before, is in the next count of these days.
    project.tables.append_events([{**posted[0], "event_id": "late", "timestamp": NOON - timedelta(days=1)}])
    assert run(own_world) != first
    days = project.partitions.read("online_metrics", DAY)["day"].to_list()
    assert days == [date.fromisoformat(BEFORE), date.fromisoformat(DAY), date.fromisoformat(DAY)]
    assert project.tables.events_of(date.fromisoformat(DAY)).height == 60
    answer = own_world.genre("experiment", "--date", DAY, "--days", "1", "--json")
    assert json.loads(answer.output)["differences"][0]["difference"] == 0.25


def feedback(variant: str, *, every: int) -> list[dict[str, object]]:
    """20 users see four items each; one in `every` is clicked a minute later."""
    rows: list[dict[str, object]] = []
    for user in range(20):
        for rank in range(1, 5):
            name, item = f"{variant} {user}", f"i0{rank}"
            at = NOON + timedelta(seconds=user)
            row = {"user_id": name, "item_id": item, "value": None, "run_id": "r", "variant": variant, "rank": rank}
            rows.append({**row, "event_id": f"s {name} {rank}", "timestamp": at, "event": "impression"})
            if rank % every == 0:
                click = {"event_id": f"c {name} {rank}", "timestamp": at + timedelta(minutes=1), "event": "click"}
                rows.append({**row, **click})
    return rows


def run(world: World) -> str:
    """The fingerprint of the day's metrics, computed once more."""
    night = world.genre("run", "--date", DAY, "--select", "online_metrics")
    assert night.code == 0, night.notes
    return world.project.partitions.manifest("online_metrics", DAY).fingerprint
