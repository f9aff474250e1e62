"""Feast's DuckDB offline store, reading the partitions under the pipeline's home.

DuckDB because it agrees with a plain as-of join row by row, where Feast's default store drops entity rows that lie
outside the time to live. Feast's own class reads a relative path from the working directory; this one reads it from
the home, so that the registry can hold paths that are true on every machine. No logic of its own.
"""

import copy
from typing import Any

from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import RepoConfig

from genre_pipeline.adapters.feature_locations import resolved_home


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
        config: RepoConfig, feature_views: list[FeatureView], *args: Any, **options: Any
    ) -> Any:
        """Features as they were known at each entity row's time."""
        views = [_view_at_home(view, config) for view in feature_views]
        return DuckDBOfflineStore.get_historical_features(config, views, *args, **options)

    @staticmethod
    def validate_data_source(config: RepoConfig, data_source: FileSource) -> None:
        """Nothing to check when views are declared: the partitions come later, one a night."""


def _view_at_home(view: FeatureView, config: RepoConfig) -> FeatureView:
    moved = copy.copy(view)
    moved.batch_source = _at_home(view.batch_source, config)
    return moved


def _at_home(source: FileSource, config: RepoConfig) -> FileSource:
    moved = FileSource.from_proto(source.to_proto())
    moved.file_options.uri = str(resolved_home(config.offline_store.home) / source.path)
    return moved
