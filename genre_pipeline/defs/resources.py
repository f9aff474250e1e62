"""Resources: the project that every asset works in. They build plain objects that know no Dagster."""

from pathlib import Path

import dagster as dg

from genre_pipeline.config import load_config
from genre_pipeline.project import Project


class ProjectResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The project of `genre.yaml` (or of another file), with its partitions, tables, features and models."""

    config_file: str | None = None
    """Another configuration file than GENRE_CONFIG or `genre.yaml`."""

    def create_resource(self, context: dg.InitResourceContext) -> Project:
        """Open the project; its doors open when an asset first goes through them."""
        return Project(load_config(Path(self.config_file) if self.config_file else None))
