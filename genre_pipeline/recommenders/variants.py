"""Who is in which arm of an experiment, and what chance a user draws: by stable hashes, the same on every machine.

A hash of the salt and the user's id, so that a user stays in the arm for as long as the salt and the shares stay, and
real time agrees with the night without asking it.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from genre_pipeline.recommenders.rules import DEFAULT, HOLDOUT, RulesConfig

_MIX = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)


def variants_of(user_ids: Sequence[str], config: RulesConfig) -> list[str]:
    """The variant of each user."""
    arms = [(HOLDOUT, config.holdout_share), *((variant.name, variant.share) for variant in config.variants)]
    names = [*(name for name, share in arms if share), DEFAULT]
    if names == [DEFAULT]:
        return [DEFAULT] * len(user_ids)
    edges = np.cumsum([share for _, share in arms if share])
    places = np.searchsorted(edges, _shares(user_ids, config.salt), side="right")
    return [names[place] for place in places]


def user_seeds(user_ids: Sequence[str], *words: object) -> np.ndarray:
    """uint64 [users]: a seed for each user and whatever else decides, such as the day."""
    salt = "\0".join(str(word) for word in words)
    # sha256 has no vector form: one digest a user, a few microseconds each.
    digests = [hashlib.sha256(f"{salt}\0{user}".encode("utf-8", "surrogatepass")).digest()[:8] for user in user_ids]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def draws(seeds: np.ndarray, count: int) -> np.ndarray:
    """uint64 [users, count]: each user's numbers of chance, by SplitMix64 (Steele, Lea and Flood 2014, OOPSLA)."""
    with np.errstate(over="ignore"):
        state = seeds[:, None] + _MIX[0] * np.arange(1, count + 1, dtype=np.uint64)[None, :]
        state = (state ^ (state >> np.uint64(30))) * _MIX[1]
        state = (state ^ (state >> np.uint64(27))) * _MIX[2]
    return np.asarray(state ^ (state >> np.uint64(31)))


def _shares(user_ids: Sequence[str], salt: str) -> np.ndarray:
    """float64 [users] in [0, 1)."""
    return (user_seeds(user_ids, "variant", salt) >> np.uint64(11)).astype(np.float64) / 2**53
