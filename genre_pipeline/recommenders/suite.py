"""All recommenders together: built from configuration, tuned on a validation window, blended, fitted.

Two steps, each with data as its result. `tune` looks at a past and what followed, and returns `Tuned`: the settings of
each recommender, the blend weights, and the validation scores that decided. `fit_suite` takes `Tuned` and fits on
everything known. `genre evaluate`, `genre batch` and the nightly assets all walk through these two doors.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.als import AlsConfig, AlsRecommender
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.blending import BlendWeights, choose_weights, pool_candidates
from genre_pipeline.recommenders.content import ContentConfig, ContentRecommender
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.hybrid import HybridConfig, HybridRecommender
from genre_pipeline.recommenders.item_knn import ItemKnnConfig, ItemKnnRecommender
from genre_pipeline.recommenders.popularity import PopularityConfig, PopularityRecommender
from genre_pipeline.recommenders.sequential import SequentialConfig, SequentialRecommender
from genre_pipeline.recommenders.validation import Validation, build_validation, validation_ndcg

Say = Callable[[str], None]
"""Progress in words, a line a step."""
Name = Literal["popularity", "content", "item_knn", "ease", "als", "sequential"]
NAMES: tuple[Name, ...] = ("popularity", "content", "item_knn", "ease", "als", "sequential")
HYBRID = HybridRecommender.name


class RecommendersConfig(Settings):
    """Which recommenders there are, where each starts from, and how they are tuned and blended."""

    enabled: tuple[Name, ...] = NAMES
    """Recommenders to fit; `popularity` has to be one of them: it is the floor, and the cold users' list."""
    popularity: PopularityConfig = PopularityConfig()
    """What is taken now."""
    content: ContentConfig = ContentConfig()
    """Cosine of item vectors."""
    item_knn: ItemKnnConfig = ItemKnnConfig()
    """Item-to-item neighbours."""
    ease: EaseConfig = EaseConfig()
    """Linear item-to-item weights in closed form."""
    als: AlsConfig = AlsConfig()
    """Matrix factorisation."""
    sequential: SequentialConfig = SequentialConfig()
    """The user-sequence network."""
    hybrid: HybridConfig = HybridConfig()
    """The blend of all."""
    tune: bool = True
    """Try each recommender's grid on the validation window; off takes the settings above as they are."""
    validation_users: int = 3000
    """Users of the validation window to decide on, a seeded sample where there are more."""


GRIDS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "popularity": [{"half_life_days": days} for days in (None, 1.0, 3.0, 7.0, 14.0, 30.0, 90.0)],
    "content": [{"half_life_items": items} for items in (None, 1.0, 3.0, 10.0)],
    "item_knn": [
        {"weighting": weighting, "half_life_items": items}
        for weighting in ("cosine", "tfidf")
        for items in (None, 1.0, 3.0, 10.0)
    ],
    "ease": [
        {"regularisation": ridge, "half_life_items": items}
        for ridge, items in ((100.0, 5.0), (300.0, None), (300.0, 5.0), (1000.0, 5.0), (1000.0, 20.0))
    ],
    "als": [{"factors": factors, "alpha": alpha} for factors, alpha in ((64, 1.0), (64, 10.0), (32, 10.0))],
}
"""What tuning tries beside the configured settings; the sequential network stops early instead."""


