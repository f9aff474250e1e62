"""Hostile item texts through everything that generation reaches, with models that obey them: what cannot happen.

Forty strings in three fields of one item, under two models: 240 nights. In none of them is an item recommended or found
that the catalogue does not have, does any item leave the bound around its place without generation, does a user who
has not had the item get another profile or synthetic item than without the string, or does a text speak of an item
that its user has not had.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from genre_pipeline.adapters.local_language_model import LocalLanguageModel, LocalModelConfig
from genre_pipeline.config import GenreConfig, WrittenConfig
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.generation.requests import Answer, Request
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.generation.settings import SCHEMES
from genre_pipeline.models.causal_decoding import Choice
from genre_pipeline.offline.generation import Ask, Generated, Past, enriched, generate
from genre_pipeline.recommenders.base import recommend
from genre_pipeline.recommenders.blending import BlendWeights
from genre_pipeline.recommenders.suite import HYBRID, RecommendersConfig, Tuned, fit_suite, popular_scores
from tests.generation.injections import FIELDS, STRINGS, Obedient, Scripted, answers_of, poisoned

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
CATEGORIES = ("space", "kitchen", "romance")
N_ITEMS, N_USERS, BOUND = 24, 15, 3
VICTIM = "f17"
MODELS = {"obedient": (Obedient(), "lines"), "scripted": (Scripted(), "json")}
PARTS = ("popularity", "content", "item_knn")
CASES = [(text, field, model) for text in range(len(STRINGS)) for field in FIELDS for model in MODELS]


def items() -> pl.DataFrame:
    """Each title and description has a word of its own, by which a text gives away what it was made of."""
    rows = [
        {
            "item_id": f"f{number:02d}",
            "title": f"Film {_own_word(number)} of the {CATEGORIES[number % 3]}",
            "description": f"A story about {_own_word(number)} and the {CATEGORIES[number % 3]}.",
            "categories": [CATEGORIES[number % 3]],
            "available": True,
            "published_at": None,
        }
        for number in range(N_ITEMS)
    ]
    return pl.DataFrame(rows, schema_overrides={"published_at": pl.Datetime("us", "UTC")})


def interactions() -> pl.DataFrame:
    """One to five items a user, in three tastes."""
    rows = [
        (f"u{user:02d}", f"f{(user % 3 + 3 * ((user + 2 * step) % 8)):02d}", AS_OF - timedelta(days=9 - step), "view")
        for user in range(N_USERS)
        for step in range(1 + user % 5)
    ]
    columns = ["user_id", "item_id", "timestamp", "event"]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        pl.col("timestamp").cast(pl.Datetime("us", "UTC"))
    )


def encode(texts: pl.Series) -> np.ndarray:
    """A bag of words, each word's direction drawn from its hash."""
    rows = [
        sum((_direction(word) for word in re.findall(r"\w+", text)), np.zeros(16)) for text in texts.str.to_lowercase()
    ]
    return l2_normalise(np.array(rows, dtype=np.float32).reshape(len(texts), 16))


@dataclass(frozen=True)
class Night:
    generated: Generated
    plain: pl.DataFrame
    lists: pl.DataFrame


def night(catalogue: pl.DataFrame, model: str) -> Night:
    """A night whose texts one of `MODELS` writes."""
    writer, style = MODELS[model]
    return night_asked(catalogue, style, lambda scheme, requests: list(answers_of(writer, scheme, requests)))


def night_asked(catalogue: pl.DataFrame, style: str, ask: Ask) -> Night:
    """Everything generated and joined, and all users' whole lists without and with it."""
    generation = WrittenConfig(enabled=SCHEMES, style=style, max_rank_shift=BOUND)  # type: ignore[arg-type]
    config = GenreConfig(generation=generation)
    vectors = pl.DataFrame({"item_id": catalogue["item_id"], "vector": _lists(encode(_texts(catalogue)))})
    data = build_training_set(interactions(), catalogue, as_of=AS_OF, item_vectors={"text_llm": vectors})
    generated = generate(
        Past(interactions(), catalogue, AS_OF, has_clock=True),
        data,
        config,
        ask=ask,
        encode=encode,
    )
    rich = enriched(data, catalogue, generated, config, encode=encode)
    return Night(generated, _whole_lists(data), _whole_lists(rich))


@cache
def clean(model: str) -> Night:
    return night(items(), model)


@pytest.mark.parametrize("model", MODELS)
def test_without_a_hostile_text_generation_moves_lists_within_the_bound(model: str) -> None:
    found = clean(model)
    assert not found.lists.equals(found.plain)
    assert _largest_shift(found) <= BOUND
    assert found.generated.synthetic is not None
    assert found.generated.synthetic["item_id"].null_count() < found.generated.synthetic.height


def test_a_catalogue_in_which_nothing_is_shared_has_no_profiles_and_the_lists_it_had() -> None:
    titles = [f"Film {_own_word(number)}" for number in range(N_ITEMS)]
    unlike = items().with_columns(pl.Series("title", titles), categories=pl.lit([], dtype=pl.List(pl.String)))
    found = night_asked(unlike, "lines", lambda scheme, requests: [])
    assert found.generated.profiles is not None
    assert found.generated.profiles.is_empty()
    assert found.lists.equals(found.plain)


@pytest.mark.parametrize(("text", "field", "model"), CASES[::37])
def test_a_few_hostile_texts(text: int, field: str, model: str) -> None:
    check(text, field, model)


