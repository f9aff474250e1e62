"""A product's rules over lists: what may be shown, how often, how varied, to whom. Configuration, and what it means for
one catalogue.

The same rules serve the night and real time: both compile them here and apply them in `rerank`. Kept out: scores, which
are the recommenders', and who gets which variant, which is `variants`'.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from pydantic import Field, field_validator, model_validator

from genre_pipeline.contracts.columns import CATEGORIES, ITEM_ID, PRICE, PUBLISHED_AT
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.recommenders.listed_cells import as_list
from genre_pipeline.recommenders.prerequisites import PrerequisitesConfig

DEFAULT, HOLDOUT = "default", "holdout"
"""The variant of users that no variant claims, and that of users who get popular items only."""
_SECONDS_PER_DAY = 86_400


class FiltersConfig(Settings):
    """Which items may be listed at all, by columns that the items table carries."""

    available_only: bool = True
    """Only items that are `available`; off lists also what is sold out. A caller of the service may ask otherwise."""
    categories: tuple[str, ...] = ()
    """Only items with at least one of these categories; empty: all."""
    without_categories: tuple[str, ...] = ()
    """No item with any of these categories."""
    regions: tuple[str, ...] = ()
    """Only items that may be shown in one of these regions; empty: all."""
    region_column: str = "regions"
    """Column with an item's regions: a list, or text as `de|fr`."""
    max_age_rating: int | None = Field(default=None, ge=0)
    """Only items rated for this age or younger; None: all."""
    age_rating_column: str = "age_rating"
    """Column with an item's age rating: a number, or text with one in it (`PG-13`, `12+`)."""
    min_price: float | None = Field(default=None, ge=0)
    """Only items that cost at least this; None: all."""
    max_price: float | None = Field(default=None, ge=0)
    """Only items that cost at most this; None: all."""
    keep_unknown: bool = False
    """Whether an item without a region, an age rating or a price passes a filter that asks for one."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError(f"min_price {self.min_price:g} is above max_price {self.max_price:g}")
        return self


class CapsConfig(Settings):
    """How many items of one kind a window of a list may hold. A cap is never broken: a list is shorter instead."""

    per_category: int | None = Field(default=None, ge=1)
    """Items of one category; an item counts in each of its categories. None: any number."""
    per_creator: int | None = Field(default=None, ge=1)
    """Items of one creator; items without one are not counted. None: any number."""
    creator_column: str = "creator"
    """Column that names an item's creator: an author, a seller, a channel."""


class FreshnessConfig(Settings):
    """A head start for new items, by `published_at`."""

    boost: float = Field(default=0.0, ge=0)
    """Added to the score of an item that is published now, on the scale of the blend, 0 to 1. 0: none."""
    half_life_days: float = Field(default=7.0, gt=0)
    """After so many days half of the boost is left."""


class RepeatsConfig(Settings):
    """Items that a user has had already, in a window of a list: groceries repeat, films do not."""

    least: int = Field(default=0, ge=0)
    """At least so many, where the user has had so many that may be listed."""
    most: int = Field(default=0, ge=0)
    """At most so many."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}")
        return self


class ListRules(Settings):
    """What every list keeps. The defaults change nothing."""

    window: int = Field(default=10, ge=1)
    """Caps, repeats and exploration hold in every run of so many ranks (1 to 10, 11 to 20 …), so that the first ten of
    a longer list keep them too."""
    filters: FiltersConfig = FiltersConfig()
    """Which items may be listed at all."""
    caps: CapsConfig = CapsConfig()
    """How many items of one kind."""
    relevance_share: float = Field(default=1.0, ge=0, le=1)
    """The λ of maximal marginal relevance: 1 ranks by score alone, 0 by difference from what is listed above."""
    freshness: FreshnessConfig = FreshnessConfig()
    """A head start for new items."""
    exploration_share: float = Field(default=0.0, ge=0, le=1)
    """Share of a window's ranks that show items drawn by chance, seeded by user and day."""
    pinned: tuple[str, ...] = ()
    """Items shown first, in this order, to everybody who has not had them; caps do not hold them back. One that the
    day's catalogue does not have, or that a filter refuses, is left out."""
    banned: tuple[str, ...] = ()
    """Items never shown."""
    repeats: RepeatsConfig = RepeatsConfig()
    """Items that a user has had already."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        both = sorted(set(self.pinned) & set(self.banned))
        if both:
            raise ValueError(f"{both} are pinned and banned")
        if len(set(self.pinned)) != len(self.pinned):
            raise ValueError("pinned names an item twice")
        if self.repeats.least + round(self.exploration_share * self.window) > self.window:
            raise ValueError("repeats.least and exploration_share ask for more ranks than a window has")
        return self

    @property
    def filters_only(self) -> "ListRules":
        """What decides which items may be shown, without what decides how a list is made of them."""
        return ListRules(window=self.window, filters=self.filters, banned=self.banned)


class VariantConfig(Settings):
    """One arm of an experiment: a share of the users, and the rules that differ for them."""

    name: str = Field(pattern=r"[a-z0-9][a-z0-9_-]{0,31}")
    """How the arm is called in tables, answers and reports."""
    share: float = Field(gt=0, le=1)
    """Share of all users."""
    rules: ListRules = ListRules()
    """The rules written here replace those of the same name; the others are everybody's."""

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in (DEFAULT, HOLDOUT):
            raise ValueError(f"{name!r} is taken")
        return name


