"""Whether a challenger becomes champion: a pure decision on per-user validation scores. Aliases are moved elsewhere."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from pydantic import Field

from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.settings import Settings

_SAMPLE_BLOCK = 256


class PromotionConfig(Settings):
    """When a newly trained model replaces the one that serves."""

    allowed_loss: float = Field(default=0.02, ge=0, lt=1)
    """A challenger that has seen newer data may be worse by this share of the champion's nDCG, with confidence."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Coverage of the paired bootstrap interval."""
    samples: int = Field(default=2000, ge=100)
    """Bootstrap samples."""
    least_users: int = Field(default=10, ge=1)
    """Fewer validation users than this decide nothing: the champion stays."""


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


def decide_promotion(
    challenger: pl.DataFrame,
    champion: pl.DataFrame | None,
    config: PromotionConfig,
    *,
    seed: int,
    challenger_sha256: str | None = None,
    champion_sha256: str | None = None,
) -> PromotionDecision:
    """Compare two models on the same validation users; frames have user_id and ndcg, as `user_ndcg` returns them.

    Without a champion the challenger is promoted; the same model again is not. Otherwise it is promoted if its mean is
    at least the champion's, or if the lower end of the interval lies above the allowed loss. Both models must have been
    fitted on data before the validation window: a champion refitted on the window itself has seen the answers.

    Raises `TrainingError` where the frames are not about the same users, or a score is not a number.
    """
    if champion is None:
        return PromotionDecision(True, None, None, None, "There is no champion yet.")
    if challenger_sha256 is not None and challenger_sha256 == champion_sha256:
        return PromotionDecision(False, 0.0, 0.0, 0.0, "The challenger is the champion, byte for byte.")
    differences, base = _paired(challenger, champion)
    difference = float(differences.mean())
    low, high = _interval(differences, config, seed)
    floor = -config.allowed_loss * base
    numbers = f"{difference:+.4f} nDCG@10 ({low:+.4f} to {high:+.4f}) over {len(differences)} users"
    if len(differences) < config.least_users:
        return PromotionDecision(False, difference, low, high, f"{numbers}: fewer than {config.least_users}.")
    if difference >= 0:
        return PromotionDecision(True, difference, low, high, f"{numbers}: at least as good.")
    if low > floor:
        return PromotionDecision(
            True, difference, low, high, f"{numbers}: worse by less than the allowed {-floor:.4f}."
        )
    return PromotionDecision(False, difference, low, high, f"{numbers}: may be worse by more than {-floor:.4f}.")


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
