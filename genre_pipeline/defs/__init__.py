"""The Dagster shell: *when* things are made. The *how* lies in the room of the same name.

Only this room and `definitions.py` import dagster.
"""

import warnings

import dagster as dg

# Single-run backfills, partition mappings that reach before the first day, and checks with partitions are marked as
# still changing. Dagster is pinned; one line for each use would drown what a person should read.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
# Meant so: a backfill reads the source once for all days of `interactions`, and computes every other table day by day.
warnings.filterwarnings("ignore", message="Asset job nightly materializes assets with varying BackfillPolicies")
# Ibis, which Feast joins with, calls DuckDB by a name that DuckDB is about to drop. Both are pinned.
warnings.filterwarnings("ignore", message=r"fetch_arrow_table\(\) is deprecated", category=DeprecationWarning)
