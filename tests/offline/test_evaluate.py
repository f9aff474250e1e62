import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.errors import ConfigError, TrainingError
from genre_pipeline.features.extraction import FeaturesConfig
from genre_pipeline.features.text_llm import LlmTextConfig
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.offline.dataset import Prepared, training_set
from genre_pipeline.offline.evaluate import Evaluation, evaluate_dataset
from genre_pipeline.offline.judging import COLD_LIST, cold_lists
from genre_pipeline.offline.writing import write_evaluation
from genre_pipeline.recommenders.blending import BlendWeights
from genre_pipeline.recommenders.content import ContentConfig
from genre_pipeline.recommenders.popularity import PopularityConfig
from genre_pipeline.recommenders.suite import Tuned, fit_suite
from genre_pipeline.training.splits import split_by_time
from tests import scenario
from tests.offline import shop

NAMES = ["popularity", "item_knn", "ease", "hybrid"]
LISTS = {
    "recommender": pl.String, "user_id": pl.String, "item_id": pl.String, "rank": pl.UInt32, "score": pl.Float32,
}  # fmt: skip


def _evaluate(prepared: Prepared, config: GenreConfig, protocol: str) -> Evaluation:
    return evaluate_dataset(prepared, config, protocol=protocol, step_days=1, say=lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", ["time", "leave-one-out", "rolling"])
def test_the_three_files(world: Path, config: GenreConfig, tmp_path: Path, protocol: str) -> None:
    found = _evaluate(shop.prepared(world, config), config, protocol)
    out = tmp_path / "deep" / "report"
    write_evaluation(found, out)
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "recommendations.parquet", "report.html"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["protocol"], metrics["k"], metrics["data"]) == (protocol, 10, "world")
    assert set(metrics["recommenders"]) == set(NAMES)
    assert (metrics["cut"] is None) == (protocol == "leave-one-out")
    lists = pl.read_parquet(out / "recommendations.parquet")
    more = {"as_of": pl.Datetime("us", "UTC")} if protocol == "rolling" else {}
    assert dict(lists.schema) == LISTS | more
    assert lists["recommender"].unique(maintain_order=True).to_list()[:4] == NAMES
    assert set(lists["user_id"]) <= set(scenario.USER_IDS)
    keys = [name for name in ("recommender", "user_id", "as_of", "rank") if name in lists.columns]
    assert lists.select(keys).is_unique().all()
    assert (out / "report.html").read_text().startswith("<!")


def test_the_same_data_give_the_same_numbers(world: Path, config: GenreConfig) -> None:
    one, other = (_evaluate(shop.prepared(world, config), config, "time") for _ in range(2))
    assert one.recommendations.equals(other.recommendations)
    assert one.result.metrics.equals(other.result.metrics)


def test_lists_hold_nothing_of_the_training_part_and_nothing_of_the_future(world: Path, config: GenreConfig) -> None:
    prepared = shop.prepared(world, config)
    split = split_by_time(prepared.data.interactions)
    lists = _evaluate(prepared, config, "time").recommendations
    assert lists.join(split.past, on=["user_id", "item_id"], how="semi").is_empty()
    published = prepared.data.items.filter(pl.col("published_at") < split.as_of)["item_id"]
    assert set(lists["item_id"]) <= {*published, *split.past["item_id"]} - {scenario.UNAVAILABLE_ITEM}
    assert set(lists["user_id"]) == set(split.truth["user_id"])


def _with_a_late_item(prepared: Prepared) -> Prepared:
    """The cold item is taken by twelve users after the cut, one after the other."""
    last = prepared.data.interactions["timestamp"].max()
    rows = [
        (user, scenario.COLD_ITEM, last + timedelta(minutes=number), "view", None)  # type: ignore[operator]
        for number, user in enumerate(scenario.USER_IDS[:12])
    ]
    late = pl.DataFrame(rows, schema=prepared.data.interactions.schema, orient="row")
    data = prepared.data
    changed = {**vars(data), "interactions": pl.concat([data.interactions, late])}
    return Prepared(type(data)(**changed), prepared.vectors)


