"""The front door for Dagster: everything in `defs/`, and the one project that all of it works in."""

import dagster as dg

from genre_pipeline.defs import (
    evaluation,
    features,
    feedback,
    generation,
    item_tower,
    jobs,
    modalities,
    output,
    preprocessing,
    recommenders,
    run_report,
    training,
)
from genre_pipeline.defs.console import console_logger
from genre_pipeline.defs.resources import ProjectResource

ROOMS = (
    preprocessing,
    features,
    modalities,
    generation,
    item_tower,
    training,
    recommenders,
    evaluation,
    feedback,
    run_report,
    output,
)

defs = dg.Definitions(
    assets=[asset for room in ROOMS for asset in room.ASSETS],
    jobs=jobs.JOBS,
    schedules=jobs.SCHEDULES,
    resources={"project": ProjectResource()},
    loggers={"console": console_logger},
)
