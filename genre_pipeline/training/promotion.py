"""Whether a challenger becomes champion: a pure decision on per-user validation scores. Aliases are moved elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.settings import Settings

_SAMPLE_BLOCK = 256
SEGMENT = "segment"
EVERYBODY = "all"
Segment = Literal["light", "heavy", "head", "tail", "cold"]


class PromotionConfig(Settings):
    """When a newly trained model replaces the one that serves."""

    allowed_loss: float = Field(default=0.02, ge=0, lt=1)
    """A challenger that has seen newer data may be worse by this share of the champion's nDCG, with confidence."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Coverage of the paired bootstrap interval."""
    samples: int = Field(default=2000, ge=100)
    """Bootstrap samples."""
    least_users: int = Field(default=10, ge=1)
    """Fewer validation users than this decide nothing: the champion stays. A segment with fewer guards nothing."""
    guarded: tuple[Segment, ...] = ("light", "heavy", "head", "tail", "cold")
    """Segments in which a challenger must not be clearly worse: users by history, wanted items by popularity, items
    that nobody has had yet."""
    allowed_segment_loss: float = Field(default=0.1, ge=0, lt=1)
    """Share of the champion's nDCG in a guarded segment that may be lost there."""
    light_history: int = Field(default=5, ge=1)
    """A user with at most so many distinct items is light."""
    heavy_history: int = Field(default=50, ge=1)
    """A user with more than so many distinct items is heavy."""
    head_share: float = Field(default=0.5, gt=0, lt=1)
    """The most popular items that together have this share of the past are the head, others with a past the tail."""


@dataclass(frozen=True)
class SegmentDifference:
    """Challenger less champion in one guarded segment."""

    segment: str
    users: int
    difference: float
    low: float
    high: float
    floor: float
    """A difference below this, with the whole interval below 0, keeps the champion."""

    @property
    def is_broken(self) -> bool:
        """Whether the challenger is clearly worse here, by more than is allowed."""
        return self.difference < self.floor and self.high < 0


@dataclass(frozen=True)
class PromotionDecision:
    """The decision, its numbers and its reason in words."""

    promote: bool
    difference: float | None
    """Mean nDCG of the challenger less the champion's; None where nothing was compared."""
    low: float | None
    high: float | None
    """Ends of the interval of `difference`."""
    reason: str
    segments: tuple[SegmentDifference, ...] = ()
    """The guarded segments that were compared."""


def decide_promotion(
    challenger: pl.DataFrame,
    champion: pl.DataFrame | None,
    config: PromotionConfig,
    *,
    seed: int,
    challenger_sha256: str | None = None,
    champion_sha256: str | None = None,
) -> PromotionDecision:
    """Compare two models on the same validation users; frames have user_id, ndcg and, where there are any, segment.

    Rows without a segment, or of segment `all`, are the users as a whole. Without a champion the challenger is
    promoted; the same model again is not. Otherwise it is promoted if its mean is at least the champion's, or if the
    lower end of the paired bootstrap interval lies above the allowed loss, and no guarded segment is broken. Both
    models must have been fitted on data before the validation window: a champion refitted on the window itself has seen
    the answers.

    Raises `TrainingError` where the frames are not about the same users, or a score is not a number.
    """
    if champion is None:
        return PromotionDecision(True, None, None, None, "There is no champion yet.")
    if challenger_sha256 is not None and challenger_sha256 == champion_sha256:
        return PromotionDecision(False, 0.0, 0.0, 0.0, "The challenger is the champion, byte for byte.")
    differences, base = _paired(_of(challenger, EVERYBODY), _of(champion, EVERYBODY))
    segments = tuple(_segments(challenger, champion, config, seed))
    difference = float(differences.mean())
    low, high = _interval(differences, config, seed)
    promote, why = _verdict(len(differences), difference, low, -config.allowed_loss * base, segments, config)
    numbers = f"{difference:+.4f} nDCG@10 ({low:+.4f} to {high:+.4f}) over {len(differences)} users"
    return PromotionDecision(promote, difference, low, high, f"{numbers}: {why}", segments)


def _verdict(
    users: int,
    difference: float,
    low: float,
    floor: float,
    segments: tuple[SegmentDifference, ...],
    config: PromotionConfig,
) -> tuple[bool, str]:
    if users < config.least_users:
        return False, f"fewer than {config.least_users}."
    broken = [
        f"{one.segment} by {-one.difference:.4f}, of {-one.floor:.4f} allowed" for one in segments if one.is_broken
    ]
    if broken:
        return False, f"clearly worse in a guarded segment: {'; '.join(broken)}."
    if difference >= 0:
        return True, "at least as good."
    if low > floor:
        return True, f"worse by less than the allowed {-floor:.4f}."
    return False, f"may be worse by more than {-floor:.4f}."


def _of(scores: pl.DataFrame, segment: str) -> pl.DataFrame:
    if SEGMENT in scores.columns:
        return scores.filter(pl.col(SEGMENT) == segment)
    return scores if segment == EVERYBODY else scores.clear()


def _segments(
    challenger: pl.DataFrame, champion: pl.DataFrame, config: PromotionConfig, seed: int
) -> Iterator[SegmentDifference]:
    for segment in config.guarded:
        ours, theirs = _of(challenger, segment), _of(champion, segment)
        if max(ours.height, theirs.height) < config.least_users:
            continue
        differences, base = _paired(ours, theirs)
        low, high = _interval(differences, config, seed)
        floor = -config.allowed_segment_loss * base
        yield SegmentDifference(segment, len(differences), float(differences.mean()), low, high, floor)


def _paired(challenger: pl.DataFrame, champion: pl.DataFrame) -> tuple[np.ndarray, float]:
    """Differences float64 [users] in the order of user ids, and the champion's mean."""
    ours, theirs = challenger.sort(USER_ID), champion.sort(USER_ID)
    if ours.is_empty() or not ours[USER_ID].equals(theirs[USER_ID]):
        strangers = set(ours[USER_ID]) ^ set(theirs[USER_ID])
        raise TrainingError(
            "Challenger and champion were not validated on the same users",
            remedy="Score both on one validation window.",
            culprits=sorted(strangers),
        )
    left, right = ours["ndcg"].to_numpy().astype(np.float64), theirs["ndcg"].to_numpy().astype(np.float64)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise TrainingError("A validation score is not a finite number", remedy="Look at the model's weights.")
    return left - right, float(right.mean())


def _interval(differences: np.ndarray, config: PromotionConfig, seed: int) -> tuple[float, float]:
    random = np.random.default_rng(seed)
    means = []
    for start in range(0, config.samples, _SAMPLE_BLOCK):
        rows = min(_SAMPLE_BLOCK, config.samples - start)
        drawn = random.integers(len(differences), size=(rows, len(differences)))
        means.append(differences[drawn].mean(axis=1))
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)
