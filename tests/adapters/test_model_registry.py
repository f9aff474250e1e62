import os
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch

from genre_pipeline.adapters.model_registry import ModelRegistry, ModelVersion, redacted
from genre_pipeline.contracts.errors import ContractError, ModelFileError
from genre_pipeline.models.sequence import SequenceModel
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.training.sequence_bundle import load_sequence_bundle, save_sequence_bundle

CURVES = pl.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "validation_ndcg": [None, 0.25]})
NAME = "sequence_model"


@pytest.fixture(scope="session")
def template_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised MLflow database: making one takes seconds, copying it does not."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    ModelRegistry(f"sqlite:///{path}", path.parent).versions("nothing")
    return path


@pytest.fixture
def registry(template_database: Path, tmp_path: Path) -> ModelRegistry:
    shutil.copy(template_database, tmp_path / "mlflow.db")
    return ModelRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")


def _bundle(folder: Path, seed: int = 1) -> Path:
    torch.manual_seed(seed)
    model = SequenceModel(
        SequenceConfig(width=4, blocks=1, heads=1, length=3),
        content=torch.zeros(2, 0),
        has_id=torch.ones(2, dtype=torch.bool),
    )
    save_sequence_bundle(model, folder, item_ids=pl.Series(["a", "b"]), files={"README.md": b"# Model card"})
    return folder


def _log(registry: ModelRegistry, tmp_path: Path, seed: int = 1) -> ModelVersion:
    return registry.log_training(NAME, params={}, curves=CURVES, bundle=_bundle(tmp_path / f"bundle{seed}", seed))


def test_a_training_is_recorded_with_everything(registry: ModelRegistry, tmp_path: Path) -> None:
    (tmp_path / "curve.png").write_bytes(b"\x89PNG")
    bundle = _bundle(tmp_path / "bundle")
    logged = registry.log_training(
        NAME,
        params={"seed": 1, "network": {"width": 4}},
        curves=CURVES,
        bundle=bundle,
        figures={"curve": tmp_path / "curve.png"},
        tags={"as_of": "2024-03-11"},
        steps=pl.DataFrame({"step": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "seconds": [0.5, 1.0, 1.5]}),
    )
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=registry.tracking_uri)
    run = client.get_run(logged.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "1", "network.width": "4"}
    assert run.data.tags["as_of"] == "2024-03-11"
    losses = client.get_metric_history(logged.run_id, "train_loss")
    assert [(one.step, one.value) for one in losses] == [(1, 2.0), (2, 1.0)]
    assert [one.step for one in client.get_metric_history(logged.run_id, "validation_ndcg")] == [2]
    by_step = client.get_metric_history(logged.run_id, "steps/train_loss")
    assert [(one.step, one.value) for one in by_step] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert [one.timestamp - run.info.start_time for one in by_step] == [500, 1000, 1500]
    version = client.get_model_version(NAME, "1")
    assert "Model card" in version.description
    assert client.get_logged_model(version.model_id or version.source.rsplit("/", 2)[-2]).model_type == "sequence"
    assert [one.path for one in client.list_artifacts(logged.run_id, "figures/curve")] == ["figures/curve/curve.png"]
    assert logged.sha256 == load_sequence_bundle(bundle).sha256
    assert registry.versions(NAME) == [ModelVersion(logged.run_id, "1", logged.sha256)]


def test_nothing_is_known_of_a_model_that_was_never_trained(registry: ModelRegistry, tmp_path: Path) -> None:
    assert registry.versions(NAME) == []
    assert registry.alias(NAME, "champion") is None
    assert registry.previous_champion(NAME) is None
    with pytest.raises(ModelFileError, match="no alias or version 'champion'"):
        registry.download(NAME, "champion", tmp_path / "out")
    with pytest.raises(ModelFileError, match="no champion to go back to"):
        registry.roll_back(NAME)


def test_aliases_move_and_a_champion_can_be_rolled_back(registry: ModelRegistry, tmp_path: Path) -> None:
    first, second = _log(registry, tmp_path, 1), _log(registry, tmp_path, 2)
    assert (first.version, second.version) == ("1", "2")
    registry.set_alias(NAME, "champion", first.version)
    registry.set_alias(NAME, "champion", first.version)
    assert registry.previous_champion(NAME) is None
    registry.set_alias(NAME, "challenger", second.version)
    registry.set_alias(NAME, "champion", second.version)
    assert (registry.alias(NAME, "champion"), registry.previous_champion(NAME)) == (second, first)
    assert registry.roll_back(NAME) == first
    assert (registry.alias(NAME, "champion"), registry.previous_champion(NAME)) == (first, None)
    assert [one.is_rolled_back for one in registry.versions(NAME)] == [False, True]
    with pytest.raises(ModelFileError, match="no champion to go back to"):
        registry.roll_back(NAME)
    with pytest.raises(ModelFileError, match="version '9'"):
        registry.set_alias(NAME, "champion", "9")
    assert registry.alias(NAME, "champion") == first
    assert (registry.names(), registry.aliases(NAME)) == ([NAME], {"champion": "1", "challenger": "2"})


