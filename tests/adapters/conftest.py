"""Fixtures of the adapters' tests."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from genre_pipeline.adapters.feature_store import FeatureStore, FeatureStoreConfig
from genre_pipeline.adapters.tables import Tables
from tests.adapters.staged_runs import NOW

FEATURE_REPO = Path(__file__).parents[2] / "feature_repo"
_FEATURE_DATABASES = count()


@pytest.fixture
def tables(database_url: str) -> Iterator[Tables]:
    """Migrated, empty tables with a clock that stands, on each kind of database."""
    opened = Tables(database_url, clock=lambda: NOW)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def applied_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose feature store was applied to SQLite: copy it, applying takes seconds."""
    home = tmp_path_factory.mktemp("applied") / "home"
    _applied(FeatureStoreConfig(repo_path=FEATURE_REPO, home=home))
    return home


@pytest.fixture(scope="session")
def applied_database(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a PostgreSQL database that the feature store was applied to: a template for others."""
    name = "applied_features"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    url = postgres_server.removesuffix("postgres") + name
    _applied(FeatureStoreConfig(repo_path=FEATURE_REPO, home=tmp_path_factory.mktemp("unused"), database_url=url))
    return name


@pytest.fixture
def sqlite_features(applied_home: Path, tmp_path: Path) -> Iterator[FeatureStore]:
    """An applied feature store without rows, on SQLite."""
    shutil.copytree(applied_home, tmp_path / "home")
    store = FeatureStore(FeatureStoreConfig(repo_path=FEATURE_REPO, home=tmp_path / "home"))
    yield store
    store.close()


@pytest.fixture
def postgres_features(postgres_server: str, applied_database: str, tmp_path: Path) -> Iterator[FeatureStore]:
    """An applied feature store without rows, on PostgreSQL."""
    name = f"features_{next(_FEATURE_DATABASES)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(applied_database)))
    url = postgres_server.removesuffix("postgres") + name
    store = FeatureStore(FeatureStoreConfig(repo_path=FEATURE_REPO, home=tmp_path / "home", database_url=url))
    yield store
    store.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def features(request: pytest.FixtureRequest) -> FeatureStore:
    """An applied feature store without rows, on each kind of database."""
    store: FeatureStore = request.getfixturevalue(f"{request.param}_features")
    return store


def _applied(config: FeatureStoreConfig) -> None:
    store = FeatureStore(config)
    store.apply()
    store.close()
