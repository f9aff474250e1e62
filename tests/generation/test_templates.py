from pathlib import Path

import pytest

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.generation.hostile import delimiter
from genre_pipeline.generation.settings import GenerationConfig
from genre_pipeline.generation.templates import DOMAINS, load_templates
from tests.generation import films

PACKAGED = Path(__file__).parents[2] / "genre_pipeline" / "generation" / "templates"


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("style", ["json", "lines"])
def test_every_packaged_prompt_is_filled(domain: str, style: str) -> None:
    config = GenerationConfig(templates=domain, style=style)  # type: ignore[arg-type]
    summaries, profiles, synthetic = config.schemes()
    told = films.histories()
    for request in (summaries.requests(films.items())[0], profiles.requests(told)[0], synthetic.requests(told)[0]):
        assert "$" not in request.prompt.user
        assert (request.prompt.schema is None) == (style == "lines")
        assert request.prompt_version.startswith(f"{domain}-1-")
        assert request.prompt_version.endswith(style)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("style", ["json", "lines"])
def test_data_stand_between_marks_that_they_cannot_know(domain: str, style: str) -> None:
    config = GenerationConfig(templates=domain, style=style)  # type: ignore[arg-type]
    summaries, profiles, synthetic = config.schemes()
    told = films.histories()
    for request in (summaries.requests(films.items())[0], profiles.requests(told)[0], synthetic.requests(told)[0]):
        before, between, after = request.prompt.user.rsplit(delimiter(request.fields), 2)
        titles = [request.fields.get("title"), *(item["title"] for item in request.fields.get("history", ()))]
        for title in filter(None, titles):
            assert title in between
            assert title not in before + after


def test_an_edited_copy_is_used_and_asks_anew(tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text((PACKAGED / "films.yaml").read_text().replace("short, neutral sentence", "short line"))
    mine, packaged = load_templates(str(copy)), load_templates("films")
    assert "short line" in mine.item_summaries.lines.user
    assert mine.version != packaged.version
    ours = [GenerationConfig(templates=name).schemes()[0].requests(films.items())[0] for name in ("films", str(copy))]
    assert ours[0].key("model") != ours[1].key("model")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("version: films-1", "version: films-1\nsurprise: 1"), "surprise"),
        (("$data", "$dat"), "fields"),
        (("max_tokens: 160", "max_tokens: 0"), "max_tokens"),
        (("item_summaries:", "item_summaries: ["), "cannot be used"),
    ],
)
def test_an_unusable_file_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text((PACKAGED / "films.yaml").read_text().replace(*change))
    with pytest.raises(ConfigError, match=says):
        load_templates(str(copy))


def test_a_missing_file_names_the_packaged_ones() -> None:
    with pytest.raises(ConfigError, match="films, shop, news, courses"):
        load_templates("filmz")


def test_what_a_field_holds_is_not_looked_at_again() -> None:
    hostile = films.items().with_columns(title=films.items()["title"].replace("Waltz (1985)", "$delimiter ${data} $$"))
    (request,) = [one for one in GenerationConfig().schemes()[0].requests(hostile) if one.subject == "f7"]
    assert "$delimiter ${data} $$" in request.prompt.user
