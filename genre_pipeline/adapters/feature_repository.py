"""One opened Feast repository: its registry, its views by name, and the reads and writes on them.

The half of the feature store that holds Feast's objects, loaded when a store is first used (`feature_store` is the
half that callers see). Every error of Feast, SQLAlchemy or a database driver leaves here as a FeatureStoreError.
"""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import feast
import polars as pl
import psycopg
import psycopg_pool
import pyarrow as pa
import yaml
from feast.errors import FeastError, FeatureServiceNotFoundException, FeatureViewNotFoundException
from feast.infra.registry.sql import FeastRegistrySchemaError
from sqlalchemy.exc import SQLAlchemyError

from genre_pipeline.adapters.feature_locations import REPOSITORY_FILE, registry_file, resolved_postgres
from genre_pipeline.adapters.feature_values import entity_keys, feature_schema, to_column, to_times, to_values
from genre_pipeline.adapters.offline_store import FEATURE_TIMESTAMP
from genre_pipeline.contracts.columns import EVENT_TIMESTAMP
from genre_pipeline.contracts.errors import FeatureStoreError
from genre_pipeline.contracts.tables import TIME

DEFINITIONS = "definitions.py"
_DECLARED = (feast.Project, feast.Entity, feast.FeatureView, feast.FeatureService, feast.PushSource, feast.FileSource)
_APPLY = "Run `feast apply` in the project; `genre run` does it too."


@dataclass(frozen=True)
class ServedView:
    """A feature view, whole or as a service takes it."""

    view: feast.FeatureView
    features: tuple[str, ...]

    @property
    def name(self) -> str:
        """The view's name."""
        name: str = self.view.name
        return name

    @cached_property
    def join_key(self) -> str:
        """The entity column."""
        key: str = self.view.join_keys[0]
        return key

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Feature name to polars type."""
        return feature_schema(self.view, self.features)

    @property
    def time_to_live(self) -> timedelta:
        """How old a row may be."""
        ttl: timedelta = self.view.ttl
        return ttl

    def checked(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The view's columns in its types; FeatureStoreError for what is missing, null or of another kind."""
        schema = {self.join_key: pl.String(), EVENT_TIMESTAMP: TIME, **self.schema}
        missing = [name for name in schema if name not in frame.columns]
        if missing:
            raise FeatureStoreError(f"Rows of {self.name} lack columns", remedy="Add them.", culprits=missing)
        refuse_other_clocks(self.name, frame)
        try:
            matched = frame.lazy().select(*schema).match_to_schema(schema, integer_cast="upcast", float_cast="upcast")
            rows = matched.collect()
        except pl.exceptions.PolarsError as error:
            raise FeatureStoreError(
                f"Rows of {self.name} have other types than its features: {error}", remedy="Cast them."
            ) from error
        nulls = [name for name in (self.join_key, EVENT_TIMESTAMP) if rows[name].null_count()]
        if nulls:
            raise FeatureStoreError(
                f"Rows of {self.name} need an entity and a time each", remedy="Leave those rows out.", culprits=nulls
            )
        return rows


def refuse_other_clocks(name: str, frame: pl.DataFrame) -> None:
    """Polars would take a time without a zone for UTC; a local time would then shift what is known when."""
    if frame.schema[EVENT_TIMESTAMP] != TIME:
        raise FeatureStoreError(
            f"The {EVENT_TIMESTAMP} of rows of {name} is not in UTC microseconds",
            remedy="Convert it with `dt.convert_time_zone('UTC')` and `dt.cast_time_unit('us')`.",
            culprits=[str(frame.schema[EVENT_TIMESTAMP])],
        )


