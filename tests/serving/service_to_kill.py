"""A service of its own process over a SQLite file, to be killed: real tables and HTTP, features in memory."""

import sys
from datetime import timedelta
from pathlib import Path

import uvicorn

from genre_pipeline.adapters.tables import Tables
from genre_pipeline.serving.app import create_app
from genre_pipeline.serving.published import load_published_run
from genre_pipeline.serving.service import RecommendationService
from genre_pipeline.serving.settings import ServingConfig
from tests import scenario
from tests.fakes import serving_world as world
from tests.fakes.serving_doors import Clock, InMemoryFeatures


def service(home: Path) -> RecommendationService:
    partitions = world.write_partitions(home / "data")
    features = InMemoryFeatures()
    for view, frame in world.user_features().items():
        features.write_online(view, frame)
    return RecommendationService(
        ServingConfig(),
        tables=Tables(f"sqlite:///{home / 'genre.db'}"),
        features=features,
        load_run=lambda publication: load_published_run(publication, partitions),
        clock=Clock(scenario.AS_OF + timedelta(hours=6)),
    )


if __name__ == "__main__":
    uvicorn.run(create_app(service(Path(sys.argv[1]))), port=int(sys.argv[2]), log_level="error", access_log=False)
