"""The instance that `dagster.yaml` describes, opened as Dagster opens it, on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.defs.instance_storage import DAGSTER_SCHEMA, dagster_database_url, dagster_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def instance_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the project's own dagster.yaml, and a GENRE_HOME beside it."""
    home = tmp_path / "instance"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("GENRE_HOME", str(tmp_path / "genre"))
    monkeypatch.delenv("GENRE_DATABASE_URL", raising=False)
    return home


@contextmanager
def opened() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance


@dg.asset
def one_number() -> int:
    print("a line for the log")
    return 1


def test_without_a_url_runs_and_logs_are_kept_under_the_home(instance_home: Path, tmp_path: Path) -> None:
    with opened() as instance:
        run_id = dg.materialize([one_number], instance=instance).run_id
        with dg.DagsterInstance.from_ref(instance.get_ref()) as worker:
            run = worker.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert (tmp_path / "genre/dagster/history/runs.db").is_file()
    logs = [path.read_text() for path in (tmp_path / "genre/dagster/logs").rglob("*.out")]
    assert logs == ["a line for the log\n"]
    assert [path.name for path in instance_home.iterdir()] == ["dagster.yaml"]


def test_runs_are_held_in_check(instance_home: Path) -> None:
    with opened() as instance:
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 300
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        assert instance.run_retries_enabled
        assert instance.run_retries_max_retries == 0
        assert not instance.telemetry_enabled


def test_the_home_is_dot_genre_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENRE_HOME", "")
    assert dagster_folder() == tmp_path.resolve() / ".genre" / "dagster"


def test_an_sqlite_url_keeps_runs_in_dagsters_own_files(
    instance_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENRE_DATABASE_URL", f"sqlite:///{tmp_path}/genre/genre.db")
    with opened() as instance:
        assert instance.get_runs_count() == 0
    assert not (tmp_path / "genre/genre.db").exists()
    assert (tmp_path / "genre/dagster/history/runs.db").is_file()


@pytest.mark.parametrize("url", ["mysql://genre:secret@host/db", "no url at all, secret"])
def test_a_url_of_another_kind_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match="GENRE_DATABASE_URL") as refused:
        dagster_database_url(url)
    assert "secret" not in str(refused.value)


@given(
    scheme=st.sampled_from(["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"]),
    password=st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=20),
    options=st.sampled_from([{}, {"sslmode": "disable"}, {"options": "-c statement_timeout=5s"}]),
)
def test_only_driver_and_search_path_change(scheme: str, password: str, options: dict[str, str]) -> None:
    given_url = make_url("postgresql://u@host:5433/db").set(drivername=scheme, password=password, query=options)
    wanted = make_url(dagster_database_url(given_url.render_as_string(hide_password=False)))
    assert (wanted.drivername, wanted.password, wanted.host, wanted.port) == (
        "postgresql+psycopg2",
        password,
        "host",
        5433,
    )
    search_path = f"-csearch_path={DAGSTER_SCHEMA}"
    assert wanted.query == {**options, "options": f"{options.get('options', '')} {search_path}".strip()}


@pytest.mark.postgres
@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_with_a_url_runs_are_kept_in_postgres(
    instance_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str, scheme: str
) -> None:
    url = make_url(postgres_url).set(drivername=scheme).render_as_string(hide_password=False)
    monkeypatch.setenv("GENRE_DATABASE_URL", url)
    with opened() as instance:
        run_id = dg.materialize([one_number], instance=instance).run_id
        with dg.DagsterInstance.from_ref(instance.get_ref()) as worker:
            run = worker.get_run_by_id(run_id)
            assert run is not None
            assert run.status is dg.DagsterRunStatus.SUCCESS
            assert worker.get_latest_materialization_event(dg.AssetKey("one_number")) is not None
    assert not (tmp_path / "genre/dagster/history").exists()
    tables = inspect(create_engine(dagster_database_url(url)))
    assert {"runs", "event_logs", "alembic_version"} <= set(tables.get_table_names(schema=DAGSTER_SCHEMA))
    assert "alembic_version" not in tables.get_table_names(schema="public")
