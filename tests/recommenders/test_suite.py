import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ConfigError, TrainingError
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.recommenders.content import ContentConfig
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.hybrid import HybridConfig
from genre_pipeline.recommenders.popularity import PopularityConfig
from genre_pipeline.recommenders.sequential import SequentialConfig
from genre_pipeline.recommenders.suite import (
    GRIDS,
    NAMES,
    ON_BY_DEFAULT,
    RecommendersConfig,
    Tuned,
    fit_suite,
    popular_scores,
    tune,
)
from genre_pipeline.training.sequence_training import SequenceTrainingConfig
from tests.recommenders import tiny_world

HYBRID = HybridConfig(trials=20)
QUICK = RecommendersConfig(enabled=("popularity", "content", "item_knn", "ease"), hybrid=HYBRID, tune=False)


def _tune(config: RecommendersConfig = QUICK, data: TrainingSet | None = None, **options: Any) -> Tuned:
    said: list[str] = options.pop("said", [])
    return tune(data or tiny_world.training_set(), tiny_world.later(), config, seed=1, say=said.append, **options)


def _by_name(tuned: Tuned) -> dict[str, float]:
    return dict(tuned.validation.group_by("recommender").agg(pl.col("ndcg").max()).iter_rows())


def test_every_trial_is_noted_and_the_blend_is_no_worse_than_its_parts() -> None:
    tuned = _tune(QUICK.model_copy(update={"tune": True}))
    trials = tuned.validation
    points = {name: 1 + len([p for p in GRIDS[name] if not _is_default(name, p)]) for name in QUICK.enabled}
    assert trials["recommender"].to_list() == [
        *(name for name in QUICK.enabled for _ in range(points[name])),
        "hybrid",
    ]
    scores = _by_name(tuned)
    assert scores["hybrid"] >= max(scores.values()) - 1e-6
    assert scores["ease"] > scores["popularity"]
    for name, settings in tuned.settings.items():
        chosen = trials.filter(pl.col("recommender") == name)
        text = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
        first_best = chosen.sort("ndcg", descending=True, maintain_order=True).row(0, named=True)
        assert (first_best["settings"], first_best["users"]) == (text, tiny_world.N_USERS)


def test_tuning_off_takes_the_configured_settings() -> None:
    config = QUICK.model_copy(update={"ease": EaseConfig(regularisation=7.0)})
    tuned = _tune(config)
    assert tuned.settings["ease"] == EaseConfig(regularisation=7.0)
    assert tuned.validation["recommender"].to_list() == [*QUICK.enabled, "hybrid"]


def test_the_same_data_decide_the_same() -> None:
    assert _tune().to_json() == _tune().to_json()


def test_tuned_goes_through_json() -> None:
    tuned = _tune()
    back = Tuned.from_json(json.loads(json.dumps(tuned.to_json())))
    assert (back.settings, back.weights, back.sequence_plan) == (tuned.settings, tuned.weights, tuned.sequence_plan)
    assert list(back.settings) == list(tuned.settings)
    assert_frame_equal(back.validation.drop("seconds"), tuned.validation.drop("seconds"))
    assert back.validation["seconds"].null_count() == back.validation.height
    assert back.to_json() == tuned.to_json()


def test_the_suite_is_every_part_and_the_hybrid() -> None:
    data = tiny_world.training_set()
    seconds: dict[str, float] = {}
    parts = fit_suite(data, _tune(), seed=1, say=lambda _: None, timed=seconds)
    assert list(parts) == [*QUICK.enabled, "hybrid"]
    assert list(seconds) == list(QUICK.enabled)
    for part in parts.values():
        assert part.score(np.array([0])).shape == (1, data.n_items)
    np.testing.assert_array_equal(popular_scores(parts), parts["popularity"].score(np.array([0]))[0])


