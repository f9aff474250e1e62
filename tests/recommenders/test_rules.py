"""What a rule's configuration means for a catalogue, and which configurations contradict themselves."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.recommenders.rules import (
    DEFAULT,
    HOLDOUT,
    CapsConfig,
    FiltersConfig,
    FreshnessConfig,
    ItemRules,
    ListRules,
    RulesConfig,
    category_codes,
    compile_rules,
)

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
NO_VECTORS = np.zeros((5, 2), dtype=np.float32)


def items() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "available": [True, True, False, True],
            "categories": [["x"], ["x", "y"], ["y"], []],
            "published_at": [AS_OF, AS_OF - timedelta(days=7), None, AS_OF - timedelta(days=14)],
            "price": [1.0, 5.0, 9.0, None],
            "regions": ["de|fr", "fr", "de", None],
            "age_rating": ["PG-13", "0+", "18", None],
            "creator": ["ann", "ben", "ann", None],
        },
        schema_overrides={"published_at": pl.Datetime("us", "UTC"), "categories": pl.List(pl.String)},
    )


def compiled(**rules: object) -> ItemRules:
    """For the four items and `e`, which has no row."""
    ids = pl.Series("item_id", ["a", "b", "c", "d", "e"])
    return compile_rules(ListRules(**rules), items(), ids, as_of=AS_OF, vectors=NO_VECTORS)  # type: ignore[arg-type]


def allowed(**filters: object) -> str:
    may = compiled(filters=FiltersConfig(**filters)).is_allowed  # type: ignore[arg-type]
    return "".join(np.array(list("abcde"))[may])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "abcde"),
        ({"categories": ("y",)}, "bc"),
        ({"categories": ("x", "z")}, "ab"),
        ({"without_categories": ("y",)}, "ade"),
        ({"regions": ("de",)}, "ac"),
        ({"regions": ("de", "it"), "keep_unknown": True}, "acde"),
        ({"max_age_rating": 12}, "b"),
        ({"max_age_rating": 13, "keep_unknown": True}, "abde"),
        ({"min_price": 2}, "bc"),
        ({"max_price": 4, "keep_unknown": True}, "ade"),
        ({"min_price": 1, "max_price": 9}, "abc"),
    ],
)
def test_filters(filters: dict[str, object], expected: str) -> None:
    assert allowed(**filters) == expected


@settings(max_examples=60, deadline=None)
@given(
    one=st.fixed_dictionaries(
        {},
        optional={
            "categories": st.sampled_from([("x",), ("y",), ("z",)]),
            "regions": st.sampled_from([("de",), ("fr",)]),
            "max_age_rating": st.integers(0, 20),
            "min_price": st.integers(0, 4),
            "max_price": st.integers(4, 10),
        },
    ),
    more=st.fixed_dictionaries({}, optional={"without_categories": st.sampled_from([("x",), ("y",)])}),
    unknown=st.booleans(),
)
def test_more_filters_never_add_an_item(one: dict[str, object], more: dict[str, object], unknown: bool) -> None:
    few = set(allowed(**one, **more, keep_unknown=unknown))
    assert few <= set(allowed(**one, keep_unknown=unknown)) <= set(allowed(keep_unknown=unknown))


def test_banned_and_pinned() -> None:
    rules = compiled(banned=("a",), pinned=("d", "nowhere", "c", "b"))
    assert rules.is_allowed.tolist() == [False, True, True, True, True]
    assert rules.pinned.tolist() == [3, 2, 1]


def test_freshness_halves_with_age_and_is_nothing_without_a_date() -> None:
    rules = compiled(freshness=FreshnessConfig(boost=0.4, half_life_days=7))
    np.testing.assert_allclose(rules.boost, [0.4, 0.2, 0, 0.1, 0], rtol=1e-6)


def test_creators_and_categories_are_numbered_where_a_cap_reads_them() -> None:
    assert compiled().categories.shape == compiled().creators.shape == (5, 0)
    rules = compiled(caps=CapsConfig(per_category=1, per_creator=1))
    assert rules.creators[:, 0].tolist() == [0, 1, 0, -1, -1]
    assert rules.categories.tolist() == [[0, -1], [0, 1], [1, -1], [-1, -1], [-1, -1]]
    assert category_codes(pl.Series([None, []], dtype=pl.List(pl.String))).shape == (2, 0)


@pytest.mark.parametrize(
    ("rules", "column"),
    [
        ({"filters": {"regions": ["de"], "region_column": "land"}}, "land"),
        ({"filters": {"max_age_rating": 6, "age_rating_column": "fsk"}}, "fsk"),
        ({"caps": {"per_creator": 2, "creator_column": "author"}}, "author"),
    ],
)
def test_a_column_that_is_not_there_is_named(rules: dict[str, object], column: str) -> None:
    with pytest.raises(ConfigError, match=column):
        compiled(**rules)


@pytest.mark.parametrize(
    "values",
    [
        {"pinned": ["a"], "banned": ["a"]},
        {"pinned": ["a", "a"]},
        {"repeats": {"least": 2, "most": 1}},
        {"repeats": {"least": 8, "most": 8}, "exploration_share": 0.5},
        {"filters": {"min_price": 2, "max_price": 1}},
        {"variants": [{"name": "default", "share": 0.5}]},
        {"variants": [{"name": "a", "share": 0.5}, {"name": "a", "share": 0.1}]},
        {"variants": [{"name": "a", "share": 0.9}], "holdout_share": 0.2},
        {"variants": [{"name": "A B", "share": 0.9}]},
        {"caps": {"per_kategory": 1}},
        {"banned": ["a"], "variants": [{"name": "pins", "share": 0.5, "rules": {"pinned": ["a"]}}]},
        {
            "exploration_share": 0.9,
            "variants": [{"name": "b", "share": 1, "rules": {"repeats": {"least": 2, "most": 2}}}],
        },
    ],
)
def test_contradictions_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RulesConfig.model_validate(values)


def test_a_variant_replaces_what_it_names() -> None:
    config = RulesConfig.model_validate(
        {
            "banned": ["a"],
            "relevance_share": 0.7,
            "repeats": {"most": 1},
            "holdout_share": 0.1,
            "variants": [{"name": "varied", "share": 0.4, "rules": {"relevance_share": 0.3, "repeats": {"most": 2}}}],
        }
    )
    rules = config.by_variant
    assert list(rules) == [HOLDOUT, DEFAULT, "varied"]
    assert (rules["varied"].relevance_share, rules["varied"].banned) == (0.3, ("a",))
    assert (rules[HOLDOUT].banned, rules[HOLDOUT].relevance_share) == (("a",), 1.0)
    assert (config.repeats_in(25), config.is_default, RulesConfig().is_default) == (6, False, True)
    assert not RulesConfig(banned=("a",)).is_default
