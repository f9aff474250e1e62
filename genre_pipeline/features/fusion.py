"""Fusion: one vector an item from whatever is known of it: text, picture, sound, in any mix.

Each modality is whitened by itself, so that none is loud because its numbers are large, and then joined: side by side
(`concatenate`), or as the mean in a space they share (`mean`), with weights learned from what is consumed together
(`gated`). A missing modality is masked: the others' weights add up to what there is. What is learned is learned on
training items only and kept as plain arrays; a cold item is fused by the same numbers.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.errors import ContractError, TrainingError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.features.modality_gates import fit_gates
from genre_pipeline.features.shared_space import fit_shared_space
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.whitening import Whitening, fit_whitening

_VERSION = 1
_VIEWED = 0.5


class FusionConfig(Settings):
    """How modalities become one vector."""

    method: Literal["concatenate", "mean", "gated"] = "mean"
    """`concatenate` sets them side by side: modalities are compared each with itself only. `mean` brings them into one
    space, in which a picture-only item is near to texts that fit. `gated` is `mean` with learned weights: it needs
    interactions."""
    rank: int = Field(default=64, ge=1)
    """The most principal directions that are kept of a modality."""
    shrinkage: float = Field(default=5.0, ge=0)
    """How far whitening goes: 0 gives each direction the same variance, large values leave variances as they are."""
    width: int = Field(default=64, ge=1)
    """Numbers in a vector of `mean` and `gated`, at most the rank of the richest modality; `concatenate` has the ranks
    added up."""
    pair_prior: float = Field(default=256.0, ge=0)
    """Items with two modalities that it takes to believe half of what they say of each other."""
    modality_dropout: float = Field(default=0.2, ge=0, lt=1)
    """The chance that a modality is hidden while the weights of `gated` are learned."""
    least_weight: float = Field(default=0.05, gt=0, le=0.5)
    """The least that a modality counts in `gated`, where all of them add up to 1."""


@dataclass(frozen=True)
class _Modality:
    whitening: Whitening
    shared: np.ndarray | None
    """float32 [rank, width], or None where modalities are set side by side."""
    weight: float


class Fusion:
    """What `fit_fusion` learned: vectors of any items by the same numbers."""

    def __init__(self, modalities: Mapping[str, _Modality]) -> None:
        self._modalities = dict(sorted(modalities.items()))

    @property
    def model(self) -> str:
        """The identity of what was learned, part of a cache key."""
        digest = hashlib.sha256()
        for name, array in sorted(self.to_arrays().items()):
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        return f"fusion/{_VERSION}/{digest.hexdigest()[:16]}"

    @property
    def weights(self) -> dict[str, float]:
        """How much each modality counts in an item that has all of them, adding up to 1."""
        return {name: one.weight for name, one in self._modalities.items()}

    def apply(self, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [n, width], rows of length 1, of float32 [n, d] a modality; zeros where an item has none at all.

        A row of zeros is a missing modality, and so is a modality that is not named.

        Raises:
            ContractError: a modality was not learned, or arrays do not fit one another or what was learned.
        """
        n_items = _same_length(vectors)
        self._check(vectors)
        parts = []
        for name, one in self._modalities.items():
            rows = one.whitening.apply(vectors[name]) if name in vectors else _nothing(n_items, one.whitening)
            mapped = rows if one.shared is None else l2_normalise(rows @ one.shared)
            parts.append(mapped * np.float32(np.sqrt(one.weight)))
        side_by_side = any(one.shared is None for one in self._modalities.values())
        return l2_normalise(np.concatenate(parts, axis=1) if side_by_side else np.sum(parts, axis=0))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything learned, for a file: mean, projection, weight and, unless side by side, shared map of each."""
        arrays = {}
        for name, one in self._modalities.items():
            arrays[f"{name}/mean"], arrays[f"{name}/projection"] = one.whitening.mean, one.whitening.projection
            arrays[f"{name}/weight"] = np.array([one.weight], dtype=np.float64)
            if one.shared is not None:
                arrays[f"{name}/shared"] = one.shared
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Fusion":
        """What `to_arrays` gave, read back."""
        names = {key.rsplit("/", 1)[0] for key in arrays}
        return cls(
            {
                name: _Modality(
                    Whitening(arrays[f"{name}/mean"], arrays[f"{name}/projection"]),
                    arrays.get(f"{name}/shared"),
                    float(arrays[f"{name}/weight"][0]),
                )
                for name in names
            }
        )

    def _check(self, vectors: Mapping[str, np.ndarray]) -> None:
        widths = {name: len(one.whitening.mean) for name, one in self._modalities.items()}
        wrong = [name for name, rows in vectors.items() if rows.shape[1] != widths.get(name)]
        if wrong:
            raise ContractError(
                f"Vectors are not of the modalities and widths that the fusion was learned of: {widths}",
                remedy="Encode with the same extractors, or learn the fusion again.",
                culprits=wrong,
            )


def fit_fusion(
    vectors: Mapping[str, np.ndarray],
    config: FusionConfig,
    *,
    training: np.ndarray | None = None,
    pairs: np.ndarray | None = None,
    views: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Fusion:
    """Learn a fusion of float32 [n, d] a modality, rows of zeros where it is missing.

    `training`, bool [n], says which items may be learned from (all unless given). `pairs`, int64 [p, 2], are positions
    of items consumed together, for `gated`; pairs with an item outside training are left out. `views`,
    float32 [n, d] of any of the modalities, are the items changed at random, which `gated` learns from too: half of
    them, drawn by `seed`, are seen so where they come second in a pair.

    Raises:
        TrainingError: no modality, one that no training item has, or `gated` without pairs.
        ContractError: arrays are not of one length.
    """
    n_items = _same_length(vectors)
    training = np.ones(n_items, dtype=bool) if training is None else training
    learned = {name: np.where(training[:, None], rows, 0) for name, rows in sorted(vectors.items())}
    empty = [name for name, rows in learned.items() if not rows.any()]
    if empty or not learned:
        raise TrainingError(
            "There is nothing to learn a fusion from: no training item has a vector of the modality",
            remedy="Leave the modality out, or encode it first.",
            culprits=empty,
        )
    whitenings = {name: fit_whitening(rows, config.rank, config.shrinkage) for name, rows in learned.items()}
    rows = {name: whitenings[name].apply(vectors) for name, vectors in learned.items()}
    shared: Mapping[str, np.ndarray] = {}
    if config.method != "concatenate":
        shared = fit_shared_space(rows, config.width, config.shrinkage, config.pair_prior)
    weights = dict.fromkeys(rows, 1 / len(rows))
    if config.method == "gated":
        plain = {name: l2_normalise(part @ shared[name]) for name, part in rows.items()}
        changed = {
            name: l2_normalise(whitenings[name].apply(part) @ shared[name]) for name, part in (views or {}).items()
        }
        weights = _gates(plain, changed, _training_pairs(pairs, training), config, seed)
    return Fusion({name: _Modality(whitenings[name], shared.get(name), weights[name]) for name in rows})


def _gates(
    plain: Mapping[str, np.ndarray], views: Mapping[str, np.ndarray], pairs: np.ndarray, config: FusionConfig, seed: int
) -> dict[str, float]:
    """`fit_gates`, with half of the items that have a view seen so where they come second."""
    n_items = _same_length(plain)
    is_changed = (np.random.default_rng([seed, 1]).random(n_items) < _VIEWED)[:, None]
    later = {name: np.where(is_changed, views.get(name, part), part) for name, part in plain.items()}
    return fit_gates(plain, pairs, config.modality_dropout, config.least_weight, seed, later=later)


def _training_pairs(pairs: np.ndarray | None, training: np.ndarray) -> np.ndarray:
    if pairs is None or not len(pairs):
        raise TrainingError(
            "The fusion `gated` learns from items consumed together, and none are given",
            remedy="Give interactions, or use the fusion `mean`.",
        )
    return np.asarray(pairs[training[pairs].all(axis=1)])


def _same_length(vectors: Mapping[str, np.ndarray]) -> int:
    lengths = {name: len(rows) for name, rows in vectors.items()}
    if len(set(lengths.values())) > 1:
        raise ContractError(
            f"The modalities are not of the same items: {lengths}",
            remedy="Give one row an item in each, zeros where it has no such modality.",
        )
    return next(iter(lengths.values()), 0)


def _nothing(n_items: int, whitening: Whitening) -> np.ndarray:
    return np.zeros((n_items, whitening.projection.shape[1]), dtype=np.float32)