def test_ready_parts_are_not_fitted_again() -> None:
    class Kept(EaseRecommender):
        def fit(self, data: TrainingSet, *, seed: int) -> "Kept":
            raise AssertionError("fitted again")

    data = tiny_world.training_set()
    kept = Kept(EaseConfig(regularisation=3.0))
    vars(kept).update(vars(EaseRecommender(EaseConfig(regularisation=3.0)).fit(data, seed=0)))
    tuned = _tune(QUICK.model_copy(update={"tune": True}), ready={"ease": kept})
    assert tuned.settings["ease"] == EaseConfig(regularisation=3.0)
    assert tuned.validation["recommender"].to_list().count("ease") == 1
    assert fit_suite(data, tuned, seed=0, say=lambda _: None, ready={"ease": kept})["ease"] is kept


def test_the_network_is_refitted_as_long_as_validation_found_best() -> None:
    network = SequenceConfig(width=16, blocks=1, heads=2, length=8)
    training = SequenceTrainingConfig(network=network, epochs=2, batch_size=8)
    config = RecommendersConfig(
        enabled=("popularity", "sequential"), sequential=SequentialConfig(training=training), hybrid=HYBRID
    )
    tuned = _tune(config)
    assert tuned.sequence_plan is not None
    planned, best = tuned.sequence_plan
    assert 1 <= best <= planned == 2
    assert Tuned.from_json(tuned.to_json()).sequence_plan == (planned, best)
    parts = fit_suite(tiny_world.training_set(), tuned, seed=1, say=lambda _: None)
    assert np.isfinite(parts["hybrid"].score(np.arange(3))).all()


@pytest.mark.parametrize("vectors", [None, pl.DataFrame({"item_id": ["i00"], "vector": [None]})])
def test_content_is_left_out_where_no_item_has_a_vector(vectors: pl.DataFrame | None) -> None:
    from genre_pipeline.contracts.training_set import build_training_set

    rows = tiny_world.interactions(tiny_world.rows())
    made = {} if vectors is None else {"text_llm": vectors.cast({"vector": pl.List(pl.Float32)})}
    data = build_training_set(rows, tiny_world.items(), as_of=tiny_world.AS_OF, item_vectors=made)
    said: list[str] = []
    tuned = _tune(data=data, said=said)
    assert list(tuned.settings) == ["popularity", "item_knn", "ease"]
    assert "content: left out, as no item has a vector" in said
    assert "content" not in fit_suite(data, tuned, seed=1, say=said.append)


def test_vectors_of_another_technique_are_a_mistake() -> None:
    config = QUICK.model_copy(update={"content": ContentConfig(vectors="text_weighted")})
    with pytest.raises(ConfigError, match=r"content\.vectors is 'text_weighted'"):
        _tune(config)


def test_nobody_who_comes_back_is_an_error() -> None:
    strangers = tiny_world.later().with_columns(user_id=pl.lit("nobody"))
    with pytest.raises(TrainingError, match="No known user comes back"):
        tune(tiny_world.training_set(), strangers, QUICK, seed=1, say=lambda _: None)


@pytest.mark.parametrize(
    ("enabled", "message"),
    [(["ease"], "floor"), ([], "floor"), (["popularity", "popularity"], "once"), (["popularity", "magic"], "magic")],
)
def test_which_recommenders_may_be_enabled(enabled: list[str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RecommendersConfig(enabled=tuple(enabled))  # type: ignore[arg-type]


def test_grids_name_real_settings() -> None:
    for name, points in GRIDS.items():
        configured = getattr(RecommendersConfig(), name)
        for point in points:
            type(configured).model_validate({**configured.model_dump(), **point})
    assert set(GRIDS) == set(NAMES) - {"sequential"}


def _is_default(name: str, point: Any) -> bool:
    configured = getattr(QUICK, name)
    return bool(configured.model_copy(update=dict(point)) == configured)


def test_the_defaults_are_the_documented_ones() -> None:
    assert RecommendersConfig().enabled == ON_BY_DEFAULT
    assert PopularityConfig().half_life_days == 14.0
