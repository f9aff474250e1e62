"""Everybody's list as of a day's end, with reasons and under the configured rules: the last step of the core."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import ITEM_ID, USER_ID
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender, Report, recommend
from genre_pipeline.recommenders.hybrid import Blend
from genre_pipeline.recommenders.reasons import with_reasons
from genre_pipeline.recommenders.ruled_lists import RuledNight, ruled_lists, with_said_reasons, without_said_reasons
from genre_pipeline.recommenders.rules import RulesConfig, allowed_items
from genre_pipeline.recommenders.shared_interests import Interests, with_shared_interests
from genre_pipeline.recommenders.suite import HYBRID, popular_scores


def personal_lists(
    parts: Mapping[str, Recommender],
    data: TrainingSet,
    asked: pl.Series,
    items: pl.DataFrame,
    config: GenreConfig,
    *,
    past: pl.DataFrame,
    interests: Interests | None = None,
) -> pl.DataFrame:
    """The hybrid's lists of `asked`, schema `Recommendations` and `reasons`; where there are rules, `variant` too.

    `past` is all interactions before the day's end: what users have finished. Shared `interests` of
    generated profiles are a reason more.
    """
    hybrid = parts[HYBRID]
    assert isinstance(hybrid, Blend)
    k, popular = config.publishing.k, popular_scores(parts)
    if config.rules.is_default:
        lists = recommend(hybrid, data, asked, k=k, cold_users="popular", popular=popular)
        return _explained(lists, hybrid, data, items, config, interests)
    ruled = ruled_lists(hybrid, data, asked, _night(data, items, past, config), k=k, popular=popular)
    return with_said_reasons(_explained(ruled, hybrid, data, items, config, interests))


def plain_lists(
    parts: Mapping[str, Recommender],
    recommender: str,
    data: TrainingSet,
    asked: pl.Series,
    items: pl.DataFrame,
    config: GenreConfig,
    *,
    past: pl.DataFrame,
    k: int,
    report: Report | None = None,
) -> pl.DataFrame:
    """One recommender's lists of `asked`, schema `Recommendations`; where there are rules, `variant` too."""
    popular = popular_scores(parts)
    if config.rules.is_default:
        return recommend(parts[recommender], data, asked, k=k, cold_users="popular", popular=popular, report=report)
    night = _night(data, items, past, config)
    ruled = ruled_lists(parts[recommender], data, asked, night, k=k, popular=popular, report=report)
    return without_said_reasons(ruled)


def repeats_beyond(lists: pl.DataFrame, past: pl.DataFrame, config: GenreConfig) -> int:
    """Rows of `lists` that their users had in `past` (user_id, item_id), beyond what the rules let a list repeat."""
    had = lists.join(past, on=[USER_ID, ITEM_ID], how="semi").group_by(USER_ID).len()
    allowed = config.rules.repeats_in(config.publishing.k)
    return int(had.select((pl.col("len").cast(pl.Int64) - allowed).clip(lower_bound=0).sum()).item())


def under_filters(data: TrainingSet, items: pl.DataFrame, rules: RulesConfig) -> TrainingSet:
    """`data` with those candidates alone that no filter and no ban forbids: for lists that are made for nobody."""
    return replace(data, is_candidate=data.is_candidate & allowed_items(rules, items, data.item_ids))


def rules_of(rules: RulesConfig) -> dict[str, Any]:
    """The rules as they are written, for a manifest; nothing where they are the default ones.

    With what an arm says: a rule set back to its default there is no default.
    """
    return {} if rules.is_default else {"rules": rules.model_dump(mode="json", exclude_unset=True)}


def _night(data: TrainingSet, items: pl.DataFrame, past: pl.DataFrame, config: GenreConfig) -> RuledNight:
    vectors = data.item_vectors.get(config.reasons.vectors, np.empty((data.n_items, 0), dtype=np.float32))
    return RuledNight(config.rules, items, vectors, config.seed, past)


def _explained(
    lists: pl.DataFrame,
    hybrid: Blend,
    data: TrainingSet,
    items: pl.DataFrame,
    config: GenreConfig,
    interests: Interests | None,
) -> pl.DataFrame:
    explained = with_reasons(lists, hybrid, data, items, config.reasons)
    return explained if interests is None else with_shared_interests(explained, interests)