@pytest.mark.slow
def test_240_hostile_texts() -> None:
    assert len(CASES) == 240
    for case in CASES:
        check(*case)


@pytest.mark.slow
def test_a_real_model_is_bounded_like_the_obedient_ones(converted_models: Path) -> None:
    """It writes of the hostile item and of a user who has had it; everybody else has the fallback."""
    writer = LocalLanguageModel(LocalModelConfig(), Choice(), seed=1, cache=converted_models)
    touched = sorted(set(interactions().filter(pl.col("item_id") == VICTIM)["user_id"]))[:1]
    written = 0

    def ask(scheme: Scheme, requests: Sequence[Request]) -> Sequence[Answer]:
        nonlocal written
        told = [request for request in requests if request.subject in (VICTIM, *touched)]
        answers = {answer.request.subject: answer for answer in answers_of(writer, scheme, told)}
        written += sum(answer.value is not None for answer in answers.values())
        return [answers.get(one.request.subject, one) for one in scheme.without_model(requests)]

    expected = night_asked(items(), "lines", lambda scheme, requests: scheme.without_model(requests))
    for text, field in ((0, "title"), (3, "description"), (15, "description"), (33, "title")):
        hold(night_asked(poisoned(items(), VICTIM, field, STRINGS[text]), "lines", ask), expected)
    assert written


def check(text: int, field: str, model: str) -> None:
    hold(night(poisoned(items(), VICTIM, field, STRINGS[text]), model), clean(model))


def hold(found: Night, expected: Night) -> None:
    _only_real_items(found)
    assert _largest_shift(found) <= BOUND
    _nobody_else_is_touched(found.generated, expected.generated)
    _texts_are_of_their_own(found.generated)


def _only_real_items(found: Night) -> None:
    assert found.generated.synthetic is not None
    known = set(items()["item_id"])
    assert set(found.lists["item_id"]) <= known
    assert set(found.generated.synthetic["item_id"].drop_nulls()) <= known
    assert found.generated.profiles is not None
    assert set(found.generated.profiles["interests"].explode()) <= set(CATEGORIES)


def _largest_shift(found: Night) -> int:
    """Places, over all users and items."""
    both = found.plain.join(found.lists, on=["user_id", "item_id"], how="full", coalesce=True)
    assert both["rank"].null_count() == both["rank_right"].null_count() == 0
    return int((both["rank"].cast(pl.Int64) - both["rank_right"].cast(pl.Int64)).abs().max())  # type: ignore[arg-type]


def _nobody_else_is_touched(found: Generated, expected: Generated) -> None:
    touched = set(interactions().filter(pl.col("item_id") == VICTIM)["user_id"])
    assert touched
    for before, after in ((expected.profiles, found.profiles), (expected.synthetic, found.synthetic)):
        assert before is not None
        assert after is not None
        # An invented item may be found elsewhere where the victim's own vector has moved: what is invented may not.
        columns = [name for name in before.columns if name not in ("item_id", "similarity")]
        others = [frame.filter(~pl.col("user_id").is_in(touched)).select(columns) for frame in (before, after)]
        assert others[0].equals(others[1])
    assert expected.summaries is not None
    assert found.summaries is not None
    rest = pl.col("item_id") != VICTIM
    assert expected.summaries.filter(rest).equals(found.summaries.filter(rest))


def _texts_are_of_their_own(found: Generated) -> None:
    """No word of an item that the user has not had, or that the summary is not about."""
    assert found.summaries is not None
    assert found.profiles is not None
    assert found.synthetic is not None
    for row in found.summaries.to_dicts():
        assert _items_named([row["summary"], *row["tags"]]) <= {row["item_id"]}
    had = interactions().group_by("user_id").agg("item_id")
    owned = {user: set(taken) for user, taken in had.iter_rows()}
    for row in (*found.profiles.to_dicts(), *found.synthetic.to_dicts()):
        written = [row[name] for name in ("profile", "title", "description", "category") if name in row]
        assert _items_named(written) <= owned[row["user_id"]]


def _items_named(texts: Sequence[str]) -> set[str]:
    said = " ".join(texts).lower()
    return {f"f{number:02d}" for number in range(N_ITEMS) if _own_word(number) in said}


def _whole_lists(data: TrainingSet) -> pl.DataFrame:
    config = RecommendersConfig()
    weights = BlendWeights(parts=PARTS, edges=(), weights=((0.2, 0.6, 0.2),))
    tuned = Tuned({name: getattr(config, name) for name in PARTS}, weights, None, pl.DataFrame())
    parts = fit_suite(data, tuned, seed=0, say=lambda line: None)
    return recommend(
        parts[HYBRID], data, data.user_ids, k=N_ITEMS, cold_users="omit", popular=popular_scores(parts)
    ).drop("score")


def _texts(catalogue: pl.DataFrame) -> pl.Series:
    parts = ["title", pl.col("categories").list.join(", "), "description"]
    return catalogue.select(pl.concat_str(parts, separator=". ", ignore_nulls=True).alias("text"))["text"]


def _lists(matrix: np.ndarray) -> pl.Series:
    return pl.Series(matrix.tolist(), dtype=pl.List(pl.Float32))


def _own_word(number: int) -> str:
    return f"zu{chr(97 + number)}ko"


@cache
def _direction(word: str) -> Any:
    seed = int.from_bytes(sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=16)
