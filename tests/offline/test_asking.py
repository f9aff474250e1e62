"""Who answers: the model for a slice, nobody where there is none. Everybody has an answer, in order."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.errors import ConfigError, ModelFileError
from genre_pipeline.offline.asking import answered
from genre_pipeline.project import Project
from tests.fakes.chat_server import ChatServer, Turn, chat_server

DAY = date(2026, 3, 1)
ITEMS = pl.DataFrame(
    {
        "item_id": [f"i{number}" for number in range(6)],
        "title": [f"Comet {number}" for number in range(6)],
        "description": ["A story about a comet."] * 6,
        "categories": [["space"]] * 6,
    }
)


def project(home: Path, **generation: Any) -> Project:
    return Project(GenreConfig(home=home, generation={"style": "lines", **generation}))  # type: ignore[arg-type]


def http(server: ChatServer, **more: Any) -> dict[str, Any]:
    return {"kind": "http", "http": {"url": server.url, "model": "m", "concurrency": 1, **more}}


def answers(opened: Project, **more: Any) -> Any:
    scheme = opened.config.generation.schemes()[0]
    return answered(opened, scheme, scheme.requests(ITEMS), DAY, **more)


def test_a_slice_is_asked_and_the_rest_falls_back(tmp_path: Path) -> None:
    with chat_server(lambda body, nth: Turn(text="A story about a comet in space.")) as server:
        opened = project(tmp_path, model=http(server), budget={"subjects": {"item_summaries": 4}})
        found = answers(opened)
        assert server.requests == 4
    assert [answer.request.subject for answer in found.answers] == ITEMS["item_id"].to_list()
    assert [answer.origin for answer in found.answers] == ["model"] * 4 + ["fallback"] * 2
    assert found.answers[5].reason == "budget: beyond budget.subjects"
    assert (found.counts.requests, found.counts.unasked, found.counts.failed_share) == (6, 2, 0.0)
    assert opened.ledger.spending(DAY).calls == 4


def test_a_limit_that_would_limit_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"budget\.subjects\.item_sumaries"):
        project(tmp_path, budget={"subjects": {"item_sumaries": 4}})
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        project(tmp_path, budget={"subjects": {"item_summaries": -1}})
    free = {"kind": "http", "http": {"model": "m"}}
    for model in (free, {"kind": "local"}):
        with pytest.raises(ValueError, match=r"budget\.cost limits nothing"):
            project(tmp_path, model=model, budget={"cost": 5.0})
    priced = {"kind": "http", "http": {"model": "m", "output_price": 2.0}}
    assert project(tmp_path, model=priced, budget={"cost": 5.0}).config.generation.budget.cost == 5.0


def test_progress_tells_rate_and_time_left(tmp_path: Path) -> None:
    ticks = iter(range(0, 1000, 3))
    told: list[str] = []
    with chat_server(lambda body, nth: Turn(text="A story about a comet in space.")) as server:
        answers(project(tmp_path, model=http(server)), say=told.append, clock=lambda: float(next(ticks)))
    assert told[-1].startswith("item_summaries: 6 of 6, ")
    assert told[-1].endswith(" a second, 0 s left")
    assert 2 <= len(told) < 6


def test_late_questions_are_not_asked(tmp_path: Path) -> None:
    ticks = iter(range(0, 1000, 3))
    with chat_server(lambda body, nth: Turn(text="A story about a comet in space.")) as server:
        opened = project(tmp_path, model=http(server), budget={"scheme_seconds": 10})
        found = answers(opened, clock=lambda: float(next(ticks)))
        assert 0 < server.requests < 6
    assert found.counts.unasked == 6 - server.requests


def test_without_a_model_everybody_falls_back_and_nothing_is_opened(tmp_path: Path) -> None:
    found = answers(project(tmp_path))
    assert {(answer.origin, answer.reason) for answer in found.answers} == {("fallback", "no language model")}
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_stops_the_night_only_where_the_model_is_required(tmp_path: Path) -> None:
    model = {"kind": "local", "local": {"source": "package:no-such-model"}}
    with pytest.raises(ModelFileError, match="no-such-model"):
        answers(project(tmp_path, model=model))
    told: list[str] = []
    found = answers(project(tmp_path, model={**model, "is_required": False}), say=told.append)
    assert found.counts.fallbacks == found.counts.unasked == 6
    assert "no-such-model" in told[0]


SECRET = "sk-a-key-that-nobody-may-see"


def test_a_key_is_in_no_file_and_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE_MODEL_KEY", SECRET)
    with chat_server(lambda body, nth: Turn(text="A story about a comet in space.")) as server:
        opened = project(tmp_path, model=http(server, api_key_env="LANGUAGE_MODEL_KEY"))
        found = answers(opened)
        assert SECRET in server.headers[0]
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert kept == []
    told = [
        repr(opened),
        repr(opened.config),
        opened.config.model_dump_json(),
        repr(opened.language_model),
        repr(found),
    ]
    assert [text for text in told if SECRET in text] == []
    monkeypatch.delenv("LANGUAGE_MODEL_KEY")
    with pytest.raises(ConfigError, match="LANGUAGE_MODEL_KEY"):
        answers(project(tmp_path, model=http(server, api_key_env="LANGUAGE_MODEL_KEY")))
