import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.generation.requests import Answer
from genre_pipeline.generation.settings import GenerationConfig
from genre_pipeline.generation.summaries import Summaries, with_summaries
from tests.generation import films


@pytest.fixture
def scheme() -> Summaries:
    return GenerationConfig(style="json").schemes()[0]


def test_an_item_without_text_is_not_asked_about(scheme: Summaries) -> None:
    assert [request.subject for request in scheme.requests(films.items())] == [f"f{number}" for number in range(1, 8)]


def test_a_request_tells_its_own_item_alone(scheme: Summaries) -> None:
    (request,) = [one for one in scheme.requests(films.items()) if one.subject == "f5"]
    assert request.fields == {
        "title": "Saffron (1988)",
        "description": "A family of cooks quarrels over a recipe.",
        "categories": ["Kitchen", "Drama"],
    }
    assert not request.is_personal


def test_a_key_holds_all_that_a_reply_depends_on(scheme: Summaries) -> None:
    first, second, *_ = scheme.requests(films.items())
    again = GenerationConfig(style="json").schemes()[0].requests(films.items())[0]
    lines = GenerationConfig(style="lines").schemes()[0].requests(films.items())[0]
    assert first.key("a") == again.key("a")
    keys = [first.key("a"), first.key("b"), second.key("a"), lines.key("a"), first.repair("x", _problem()).key("a")]
    assert len(set(keys)) == 5


def _problem():  # type: ignore[no-untyped-def]
    from genre_pipeline.generation.requests import ParseProblem

    return ParseProblem("empty", "It is empty.")


def test_a_repair_names_the_fault_and_quotes_the_reply_as_data(scheme: Summaries) -> None:
    first = scheme.requests(films.items())[0]
    repair = first.repair('line\n"quoted"', _problem())
    assert repair.prompt.user.startswith(first.prompt.user)
    assert "It is empty." in repair.prompt.user
    assert '"line\\n\\"quoted\\""' in repair.prompt.user
    assert repair.subject == first.subject


def test_tags_are_the_items_own(scheme: Summaries) -> None:
    request = scheme.requests(films.items())[0]
    reply = '{"summary": "A crew repairs a station.", "tags": ["Comet", "romance", "comet station", "<b>", "space"]}'
    assert scheme.parse(request, reply) == {
        "summary": "A crew repairs a station.",
        "tags": ["space", "action", "comet", "comet station"],
    }


def test_every_answer_becomes_a_row_that_says_where_it_is_from(scheme: Summaries) -> None:
    first, second, third, *_ = scheme.requests(films.items())
    answers = [
        Answer(first, {"summary": "A crew repairs a station.", "tags": ["space"]}, "model"),
        Answer(second, {"summary": "Pilots are lost.", "tags": []}, "repaired"),
        Answer(third, None, "fallback", "timeout: none in 60 s"),
    ]
    rows = scheme.frame(answers).select("item_id", "summary", "tags", "source", "reason")
    expected = pl.DataFrame(
        [
            ("f1", "A crew repairs a station.", ["space"], "model", ""),
            ("f2", "Pilots are lost.", [], "repaired", ""),
            ("f3", "The last lander carries seeds to another planet.", ["space"], "fallback", "timeout: none in 60 s"),
        ],
        schema=rows.schema,
        orient="row",
    )
    assert_frame_equal(rows, expected)


def test_the_original_is_kept_beside_the_summary(scheme: Summaries) -> None:
    made = scheme.frame(scheme.without_model(scheme.requests(films.items())))
    joined = with_summaries(films.items(), made)
    assert_frame_equal(joined.select(films.items().columns), films.items())
    made_of_title, none = joined["summary"].to_list()[-2:]
    assert (made_of_title, none) == ("Waltz (1985)", None)
    assert joined["tags"].to_list()[-1] == []
    assert_frame_equal(with_summaries(joined, made), joined)


def test_a_description_of_many_sentences_falls_back_to_its_first(scheme: Summaries) -> None:
    request = scheme.requests(films.items())[0]
    assert scheme.fallback(request)["summary"] == "A crew repairs a station while a comet approaches."
