from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.generation.profiles import Profiles, ProfilesConfig, capped_weights, pooled_interests
from genre_pipeline.generation.requests import Answer, ParseProblem
from genre_pipeline.generation.settings import GenerationConfig
from tests.generation import films

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def scheme() -> Profiles:
    return GenerationConfig(style="json").schemes()[1]


def test_histories_are_told_newest_first_with_times_and_without_ids(scheme: Profiles) -> None:
    told = films.histories()
    expected = pl.DataFrame(
        [
            ("u1", ["f3", "f2", "f1", "f4"], ["2023-12-31", "2023-12-30", "2023-12-29", "2023-12-28"]),
            ("u2", ["f4", "f5"], ["2023-12-31", "2023-12-30"]),
            ("u3", ["f7"], ["2023-12-31"]),
        ],
        schema=["user_id", "item_ids", "when"],
        orient="row",
    )
    assert_frame_equal(told.select("user_id", "item_ids", "when"), expected)
    request = scheme.requests(told)[1]
    assert request.is_personal
    assert request.fields == {
        "history": [
            {"title": "Noodles at Midnight (1996)", "when": "2023-12-31", "interests": ["comedy", "kitchen"]},
            {"title": "Saffron (1988)", "when": "2023-12-30", "interests": ["drama", "kitchen"]},
        ],
        "vocabulary": ["kitchen", "comedy", "drama"],
    }


def test_only_the_configured_users_and_the_newest_items_are_told() -> None:
    few = GenerationConfig(profiles=ProfilesConfig(min_items=2, max_items=3)).schemes()[1]
    assert [request.subject for request in few.requests(films.histories())] == ["u2"]
    many = GenerationConfig(profiles=ProfilesConfig(min_items=2)).schemes()[1]
    assert [request.subject for request in many.requests(films.histories())] == ["u1", "u2"]
    assert films.histories(newest=2)["item_ids"].to_list()[0] == ["f3", "f2"]


def test_an_interest_is_one_that_the_users_own_items_carry(scheme: Profiles) -> None:
    request = scheme.requests(films.histories())[1]
    reply = '{"interests": ["Kitchen", "space", "weapons", "kitchen"], "profile": "Likes stories of cooks."}'
    assert scheme.parse(request, reply) == {"interests": ["kitchen"], "profile": "Likes stories of cooks."}
    none = scheme.parse(request, '{"interests": ["space"], "profile": "Likes space."}')
    assert isinstance(none, ParseProblem)
    assert none.rule == "no_interest"


def test_a_line_of_a_small_model_is_read() -> None:
    scheme = GenerationConfig().schemes()[1]
    request = scheme.requests(films.histories())[0]
    expected = {"interests": ["space", "romance"], "profile": "Interested in space, romance."}
    assert scheme.parse(request, " space, Romance, films and more.\n\nFilms watched: ") == expected


def test_without_a_reply_the_most_frequent_interests_stand_in(scheme: Profiles) -> None:
    told = films.histories()
    frame = scheme.frame(scheme.without_model(scheme.requests(told)), told, as_of=films.AS_OF)
    row = frame.row(0, named=True)
    assert row["interests"] == ["space", "action", "comedy", "kitchen", "romance"]
    assert row["weights"] == pytest.approx([0.5, 0.125, 0.125, 0.125, 0.125])
    assert row["source_item_ids"] == ["f3", "f2", "f1", "f4"]
    assert (row["source"], row["reason"]) == ("fallback", "no model")
    assert row["profile"] == "Interested in space, action, comedy, kitchen, romance."


def test_one_items_share_of_a_profile_is_capped(scheme: Profiles) -> None:
    told = films.histories().head(1)
    (request,) = scheme.requests(told)
    praised = Answer(request, {"interests": ["comedy"], "profile": "Likes comedy."}, "model")
    row = scheme.frame([praised], told, as_of=films.AS_OF).row(0, named=True)
    # Comedy is in one film alone, which would be all of the profile: the most frequent join until it is half.
    assert row["interests"] == ["comedy", "space"]
    assert row["weights"] == pytest.approx([0.2, 0.8])


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(NAMES), max_size=4, unique=True), min_size=1, max_size=6),
    st.sampled_from([0.34, 0.5, 1.0]),
    st.data(),
)
def test_no_item_has_more_than_its_share_where_others_say_anything(
    votes: Sequence[Sequence[str]], most: float, data: st.DataObject
) -> None:
    carried = sorted({name for vote in votes for name in vote})
    if not carried:
        return
    chosen = data.draw(st.lists(st.sampled_from(carried), min_size=1, max_size=3, unique=True))
    weights = capped_weights(chosen, votes, most)
    assert sum(weights.values()) == pytest.approx(1)
    assert list(weights)[: len(chosen)] == chosen
    given_by = [sum(name in weights for name in vote) / max(len(vote), 1) for vote in votes]
    is_all = set(weights) == set(carried)
    assert is_all or max(given_by) / sum(given_by) <= most


def test_pooled_vectors_are_weighted_means() -> None:
    profiles = pl.DataFrame({"interests": [["a", "b"], ["b"], ["new"]], "weights": [[0.25, 0.75], [1.0], [1.0]]})
    vectors = np.array([[1, 0], [0, 2]], dtype=np.float32)
    pooled = pooled_interests(profiles, pl.Series(["a", "b"]), vectors)
    assert pooled.tolist() == [[0.25, 1.5], [0.0, 2.0], [0.0, 0.0]]
