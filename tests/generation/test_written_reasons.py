import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.generation.requests import Answer, ParseProblem
from genre_pipeline.generation.settings import GenerationConfig
from genre_pipeline.generation.written_reasons import WrittenReasons, WrittenReasonsConfig
from tests.generation import films

LISTS = pl.DataFrame(
    [
        ("u2", "f1", 1, ["Because you took “Orbit”", "Popular right now"]),
        ("u2", "f8", 2, ["Popular right now"]),
        ("u2", "f2", 3, ["Popular right now"]),
    ],
    schema={"user_id": pl.String, "item_id": pl.String, "rank": pl.UInt32, "reasons": pl.List(pl.String)},
    orient="row",
)


@pytest.fixture
def scheme() -> WrittenReasons:
    return GenerationConfig(reasons=WrittenReasonsConfig(places=2), style="json").reason_writer()


def test_the_first_places_with_a_title_are_asked_about_and_the_user_is_the_subject(scheme: WrittenReasons) -> None:
    told = scheme.told(LISTS, films.items())
    (request,) = scheme.requests(told)
    assert (request.subject, request.is_personal) == ("u2", True)
    assert request.fields == {
        "title": "Comet Station (1994)",
        "description": f"{films.CREW} Nobody sleeps.",
        "reasons": ["Because you took “Orbit”", "Popular right now"],
    }


def test_a_written_sentence_stands_before_the_others_and_takes_none_away(scheme: WrittenReasons) -> None:
    told = scheme.told(LISTS, films.items())
    (request,) = scheme.requests(told)
    value = scheme.parse(request, '{"reason": "A crew on a comet station, popular right now."}')
    assert not isinstance(value, ParseProblem)
    written = scheme.put_first(LISTS, told, [Answer(request, value, "model")])
    first = ["A crew on a comet station, popular right now.", "Because you took “Orbit”", "Popular right now"]
    assert written["reasons"].to_list() == [first, ["Popular right now"], ["Popular right now"]]


@pytest.mark.parametrize(
    "reply",
    [
        '{"reason": ""}',
        '{"reason": 3}',
        "{}",
        '{"reason": "See http://x.y"}',
        '{"reason": "Buy weapons today, friend."}',
    ],
)
def test_what_cannot_be_used_leaves_the_templates(scheme: WrittenReasons, reply: str) -> None:
    told = scheme.told(LISTS, films.items())
    (request,) = scheme.requests(told)
    assert isinstance(scheme.parse(request, reply), ParseProblem)
    assert_frame_equal(scheme.put_first(LISTS, told, scheme.without_model([request])), LISTS)
