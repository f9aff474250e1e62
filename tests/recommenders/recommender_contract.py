"""What every recommender must keep. A recommender's test inherits `RecommenderContract` and gives a `recommender`."""

import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.errors import UnknownUserError
from genre_pipeline.contracts.tables import Recommendations
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender, recommend
from genre_pipeline.recommenders.popularity import PopularityConfig, popularity
from tests.recommenders import tiny_world

ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


class RecommenderContract:
    """Subclasses give the fixture `recommender`, unfitted."""

    @pytest.fixture
    def recommender(self) -> Recommender:
        raise NotImplementedError

    @pytest.fixture
    def data(self) -> TrainingSet:
        return tiny_world.training_set()

    @pytest.fixture
    def fitted(self, recommender: Recommender, data: TrainingSet) -> Recommender:
        return recommender.fit(data, seed=3)

    def lists(self, fitted: Recommender, data: TrainingSet, k: int = 5, **asked: object) -> pl.DataFrame:
        users = asked.pop("users", data.user_ids)
        assert isinstance(users, pl.Series)
        options = {"cold_users": "popular", "popular": popularity(data, PopularityConfig()), **asked}
        found = recommend(fitted, data, users, k=k, **options)  # type: ignore[arg-type]
        return Recommendations.validate(found)

    def test_fit_gives_the_recommender_itself(self, recommender: Recommender, data: TrainingSet) -> None:
        assert recommender.fit(data, seed=3) is recommender

    def test_a_float32_row_for_each_user_and_never_nan(self, fitted: Recommender, data: TrainingSet) -> None:
        for users in (np.arange(data.n_users), np.array([5]), np.array([], dtype=np.int64)):
            scores = fitted.score(users)
            assert (scores.dtype, scores.shape) == (np.float32, (len(users), data.n_items))
            assert not np.isnan(scores).any()
            assert not np.isposinf(scores).any()

    def test_the_same_data_and_seed_give_the_same_bits(self, fitted: Recommender, data: TrainingSet) -> None:
        users = np.arange(data.n_users)
        before = fitted.score(users)
        np.testing.assert_array_equal(before, fitted.score(users))
        np.testing.assert_array_equal(before, fitted.fit(data, seed=3).score(users))

    def test_scores_may_be_written_over(self, fitted: Recommender, data: TrainingSet) -> None:
        users = np.arange(data.n_users)
        before = fitted.score(users)
        fitted.score(users)[:] = -np.inf
        np.testing.assert_array_equal(fitted.score(users), before)

    def test_a_users_scores_do_not_depend_on_company(self, fitted: Recommender, data: TrainingSet) -> None:
        together = fitted.score(np.arange(data.n_users))
        np.testing.assert_allclose(fitted.score(np.array([7, 3, 7])), together[[7, 3, 7]], **ROUNDING)

    def test_the_order_of_input_rows_changes_nothing(self, fitted: Recommender, data: TrainingSet) -> None:
        users = np.arange(data.n_users)
        before = fitted.score(users)
        shuffled = tiny_world.training_set(
            [tiny_world.rows()[place] for place in np.random.default_rng(0).permutation(len(tiny_world.rows()))]
        )
        np.testing.assert_allclose(fitted.fit(shuffled, seed=3).score(users), before, **ROUNDING)

    def test_the_order_of_users_asked_is_kept_and_changes_no_list(self, fitted: Recommender, data: TrainingSet) -> None:
        asked = data.user_ids.reverse()
        lists = self.lists(fitted, data, users=asked)
        assert lists["user_id"].unique(maintain_order=True).to_list() == asked.to_list()
        assert (
            lists.sort("user_id", "rank")
            .select("user_id", "item_id", "rank")
            .equals(self.lists(fitted, data).select("user_id", "item_id", "rank"))
        )

    def test_lists_hold_k_unseen_available_items_once_each_best_first(
        self, fitted: Recommender, data: TrainingSet
    ) -> None:
        lists = self.lists(fitted, data)
        seen = tiny_world.interactions(tiny_world.rows())
        assert lists.join(seen, on=["user_id", "item_id"], how="semi").is_empty()
        assert tiny_world.GONE not in lists["item_id"]
        assert lists.group_by("user_id").agg(pl.col("item_id").n_unique())["item_id"].to_list() == [5] * data.n_users
        ordered = lists.sort(["user_id", "score", "item_id"], descending=[False, True, False])
        assert ordered["item_id"].to_list() == lists["item_id"].to_list()
        assert lists["rank"].to_list() == [1, 2, 3, 4, 5] * data.n_users

    def test_fewer_candidates_than_k_give_a_shorter_list(self, fitted: Recommender, data: TrainingSet) -> None:
        allowed = data.item_ids.is_in(["i00", "i06", "i07"]).to_numpy()
        lists = self.lists(fitted, data, candidates=allowed)
        assert set(lists["item_id"]) <= {"i00", "i06", "i07"}
        assert lists.filter(pl.col("user_id") == "u01").height < 3
        nothing = self.lists(fitted, data, candidates=np.zeros(data.n_items, dtype=bool))
        assert nothing.is_empty()

    def test_cold_users_get_what_the_policy_says(self, fitted: Recommender, data: TrainingSet) -> None:
        asked = pl.Series("user_id", ["nobody", "u03"])
        popular = np.linspace(0, 1, data.n_items, dtype=np.float32)
        lists = self.lists(fitted, data, k=2, users=asked, popular=popular)
        assert lists.filter(pl.col("user_id") == "nobody")["item_id"].to_list() == ["i91", "i90"]
        omitted = self.lists(fitted, data, k=2, users=asked, cold_users="omit")
        assert omitted["user_id"].to_list() == ["u03", "u03"]
        assert omitted["item_id"].to_list() == lists.filter(pl.col("user_id") == "u03")["item_id"].to_list()
        with pytest.raises(UnknownUserError) as caught:
            self.lists(fitted, data, users=asked, cold_users="error")
        assert caught.value.culprits == ("nobody",)


class PersonalContract(RecommenderContract):
    """For those that know users apart: the own crowd's items come first."""

    def test_the_own_crowd_comes_first(self, fitted: Recommender, data: TrainingSet) -> None:
        first = self.lists(fitted, data, k=1)
        own = [
            item in {*tiny_world.own_items(int(user[1:])), tiny_world.NEW}
            for user, item in zip(first["user_id"], first["item_id"], strict=True)
        ]
        assert np.mean(own) == 1.0
