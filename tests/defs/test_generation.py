"""Generation in the graph: an asset a scheme, by weights of one's own, by an endpoint, or by nobody."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl
import pytest

from genre_pipeline.models.causal import tiny_causal
from tests.defs.worlds import NIGHTS, SECRET, World
from tests.fakes.chat_server import ChatServer, Turn, chat_server

pytestmark = pytest.mark.slow

DAY = NIGHTS[-1]
SCHEMES = ("item_summaries", "user_profiles", "synthetic_items")
TABLES = {"item_summaries": "item_id", "user_profiles": "user_id", "synthetic_items": "user_id"}


def run(world: World, model: dict[str, Any], **more: Any) -> Any:
    generation = {"enabled": SCHEMES, "style": "json", "max_failed_share": 1.0, "model": model, **more}
    world.configure({"generation": generation})
    return world.genre("run", "--date", DAY, "--select", ",".join([*SCHEMES, "recommendations"]))


def tables(world: World) -> dict[str, pl.DataFrame]:
    return {name: world.project.partitions.read(name, DAY) for name in SCHEMES}


def as_told(body: dict[str, Any], nth: int) -> Turn:
    """An endpoint that answers well, from the data it is shown."""
    question = body["messages"][-1]["content"]
    data = json.loads(next(line for line in question.splitlines() if line.startswith("{")))
    if "title" in data:
        told: dict[str, Any] = {"summary": data["description"] or data["title"], "tags": data["categories"]}
    elif "vocabulary" in data:
        told = {"interests": data["vocabulary"][:1], "profile": f"Likes {data['vocabulary'][0]} stories."}
    else:
        told = {"items": [{"title": "Comet of the space", "description": "A space story.", "category": "space"}]}
    return Turn(text=json.dumps(told))


@pytest.fixture
def endpoint() -> Iterator[ChatServer]:
    with chat_server(as_told) as server:
        yield server


def http(server: ChatServer) -> dict[str, Any]:
    settings = {"url": server.url, "model": "m", "api_key_env": "LANGUAGE_MODEL_KEY", "input_price": 1.0}
    return {"kind": "http", "http": settings}


def materialisation(world: World, name: str) -> dg.AssetMaterialization:
    with dg.DagsterInstance.from_config(str(world.folder)) as instance:
        filters = dg.AssetRecordsFilter(dg.AssetKey(name), asset_partitions=[DAY])
        found = instance.fetch_materializations(filters, limit=1).records[0].asset_materialization
    assert found is not None
    return found


def test_an_endpoint_writes_once_and_its_key_is_seen_by_nobody_else(
    own_world: World, endpoint: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENRE_HOME", str(own_world.folder / "home"))
    monkeypatch.delenv("GENRE_DATABASE_URL", raising=False)
    answer = run(own_world, http(endpoint))
    assert answer.code == 0, answer.notes
    found = tables(own_world)
    assert set(found["item_summaries"]["source"]) == {"model"}
    assert all(set(frame["source"]) <= {"model", "fallback"} for frame in found.values())
    assert f"Authorization: Bearer {SECRET}" in endpoint.headers[0]
    told = materialisation(own_world, "item_summaries").metadata
    assert told["requests"].value == found["item_summaries"].height
    assert 0 < told["cost"].value < told["tokens"].value / 1e6  # what is written is free
    assert str(told["examples"].value).count("\n| ") >= 10
    asked = endpoint.requests
    again = run(own_world, http(endpoint))
    assert again.code == 0, again.notes
    assert endpoint.requests == asked
    assert all(frame.equals(tables(own_world)[name]) for name, frame in found.items())
    assert materialisation(own_world, "item_summaries").metadata["cache_hit_share"].value == 1.0
    seen = [path for path in own_world.folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert seen == []
    assert SECRET not in answer.output + answer.notes
    assert SECRET not in repr(own_world.project.config) + own_world.project.config.model_dump_json()


def test_weights_of_ones_own_write_a_slice_and_the_rest_falls_back(own_world: World) -> None:
    tiny_causal(own_world.folder / "writer", ["space"], has_head=True, positions=2048)
    model = {"kind": "local", "local": {"source": "writer"}}
    answer = run(own_world, model, style="lines", budget={"subjects": {"item_summaries": 4, "user_profiles": 2}})
    assert answer.code == 0, answer.notes
    reasons = tables(own_world)["item_summaries"]["reason"]
    assert (reasons != "budget: beyond budget.subjects").sum() == 4


def test_without_the_package_the_night_says_so_and_falls_back(own_world: World) -> None:
    model = {"kind": "local", "is_required": False, "local": {"source": "package:no-such-model"}}
    answer = run(own_world, model, max_failed_share=0.0)
    assert answer.code == 0, answer.notes
    assert "No language model, so everybody gets the fallback" in answer.notes
    for name, frame in tables(own_world).items():
        assert set(frame["source"]) == {"fallback"}
        assert set(frame["reason"]) == {"no language model"}
        assert frame[TABLES[name]].n_unique() > 2
    required = run(own_world, {**model, "is_required": True})
    assert required.code == 1
    assert "no-such-model" in required.notes


def test_too_many_fallbacks_stop_what_comes_after(own_world: World, endpoint: ChatServer) -> None:
    endpoint.script = lambda body, nth: Turn(text="I cannot do that.")
    before = own_world.manifests(DAY)["recommendations"]
    answer = run(own_world, http(endpoint), max_failed_share=0.5)
    assert answer.code == 1
    assert "item_summaries_few_fell_back failed" in answer.notes
    store = own_world.project.partitions
    assert set(store.read("item_summaries", DAY)["source"]) == {"fallback"}
    assert not store.has("user_profiles", DAY)
    assert own_world.manifests(DAY)["recommendations"] == before


def test_schemes_that_are_only_written_move_no_list(own_world: World, endpoint: ChatServer) -> None:
    before = own_world.manifests(DAY)["recommendations"]
    answer = run(own_world, http(endpoint), enabled=[], written=list(SCHEMES))
    assert answer.code == 0, answer.notes
    assert own_world.manifests(DAY)["recommendations"] == before


def test_what_is_only_written_feeds_no_scheme_that_lists_are_made_with(own_world: World, endpoint: ChatServer) -> None:
    model = {**http(endpoint), "http": {**http(endpoint)["http"], "api_key_env": None}}
    fingerprints = []
    for written in ([], ["item_summaries", "user_profiles"]):
        generation = {"enabled": ["synthetic_items"], "written": written, "style": "json", "model": model}
        own_world.configure({"generation": {**generation, "max_failed_share": 1.0}})
        answer = own_world.genre("run", "--date", DAY, "--select", ",".join([*written, "synthetic_items"]))
        assert answer.code == 0, answer.notes
        fingerprints.append(own_world.manifests(DAY)["synthetic_items"])
    assert own_world.project.partitions.has("user_profiles", DAY)
    assert fingerprints[0] == fingerprints[1]
