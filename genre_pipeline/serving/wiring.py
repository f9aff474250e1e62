"""Composition: the real doors and plain arguments become a service, and a service becomes a listening process.

The only module of this room that names concrete classes of `adapters` together. Settings are read elsewhere.
"""

from datetime import UTC, datetime
from pathlib import Path

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.features.histories import HistoryConfig
from genre_pipeline.serving.doors import Clock, FeaturesDoor, TablesDoor
from genre_pipeline.serving.published import load_published_run
from genre_pipeline.serving.service import RecommendationService
from genre_pipeline.serving.settings import ServingConfig, refuse_open_door


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def build_service(
    tables: TablesDoor,
    features: FeaturesDoor,
    partitions: PartitionStore,
    config: ServingConfig,
    *,
    histories: HistoryConfig | None = None,
    has_clock: bool = True,
    clock: Clock = utc_now,
) -> RecommendationService:
    """A service that is not warm yet (`warm_up`, or `create_app`'s start, does that).

    `histories` and `has_clock` must be those of the nightly run, or fresh vectors would follow rules of their own.
    Raises ConfigError where `config` would open the service to other machines.
    """
    refuse_open_door(config)
    return RecommendationService(
        config,
        tables=tables,
        features=features,
        load_run=lambda publication: load_published_run(publication, partitions),
        clock=clock,
        histories=histories,
        has_clock=has_clock,
    )


def serve(service: RecommendationService, *, media_root: Path | None = None) -> None:
    """Listen until interrupted. `media_root` is the data set's folder, for pictures and sounds on the page."""
    import uvicorn

    from genre_pipeline.serving.app import create_app

    refuse_open_door(service.config)
    uvicorn.run(
        create_app(service, media_root=media_root),
        host=service.config.host,
        port=service.config.port,
        # The framework's access log writes paths, and paths hold user ids; the guard writes its own.
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=30,
    )
