"""Launches `sequence_model` of a day with a run configuration, as the Launchpad does: DAY, JSON."""

import json
import sys

import dagster as dg

from genre_pipeline.config import load_config
from genre_pipeline.definitions import defs
from genre_pipeline.defs.running import dagster_instance
from genre_pipeline.project import Project

day, entered = sys.argv[1], json.loads(sys.argv[2])
with dagster_instance(Project(load_config())) as instance:
    result = defs.resolve_job_def("nightly").execute_in_process(
        instance=instance,
        partition_key=day,
        run_config={"ops": {"sequence_model": {"config": entered}}},
        asset_selection=[dg.AssetKey("sequence_model")],
        raise_on_error=False,
    )
sys.exit(0 if result.success else 1)