class RulesConfig(ListRules):
    """The rules of all lists, and the experiments on them."""

    prerequisites: PrerequisitesConfig = PrerequisitesConfig()
    """Items that ask for others first, in every variant and the holdout alike."""
    holdout_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of users who get popular items only, so that the effect of personal lists can be measured."""
    variants: tuple[VariantConfig, ...] = ()
    """Arms of an experiment; users in none of them are the variant `default`."""
    salt: str = "1"
    """Who is in which arm is decided by a hash of this and the user's id: another salt is another draw."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names):
            raise ValueError("two variants have one name")
        if self.holdout_share + sum(variant.share for variant in self.variants) > 1 + 1e-9:
            raise ValueError("holdout_share and the variants' shares add up to more than 1")
        return self

    @model_validator(mode="after")
    def _variants_do_not_contradict_the_others(self) -> Self:
        _ = self.by_variant
        return self

    @property
    def is_default(self) -> bool:
        """Whether these rules change nothing."""
        return self.prerequisites.column is None and self.by_variant == {DEFAULT: ListRules()}

    @property
    def by_variant(self) -> dict[str, ListRules]:
        """Variant name to its rules, the holdout first where there is one, then `default`, then the variants."""
        own = ListRules(**{name: getattr(self, name) for name in ListRules.model_fields})
        held_out = {HOLDOUT: own.filters_only} if self.holdout_share else {}
        return {**held_out, DEFAULT: own, **{variant.name: _merged(own, variant.rules) for variant in self.variants}}

    def repeats_in(self, k: int) -> int:
        """The most items that a list of `k` may hold of those its user has had, whatever the variant."""
        return max(rules.repeats.most * -(-k // rules.window) for rules in self.by_variant.values())


@dataclass(frozen=True)
class ItemRules:
    """Rules compiled for one catalogue: arrays by item position."""

    rules: ListRules
    is_allowed: np.ndarray
    """bool [items]: no filter and no ban forbids it. Whether it is there yet, or still, is the caller's to ask."""
    boost: np.ndarray
    """float32 [items]: what freshness adds to a score."""
    categories: np.ndarray
    """int32 [items, c]: an item's categories by number, filled up with -1. Width 0 where no cap looks at them."""
    creators: np.ndarray
    """int32 [items, 1] or [items, 0]: an item's creator by number, -1 without one."""
    pinned: np.ndarray
    """int64: the pinned items of this catalogue that may be shown, in order."""
    vectors: np.ndarray
    """float32 [items, width], rows of length 1 or all zero. Width 0 where nothing looks at them."""

    @cached_property
    def changes_nothing(self) -> bool:
        """Whether only `is_allowed` is left to keep: a list by score is the list."""
        return self.rules == self.rules.filters_only

    @property
    def filters_only(self) -> "ItemRules":
        """The same where nothing but `is_allowed` is kept."""
        return replace(self, rules=self.rules.filters_only)


def allowed_items(rules: ListRules, items: pl.DataFrame, item_ids: pl.Series) -> np.ndarray:
    """bool [items]: what no filter and no ban forbids, of `item_ids`, which `items` (schema `Items` and more) describe.

    Raises `ConfigError` where a rule names a column that the items do not have.
    """
    _require_columns(rules, items)
    rows = _rows(items, item_ids)
    return rows.select(_allowed(rules, rows.schema)).to_series().to_numpy()


def compile_rules(
    rules: ListRules, items: pl.DataFrame, item_ids: pl.Series, *, as_of: datetime | None, vectors: np.ndarray
) -> ItemRules:
    """`rules` for the catalogue `item_ids` (String, sorted), whose rows `items` (schema `Items` and more) describe.

    `as_of` is when lists are made, None where the data has no clock: then nothing is fresh.
    `vectors` is float32 [items, width]. An item without a row has no category, price or anything.
    Raises `ConfigError` where a rule names a column that the items do not have, or compares vectors of width 0.
    """
    is_allowed, rows = allowed_items(rules, items, item_ids), _rows(items, item_ids)
    if rules.relevance_share < 1 and not vectors.shape[1]:
        raise ConfigError(
            "rules.relevance_share is below 1, and there are no item vectors to compare",
            remedy="Enable a recommender that looks at vectors, or set it to 1.",
        )
    pinned = pl.Series(rules.pinned, dtype=pl.String).to_frame(ITEM_ID).join(
        rows.select(ITEM_ID).with_row_index("position"), on=ITEM_ID, how="inner", maintain_order="left"
    )["position"].to_numpy().astype(np.int64)  # fmt: skip
    nothing = np.empty((len(rows), 0), dtype=np.int32)
    return ItemRules(
        rules=rules,
        is_allowed=is_allowed,
        boost=_boost(rules.freshness, rows[PUBLISHED_AT], as_of),
        categories=nothing if rules.caps.per_category is None else category_codes(rows[CATEGORIES]),
        creators=nothing if rules.caps.per_creator is None else _codes(rows[rules.caps.creator_column])[:, None],
        pinned=pinned[is_allowed[pinned]],
        vectors=vectors if rules.relevance_share < 1 else vectors[:, :0],
    )


def category_codes(categories: pl.Series) -> np.ndarray:
    """int32 [items, c]: a column of lists as numbers of the distinct values, filled up with -1; null is no value."""
    lists = categories.to_frame("list").with_row_index("row")
    flat = lists.explode("list").drop_nulls().unique(maintain_order=True)
    if flat.is_empty():
        return np.empty((len(categories), 0), dtype=np.int32)
    place = flat.select(pl.int_range(pl.len()).over("row")).to_series().to_numpy()
    codes = np.full((len(categories), int(place.max()) + 1), -1, dtype=np.int32)
    codes[flat["row"].to_numpy(), place] = _codes(flat["list"])
    return codes


def category_numbers(categories: pl.Series) -> dict[str, int]:
    """Each distinct value of a column of lists to its number in `category_codes`."""
    names = categories.explode().drop_nulls().unique().sort()
    return {name: number for number, name in enumerate(names.to_list())}


def _merged(own: ListRules, other: ListRules) -> ListRules:
    values: Mapping[str, object] = {name: getattr(other, name) for name in other.model_fields_set}
    return ListRules(**{**{name: getattr(own, name) for name in ListRules.model_fields}, **values})


def _rows(items: pl.DataFrame, item_ids: pl.Series) -> pl.DataFrame:
    return item_ids.to_frame(ITEM_ID).join(items, on=ITEM_ID, how="left", maintain_order="left")


def _require_columns(rules: ListRules, items: pl.DataFrame) -> None:
    filters = rules.filters
    asked = {
        "rules.filters.regions": filters.region_column if filters.regions else None,
        "rules.filters.max_age_rating": filters.age_rating_column if filters.max_age_rating is not None else None,
        "rules.caps.per_creator": rules.caps.creator_column if rules.caps.per_creator is not None else None,
    }
    missing = [f"{key} reads {column!r}" for key, column in asked.items() if column and column not in items.columns]
    if missing:
        raise ConfigError(
            "A rule names a column that the items do not have",
            remedy=f"Add it to the items table, or name another; the items have: {', '.join(items.columns)}.",
            culprits=missing,
        )


def _allowed(rules: ListRules, schema: pl.Schema) -> pl.Expr:
    filters, unknown = rules.filters, rules.filters.keep_unknown
    conditions = [~pl.col(ITEM_ID).is_in(list(rules.banned))]
    if filters.categories:
        conditions.append(_has_any(pl.col(CATEGORIES), filters.categories).fill_null(False))
    if filters.without_categories:
        conditions.append(~_has_any(pl.col(CATEGORIES), filters.without_categories).fill_null(False))
    if filters.regions:
        conditions.append(_has_any(as_list(filters.region_column, schema), filters.regions).fill_null(unknown))
    if filters.max_age_rating is not None:
        rating = pl.col(filters.age_rating_column).cast(pl.String).str.extract(r"(\d+)").cast(pl.Int64, strict=False)
        conditions.append((rating <= filters.max_age_rating).fill_null(unknown))
    if filters.min_price is not None:
        conditions.append((pl.col(PRICE) >= filters.min_price).fill_null(unknown))
    if filters.max_price is not None:
        conditions.append((pl.col(PRICE) <= filters.max_price).fill_null(unknown))
    return pl.all_horizontal(conditions)


def _has_any(lists: pl.Expr, wanted: tuple[str, ...]) -> pl.Expr:
    return lists.list.set_intersection(pl.lit(pl.Series([list(wanted)]))).list.len() > 0


def _codes(values: pl.Series) -> np.ndarray:
    ranks = values.cast(pl.String).rank("dense").cast(pl.Int32) - 1
    return ranks.fill_null(-1).to_numpy()


def _boost(freshness: FreshnessConfig, published_at: pl.Series, as_of: datetime | None) -> np.ndarray:
    if not freshness.boost or as_of is None:
        return np.zeros(len(published_at), dtype=np.float32)
    age_days = (pl.lit(as_of) - pl.col("at")).dt.total_seconds() / _SECONDS_PER_DAY
    left = freshness.boost * pl.lit(0.5).pow(age_days.clip(lower_bound=0) / freshness.half_life_days)
    boosts = published_at.to_frame("at").select(left.fill_null(0.0).cast(pl.Float32)).to_series()
    return boosts.to_numpy()
