"""Each rule as a property of random blocks, and a few lists by hand."""

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.recommenders.base import top_k
from genre_pipeline.recommenders.rerank import Block, Chosen, rerank
from genre_pipeline.recommenders.rules import ItemRules, ListRules, compile_rules

N_ITEMS = 40
many = settings(max_examples=50, deadline=None)
seeds_of_worlds = st.integers(0, 10_000)


def compiled(rules: ListRules, *, n_items: int = N_ITEMS, seed: int = 0) -> ItemRules:
    """Five categories (an item has one or two), seven creators, vectors on eight axes."""
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(n_items, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = pl.Series("item_id", [f"i{number:03d}" for number in range(n_items)])
    items = pl.DataFrame(
        {
            "item_id": ids,
            "available": True,
            "categories": [sorted({f"c{chance.integers(5)}", f"c{chance.integers(5)}"}) for _ in range(n_items)],
            "published_at": pl.Series([None] * n_items, dtype=pl.Datetime("us", "UTC")),
            "price": 1.0,
            "creator": [f"p{chance.integers(7)}" for _ in range(n_items)],
        }
    )
    return compile_rules(rules, items, ids, as_of=None, vectors=vectors)


def block(seed: int, *, n_users: int = 4, n_items: int = N_ITEMS, repeats: bool = False) -> Block:
    """Scores with many ties; a third of the items has been had."""
    chance = np.random.default_rng(seed)
    scores = (chance.integers(0, 12, size=(n_users, n_items)) / 12).astype(np.float32)
    had = chance.random((n_users, n_items)) < 0.3
    if not repeats:
        scores[had] = -np.inf
    return Block(scores, ~had, had if repeats else None, chance.integers(0, 2**63, n_users).astype(np.uint64))


def windows(chosen: Chosen, size: int) -> list[np.ndarray]:
    """Positions of each window of each user, without what is not there."""
    found = []
    for row in chosen.positions:
        found += [row[start : start + size][row[start : start + size] >= 0] for start in range(0, len(row), size)]
    return found


def lists(chosen: Chosen) -> list[list[int]]:
    return [row[row >= 0].tolist() for row in chosen.positions]


def whole(**rules: Any) -> ListRules:
    return ListRules.model_validate(rules)


@many
@given(world=seeds_of_worlds, k=st.integers(1, 60), size=st.integers(1, 12))
def test_the_default_rules_are_the_plain_list(world: int, k: int, size: int) -> None:
    users = block(world)
    chosen = rerank(users, compiled(whole(window=size)), k)
    where, best = top_k(users.scores, k)
    width = where.shape[1]
    assert np.array_equal(chosen.positions[:, :width], np.where(np.isfinite(best), where, -1))
    assert np.array_equal(chosen.scores[:, :width], best)
    assert (chosen.positions[:, width:] == -1).all()
    assert not chosen.is_pinned.any()
    assert not chosen.is_drawn.any()


@many
@given(
    world=seeds_of_worlds,
    k=st.integers(1, 30),
    rules=st.fixed_dictionaries(
        {},
        optional={
            "window": st.integers(4, 12),
            "caps": st.fixed_dictionaries({"per_category": st.integers(1, 4), "per_creator": st.integers(1, 4)}),
            "relevance_share": st.floats(0, 1),
            "exploration_share": st.sampled_from([0.0, 0.2, 0.5]),
            "pinned": st.sampled_from([[], ["i003"], ["i017", "i003", "none"]]),
            "banned": st.sampled_from([[], ["i000", "i001", "i002"]]),
        },
    ),
)
def test_whatever_the_rules_a_list_is_unique_unseen_and_without_gaps(world: int, k: int, rules: dict[str, Any]) -> None:
    users, compiled_rules = block(world), compiled(whole(**rules))
    chosen = rerank(users, compiled_rules, k)
    assert (np.diff((chosen.positions < 0).astype(int), axis=1) >= 0).all()
    for row, listed in enumerate(lists(chosen)):
        assert len(listed) == len(set(listed))
        assert users.is_allowed[row, listed].all()
        assert compiled_rules.is_allowed[listed].all()
    again = rerank(users, compiled_rules, k)
    assert np.array_equal(chosen.positions, again.positions)
    alone = Block(users.scores[1:2], users.is_allowed[1:2], None, users.seeds[1:2])
    assert np.array_equal(rerank(alone, compiled_rules, k).positions[0], chosen.positions[1])


@many
@given(world=seeds_of_worlds, cap=st.integers(1, 3), size=st.integers(3, 10))
def test_caps_hold_in_every_window(world: int, cap: int, size: int) -> None:
    rules = compiled(whole(window=size, caps={"per_category": cap, "per_creator": cap}))
    for window in windows(rerank(block(world), rules, 20), size):
        codes = rules.categories[window]
        assert np.bincount(codes[codes >= 0], minlength=1).max() <= cap
        assert np.bincount(rules.creators[window, 0], minlength=1).max() <= cap


def test_a_capped_list_is_filled_from_the_whole_catalogue() -> None:
    n_items = 400
    rules = compiled(whole(caps={"per_creator": 2}), n_items=n_items)
    # The best 300 items are all one creator's: the usual pool of 200 holds nothing else.
    creators = np.where(np.arange(n_items) < 300, 0, np.arange(n_items))[:, None].astype(np.int32)
    rules = ItemRules(**{**vars(rules), "creators": creators})
    scores = np.linspace(1, 0, n_items, dtype=np.float32)[None, :]
    users = Block(scores, np.ones(scores.shape, dtype=bool), None, np.zeros(1, dtype=np.uint64))
    assert lists(rerank(users, rules, 10)) == [[0, 1, *range(300, 308)]]


@many
@given(world=seeds_of_worlds, share=st.sampled_from([0.1, 0.3, 0.5]))
def test_exploration_fills_its_share_of_each_window(world: int, share: float) -> None:
    rules = compiled(whole(exploration_share=share), n_items=200)
    users = block(world, n_items=200)
    chosen = rerank(users, rules, 20)
    assert (chosen.is_drawn.reshape(4, 2, 10).sum(axis=2) == round(share * 10)).all()
    assert users.is_allowed[np.arange(4)[:, None], chosen.positions].all()
    for scores, drawn in zip(chosen.scores, chosen.is_drawn, strict=True):
        assert (np.diff(scores[~drawn]) <= 0).all()


def test_exploration_differs_by_seed_and_reaches_the_whole_catalogue() -> None:
    n_users, rules = 400, compiled(whole(exploration_share=0.5))
    scores = np.tile(np.linspace(1, 0, N_ITEMS, dtype=np.float32), (n_users, 1))
    seeds = np.arange(n_users, dtype=np.uint64) * np.uint64(7919)
    chosen = rerank(Block(scores, np.ones(scores.shape, dtype=bool), None, seeds), rules, 10)
    drawn = np.bincount(chosen.positions[chosen.is_drawn], minlength=N_ITEMS)
    assert (drawn[10:] > 0).all()
    assert len({tuple(row) for row in chosen.positions}) > n_users // 2


@many
@given(world=seeds_of_worlds)
def test_pinned_items_come_first_in_their_order_where_they_may_be_shown(world: int) -> None:
    rules = compiled(whole(pinned=["i017", "i003"], caps={"per_category": 1}))
    users = block(world)
    for row, listed in enumerate(lists(rerank(users, rules, 10))):
        expected = [item for item in (17, 3) if users.is_allowed[row, item]]
        assert listed[: len(expected)] == expected


@many
@given(world=seeds_of_worlds, least=st.integers(0, 3), more=st.integers(0, 3), k=st.integers(1, 20))
def test_repeats_stay_between_least_and_most(world: int, least: int, more: int, k: int) -> None:
    rules = compiled(whole(window=5, repeats={"least": least, "most": least + more}))
    users = block(world, repeats=True)
    assert users.had is not None
    chosen = rerank(users, rules, k)
    for row in range(4):
        left = int(users.had[row].sum())
        for start in range(0, k, 5):
            window = chosen.positions[row, start : min(start + 5, k)]
            repeats = int(users.had[row, window[window >= 0]].sum())
            assert repeats <= least + more
            assert repeats >= min(least, len(window), left)
            left -= repeats


@many
@given(world=seeds_of_worlds)
def test_diversity_lists_items_that_are_less_alike(world: int) -> None:
    def likeness(share: float) -> float:
        rules = compiled(whole(relevance_share=share), seed=world)
        vectors = compiled(whole(relevance_share=0.5), seed=world).vectors
        total = 0.0
        for listed in lists(rerank(block(world, n_users=16), rules, 8)):
            total += float((vectors[listed] @ vectors[listed].T).sum())
        return total

    assert likeness(0.2) < likeness(1.0)


def test_mmr_by_hand() -> None:
    rules = compiled(whole(relevance_share=0.5), n_items=3)
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    rules = ItemRules(**{**vars(rules), "vectors": vectors})
    scores = np.array([[1.0, 0.9, 0.2]], dtype=np.float32)
    users = Block(scores, np.ones((1, 3), dtype=bool), None, np.zeros(1, dtype=np.uint64))
    # 1 is the first again: .5 · .875 - .5 · 1 < .5 · 0 - .5 · 0.
    assert lists(rerank(users, rules, 3)) == [[0, 2, 1]]


@many
@given(world=seeds_of_worlds, boost=st.floats(0.1, 1))
def test_freshness_never_lowers_a_new_item(world: int, boost: float) -> None:
    plain = compiled(whole())
    fresh = ItemRules(**{**vars(plain), "boost": np.eye(1, N_ITEMS, 5, dtype=np.float32)[0] * np.float32(boost)})
    users = block(world)
    for row in range(4):
        if users.is_allowed[row, 5]:
            before, after = (lists(rerank(users, rules, N_ITEMS))[row].index(5) for rules in (plain, fresh))
            assert after <= before


def test_no_items_and_no_users() -> None:
    rules = compiled(whole(exploration_share=0.5))
    nobody = Block(np.zeros((0, N_ITEMS), np.float32), np.ones((0, N_ITEMS), bool), None, np.zeros(0, np.uint64))
    assert rerank(nobody, rules, 5).positions.shape == (0, 5)
    nothing = Block(np.full((1, N_ITEMS), -np.inf, np.float32), np.zeros((1, N_ITEMS), bool), None, np.zeros(1, "u8"))
    assert lists(rerank(nothing, rules, 5)) == [[]]