class FeatureRepository:
    """An applied repository. FeatureStoreError on opening says that it is not applied, empty or damaged."""

    def __init__(self, repo_path: Path, home: Path, database_url: str | None) -> None:
        postgres = resolved_postgres(database_url or "")
        self.backend = "postgresql" if postgres else "sqlite"
        if postgres is None:
            _refuse_empty(registry_file(home))
        with _named():
            # "verify" never makes a table: an empty registry must say so instead of becoming a valid one
            self._store = feast.FeatureStore(config=_repo_config(repo_path, home, database_url, schema_mode="verify"))
            self._provider = self._store._get_provider()
            views, _ = self.registered()
        if not views:
            raise FeatureStoreError("The feature registry holds no feature view", remedy=_APPLY)
        self._served: dict[str, tuple[ServedView, ...]] = {}
        self._services: set[str] = set()

    def registered(self) -> tuple[list[str], list[str]]:
        """Names of the views and services in the registry at this moment, sorted."""
        with _named():
            registry, project = self._store.registry, self._store.project
            views = sorted(view.name for view in registry.list_feature_views(project))
            return views, sorted(service.name for service in registry.list_feature_services(project))

    def served(self, name: str) -> tuple[ServedView, ...]:
        """The views of a service, or the one view of that name; looked up once."""
        if name not in self._served:
            with _named():
                self._served[name] = self._look_up(name)
        return self._served[name]

    def view(self, name: str) -> ServedView:
        """The view of that name."""
        parts = self.served(name)
        if self.is_service(name):
            raise FeatureStoreError("A feature service is no feature view", remedy="Name a view.", culprits=[name])
        return parts[0]

    def is_service(self, name: str) -> bool:
        """Whether a name that was looked up is a service's."""
        return name in self._services

    def write(self, served: ServedView, rows: pl.DataFrame) -> None:
        """Write checked rows in one transaction."""
        columns = [to_values(rows[feature]) for feature in served.features]
        keys = entity_keys(served.join_key, rows[served.join_key])
        times = rows[EVENT_TIMESTAMP].to_list()
        values = (dict(zip(served.features, row, strict=True)) for row in zip(*columns, strict=True))
        entries = [(key, row, time, None) for key, row, time in zip(keys, values, times, strict=True)]
        with _named():
            self._provider.online_write_batch(self._store.config, served.view, entries, None)

    def read(self, parts: Sequence[ServedView], ids: pl.Series, *, prefixed: bool) -> pl.DataFrame:
        """One row an id, in their order: the ids, then each view's features and event timestamp.

        `prefixed` puts `<view>__` before the names; `ids` bears the entity column's name.
        """
        keys = entity_keys(ids.name, ids)
        columns: dict[str, pa.Array] = {ids.name: ids.to_arrow()}
        for part in parts:
            prefix = f"{part.name}__" if prefixed else ""
            with _named():
                found = self._provider.online_read(self._store.config, part.view, keys, list(part.features))
            rows: list[dict[str, Any]] = [values or {} for _, values in found]
            for name, dtype in part.schema.items():
                columns[prefix + name] = to_column(dtype, [row.get(name) for row in rows])
            columns[prefix + EVENT_TIMESTAMP] = to_times([time for time, _ in found])
        return pl.DataFrame(pa.RecordBatch.from_pydict(columns))  # a table would be handed to the thread pool

    def delete(self, served: ServedView, entity_id: str) -> bool:
        """Delete an entity of a view from the online store; whether it was there."""
        (key,) = entity_keys(served.join_key, pl.Series(served.join_key, [entity_id], dtype=pl.String))
        with _named():
            found: bool = self._provider.online_store.delete(self._store.config, served.view, key)
        return found

    def distinct_rows(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The distinct entities and times of rows that features are to be joined to, checked."""
        keys = [*dict.fromkeys(part.join_key for part in self.served(name)), EVENT_TIMESTAMP]
        missing = [key for key in keys if key not in rows.columns]
        if missing:
            raise FeatureStoreError(f"Rows to join {name} to lack columns", remedy="Add them.", culprits=missing)
        refuse_other_clocks(name, rows)
        nulls = [key for key in keys if rows[key].null_count()]
        if nulls:
            raise FeatureStoreError(f"Rows to join {name} to have nulls", remedy="Leave them out.", culprits=nulls)
        hidden = [column for column in rows.columns if column in self._joined_types(name)]
        if hidden:
            raise FeatureStoreError(f"Rows have columns called like {name}'s", remedy="Rename them.", culprits=hidden)
        return rows.select(keys).unique()

    def join(self, name: str, wanted: pl.DataFrame, known: Sequence[ServedView]) -> pl.DataFrame:
        """Point-in-time features of `distinct_rows`, in any order; null those of views that are not `known` yet."""
        types = self._joined_types(name)
        if wanted.is_empty() or not known:
            return wanted.with_columns(pl.lit(None, dtype).alias(column) for column, dtype in types.items())
        references = [f"{part.name}:{feature}" for part in known for feature in part.features]
        with _named():
            job = self._store.get_historical_features(
                entity_df=wanted.to_pandas(), features=references, full_feature_names=True
            )
            found = pl.DataFrame(job.to_arrow())
        if found.height != wanted.height:
            raise FeatureStoreError(
                f"The join of {name} gave {found.height} rows for {wanted.height}",
                remedy="A partition holds an entity twice at one time; materialise it again.",
            )
        bare = {} if self.is_service(name) else {f"{name}__{column}": column for column in types}
        stamps = {f"{part.name}__{FEATURE_TIMESTAMP}": f"{part.name}__{EVENT_TIMESTAMP}" for part in known}
        renamed = found.rename(stamps).rename(bare, strict=False)
        unknown = [
            pl.lit(None, dtype).alias(column) for column, dtype in types.items() if column not in renamed.columns
        ]
        return (
            renamed.with_columns(unknown)
            .select(*wanted.columns, *types)
            .cast(pl.Schema([*wanted.schema.items(), *types.items()]))
        )

    def _joined_types(self, name: str) -> dict[str, pl.DataType]:
        types: dict[str, pl.DataType] = {}
        for part in self.served(name):
            prefix = f"{part.name}__" if self.is_service(name) else ""
            types |= {prefix + feature: dtype for feature, dtype in part.schema.items()}
            types[f"{part.name}__{EVENT_TIMESTAMP}"] = TIME
        return types

    def close(self) -> None:
        """Let go of every connection that this thread holds."""
        _disconnect(self._store)

    def _look_up(self, name: str) -> tuple[ServedView, ...]:
        registry, project = self._store.registry, self._store.project
        try:
            service = registry.get_feature_service(name, project, allow_cache=True)
        except FeatureServiceNotFoundException:
            return (_whole(self._view(name)),)
        self._services.add(name)
        chosen = [
            (self._view(part.name), {field.name for field in part.features})
            for part in service.feature_view_projections
        ]
        return tuple(
            ServedView(view, tuple(field.name for field in view.features if field.name in names))
            for view, names in chosen
        )

    def _view(self, name: str) -> feast.FeatureView:
        try:
            return self._store.registry.get_feature_view(name, self._store.project, allow_cache=True)
        except FeatureViewNotFoundException as error:
            raise FeatureStoreError(
                "The feature registry has no view or service of that name",
                remedy="Declare it in feature_repo/definitions.py and run `feast apply`.",
                culprits=[name],
            ) from error


def apply_definitions(repo_path: Path, home: Path, database_url: str | None) -> tuple[str, ...]:
    """Register what the definitions declare, drop what they declare no more, and return the names of the views."""
    declared = _declarations(repo_path)
    views = tuple(sorted(thing.name for thing in declared if isinstance(thing, feast.FeatureView)))
    names = {thing.name for thing in declared}
    with _named():
        store = feast.FeatureStore(config=_repo_config(repo_path, home, database_url, schema_mode="auto"))
        registry, project = store.registry, store.project
        known = [*registry.list_feature_views(project), *registry.list_feature_services(project)]
        gone = [thing for thing in known if thing.name not in names]
        store.apply(declared, objects_to_delete=gone, partial=False)
        _disconnect(store)
    return views


def _declarations(repo_path: Path) -> list[Any]:
    path = repo_path / DEFINITIONS
    spec = importlib.util.spec_from_file_location("feature_definitions", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise _no_repository(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [thing for thing in vars(module).values() if isinstance(thing, _DECLARED)]


def _repo_config(repo_path: Path, home: Path, database_url: str | None, *, schema_mode: str) -> feast.RepoConfig:
    """The repository's own configuration, with the pipeline's places where the `feast` command takes the environment's.

    An empty URL means SQLite: what the pipeline was configured with holds, whatever the environment says.
    """
    path = repo_path / REPOSITORY_FILE
    if not path.is_file():
        raise _no_repository(path)
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    places = {"home": str(home), "database_url": database_url or ""}
    options["registry"] |= {**places, "schema_mode": schema_mode}
    options["online_store"] |= places
    options["offline_store"] |= {"home": str(home)}
    return feast.RepoConfig(repo_path=repo_path, **options)


def _disconnect(store: feast.FeatureStore) -> None:
    store._get_provider().online_store.disconnect()
    store.registry.write_engine.dispose()


def _whole(view: feast.FeatureView) -> ServedView:
    return ServedView(view, tuple(field.name for field in view.features))


def _refuse_empty(registry: Path) -> None:
    if not registry.is_file() or registry.stat().st_size == 0:
        raise FeatureStoreError(
            "The feature store is not applied: its registry is missing or empty",
            remedy=_APPLY,
            culprits=[str(registry)],
        )


def _no_repository(path: Path) -> FeatureStoreError:
    return FeatureStoreError(
        "There is no feature repository here",
        remedy="Run from the project's folder, or set `feature_store.repo_path`.",
        culprits=[str(path)],
    )


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except FeastRegistrySchemaError as error:
        raise FeatureStoreError("The feature registry is empty or incomplete", remedy=_APPLY) from error
    except (FeastError, SQLAlchemyError, psycopg.Error, psycopg_pool.PoolTimeout, duckdb.Error) as error:
        raise FeatureStoreError(
            f"The feature store does not answer: {type(error).__name__}: {error}",
            remedy="See that its database is reachable and whole; if it is damaged, remove it, apply and materialise.",
        ) from error
