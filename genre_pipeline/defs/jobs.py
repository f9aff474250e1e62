"""The nightly job and its schedule, and the job that fills the days before it."""

import dagster as dg

from genre_pipeline.contracts.names import INTERACTIONS

MAX_RUNTIME = {"dagster/max_runtime": str(6 * 3600)}

nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.all(),
    description="Everything of one day, from the source to the published tables. In one process: imports cost more "
    "than most steps.",
    executor_def=dg.in_process_executor,
    tags=MAX_RUNTIME,
)
history = dg.define_asset_job(
    "history",
    selection=dg.AssetSelection.assets(INTERACTIONS),
    description="The interactions of many days in one run: launch it over a range before the first night.",
    executor_def=dg.in_process_executor,
    tags=MAX_RUNTIME,
)
nightly_schedule = dg.build_schedule_from_partitioned_job(
    nightly,
    name="every_night",
    hour_of_day=2,
    minute_of_hour=0,
    description="At 02:00 UTC, the day that has just ended.",
)
JOBS = [nightly, history]
SCHEDULES = [nightly_schedule]
