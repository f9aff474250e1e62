"""Resources: the project that every asset works in. They build plain objects that know no Dagster."""

import dagster as dg

from genre_pipeline.config import load_config
from genre_pipeline.project import Project


class ProjectResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The project of GENRE_CONFIG or `genre.yaml`, with its partitions, tables, features and models."""

    def create_resource(self, context: dg.InitResourceContext) -> Project:
        """Open the project; its doors open when an asset first goes through them."""
        return Project(load_config())
