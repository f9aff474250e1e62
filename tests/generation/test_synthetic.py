import json

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.generation.requests import Answer, ParseProblem
from genre_pipeline.generation.settings import GenerationConfig
from genre_pipeline.generation.synthetic import Synthetic, SyntheticConfig, training_weights
from tests.generation import films

IDS = pl.Series([f"f{number}" for number in range(1, 9)])
LOOKS = np.eye(8, dtype=np.float32)


@pytest.fixture
def scheme() -> Synthetic:
    return GenerationConfig(style="json", synthetic=SyntheticConfig(max_items=3, count=2)).schemes()[2]


def reply(*items: tuple[str, str, str]) -> str:
    names = ("title", "description", "category")
    return json.dumps({"items": [dict(zip(names, item, strict=True)) for item in items]})


def test_only_users_with_few_items_are_asked_about_and_profiles_feed_them(scheme: Synthetic) -> None:
    told = films.histories()
    profiles = pl.DataFrame({"user_id": ["u2"], "profile": ["Likes stories of cooks."]})
    plain, chained = scheme.requests(told), scheme.requests(told, profiles)
    assert [request.subject for request in plain] == ["u2", "u3"]
    assert [request.fields["profile"] for request in chained] == ["Likes stories of cooks.", ""]
    assert plain[0].key("m") != chained[0].key("m")
    assert plain[1].key("m") == chained[1].key("m")


def test_who_is_asked_about_depends_on_no_other_scheme(scheme: Synthetic) -> None:
    short = films.histories(newest=1)
    assert short.select("user_id", "items_had").rows() == [("u1", 4), ("u2", 2), ("u3", 1)]
    assert [request.subject for request in scheme.requests(short)] == ["u2", "u3"]


def test_what_the_user_has_had_is_dropped_and_a_foreign_category_is_emptied(scheme: Synthetic) -> None:
    (request, _) = scheme.requests(films.histories())
    written = reply(("Saffron (1988)", "", "drama"), ("Pepper", "A cook travels.", "Drama"), ("Salt", "", "weapons"))
    assert scheme.parse(request, written) == {
        "items": [
            {"title": "Pepper", "description": "A cook travels.", "category": "drama"},
            {"title": "Salt", "description": "", "category": ""},
        ]
    }
    nothing = scheme.parse(request, reply(("saffron (1988)", "", "")))
    assert isinstance(nothing, ParseProblem)
    assert nothing.rule == "nothing_new"


def test_a_line_of_a_small_model_is_read() -> None:
    scheme = GenerationConfig().schemes()[2]
    request = scheme.requests(films.histories())[1]
    found = scheme.parse(request, " Pepper (1990)\n- Salt (1991)\n- Salt (1991)\n- Cinnamon")
    assert not isinstance(found, ParseProblem)
    assert [item["title"] for item in found["items"]] == ["Pepper (1990)", "Salt (1991)", "Cinnamon"]


def test_the_history_is_told_as_lines_the_newest_last() -> None:
    scheme = GenerationConfig().schemes()[2]
    (request,) = scheme.requests(films.histories().filter(user_id="u2"))
    assert "\n- Saffron (1988)\n- Noodles at Midnight (1996)\n" in request.prompt.user
    assert not request.prompt.is_chat


def test_invented_items_become_the_nearest_real_ones(scheme: Synthetic) -> None:
    (request, other) = scheme.requests(films.histories())
    answers = [
        Answer(request, {"items": [_item("a"), _item("b")]}, "model"),
        Answer(other, {"items": [_item("c"), _item("d")]}, "repaired"),
    ]
    invented = scheme.invented(answers)
    # u2 has had f4 and f5: "a" is nearest to f4, which is not new; both of u3's are nearest to f1.
    vectors = LOOKS[[3, 6, 0, 0]] * np.float32(0.9) + LOOKS[[2, 2, 1, 1]] * np.float32([[0.5], [0.1], [0.1], [0.2]])
    found = scheme.snapped(
        invented,
        vectors,
        item_ids=IDS,
        item_vectors=LOOKS,
        is_candidate=np.ones(8, dtype=bool),
        had=films.interactions(),
    )
    rows = found.select("user_id", "place", "title", "item_id", "similarity", "source")
    expected = pl.DataFrame(
        [
            ("u2", 1, "a", "f3", 0.5, "model"),
            ("u2", 2, "b", "f7", 0.9, "model"),
            ("u3", 1, "c", "f1", 0.9, "repaired"),
            ("u3", 2, "d", None, 0.9, "repaired"),
        ],
        schema=rows.schema,
        orient="row",
    )
    assert_frame_equal(rows, expected)
    weights = training_weights(found, scheme.config)
    assert weights.drop("weight").rows() == [("u2", "f3"), ("u2", "f7"), ("u3", "f1")]
    assert weights["weight"].to_list() == pytest.approx([0.3] * 3)


def test_what_is_near_nothing_or_no_candidate_becomes_no_item(scheme: Synthetic) -> None:
    (request, _) = scheme.requests(films.histories())
    invented = scheme.invented([Answer(request, {"items": [_item("a"), _item("b")]}, "model")])
    vectors = LOOKS[[0, 1]] * np.float32([[0.39], [1.0]])
    candidates = np.arange(8) != 1
    found = scheme.snapped(
        invented, vectors, item_ids=IDS, item_vectors=LOOKS, is_candidate=candidates, had=films.interactions()
    )
    assert found["item_id"].to_list() == [None, None]
    assert training_weights(found, scheme.config).is_empty()


def test_without_a_reply_the_users_own_newest_items_lead_to_their_neighbours(scheme: Synthetic) -> None:
    invented = scheme.invented(scheme.without_model(scheme.requests(films.histories())))
    assert invented.select("user_id", "place", "title", "category").rows() == [
        ("u2", 1, "Noodles at Midnight (1996)", "comedy"),
        ("u2", 2, "Saffron (1988)", "drama"),
        ("u3", 1, "Waltz (1985)", "romance"),
    ]


def _item(title: str) -> dict[str, str]:
    return {"title": title, "description": "", "category": ""}
