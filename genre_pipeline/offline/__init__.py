"""The commands that run without Dagster, on any data set: they compose the same core functions as the assets."""
