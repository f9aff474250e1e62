"""Stable hashes: who is in which arm, and what chance draws."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.recommenders.variants import draws, user_seeds, variants_of

TWO_ARMS = RulesConfig.model_validate(
    {"holdout_share": 0.1, "variants": [{"name": "a", "share": 0.3}, {"name": "b", "share": 0.2}]}
)
USERS = [f"user {number}" for number in range(20_000)]


def test_shares_are_kept() -> None:
    counts = dict(zip(*np.unique(variants_of(USERS, TWO_ARMS), return_counts=True), strict=True))
    for name, share in {"holdout": 0.1, "a": 0.3, "b": 0.2, "default": 0.4}.items():
        assert abs(counts[name] / len(USERS) - share) < 0.015


def test_known_users_stay_where_they_are_for_ever() -> None:
    assert variants_of(USERS[:8], TWO_ARMS) == [
        "default",
        "holdout",
        "default",
        "default",
        "default",
        "a",
        "default",
        "holdout",
    ]


def test_another_salt_is_another_draw() -> None:
    ours, theirs = variants_of(USERS, TWO_ARMS), variants_of(USERS, TWO_ARMS.model_copy(update={"salt": "2"}))
    agreement = np.mean(np.array(ours) == np.array(theirs))
    assert abs(agreement - (0.1**2 + 0.3**2 + 0.2**2 + 0.4**2)) < 0.02


@given(st.lists(st.text(), max_size=20))
def test_a_users_arm_and_seed_do_not_depend_on_who_else_is_asked_for(users: list[str]) -> None:
    assert variants_of(users, TWO_ARMS) == [variants_of([user], TWO_ARMS)[0] for user in users]
    alone = [user_seeds([user], 1, "day")[0] for user in users]
    assert user_seeds(users, 1, "day").tolist() == alone
    assert variants_of(users, RulesConfig()) == ["default"] * len(users)


def test_draws_are_even_and_differ_by_user_and_day() -> None:
    numbers = draws(user_seeds(USERS[:200], "day 1"), 100)
    assert numbers.shape == (200, 100)
    assert abs((numbers % np.uint64(10)).astype(float).mean() - 4.5) < 0.1
    other = draws(user_seeds(USERS[:200], "day 2"), 100)
    assert len(np.unique(np.concatenate([numbers, other]))) == 40_000
