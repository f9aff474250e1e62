import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.evaluation.list_changes import ListedTitle, list_changes

TITLES = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["Alpha", "<b>Beta</b>", None]})


def lists(rows: dict[str, str]) -> pl.DataFrame:
    """User to items, a letter each, best first."""
    flat = [(user, item, rank) for user, items in rows.items() for rank, item in enumerate(items, start=1)]
    return pl.DataFrame(flat, schema={"user_id": pl.String, "item_id": pl.String, "rank": pl.UInt32}, orient="row")


def test_who_kept_what() -> None:
    before = lists({"same": "abc", "moved": "abc", "most": "abd", "gone": "a"})
    now = lists({"same": "abc", "moved": "bac", "most": "cbe", "new": "a"})
    found = list_changes(before, now, TITLES, k=3, count=2)
    assert (found.compared, found.new, found.gone) == (3, 1, 1)
    assert found.same_share == 1 / 3
    assert found.mean_kept == pytest.approx((1 + 1 + 1 / 3) / 3)
    (example,) = found.examples
    assert (example.user_id, example.kept) == ("most", 1)
    assert example.before == (ListedTitle("Alpha", True), ListedTitle("<b>Beta</b>", False), ListedTitle("d", True))
    assert example.now == (ListedTitle("c", True), ListedTitle("<b>Beta</b>", False), ListedTitle("e", True))


def test_only_the_first_ranks_are_looked_at() -> None:
    found = list_changes(lists({"u": "abc"}), lists({"u": "abd"}), TITLES, k=2, count=5)
    assert found.same_share == 1.0
    assert found.examples == ()


def test_a_list_that_became_shorter_has_changed() -> None:
    found = list_changes(lists({"u": "abc"}), lists({"u": "ab"}), TITLES, k=3, count=5)
    assert (found.mean_kept, found.same_share) == (2 / 3, 0.0)


def test_nobody_on_both_days_has_no_mean() -> None:
    found = list_changes(lists({"u": "a"}), lists({"v": "a"}), TITLES, k=3, count=5)
    assert (found.compared, found.mean_kept, found.same_share, found.examples) == (0, None, None, ())


WORDS = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5).map("".join)


@given(st.dictionaries(st.sampled_from("uvw"), WORDS), st.dictionaries(st.sampled_from("uvw"), WORDS))
def test_a_list_kept_is_between_nothing_and_everything(old: dict[str, str], new: dict[str, str]) -> None:
    found = list_changes(lists(old), lists(new), TITLES, k=5, count=9)
    assert found.mean_kept is None or 0 <= found.mean_kept <= 1
    assert all(example.kept == sum(not item.is_other for item in example.now) for example in found.examples)
    same = list_changes(lists(old), lists(old), TITLES, k=5, count=9)
    assert (same.mean_kept, same.examples) == (1.0 if any(old.values()) else None, ())
