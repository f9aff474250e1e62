import polars as pl
from polars.testing import assert_frame_equal

from genre_pipeline.recommenders.shared_interests import Interests, with_shared_interests

INTERESTS = Interests(
    of_users=pl.DataFrame({"user_id": ["u1", "u2"], "interests": [["space", "drama", "action"], ["romance"]]}),
    of_items=pl.DataFrame(
        {
            "item_id": ["a", "a", "a", "b", "c"],
            "interest": ["action", "drama", "space", "drama", "kitchen"],
        }
    ),
)


def test_what_user_and_item_share_is_named_the_weightiest_first_before_the_last_reason() -> None:
    lists = pl.DataFrame(
        [
            ("u1", "a", 1, ["Because you took “x”", "Popular right now"]),
            ("u1", "b", 2, ["Popular right now"]),
            ("u1", "c", 3, ["Popular right now"]),
            ("u2", "a", 1, ["New to you"]),
            ("new", "a", 1, ["Popular right now"]),
        ],
        schema=["user_id", "item_id", "rank", "reasons"],
        orient="row",
    )
    expected = lists.with_columns(
        reasons=pl.Series(
            [
                ["Because you took “x”", "Matches your interest in space and drama", "Popular right now"],
                ["Matches your interest in drama", "Popular right now"],
                ["Popular right now"],
                ["New to you"],
                ["Popular right now"],
            ]
        )
    )
    assert_frame_equal(with_shared_interests(lists, INTERESTS), expected)


def test_nobody_has_interests() -> None:
    lists = pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "rank": [1], "reasons": [["Popular right now"]]})
    nobody = Interests(INTERESTS.of_users.clear(), INTERESTS.of_items)
    assert_frame_equal(with_shared_interests(lists, nobody), lists)
