"""Generation reaches commands through what `prepare` gives; without it, nothing is asked and nothing changes."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from genre_pipeline.config import GenreConfig, WrittenConfig
from genre_pipeline.features.extraction import FeaturesConfig
from genre_pipeline.features.text_llm import LlmTextConfig
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.offline.ablation_generation import generation_variants, with_content
from genre_pipeline.offline.batch import batch_recommendations
from genre_pipeline.offline.dataset import prepare, source_of, training_set_for_lists
from genre_pipeline.offline.evaluate import evaluate_dataset
from genre_pipeline.training.splits import split_by_time
from tests.fakes.chat_server import ChatServer, Turn, chat_server
from tests.offline import shop


def as_told(body: dict[str, Any], nth: int) -> Turn:
    """Answers well, from the data that are shown."""
    question = body["messages"][-1]["content"]
    data = json.loads(next(line for line in question.splitlines() if line.startswith("{")))
    if "vocabulary" in data:
        return Turn(text=json.dumps({"interests": data["vocabulary"][:1], "profile": "Likes stories."}))
    if "title" in data:
        return Turn(text=json.dumps({"summary": data["description"] or data["title"], "tags": []}))
    return Turn(text=json.dumps({"items": [{"title": "Comet of the space", "description": "", "category": "space"}]}))


@pytest.fixture
def plain(tmp_path: Path) -> GenreConfig:
    encoder = tiny_encoder(tmp_path / "encoder", ["space", "kitchen", "romance"])
    features = FeaturesConfig(llm=LlmTextConfig(source=str(encoder), max_tokens=64))
    return with_content(shop.quick_config(tmp_path / "home").model_copy(update={"features": features}))


def generating(config: GenreConfig, server: ChatServer) -> GenreConfig:
    model = {"kind": "http", "http": {"url": server.url, "model": "m", "input_price": 1.0}}
    written = WrittenConfig(enabled=("item_summaries", "user_profiles"), style="json", model=model)  # type: ignore[arg-type]
    return config.model_copy(update={"generation": written})


def lists_of(world: Path, config: GenreConfig) -> pl.DataFrame:
    return batch_recommendations(prepare(source_of(world), config), config, k=10, say=lambda line: None)


def test_a_batch_is_made_with_what_the_model_wrote_and_asks_once(world: Path, plain: GenreConfig) -> None:
    with chat_server(as_told) as server:
        config = generating(plain, server)
        lists = lists_of(world, config)
        asked = server.requests
        assert asked > 0
        assert lists_of(world, config).equals(lists)
        assert server.requests == asked
    assert not lists.equals(lists_of(world, plain))


def test_an_evaluation_is_of_what_the_model_wrote_about_the_past(world: Path, plain: GenreConfig) -> None:
    with chat_server(as_told) as server:
        config = generating(plain, server)
        prepared = prepare(source_of(world), config)
        found = evaluate_dataset(prepared, config, protocol="time", step_days=1, say=lambda line: None)
        assert server.requests > 0
    without = evaluate_dataset(
        prepare(source_of(world), plain), plain, protocol="time", step_days=1, say=lambda line: None
    )
    assert not found.recommendations.equals(without.recommendations)


def test_with_generation_off_nothing_is_added_and_nobody_asked(world: Path, plain: GenreConfig) -> None:
    with chat_server(as_told) as server:
        configured = generating(plain, server)
        off = configured.generation.model_copy(update={"enabled": ()})
        prepared = prepare(source_of(world), configured.model_copy(update={"generation": off}))
        assert prepared.enrich is None
        assert server.requests == 0


def test_each_variant_tells_what_its_texts_took_also_where_they_were_paid_for(world: Path, plain: GenreConfig) -> None:
    with chat_server(as_told) as server:
        config = generating(plain, server)
        prepared = prepare(source_of(world), config)
        split = split_by_time(prepared.data.interactions)
        first, again = (_taken(prepared, split, config) for _time in range(2))
        assert first == again
        assert first["off"] is None
        assert first["summaries"].tokens > 0
        assert first["summaries"].cost > 0
        assert first["all"].tokens >= first["summaries"].tokens + first["profiles"].tokens


def _taken(prepared: Any, split: Any, config: GenreConfig) -> dict[str, Any]:
    found = {}
    for variant in generation_variants(prepared, config):
        training_set_for_lists(variant.prepared, split, variant.config, only_known_items=True)
        found[variant.name] = None if variant.taken is None else variant.taken()
    return found
