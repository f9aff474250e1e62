"""An A/B test of variants by what users did with the lists they were shown.

Belongs here: the comparison of variants and the check of their shares. Users are what is drawn by chance into an arm,
so users are what is resampled; a user's impressions are not independent of each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import USER_ID, VARIANT
from genre_pipeline.evaluation.feedback import CLICKS, IMPRESSIONS, click_rates, per_user_counts, resampled_rates
from genre_pipeline.evaluation.intervals import IntervalConfig, percentile_interval

MISMATCH_P = 0.001
"""Below this the arms' sizes are no accident, and the differences say little: mend the assignment first."""
_DIFFERENCES = pl.Schema(
    {VARIANT: pl.String(), "difference": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(), "lift": pl.Float64()}
)


@dataclass(frozen=True)
class Experiment:
    """What an experiment found."""

    control: str
    rates: pl.DataFrame
    """variant, impressions, clicks, users, ctr, low, high: a row a variant."""
    differences: pl.DataFrame
    """variant, difference (its CTR less the control's), low, high, lift (difference / the control's CTR)."""
    shares: pl.DataFrame
    """variant, users, share (of all users who were shown something), expected."""
    mismatch_p: float | None
    """p of the chi-squared test of `shares` against what was configured; None with fewer than two configured arms."""
    users_in_several: int
    """Users who were shown lists of more than one variant: they count in each."""

    @property
    def has_mismatch(self) -> bool:
        """Whether the arms' sizes are too far from their shares to be chance (Fabijan et al. 2019, KDD)."""
        return self.mismatch_p is not None and self.mismatch_p < MISMATCH_P


def compare_variants(
    shown: pl.DataFrame, expected: Mapping[str, float], *, control: str, seed: int, intervals: IntervalConfig
) -> Experiment:
    """Each variant against `control`, on `shown` as `joined_feedback` gives it; `expected` holds shares by variant.

    One bootstrap over all users: a user who saw two variants is drawn with the counts of both, so that it is paired
    where users saw both (interleaved lists) and unpaired where each saw one. A difference without `min_users` users in
    either arm has no interval.
    """
    rates = click_rates(shown, [VARIANT], seed=seed, intervals=intervals)
    shares = _shares(rates, expected)
    counts = shown.group_by(USER_ID).agg(pl.col(VARIANT).n_unique())
    return Experiment(
        control=control,
        rates=rates,
        differences=_differences(shown, rates, control, seed, intervals),
        shares=shares,
        mismatch_p=_mismatch_p(shares),
        users_in_several=counts.filter(pl.col(VARIANT) > 1).height,
    )


def experiment_rows(found: Experiment) -> list[dict[str, str]]:
    """One row a variant, the control first; the keys are the headings, the same in every row."""
    rates = found.rates.join(found.differences, on=VARIANT, how="left", suffix="_difference").join(
        found.shares.select(VARIANT, "share", "expected"), on=VARIANT, how="left"
    )
    ordered = rates.sort(pl.col(VARIANT) != found.control, VARIANT)
    return [
        {
            "variant": row[VARIANT],
            "users": f"{row['users']:,}",
            "share (expected)": f"{row['share']:.1%} ({_percent(row['expected'], 1)})",
            "impressions": f"{row[IMPRESSIONS]:,}",
            "clicks": f"{row[CLICKS]:,}",
            "CTR": f"{row['ctr']:.2%}{_range(row['low'], row['high'], signed=False)}",
            f"vs {found.control}": _difference(row, found.control),
        }
        for row in ordered.to_dicts()
    ]


def experiment_json(found: Experiment) -> dict[str, object]:
    """Plain JSON values of everything that was found."""
    return {
        "control": found.control,
        "variants": found.rates.to_dicts(),
        "differences": found.differences.to_dicts(),
        "shares": found.shares.to_dicts(),
        "sample_ratio": {"p": found.mismatch_p, "is_mismatch": found.has_mismatch},
        "users_in_several": found.users_in_several,
    }


def experiment_notes(found: Experiment) -> list[str]:
    """What a reader must know before believing the table."""
    notes = []
    if found.has_mismatch:
        notes.append(
            f"Sample ratio mismatch (p {found.mismatch_p:.2g}): the arms are not of the sizes that were configured. "
            "Do not believe the differences before the cause is found."
        )
    if found.users_in_several:
        notes.append(f"{found.users_in_several:,} users were shown lists of several variants and count in each.")
    return notes


def _differences(
    shown: pl.DataFrame, rates: pl.DataFrame, control: str, seed: int, intervals: IntervalConfig
) -> pl.DataFrame:
    others = [name for name in rates[VARIANT] if name != control]
    if control not in rates[VARIANT] or not others:
        return pl.DataFrame(schema=_DIFFERENCES)
    names = [control, *others]
    counts = per_user_counts(shown, [VARIANT])
    users = counts.select(USER_ID).unique().sort(USER_ID)
    columns = [
        users.join(counts.filter(pl.col(VARIANT) == name), on=USER_ID, how="left", maintain_order="left")
        .select(pl.col(CLICKS, IMPRESSIONS).fill_null(0).cast(pl.Float64))
        .to_numpy()
        for name in names
    ]
    resampled = resampled_rates(np.hstack(columns), seed=seed, intervals=intervals)
    low, high = percentile_interval(resampled[:, 1:] - resampled[:, :1], intervals.confidence)
    of = {row[VARIANT]: row for row in rates.to_dicts()}
    rows = []
    for place, name in enumerate(others):
        is_few = min(of[name]["users"], of[control]["users"]) < intervals.min_users
        difference = of[name]["ctr"] - of[control]["ctr"]
        ends = (None, None) if is_few else (float(low[place]), float(high[place]))
        lift = difference / of[control]["ctr"] if of[control]["ctr"] else None
        rows.append({VARIANT: name, "difference": difference, "low": ends[0], "high": ends[1], "lift": lift})
    return pl.DataFrame(rows, schema=_DIFFERENCES)


def _shares(rates: pl.DataFrame, expected: Mapping[str, float]) -> pl.DataFrame:
    configured = pl.DataFrame(
        {VARIANT: list(expected), "expected": list(expected.values())},
        schema={VARIANT: pl.String, "expected": pl.Float64},
    )
    together = configured.join(rates.select(VARIANT, "users"), on=VARIANT, how="full", coalesce=True)
    users = pl.col("users").fill_null(0)
    share = users / users.sum().clip(lower_bound=1)
    return together.select(VARIANT, users, share.alias("share"), "expected").sort(VARIANT)


def _mismatch_p(shares: pl.DataFrame) -> float | None:
    from scipy.stats import chisquare

    known = shares.filter(pl.col("expected") > 0)
    if known.height < 2 or not known["users"].sum():
        return None
    expected = known["expected"] / known["expected"].sum() * known["users"].sum()
    return float(chisquare(known["users"].to_numpy(), expected.to_numpy()).pvalue)


def _percent(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _range(low: float | None, high: float | None, *, signed: bool) -> str:
    if low is None or high is None:
        return ""
    sign = "+" if signed else ""
    return f" [{low:{sign}.2%}, {high:{sign}.2%}]"


def _difference(row: Mapping[str, Any], control: str) -> str:
    if row["difference"] is None:
        return "" if row[VARIANT] == control else "–"
    return f"{row['difference']:+.2%}{_range(row['low_difference'], row['high_difference'], signed=True)}"
