"""All recommenders together: built from configuration, tuned on a validation window, blended, fitted.

Two steps, each with data as its result. `tune` looks at a past and what followed, and returns `Tuned`: the settings of
each recommender, the blend weights, and the validation scores that decided. `fit_suite` takes `Tuned` and fits on
everything known. `genre evaluate`, `genre batch` and the nightly assets all walk through these two doors.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import Enrichment, TrainingSet
from genre_pipeline.recommenders.als import AlsConfig, AlsRecommender
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.recommenders.blending import BlendWeights, choose_weights, pool_candidates
from genre_pipeline.recommenders.bounded import bounded
from genre_pipeline.recommenders.bpr import BprConfig, BprRecommender
from genre_pipeline.recommenders.content import ContentConfig, ContentRecommender
from genre_pipeline.recommenders.ease import EaseConfig, EaseRecommender
from genre_pipeline.recommenders.hybrid import HybridConfig, HybridRecommender
from genre_pipeline.recommenders.item_knn import ItemKnnConfig, ItemKnnRecommender
from genre_pipeline.recommenders.popularity import PopularityConfig, PopularityRecommender
from genre_pipeline.recommenders.rp3beta import Rp3BetaConfig, Rp3BetaRecommender
from genre_pipeline.recommenders.sequential import SequentialConfig, SequentialRecommender
from genre_pipeline.recommenders.validation import Validation, build_validation, validation_ndcg

Say = Callable[[str], None]
"""Progress in words, a line a step."""
Name = Literal["popularity", "content", "item_knn", "rp3beta", "ease", "als", "bpr", "sequential"]
NAMES: tuple[Name, ...] = get_args(Name)
ON_BY_DEFAULT: tuple[Name, ...] = ("popularity", "content", "item_knn", "ease", "als", "sequential")
"""Those that `benchmarks/quality.md` measures; the others are named in `genre.yaml` by who wants them."""
USE_VECTORS: frozenset[Name] = frozenset({"content", "sequential"})
"""The recommenders that look at items' vectors; without them nothing has to be encoded."""
HYBRID = HybridRecommender.name


class RecommendersConfig(Settings):
    """Which recommenders there are, where each starts from, and how they are tuned and blended."""

    enabled: tuple[Name, ...] = ON_BY_DEFAULT
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
    rp3beta: Rp3BetaConfig = Rp3BetaConfig()
    """Random walks over users and items."""
    bpr: BprConfig = BprConfig()
    """Matrix factorisation, learned from pairs."""
    sequential: SequentialConfig = SequentialConfig()
    """The user-sequence network."""
    hybrid: HybridConfig = HybridConfig()
    """The blend of all."""
    tune: bool = True
    """Try each recommender's grid on the validation window; off takes the settings above as they are."""
    validation_users: int = Field(default=3000, ge=1)
    """Users of the validation window to decide on, a seeded sample where there are more."""

    @field_validator("enabled")
    @classmethod
    def _popularity_is_the_floor(cls, enabled: tuple[Name, ...]) -> tuple[Name, ...]:
        if len(set(enabled)) != len(enabled):
            raise ValueError("name each recommender once")
        if PopularityRecommender.name not in enabled:
            raise ValueError("'popularity' has to be named: it is the evaluation's floor and the list of cold users")
        return enabled


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
    "rp3beta": [
        {"alpha": alpha, "beta": beta, "half_life_items": items}
        for alpha in (0.7, 1.0)
        for beta in (0.2, 0.4, 0.6)
        for items in (3.0, 10.0)
    ],
    "bpr": [{"factors": factors, "regularisation": ridge} for factors in (32, 64) for ridge in (0.01, 0.05)],
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
            settings={name: _KINDS[name].config.model_validate(value) for name, value in data["settings"].items()},
            weights=BlendWeights.model_validate(data["weights"]),
            sequence_plan=None if plan is None else (plan[0], plan[1]),
            validation=_trials_frame([{**row, "seconds": None} for row in data["validation"]]),
        )


@dataclass(frozen=True)
class _Window:
    """A past, what followed, and the trials made on them so far."""

    data: TrainingSet
    truth: pl.DataFrame
    validation: Validation
    config: RecommendersConfig
    seed: int
    trials: list[dict[str, Any]]

    def judge(self, recommender: Recommender, settings: Settings, start: float) -> float:
        """Mean validation nDCG@10, noted with the seconds since `start`."""
        ndcg = float(validation_ndcg(recommender, self.data, self.validation).mean())
        self.trials.append(
            {
                "recommender": recommender.name,
                "settings": json.dumps(settings.model_dump(mode="json"), sort_keys=True),
                "ndcg": ndcg,
                "users": len(self.validation.users),
                "seconds": time.perf_counter() - start,
            }
        )
        return ndcg


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
    on `data` already, by whoever keeps them (a registered model), and are taken as they are. `content` is left out
    where no item has a vector. Raises `TrainingError` where no known user comes back in `truth`.
    """
    validation = build_validation(data, truth, max_users=config.validation_users, seed=seed)
    say(f"validation: {len(validation.users):,} users, {int(validation.counts.sum()):,} later interactions")
    window = _Window(data, truth, validation, config, seed, [])
    fitted: dict[str, Recommender] = {}
    plan = None
    for name in _seeing(config, data, say):
        if ready and name in ready:
            fitted[name] = ready[name]
            window.judge(fitted[name], fitted[name].config, time.perf_counter())
        elif name == SequentialRecommender.name:
            fitted[name], plan = _tune_sequential(window)
        else:
            fitted[name] = _best_of_grid(name, window)
        say(f"{name}: validation nDCG@10 {max(t['ndcg'] for t in window.trials if t['recommender'] == name):.4f}")
    weights = _blend(fitted, window)
    say(f"hybrid: validation nDCG@10 {window.trials[-1]['ndcg']:.4f}")
    return Tuned({name: part.config for name, part in fitted.items()}, weights, plan, _trials_frame(window.trials))


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

    Those in `ready` are fitted already and are taken as they are. Where generation enriches `data`, everything that it
    changes is bounded by what it would be without (`BoundedRecommender`).
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
    plain = {**parts, HYBRID: HybridRecommender(parts, tuned.weights).fit(data, seed=seed)}
    return plain if data.enrichment is None else _bounded(plain, data, data.enrichment, tuned)


def _bounded(
    plain: dict[str, Recommender], data: TrainingSet, enrichment: Enrichment, tuned: Tuned
) -> dict[str, Recommender]:
    """The same weights with and without generation: what the plain lists are, nobody's text has a say in."""
    parts = {name: plain[name].enriched(enrichment.data) for name in tuned.settings}
    rich = {**parts, HYBRID: HybridRecommender(parts, tuned.weights).fit(data, seed=0)}
    return {
        name: part if part is plain[name] else bounded(plain[name], part, enrichment.max_rank_shift, data)
        for name, part in rich.items()
    }


