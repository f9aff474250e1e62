"""The nightly lists under rules: every user's variant, scores in blocks, the rules over them, and what to say of it.

Where the rules are the default ones nobody comes here: `base.recommend` makes the lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import sparse

from genre_pipeline.contracts.columns import ITEM_ID, PUBLISHED_AT, RANK, REASONS, SCORE, USER_ID, VARIANT
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender, Report, user_blocks
from genre_pipeline.recommenders.prerequisites import Prerequisites, compile_prerequisites
from genre_pipeline.recommenders.rerank import Block, Chosen, rerank
from genre_pipeline.recommenders.rules import HOLDOUT, ItemRules, RulesConfig, compile_rules
from genre_pipeline.recommenders.variants import user_seeds, variants_of

USERS_AT_ONCE, USERS_COMPARED_AT_ONCE = 256, 32
"""Users to a block; fewer where the candidates' vectors are compared."""
PINNED_REASON, DRAWN_REASON, POPULAR_REASON = "Picked for everybody", "Something new to try", "Popular right now"
_SAYS = "says"
_ROWS = pl.Schema(
    [("row", pl.Int64()), ("position", pl.Int64()), (RANK, pl.UInt32()), (SCORE, pl.Float32()), (VARIANT, pl.String()),
     (_SAYS, pl.String())]
)  # fmt: skip
_NO_ROWS = pl.DataFrame(schema=_ROWS)


@dataclass(frozen=True)
class RuledNight:
    """What a night's rules need beside a recommender and its data."""

    config: RulesConfig
    items: pl.DataFrame
    """The catalogue, schema `Items` and further columns."""
    vectors: np.ndarray
    """float32 [items, width] in the order of the training set: what diversity compares."""
    seed: int
    past: pl.DataFrame
    """All interactions up to the day's end, schema `Interactions`: what users have finished."""

    def compiled(self, data: TrainingSet) -> Mapping[str, ItemRules]:
        """The rules of each variant for this catalogue."""
        as_of = data.as_of if data.has_clock else None
        return {
            name: compile_rules(rules, self.items, data.item_ids, as_of=as_of, vectors=self.vectors)
            for name, rules in self.config.by_variant.items()
        }

    def exists(self, data: TrainingSet) -> np.ndarray:
        """bool [items]: candidates, and what is not available but published by the day's end."""
        if not data.has_clock:
            return np.ones(data.n_items, dtype=bool)
        rows = data.item_ids.to_frame(ITEM_ID).join(self.items, on=ITEM_ID, how="left", maintain_order="left")
        is_published = (rows[PUBLISHED_AT] < data.as_of).fill_null(True).to_numpy()
        return np.asarray(data.is_candidate | is_published)

    def prerequisites(self, data: TrainingSet) -> Prerequisites | None:
        """What items require, for this catalogue; None where no item requires any."""
        return compile_prerequisites(self.config.prerequisites, self.items, data.item_ids)

    def finished(self, data: TrainingSet, user_ids: pl.Series) -> sparse.csr_matrix:
        """float32 [len(user_ids), items]: 1 where the user has finished the item."""
        asked = user_ids.cast(pl.String).to_frame(USER_ID).with_row_index("row")
        pairs = self.config.prerequisites.finished(self.past.lazy()).collect().join(asked, on=USER_ID)
        at = data.item_positions(pairs[ITEM_ID])
        cells = (pairs["row"].to_numpy()[at >= 0], at[at >= 0])
        ones = np.ones(len(cells[1]), dtype=np.float32)
        return sparse.csr_matrix((ones, cells), shape=(len(user_ids), data.n_items))


