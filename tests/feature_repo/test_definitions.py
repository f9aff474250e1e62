"""`feast apply` as a user types it, and that the declarations are the ones the pipeline speaks of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genre_pipeline.adapters.feature_locations import (
    HOME_VARIABLE,
    online_file,
    registry_file,
    resolved_home,
    resolved_postgres,
)
from genre_pipeline.adapters.feature_store import FeatureStore, FeatureStoreConfig
from genre_pipeline.contracts.errors import FeatureStoreError

ROOT = Path(__file__).parents[2]
FEAST = Path(sys.executable).with_name("feast")
DECOY = "raise SystemExit('feast apply imported a module that declares nothing')\n"
COLUMNS = {
    "item_text_vectors": ["model", "content_hash", "vector"],
    "item_image_vectors": ["model", "content_hash", "vector"],
    "item_audio_vectors": ["model", "content_hash", "vector"],
    "item_vectors": ["model", "content_hash", "vector"],
    "item_statistics": [
        "interactions_total", "interactions_7d", "interactions_30d", "users_total", "mean_value",
        "popularity_decayed", "days_since_first", "days_since_last",
    ],
    "user_statistics": [
        "interactions_total", "interactions_7d", "interactions_30d", "items_total", "mean_value",
        "days_since_first", "days_since_last",
    ],
    "user_histories": ["item_ids", "timestamps", "events"],
    "user_vectors": ["model", "vector"],
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with the files `feast` reads, and modules that it must leave alone."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "feature_repo", root / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".feastignore", "feature_store.yaml"):
        shutil.copy(ROOT / name, root / name, follow_symlinks=False)
    for decoy in ("genre_other/part.py", "docs/build.py", "fe.py", "feature_repo/more.py", ".hidden/module.py"):
        (root / decoy).parent.mkdir(exist_ok=True)
        (root / decoy).write_text(DECOY)
    return root


@pytest.mark.slow
def test_apply_meets_one_registry_from_wherever_it_is_called(project: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GENRE_")}
    home = project / ".genre"
    for folder in ("", "feature_repo"):
        applied = subprocess.run(
            [str(FEAST), "apply"],
            cwd=project / folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert applied.returncode == 0, applied.stdout + applied.stderr
        stores = sorted(path for path in project.rglob("*.db") if path.is_file())
        assert stores == [online_file(home), registry_file(home)]
    store = FeatureStore(FeatureStoreConfig(repo_path=project / "feature_repo", home=home))
    assert store.health().views == tuple(sorted(COLUMNS))
    assert {view: store.online(view, []).columns[1:-1] for view in COLUMNS} == COLUMNS
    store.close()


def test_the_root_configuration_is_the_repositorys_own() -> None:
    assert (ROOT / "feature_store.yaml").read_text() == (ROOT / "feature_repo" / "feature_store.yaml").read_text()


@pytest.mark.parametrize("folder", ["", "feature_repo", "docs"])
@pytest.mark.parametrize(("variable", "home"), [(None, ".genre"), ("nights", "nights")])
def test_the_home_is_the_projects_from_any_folder_of_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, folder: str, variable: str | None, home: str
) -> None:
    monkeypatch.chdir(project / folder)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(HOME_VARIABLE, variable)
    assert resolved_home(None) == project / home


def test_outside_a_project_the_home_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    with pytest.raises(FeatureStoreError, match="has no place"):
        resolved_home(None)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "anywhere"))
    assert resolved_home(None) == tmp_path / "anywhere"


@pytest.mark.parametrize(
    ("given", "variable", "driver"),
    [
        (None, None, None),
        (None, "sqlite:///genre.db", None),
        (None, "postgresql://a@b/c", "postgresql+psycopg"),
        ("", "postgresql://a@b/c", None),
        ("postgresql+psycopg2://a@b/c", None, "postgresql+psycopg"),
    ],
)
def test_what_decides_between_the_databases(
    monkeypatch: pytest.MonkeyPatch, given: str | None, variable: str | None, driver: str | None
) -> None:
    monkeypatch.delenv("GENRE_DATABASE_URL", raising=False)
    if variable is not None:
        monkeypatch.setenv("GENRE_DATABASE_URL", variable)
    url = resolved_postgres(given)
    assert (url and url.drivername) == driver