def fit_one(name: str, settings: Settings, data: TrainingSet, tuned: Tuned, *, seed: int) -> Recommender:
    """One recommender with chosen settings; the network trains for as long as validation found best."""
    if not isinstance(settings, SequentialConfig) or tuned.sequence_plan is None:
        return _KINDS[name].build(settings).fit(data, seed=seed)
    from genre_pipeline.training.sequence_training import refit_sequence

    trained = refit_sequence(data, settings.training, tuned.sequence_plan, seed=seed)
    return SequentialRecommender(settings).attach(trained.model, data)


def popular_scores(parts: Mapping[str, Recommender]) -> np.ndarray:
    """float32 [items]: the fitted popularity, the same for everybody, which cold users' lists are made of."""
    return np.asarray(parts[PopularityRecommender.name].score(np.zeros(1, dtype=np.int64))[0])


def _seeing(config: RecommendersConfig, data: TrainingSet, say: Say) -> list[Name]:
    """The enabled recommenders, without `content` where there is nothing to compare: no text, or no items' table."""
    vectors = data.item_vectors.get(config.content.vectors)
    is_blind = not data.item_vectors if vectors is None else not vectors.any()
    if is_blind and ContentRecommender.name in config.enabled:
        say("content: left out, as no item has a vector")
    return [name for name in config.enabled if not (is_blind and name == ContentRecommender.name)]


def _best_of_grid(name: Name, window: _Window) -> Recommender:
    """Equal scores keep the earlier point; the configured settings come first."""
    configured: Settings = getattr(window.config, name)
    points = GRIDS[name] if window.config.tune else ()
    best, best_ndcg = _trial(name, configured, window)
    for settings in dict.fromkeys(configured.model_copy(update=dict(point)) for point in points):
        if settings == configured:
            continue
        recommender, ndcg = _trial(name, settings, window)
        if ndcg > best_ndcg:
            best, best_ndcg = recommender, ndcg
    return best


def _trial(name: Name, settings: Settings, window: _Window) -> tuple[Recommender, float]:
    start = time.perf_counter()
    recommender = _KINDS[name].build(settings).fit(window.data, seed=window.seed)
    return recommender, window.judge(recommender, settings, start)


def _tune_sequential(window: _Window) -> tuple[Recommender, tuple[int, int]]:
    from genre_pipeline.training.sequence_training import train_sequence
    from genre_pipeline.training.validation import validation_target

    start = time.perf_counter()
    settings = window.config.sequential
    target = validation_target(window.data, window.truth)
    trained = train_sequence(window.data, settings.training, seed=window.seed, validation=target)
    recommender = SequentialRecommender(settings).attach(trained.model, window.data)
    window.judge(recommender, settings, start)
    return recommender, (trained.planned_epochs, trained.best_epoch)


def _blend(fitted: Mapping[str, Recommender], window: _Window) -> BlendWeights:
    start = time.perf_counter()
    data, validation, hybrid = window.data, window.validation, window.config.hybrid
    weights = choose_weights(
        pool_candidates(fitted, data, validation, depth=hybrid.pool_depth),
        list(fitted),
        data.history_lengths[validation.users],
        edges=hybrid.segment_edges,
        trials=hybrid.trials,
        min_segment_users=hybrid.min_segment_users,
        seed=window.seed,
    )
    window.judge(HybridRecommender(fitted, weights).fit(data, seed=window.seed), hybrid, start)
    return weights


def _trials_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {
        "recommender": pl.String,
        "settings": pl.String,
        "ndcg": pl.Float64,
        "users": pl.Int64,
        "seconds": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema)


@dataclass(frozen=True)
class _Kind:
    config: type[Settings]
    build: Callable[[Any], Recommender]


_KINDS: Mapping[str, _Kind] = {
    "popularity": _Kind(PopularityConfig, PopularityRecommender),
    "content": _Kind(ContentConfig, ContentRecommender),
    "item_knn": _Kind(ItemKnnConfig, ItemKnnRecommender),
    "ease": _Kind(EaseConfig, EaseRecommender),
    "rp3beta": _Kind(Rp3BetaConfig, Rp3BetaRecommender),
    "als": _Kind(AlsConfig, AlsRecommender),
    "bpr": _Kind(BprConfig, BprRecommender),
    "sequential": _Kind(SequentialConfig, SequentialRecommender),
}