def test_rolling_back_twice_goes_back_two_champions(registry: ModelRegistry, tmp_path: Path) -> None:
    first, second, third = (_log(registry, tmp_path, seed) for seed in (1, 2, 3))
    for one in (first, second, third):
        registry.set_alias(NAME, "champion", one.version)
    assert registry.roll_back(NAME) == second
    assert registry.roll_back(NAME) == first
    assert [one.is_rolled_back for one in registry.versions(NAME)] == [False, True, True]
    registry.set_alias(NAME, "champion", "2")
    registry.set_alias(NAME, "champion", "1")
    assert registry.previous_champion(NAME) is None, "what was sent away is not gone back to"


def test_a_download_is_the_bundle_that_was_registered(registry: ModelRegistry, tmp_path: Path) -> None:
    logged = _log(registry, tmp_path)
    registry.set_alias(NAME, "champion", logged.version)
    for wanted in ("champion", "1"):
        folder = registry.download(NAME, wanted, tmp_path / "out" / "model")
        assert folder == tmp_path / "out" / "model"
        assert load_sequence_bundle(folder, sha256=logged.sha256).item_ids.to_list() == ["a", "b"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]


@pytest.mark.parametrize("harm", ["flip", "swap", "lose", "add"])
def test_a_registered_bundle_that_changed_is_refused_and_the_old_copy_stays(
    registry: ModelRegistry, tmp_path: Path, harm: str
) -> None:
    _log(registry, tmp_path)
    kept = registry.download(NAME, "1", tmp_path / "out")
    (stored,) = registry.artifact_root.rglob("weights.safetensors")
    if harm == "flip":
        stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    elif harm == "swap":
        shutil.rmtree(stored.parent)
        _bundle(stored.parent, seed=5)
    elif harm == "lose":
        shutil.rmtree(stored.parent)
    else:
        (stored.parent / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelFileError):
        registry.download(NAME, "1", tmp_path / "out")
    assert load_sequence_bundle(kept).item_ids.to_list() == ["a", "b"]


def test_an_unsound_bundle_is_never_registered(registry: ModelRegistry, tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "bundle")
    (bundle / "extra.py").touch()
    with pytest.raises(ModelFileError, match="refused"):
        registry.log_training(NAME, params={}, curves=CURVES, bundle=bundle)
    assert registry.versions(NAME) == []


def test_a_run_that_cannot_be_recorded_is_marked_failed(registry: ModelRegistry, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        registry.log_training(
            NAME, params={}, curves=CURVES, bundle=_bundle(tmp_path / "b"), figures={"curve": tmp_path / "none.png"}
        )
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=registry.tracking_uri)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_names_cannot_leave_the_artifact_folder(registry: ModelRegistry, tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "bundle")
    for name in ("../other", "a/b", "", ".hidden"):
        with pytest.raises(ContractError):
            registry.log_training(name, params={}, curves=CURVES, bundle=bundle)
        with pytest.raises(ContractError):
            registry.alias(name, "champion")


def test_telemetry_and_pickles_are_off(registry: ModelRegistry) -> None:
    registry.versions(NAME)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_passwords_are_not_shown() -> None:
    assert redacted("postgresql+psycopg2://me:secret@host/db") == "postgresql+psycopg2://me:***@host/db"
    assert redacted("sqlite:////tmp/mlflow.db") == "sqlite:////tmp/mlflow.db"


@pytest.mark.slow
@pytest.mark.postgres
def test_it_works_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    uri = postgres_url.replace("postgresql://", "postgresql+psycopg2://")
    registry = ModelRegistry(uri, tmp_path / "artifacts")
    logged = _log(registry, tmp_path)
    registry.set_alias(NAME, "champion", logged.version)
    assert registry.alias(NAME, "champion") == logged
    assert load_sequence_bundle(registry.download(NAME, "champion", tmp_path / "out")).sha256 == logged.sha256


def test_an_evaluation_is_recorded_beside_the_trainings(registry: ModelRegistry, tmp_path: Path) -> None:
    (tmp_path / "ablation.json").write_text("{}")
    run_id = registry.log_evaluation(
        "evaluation",
        run_name="modalities 2024-03-10",
        metrics={"without image/ndcg": 0.25, "all/cold_recall": 0.5},
        files=[tmp_path / "ablation.json"],
        tags={"day": "2024-03-10"},
    )
    from mlflow import MlflowClient

    client = MlflowClient(registry.tracking_uri)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "modalities 2024-03-10")
    assert run.data.metrics == {"without image/ndcg": 0.25, "all/cold_recall": 0.5}
    assert run.data.tags["day"] == "2024-03-10"
    assert [found.path for found in client.list_artifacts(run_id)] == ["ablation.json"]
    assert registry.names() == []
