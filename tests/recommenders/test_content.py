import numpy as np
import polars as pl
import pytest

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.recommenders.content import ContentConfig, ContentRecommender
from tests.recommenders import tiny_world
from tests.recommenders.recommender_contract import PersonalContract


class TestContent(PersonalContract):
    @pytest.fixture
    def recommender(self) -> ContentRecommender:
        return ContentRecommender(ContentConfig())

    def test_a_new_item_is_near_its_own_crowd(self, fitted: ContentRecommender, data: TrainingSet) -> None:
        first = self.lists(fitted, data, k=1).filter(pl.col("user_id").str.slice(1).cast(pl.Int64) % 2 == 0)
        assert first["item_id"].unique().to_list() == [tiny_world.NEW]

    def test_a_blend_hears_the_cosine_alone(self, fitted: ContentRecommender, data: TrainingSet) -> None:
        users = np.arange(data.n_users)
        cosine = ContentRecommender(ContentConfig(popularity_weight=0)).fit(data, seed=0).score(users)
        np.testing.assert_array_equal(fitted.blend_score(users), cosine)
        assert not np.array_equal(fitted.score(users), cosine)

    def test_an_item_without_a_vector_scores_zero(self, fitted: ContentRecommender, data: TrainingSet) -> None:
        assert not fitted.score(np.arange(data.n_users))[:, -1].any()


@pytest.mark.parametrize("half_life", [None, 1.0])
def test_the_cosine_by_hand(half_life: float | None) -> None:
    hour = tiny_world.timedelta(hours=1)
    rows = [("a", "i00", tiny_world.AS_OF - 2 * hour), ("a", "i01", tiny_world.AS_OF - hour)]
    lists = pl.Series([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]], dtype=pl.List(pl.Float32))
    vectors = pl.DataFrame({"item_id": ["i00", "i01", "i02"], "vector": lists})
    data = build_training_set(
        tiny_world.interactions(rows), tiny_world.items(), as_of=tiny_world.AS_OF, item_vectors={"text_llm": vectors}
    )
    config = ContentConfig(half_life_items=half_life, popularity_weight=0)
    scores = ContentRecommender(config).fit(data, seed=0).score(np.array([0]))
    older = 1.0 if half_life is None else 0.5
    expected = np.array([older, 1.0, 0.6 * older + 0.8]) / np.hypot(older, 1.0)
    np.testing.assert_allclose(scores[0, :3], expected, rtol=1e-6)


def test_of_two_new_items_alike_to_a_user_the_one_of_a_kind_in_demand_comes_first() -> None:
    """Two new items, either as near to the user as the other; what others take is like the first of them."""
    hour = tiny_world.timedelta(hours=1)
    rows = [("me", "i00", tiny_world.AS_OF - hour)]
    rows += [(f"u{number}", "i01", tiny_world.AS_OF - number * hour) for number in range(1, 9)]
    rows += [("u1", "i02", tiny_world.AS_OF - hour)]
    near = {"i00": [1.0, 0.0, 0.0], "i01": [0.0, 1.0, 0.0], "i02": [0.0, 0.0, 1.0], "i03": [1.0, 1.0, 0.0]}
    vectors = pl.DataFrame({"item_id": [*near, "i04"], "vector": [*near.values(), [1.0, 0.0, 1.0]]})
    data = build_training_set(
        tiny_world.interactions(rows),
        tiny_world.items(),
        as_of=tiny_world.AS_OF,
        item_vectors={"text_llm": vectors.cast({"vector": pl.List(pl.Float32)})},
    )
    me = data.user_positions(pl.Series(["me"]))
    cosine, both = (
        ContentRecommender(ContentConfig(popularity_weight=weight)).fit(data, seed=0).score(me)[0, 3:5]
        for weight in (0.0, 0.5)
    )
    assert cosine[0] == pytest.approx(cosine[1])
    assert both[0] > both[1] + 0.05


def test_a_technique_that_nobody_made_is_named() -> None:
    with pytest.raises(ConfigError, match=r"content.vectors is 'text_weighted'.*Use one of: text_llm"):
        ContentRecommender(ContentConfig(vectors="text_weighted")).fit(tiny_world.training_set(), seed=0)
