"""The network's assets in the whole graph: what MLflow is told, the Launchpad, and a rollback."""

import json
from pathlib import Path

import pytest

from genre_pipeline.contracts.names import CHAMPION, SEQUENCE_MODEL
from tests.defs.worlds import NIGHTS, World

pytestmark = pytest.mark.slow

DAY, BEFORE = NIGHTS[-1], NIGHTS[-2]


def _serves(world: World, day: str) -> str:
    return str(world.project.partitions.read(CHAMPION, day)["model_day"][0])


def _promote(world: World, model_day: str, day: str) -> None:
    """Let the network of `model_day` be the champion of `day`, whatever the tiny world's numbers said."""
    store, models = world.project.partitions, world.project.models
    frame = store.read(CHAMPION, day).with_columns(
        model_day=store.read(CHAMPION, day)["model_day"].replace({_serves(world, day): model_day})
    )
    store.write(CHAMPION, day, frame, decisions=store.manifest(CHAMPION, day).decisions)
    version = next(one for one in models.versions(SEQUENCE_MODEL) if one.day == model_day)
    models.set_alias(SEQUENCE_MODEL, CHAMPION, version.version)


def test_a_rolled_back_network_is_not_taken_up_again(own_world: World) -> None:
    _promote(own_world, NIGHTS[0], NIGHTS[0])
    _promote(own_world, NIGHTS[1], NIGHTS[1])
    _promote(own_world, NIGHTS[1], NIGHTS[2])

    answer = own_world.genre("rollback", SEQUENCE_MODEL, "--json")
    assert answer.code == 0, answer.notes
    assert json.loads(answer.output)["rolled_back"] == "2"

    again = own_world.genre("run", "--date", DAY, "--select", "champion")
    assert again.code == 0, again.notes
    assert _serves(own_world, DAY) != NIGHTS[1], "neither the earlier champion that was sent away"
    own_challenger = own_world.genre("run", "--date", NIGHTS[1], "--select", "champion")
    assert own_challenger.code == 0, own_challenger.notes
    assert _serves(own_world, NIGHTS[1]) == NIGHTS[0], "nor the challenger of its own day"

    listed = json.loads(own_world.genre("models", "--json").output)["models"]
    assert [one["is_rolled_back"] for one in listed] == [False, True, False]
    assert all("challenger" in one["aliases"] for one in listed if one["version"] == "3")


def test_without_an_earlier_champion_nothing_is_rolled_back(own_world: World) -> None:
    _promote(own_world, _serves(own_world, DAY), DAY)
    while (answer := own_world.genre("rollback", SEQUENCE_MODEL)).code == 0:
        pass
    assert "has no champion to go back to" in answer.notes


def test_a_run_may_change_settings_of_its_training(own_world: World) -> None:
    script = Path(__file__).with_name("launch_training.py")
    answer = own_world.python(script, DAY, json.dumps({"epochs": 1, "network": {"width": 4}}))
    assert answer.code == 0, answer.notes
    store = own_world.project.partitions
    assert store.read(SEQUENCE_MODEL, DAY).height == 1
    assert store.manifest(SEQUENCE_MODEL, DAY).decisions["launched_with"] == {"epochs": 1, "network": {"width": 4}}
    latest = own_world.project.models.versions(SEQUENCE_MODEL)[-1]
    from mlflow import MlflowClient

    run = MlflowClient(tracking_uri=own_world.project.models.tracking_uri).get_run(latest.run_id)
    assert (run.data.params["network.width"], run.data.params["network.heads"]) == ("4", "2")
    assert own_world.python(script, DAY, json.dumps({"epochs": 0})).code == 1
    assert store.read(SEQUENCE_MODEL, DAY).height == 1


def test_mlflow_knows_where_a_network_came_from_and_how_it_went(world: World) -> None:
    from mlflow import MlflowClient

    latest = world.project.models.versions(SEQUENCE_MODEL)[-1]
    client = MlflowClient(tracking_uri=world.project.models.tracking_uri)
    run = client.get_run(latest.run_id)
    tags = run.data.tags
    assert (tags["day"], tags["feature_service"], len(tags["data_fingerprint"])) == (DAY, "training_v1", 64)
    assert tags["mlflow.source.git.commit"]
    assert {"train_loss", "validation_ndcg", "learning_rate"} <= set(run.data.metrics)
    by_step = {
        f"steps/{name}"
        for name in ("train_loss", "learning_rate", "grad_norm", "tokens_per_second", "items_per_second")
    }
    assert by_step <= set(run.data.metrics)
    assert "# Model card: sequence_model" in client.get_model_version(SEQUENCE_MODEL, latest.version).description
    assert not list((world.folder / "home" / "checkpoints").rglob("*.safetensors")), "nothing is left to go on from"