@dataclass(frozen=True)
class Tuned:
    """What a validation window taught: data, kept beside every list that it shaped."""

    settings: Mapping[str, Settings]
    """Each recommender's chosen settings, in blending order."""
    weights: BlendWeights
    sequence_plan: tuple[int, int] | None
    """(planned epochs, best epoch) of the sequential network, where it is enabled."""
    validation: pl.DataFrame
    """recommender, settings (JSON), ndcg, users, seconds: every trial, the hybrid last."""

    def to_json(self) -> dict[str, Any]:
        """Everything that decided, for a manifest or a report. Times are left out: they differ from run to run."""
        return {
            "settings": {name: settings.model_dump(mode="json") for name, settings in self.settings.items()},
            "weights": self.weights.model_dump(mode="json"),
            "sequence_plan": self.sequence_plan,
            "validation": self.validation.drop("seconds").to_dicts(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Tuned":
        """The inverse of `to_json`; seconds come back as null."""
        plan = data["sequence_plan"]
        return cls(
            settings={name: _CONFIGS[name].model_validate(value) for name, value in data["settings"].items()},
            weights=BlendWeights.model_validate(data["weights"]),
            sequence_plan=None if plan is None else (plan[0], plan[1]),
            validation=_trials_frame([{**row, "seconds": None} for row in data["validation"]]),
        )


def tune(
    data: TrainingSet,
    truth: pl.DataFrame,
    config: RecommendersConfig,
    *,
    seed: int,
    say: Say,
    ready: Mapping[str, Recommender] | None = None,
) -> Tuned:
    """Choose settings and blend weights for what `truth` (user_id, item_id) shows after `data`.

    Each recommender is fitted once a grid point, and its best fit is reused for the blend. Those in `ready` are fitted
    on `data` already, by whoever keeps them (a registered model), and are taken as they are.
    """
    _check(config)
    validation = build_validation(data, truth, max_users=config.validation_users, seed=seed)
    say(f"validation: {len(validation.users):,} users, {int(validation.counts.sum()):,} later interactions")
    trials: list[dict[str, Any]] = []
    fitted: dict[str, Recommender] = {}
    plan = None
    for name in config.enabled:
        if ready and name in ready:
            fitted[name] = ready[name]
            _judge(fitted[name], data, validation, trials)
        elif name == "sequential":
            fitted[name], plan = _tune_sequential(data, truth, config, validation, seed, trials)
        else:
            fitted[name] = _best_of_grid(name, data, config, validation, seed, trials)
        say(f"{name}: validation nDCG@10 {max(t['ndcg'] for t in trials if t['recommender'] == name):.4f}")
    weights = _blend(fitted, data, config, validation, seed, trials)
    say(f"hybrid: validation nDCG@10 {trials[-1]['ndcg']:.4f}")
    settings = {name: _settings_of(part) for name, part in fitted.items()}
    return Tuned(settings, weights, plan, _trials_frame(trials))


def fit_suite(
    data: TrainingSet,
    tuned: Tuned,
    *,
    seed: int,
    say: Say,
    timed: dict[str, float] | None = None,
    ready: Mapping[str, Recommender] | None = None,
) -> dict[str, Recommender]:
    """Every tuned recommender fitted on `data`, and the hybrid of them, by name; `timed` takes the seconds of each.

    Those in `ready` are fitted already and are taken as they are.
    """
    parts: dict[str, Recommender] = {}
    for name, settings in tuned.settings.items():
        if ready and name in ready:
            parts[name] = ready[name]
            continue
        start = time.perf_counter()
        parts[name] = fit_one(name, settings, data, tuned, seed=seed)
        seconds = time.perf_counter() - start
        say(f"{name}: fitted in {seconds:.1f} s")
        if timed is not None:
            timed[name] = seconds
    return {**parts, HYBRID: HybridRecommender(parts, tuned.weights).fit(data, seed=seed)}


def fit_one(name: str, settings: Settings, data: TrainingSet, tuned: Tuned, *, seed: int) -> Recommender:
    """One recommender with chosen settings; the network trains for as long as validation found best."""
    if name != "sequential" or tuned.sequence_plan is None:
        return _build(name, settings).fit(data, seed=seed)
    from genre_pipeline.training.sequence_training import refit_sequence

    sequential = _build(name, settings)
    assert isinstance(sequential, SequentialRecommender)
    trained = refit_sequence(data, sequential.config.training, tuned.sequence_plan, seed=seed)
    return sequential.attach(trained.model, data)


def _build(name: str, settings: Settings) -> Recommender:
    recommender: Recommender = _CLASSES[name](settings)
    return recommender


def _best_of_grid(
    name: str,
    data: TrainingSet,
    config: RecommendersConfig,
    validation: Validation,
    seed: int,
    trials: list[dict[str, Any]],
) -> Recommender:
    """Equal scores keep the earlier point; the configured settings come first."""
    start: Settings = getattr(config, name)
    points = [start, *(start.model_copy(update=dict(point)) for point in GRIDS[name] if config.tune)]
    best: tuple[float, Recommender] | None = None
    for settings in dict.fromkeys(points):
        recommender, ndcg = _trial(_build(name, settings), data, validation, seed, trials)
        if best is None or ndcg > best[0]:
            best = (ndcg, recommender)
    assert best is not None
    return best[1]


def _trial(
    recommender: Recommender, data: TrainingSet, validation: Validation, seed: int, trials: list[dict[str, Any]]
) -> tuple[Recommender, float]:
    start = time.perf_counter()
    return recommender, _judge(recommender.fit(data, seed=seed), data, validation, trials, start)


def _judge(
    recommender: Recommender,
    data: TrainingSet,
    validation: Validation,
    trials: list[dict[str, Any]],
    start: float | None = None,
) -> float:
    """Validation nDCG@10, noted with the seconds since `start`."""
    start = time.perf_counter() if start is None else start
    ndcg = float(validation_ndcg(recommender, data, validation).mean())
    _note(trials, recommender.name, _settings_of(recommender), ndcg, validation, time.perf_counter() - start)
    return ndcg


def _tune_sequential(
    data: TrainingSet, truth: pl.DataFrame, config: RecommendersConfig, validation: Validation, seed: int,
    trials: list[dict[str, Any]],
) -> tuple[Recommender, tuple[int, int]]:  # fmt: skip
    from genre_pipeline.training.sequence_training import train_sequence
    from genre_pipeline.training.validation import validation_target

    start = time.perf_counter()
    settings = config.sequential
    trained = train_sequence(data, settings.training, seed=seed, validation=validation_target(data, truth))
    recommender = SequentialRecommender(settings).attach(trained.model, data)
    _judge(recommender, data, validation, trials, start)
    return recommender, (trained.planned_epochs, trained.best_epoch)


def _blend(
    fitted: Mapping[str, Recommender], data: TrainingSet, config: RecommendersConfig, validation: Validation, seed: int,
    trials: list[dict[str, Any]],
) -> BlendWeights:  # fmt: skip
    start = time.perf_counter()
    lengths = data.history_lengths[validation.users]
    pool = pool_candidates(fitted, data, validation, depth=config.hybrid.pool_depth)
    weights = choose_weights(
        pool,
        list(fitted),
        lengths,
        edges=config.hybrid.segment_edges,
        trials=config.hybrid.trials,
        min_segment_users=config.hybrid.min_segment_users,
        seed=seed,
    )
    hybrid = HybridRecommender(fitted, weights).fit(data, seed=seed)
    ndcg = float(validation_ndcg(hybrid, data, validation).mean())
    _note(trials, HYBRID, config.hybrid, ndcg, validation, time.perf_counter() - start)
    return weights


def _note(
    trials: list[dict[str, Any]], name: str, settings: Settings, ndcg: float, validation: Validation, seconds: float
) -> None:
    text = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    trials.append(
        {"recommender": name, "settings": text, "ndcg": ndcg, "users": len(validation.users), "seconds": seconds}
    )


def _trials_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {
        "recommender": pl.String,
        "settings": pl.String,
        "ndcg": pl.Float64,
        "users": pl.Int64,
        "seconds": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema)


def _settings_of(recommender: Recommender) -> Settings:
    settings: Settings = recommender.config  # type: ignore[attr-defined]
    return settings


def _check(config: RecommendersConfig) -> None:
    if "popularity" not in config.enabled:
        raise ConfigError(
            "recommenders.enabled leaves out 'popularity'",
            remedy="Add it: it is the floor of the evaluation and the list of cold users.",
            culprits=config.enabled,
        )


_CLASSES: Mapping[str, Any] = {
    "popularity": PopularityRecommender,
    "content": ContentRecommender,
    "item_knn": ItemKnnRecommender,
    "ease": EaseRecommender,
    "als": AlsRecommender,
    "sequential": SequentialRecommender,
}
_CONFIGS: Mapping[str, type[Settings]] = {
    "popularity": PopularityConfig,
    "content": ContentConfig,
    "item_knn": ItemKnnConfig,
    "ease": EaseConfig,
    "als": AlsConfig,
    "sequential": SequentialConfig,
}


def popular_scores(parts: Mapping[str, Recommender]) -> np.ndarray:
    """float32 [items]: the fitted popularity, which cold users' lists are made of."""
    popularity = parts["popularity"]
    assert isinstance(popularity, PopularityRecommender)
    return popularity.scores
