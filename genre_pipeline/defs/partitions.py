"""Days: the one way in which tables are cut, and how an as-of-D table depends on all days up to D."""

from datetime import timedelta

import dagster as dg

from genre_pipeline.config import DaysConfig
from genre_pipeline.defs.shape import CONFIG

_EVER = 36_500


def daily_partitions(days: DaysConfig) -> dg.DailyPartitionsDefinition:
    """One partition a UTC day, from the first to the last configured one."""
    end = None if days.end is None else (days.end + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(start_date=days.start.isoformat(), end_date=end, timezone="UTC")


DAILY = daily_partitions(CONFIG.days)

SAME_DAY = dg.TimeWindowPartitionMapping()
ALL_DAYS = dg.TimeWindowPartitionMapping(start_offset=-_EVER, allow_nonexistent_upstream_partitions=True)
"""Day D of a table that looks at all of history: every partition up to and including D."""
EARLIER_DAYS = dg.TimeWindowPartitionMapping(
    start_offset=-_EVER, end_offset=-1, allow_nonexistent_upstream_partitions=True
)
"""Day D of a table that goes on from its own earlier days."""
DAY_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1, allow_nonexistent_upstream_partitions=True)
"""Day D of a table that must not know D itself."""
