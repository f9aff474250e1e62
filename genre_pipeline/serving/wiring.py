"""Composition: the real doors and plain arguments become a service, and a service becomes a listening process.

The only module of this room that names concrete classes of `adapters` together. Settings are read elsewhere.
"""

import time
from datetime import UTC, datetime
from pathlib import Path

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.features.extraction import FeaturesConfig
from genre_pipeline.features.text_llm import LlmText
from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.serving.access import Access
from genre_pipeline.serving.doors import Clock, FeaturesDoor, Publication, TablesDoor
from genre_pipeline.serving.published import PublishedRun, load_published_run
from genre_pipeline.serving.scoring import NewItemEncoder
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
    features_config: FeaturesConfig | None = None,
    rules: RulesConfig | None = None,
    seed: int = 0,
    has_clock: bool = True,
    clock: Clock = utc_now,
) -> RecommendationService:
    """A service that is not warm yet (`warm_up`, or `create_app`'s start, does that).

    `features_config`, `rules`, `seed` and `has_clock` must be those of the nightly run, or real time would follow rules
    of its own.
    """
    made = features_config or FeaturesConfig()

    def load_run(publication: Publication) -> PublishedRun:
        record = tables.run(publication.run_id)
        return load_published_run(
            publication,
            partitions,
            rules=rules,
            nearest=config.nearest,
            model_version=record.model_version if record is not None else "unknown",
        )

    return RecommendationService(
        config,
        tables=tables,
        features=features,
        load_run=load_run,
        clock=clock,
        histories=made.histories,
        has_clock=has_clock,
        rules=rules,
        seed=seed,
        encoder=NewItemEncoder(LlmText(made.llm, device=made.device), made.item_texts)
        if config.score_new_items
        else None,
    )


def build_access(tables: TablesDoor, config: ServingConfig) -> Access:
    """The keys of the tables, read. Raises ConfigError where the service would be open to other machines."""
    access = Access(tables.issued_keys, config, monotonic=time.monotonic)
    access.look()
    refuse_open_door(config, has_keys=access.has_valid_key)
    return access


def serve(
    service: RecommendationService, access: Access, *, media_root: Path | None = None,
    partitions: PartitionStore | None = None,
) -> None:  # fmt: skip
    """Listen until interrupted. `media_root`, the data set's folder, and `partitions` are for the page."""
    import uvicorn

    from genre_pipeline.serving.app import create_app

    config = service.config
    uvicorn.run(
        create_app(service, media_root=media_root, access=access, partitions=partitions),
        host=config.host,
        port=config.port,
        # The framework's access log writes paths, and paths hold user ids; the guard writes its own.
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=30,
        limit_concurrency=config.connections_max,
    )
