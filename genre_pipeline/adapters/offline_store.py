"""Feast's DuckDB offline store, reading the partitions under the pipeline's home.

DuckDB because it agrees with a plain as-of join row by row, where Feast's default store drops entity rows that lie
outside the time to live. Feast's own class reads a relative path from the working directory; this one reads it from
the home, so that the registry can hold paths that are true on every machine, and it says of each joined feature when
it became true. The join itself is Feast's.
"""

from typing import Any

import ibis  # type: ignore[import-untyped]
import pandas as pd
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.ibis import get_historical_features_ibis
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig
from ibis.expr.types import Table  # type: ignore[import-untyped]

from genre_pipeline.adapters.feature_locations import resolved_home
from genre_pipeline.contracts.errors import FeatureStoreError

FEATURE_TIMESTAMP = "feature_timestamp"


class HomeOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Options of the DuckDB offline store, and the `home` that relative paths count from."""

    home: str | None = None


class HomeOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """The DuckDB offline store with every file source resolved against the home."""

    @staticmethod
    def pull_latest_from_table_or_query(config: RepoConfig, data_source: FileSource, *args: Any, **options: Any) -> Any:
        """The last row of each entity in a window."""
        source = _at_home(data_source, config)
        return DuckDBOfflineStore.pull_latest_from_table_or_query(config, source, *args, **options)

    @staticmethod
    def pull_all_from_table_or_query(config: RepoConfig, data_source: FileSource, *args: Any, **options: Any) -> Any:
        """Every row in a window."""
        source = _at_home(data_source, config)
        return DuckDBOfflineStore.pull_all_from_table_or_query(config, source, *args, **options)

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Features as they were known at each entity row's time.

        With full feature names, each view's own time comes along as `<view>__feature_timestamp`, out of the same join:
        proof, row by row, that no feature is younger than the row it was joined to.
        """
        home = resolved_home(config.offline_store.home)
        times = [f"{view.projection.name_to_use()}:{FEATURE_TIMESTAMP}" for view in feature_views]

        def read(source: FileSource, _: str) -> Table:
            table = ibis.read_parquet(str(home / source.path))
            return table.mutate(**{FEATURE_TIMESTAMP: table[source.timestamp_field]})

        return get_historical_features_ibis(
            config=config,
            feature_views=feature_views,
            feature_refs=[*feature_refs, *times] if full_feature_names else feature_refs,
            entity_df=entity_df,
            registry=registry,
            project=project,
            data_source_reader=read,
            data_source_writer=_keep_nothing,
            full_feature_names=full_feature_names,
            filter_by_created_timestamp=filter_by_created_timestamp,
        )

    @staticmethod
    def validate_data_source(config: RepoConfig, data_source: FileSource) -> None:
        """Nothing to check when views are declared: the partitions come later, one a night."""


def _at_home(source: FileSource, config: RepoConfig) -> FileSource:
    moved = FileSource.from_proto(source.to_proto())
    moved.file_options.uri = str(resolved_home(config.offline_store.home) / source.path)
    return moved


def _keep_nothing(*_: Any, **__: Any) -> None:
    raise FeatureStoreError(
        "Feast's saved data sets are not kept here", remedy="Write the frame as a partition; those have a manifest."
    )
