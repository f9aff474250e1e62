from pathlib import Path

import polars as pl
import pytest

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.errors import ConfigError, TrainingError
from genre_pipeline.contracts.tables import Recommendations
from genre_pipeline.offline.batch import batch_recommendations, config_for
from tests import scenario
from tests.offline import shop


def _batch(folder: Path, config: GenreConfig, **asked: object) -> pl.DataFrame:
    options = {"k": 5, "say": lambda _: None, **asked}
    return Recommendations.validate(batch_recommendations(shop.prepared(folder, config), config, **options))  # type: ignore[arg-type]


def test_every_user_has_unseen_available_items(world: Path, config: GenreConfig) -> None:
    lists = _batch(world, config)
    assert lists["user_id"].unique(maintain_order=True).to_list() == sorted(scenario.USER_IDS)
    assert lists.join(shop.seen_pairs(), on=["user_id", "item_id"], how="semi").is_empty()
    assert scenario.UNAVAILABLE_ITEM not in lists["item_id"]
    assert lists.equals(_batch(world, config))


def test_asked_users_in_their_order_the_unknown_with_the_popular_list(world: Path, config: GenreConfig) -> None:
    asked = pl.Series("user_id", ["stranger", "007", scenario.COLD_USER])
    lists = _batch(world, config, users=asked)
    assert lists["user_id"].unique(maintain_order=True).to_list() == asked.to_list()
    by_user = {user: lists.filter(pl.col("user_id") == user)["item_id"].to_list() for user in asked}
    assert by_user["stranger"] == by_user[scenario.COLD_USER] != by_user["007"]


def test_an_order_without_items_is_enough(order_only: Path, config: GenreConfig) -> None:
    lists = _batch(order_only, config)
    assert lists["user_id"].n_unique() == 29
    assert lists.join(shop.seen_pairs(), on=["user_id", "item_id"], how="semi").is_empty()


def test_dates_of_publication_mean_nothing_beside_an_order(order_only: Path, config: GenreConfig) -> None:
    prepared = shop.prepared(order_only, config)
    later = pl.lit(scenario.AS_OF).cast(pl.Datetime("us", "UTC"))
    items = prepared.data.items.with_columns(published_at=later)
    new = items.head(1).with_columns(item_id=pl.lit("a new one"))
    prepared.data.__dict__["items"] = pl.concat([items, new])
    lists = batch_recommendations(prepared, config, k=30, say=lambda _: None)
    assert "a new one" in lists["item_id"]


def test_one_recommender_alone_needs_the_others_not(world: Path, config: GenreConfig) -> None:
    narrow = config_for("ease", config)
    assert narrow.recommenders.enabled == ("popularity", "ease")
    assert config_for("popularity", config).recommenders.enabled == ("popularity",)
    assert config_for("hybrid", config) is config
    said: list[str] = []
    lists = _batch(world, config, recommender="ease", say=said.append)
    assert not any("item_knn" in line for line in said)
    assert lists["user_id"].n_unique() == scenario.N_USERS


def test_a_recommender_that_is_not_enabled_is_named(config: GenreConfig) -> None:
    with pytest.raises(ConfigError, match=r"'als'.*Use one of: popularity, item_knn, ease, hybrid"):
        config_for("als", config)


def test_content_without_any_text_says_so(order_only: Path, config: GenreConfig) -> None:
    enabled = config.recommenders.model_copy(update={"enabled": ("popularity", "content")})
    with pytest.raises(TrainingError, match="content finds nothing to learn from in 'order'"):
        _batch(order_only, config.model_copy(update={"recommenders": enabled}), recommender="content")