def test_an_item_of_the_future_is_judged_in_its_own_segment_only(
    world: Path, config: GenreConfig, tmp_path: Path
) -> None:
    encoder = tiny_encoder(tmp_path / "encoder", ["space", "kitchen", "romance"])
    wide = config.model_copy(
        update={
            "features": FeaturesConfig(llm=LlmTextConfig(source=str(encoder), max_tokens=64)),
            "recommenders": config.recommenders.model_copy(update={"enabled": ("popularity", "content")}),
        }
    )
    prepared = _with_a_late_item(shop.prepared(world, wide))
    found = _evaluate(prepared, wide, "time")
    assert scenario.COLD_ITEM not in found.recommendations["item_id"]
    cold = found.result.segments.metrics.filter((pl.col("k") == COLD_LIST) & (pl.col("metric") == "recall"))
    # 24 items and lists of 50: everything possible is listed.
    assert dict(cold.select("recommender", "value").iter_rows()) == dict.fromkeys(
        ("popularity", "content", "hybrid", "random"), 1.0
    )
    split = split_by_time(prepared.data.interactions)
    data = training_set(prepared, split, wide, only_known_items=True)
    weights = BlendWeights(parts=("popularity", "content"), weights=((0.0, 1.0),))
    tuned = Tuned({"popularity": PopularityConfig(), "content": ContentConfig()}, weights, None, pl.DataFrame())
    parts = fit_suite(data, tuned, seed=0, say=lambda _: None)
    cold_found = cold_lists(prepared, split, data, parts)
    assert cold_found is not None
    of_hybrid = cold_found.lists.filter((pl.col("recommender") == "hybrid") & (pl.col("item_id") == scenario.COLD_ITEM))
    assert of_hybrid["score"].median() > 0.3  # type: ignore[operator]


def test_settings_are_not_chosen_on_the_test(world: Path, config: GenreConfig) -> None:
    """Whatever happens after the cut, the chosen weights are the same."""
    prepared = shop.prepared(world, config)
    split = split_by_time(prepared.data.interactions)
    is_later = pl.col("timestamp") >= split.as_of
    other = prepared.data.interactions.with_columns(
        item_id=pl.when(is_later).then(pl.lit("i02")).otherwise("item_id"),
    )
    changed = Prepared(type(prepared.data)(**{**vars(prepared.data), "interactions": other}), {})
    one, another = (_evaluate(one, config, "time").result.run for one in (prepared, changed))
    assert one.blend_weights.equals(another.blend_weights)
    assert one.settings == another.settings


@pytest.mark.parametrize("protocol", ["time", "rolling"])
def test_an_order_is_no_clock(order_only: Path, config: GenreConfig, protocol: str) -> None:
    with pytest.raises(ConfigError, match=r"'order' knows an order only\. Use `--protocol leave-one-out`"):
        _evaluate(shop.prepared(order_only, config), config, protocol)


def test_without_an_items_table_whatever_needs_texts_is_left_out(order_only: Path, config: GenreConfig) -> None:
    unloadable = config.model_copy(
        update={
            "features": FeaturesConfig(llm=LlmTextConfig(source="/no/such/encoder")),
            "recommenders": config.recommenders.model_copy(update={"enabled": ("popularity", "content", "ease")}),
        }
    )
    found = _evaluate(shop.prepared(order_only, unloadable), unloadable, "leave-one-out")
    assert set(found.result.recommenders()) == {"popularity", "ease", "hybrid"}


def test_a_user_of_whom_training_keeps_nothing_is_judged_by_the_popular_list(world: Path, config: GenreConfig) -> None:
    """Weights of zero leave events out; their users stay users."""
    prepared = shop.prepared(world, config)
    split = split_by_time(prepared.data.interactions)
    user = split.truth["user_id"][0]
    only = pl.when(pl.col("user_id") == user).then(pl.lit("glance")).otherwise("event")
    rows = prepared.data.interactions.with_columns(event=only)
    changed = Prepared(type(prepared.data)(**{**vars(prepared.data), "interactions": rows}), {})
    lists = _evaluate(changed, config.model_copy(update={"event_weights": {"glance": 0.0}}), "time").recommendations
    assert set(lists.filter(pl.col("user_id") == user)["recommender"]) == set(NAMES)


def test_weights_that_leave_nothing_are_an_error(world: Path, config: GenreConfig) -> None:
    prepared = shop.prepared(world, config)
    nothing = config.model_copy(update={"event_weights": dict.fromkeys(("view", "like", "purchase"), 0.0)})
    with pytest.raises(TrainingError, match="is left to learn from"):
        training_set(prepared, split_by_time(prepared.data.interactions), nothing, only_known_items=True)