def ruled_lists(
    recommender: Recommender,
    data: TrainingSet,
    user_ids: pl.Series,
    night: RuledNight,
    *,
    k: int,
    popular: np.ndarray,
    report: Report | None = None,
) -> pl.DataFrame:
    """As `recommend`, under rules: schema `Recommendations` and `variant`, and `says`, a reason that the rules give.

    Cold users and the variant `holdout` are ranked by `popular`, float32 [items]; cold users keep their variant's
    rules. Lists are in the order of `user_ids`. A list may be shorter where no more items keep the rules.
    """
    variants = np.array(variants_of(user_ids.to_list(), night.config))
    positions = data.user_positions(user_ids)
    seeds = user_seeds(user_ids.to_list(), "day", night.seed, data.as_of.date())
    compiled = night.compiled(data)
    exists = night.exists(data)
    prerequisites = night.prerequisites(data)
    finished = None if prerequisites is None else night.finished(data, user_ids)
    parts, done = [_NO_ROWS], 0
    for name, rules in compiled.items():
        size = USERS_AT_ONCE if rules.rules.relevance_share == 1 else USERS_COMPARED_AT_ONCE
        for rows in user_blocks(np.flatnonzero(variants == name), size):
            scorer = None if name == HOLDOUT else recommender
            may_be_listed = data.is_candidate if rules.rules.filters.available_only else exists
            if prerequisites is not None and finished is not None:
                may_be_listed = may_be_listed & prerequisites.open_to(finished[rows])
            block = _block(scorer, data, positions[rows], rules, popular, seeds[rows], may_be_listed)
            parts.append(_listed(rerank(block, rules, k), rows, name))
            done += len(rows)
            if report is not None:
                report(done, len(user_ids))
    return _frame(parts, user_ids, data.item_ids)


def with_said_reasons(lists: pl.DataFrame) -> pl.DataFrame:
    """`lists` with `reasons`, where the rules have one of their own to say; without the column `says`."""
    own = pl.when(pl.col(_SAYS).is_not_null()).then(pl.concat_list(_SAYS)).otherwise(REASONS)
    return lists.with_columns(own.alias(REASONS)).drop(_SAYS)


def without_said_reasons(lists: pl.DataFrame) -> pl.DataFrame:
    """`lists` for those who want no reasons."""
    return lists.drop(_SAYS)


def _block(
    recommender: Recommender | None,
    data: TrainingSet,
    users: np.ndarray,
    rules: ItemRules,
    popular: np.ndarray,
    seeds: np.ndarray,
    may_be_listed: np.ndarray,
) -> Block:
    """`may_be_listed` is bool [items], or [users, items]."""
    scores = np.broadcast_to(popular, (len(users), data.n_items)).astype(np.float32)
    known = np.flatnonzero(users >= 0)
    if recommender is not None and len(known):
        scores[known] = recommender.score(users[known])
    had = np.zeros(scores.shape, dtype=bool)
    had[known] = data.matrix[users[known]].toarray() > 0
    is_allowed = may_be_listed & ~had
    if rules.rules.repeats.most:
        scores[~np.broadcast_to(may_be_listed, scores.shape)] = -np.inf
        return Block(scores, is_allowed, had, seeds)
    scores[~is_allowed] = -np.inf
    return Block(scores, is_allowed, None, seeds)


def _listed(chosen: Chosen, rows: np.ndarray, variant: str) -> pl.DataFrame:
    user, rank = np.nonzero(chosen.positions >= 0)
    at = (user, rank)
    says = np.full(len(user), None, dtype=object)
    if variant == HOLDOUT:
        says[:] = POPULAR_REASON
    says[chosen.is_drawn[at]] = DRAWN_REASON
    says[chosen.is_pinned[at]] = PINNED_REASON
    columns = (rows[user], chosen.positions[at], rank + 1, chosen.scores[at], [variant] * len(user), says.tolist())
    made = pl.DataFrame(dict(zip(_ROWS, columns, strict=True)), schema_overrides={_SAYS: pl.String})
    return made.select(pl.col(name).cast(kind) for name, kind in _ROWS.items())


def _frame(parts: list[pl.DataFrame], user_ids: pl.Series, item_ids: pl.Series) -> pl.DataFrame:
    rows = pl.concat(parts).sort("row", RANK)
    return rows.select(
        user_ids.gather(rows["row"]).cast(pl.String).alias(USER_ID),
        item_ids.gather(rows["position"]).cast(pl.String).alias(ITEM_ID),
        RANK,
        SCORE,
        VARIANT,
        _SAYS,
    )
