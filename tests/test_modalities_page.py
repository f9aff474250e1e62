"""The page on modalities: its extractor is one that keeps the contract, its settings are settings."""

import re
from pathlib import Path

import pytest
import yaml

from genre_pipeline.config import GenreConfig

PAGE = (Path(__file__).parents[1] / "docs" / "modalities.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


for _block in _blocks("python"):
    exec(_block, globals())  # defines TestQuarters, which pytest collects here


def test_the_extractor_is_short_and_its_test_is_there() -> None:
    extractor, contract = _blocks("python")
    assert len(extractor.splitlines()) < 40
    assert "class TestQuarters(ImageContract)" in contract
    assert "TestQuarters" in globals()


def test_the_settings_of_the_page_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENRE_CONFIG", raising=False)
    (settings,) = _blocks("yaml")
    config = GenreConfig(**yaml.safe_load(settings))
    assert config.recommenders.content.vectors == "fused"
    assert config.features.media == ("image",)
    assert config.features.tabular.enabled
