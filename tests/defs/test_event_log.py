"""What applications posted becomes the interactions of its day, each event once, however often it is posted or run."""

from datetime import UTC, datetime

import polars as pl
import pytest

from tests.defs.worlds import NIGHTS, World

pytestmark = pytest.mark.slow

DAY = NIGHTS[-1]


def test_the_night_folds_the_event_log_in_each_event_once(own_world: World) -> None:
    project = own_world.project
    before = project.partitions.read("interactions", DAY)
    noon = datetime.fromisoformat(f"{DAY}T12:00:00").replace(tzinfo=UTC)
    posted = [
        {
            "event_id": "e1",
            "user_id": "new person",
            "item_id": "i05",
            "timestamp": noon,
            "event": "view",
            "value": None,
        },
        {"event_id": "e2", "user_id": "007", "item_id": "i06", "timestamp": noon, "event": "like", "value": 1.0},
        # The source has this one too.
        {"event_id": "e3", **before.row(0, named=True)},
    ]
    assert project.tables.append_events(posted) == 3
    first = run(own_world)
    assert project.tables.append_events(posted) == 0
    assert project.tables.append_events([{**posted[0], "event_id": "e4"}]) == 1
    assert run(own_world) == first
    after = project.partitions.read("interactions", DAY)
    assert after.height == before.height + 2
    assert after.join(before, on=after.columns, how="anti", nulls_equal=True)["user_id"].sort().to_list() == [
        "007", "new person",
    ]  # fmt: skip
    assert after.is_unique().all()
    assert isinstance(after, pl.DataFrame)


def run(world: World) -> str:
    """The fingerprint of what the day's interactions hold, beside what was read for them."""
    night = world.genre("run", "--date", DAY, "--select", "interactions")
    assert night.code == 0, night.notes
    return str(world.project.partitions.manifest("interactions", DAY).files)
