"""Smaller variants of an item tower, each measured beside the original: size, speed, ranking quality.

How a tower is made smaller belongs to `models.compression`; what is made here comes back from its bundle before it is
measured, so that the numbers are those of what a registry keeps.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from genre_pipeline.adapters.partitions import PartitionStore
from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import DAY, ITEM_ID, USER_ID
from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.contracts.names import CHALLENGER, CHAMPION, INTERACTIONS, ITEM_TOWER, ITEMS
from genre_pipeline.features.item_texts import TEXT, ItemTextConfig, compose_item_texts
from genre_pipeline.training.bundle import bundle_sha256
from genre_pipeline.training.splits import split_leave_one_out

if TYPE_CHECKING:
    from genre_pipeline.adapters.model_registry import ModelRegistry, ModelVersion
    from genre_pipeline.models.tower import ItemTower

COMPRESSED = "item_tower_compressed"
"""The registered model whose versions are the variants."""
ORIGINAL, VARIANT = "float32", "variant"
K = 10
_SAMPLE = 256
_USERS_AT_ONCE = 512

Say = Callable[[str], None]
"""Called with a line about what happens."""


@dataclass(frozen=True)
class Trial:
    """What variants are judged by: each user's last item is to be found from those before."""

    texts: list[str]
    """Of each item that has one."""
    users: np.ndarray
    """int64 [interactions], ascending: whose each interaction before the last was."""
    items: np.ndarray
    """int64 [interactions]: the text's position."""
    held_out: np.ndarray
    """int64 [users]: the last item's position."""

    def sample(self, seed: int) -> list[str]:
        """A few texts, to calibrate 8-bit layers and to take the time with."""
        rows = np.random.default_rng(seed).choice(len(self.texts), min(_SAMPLE, len(self.texts)), replace=False)
        return [self.texts[row] for row in rows]


@dataclass(frozen=True)
class Variant:
    """A tower as it came back from its bundle."""

    name: str
    tower: "ItemTower"
    vectors: np.ndarray
    """float32 [items, W], of length 1."""
    megabytes: float
    bundle: Path | None = None
    """None where the variant is its vectors alone."""


def compress_item_tower(
    models: "ModelRegistry", partitions: PartitionStore, config: GenreConfig, *, say: Say = lambda line: None
) -> pl.DataFrame:
    """The table `measured` gives of the item tower that serves, else of the last one trained; its variants are
    registered as versions of `item_tower_compressed` that carry their numbers.

    Raises `ModelFileError` where no tower was trained.
    """
    from genre_pipeline.training.tower_bundle import load_tower_bundle

    version = models.alias(ITEM_TOWER, CHAMPION) or models.alias(ITEM_TOWER, CHALLENGER)
    if version is None or version.day is None:
        raise ModelFileError(
            "There is no item tower to compress", remedy="Set `item_tower.enabled`, and run a night that trains one."
        )
    trial = trial_of(
        partitions.read(ITEMS, version.day),
        partitions.scan(INTERACTIONS, until=version.day).collect(),
        config.features.item_texts,
        most=config.item_tower.validation_users,
        seed=config.seed,
    )
    with tempfile.TemporaryDirectory() as scratch:
        tower = load_tower_bundle(models.download(ITEM_TOWER, version.version, Path(scratch) / "original")).tower
        say(f"item tower, version {version.version}: {len(trial.texts):,} texts, {len(trial.held_out):,} users")
        variants = [
            stored(name, one, trial.texts, Path(scratch) / name)
            for name, one in compressed(tower, trial.sample(config.seed)).items()
        ]
        table = measured(variants, trial, seed=config.seed)
        register(models, variants, table, {"of_sha256": version.sha256, DAY: version.day})
    return table


def trial_of(
    items: pl.DataFrame, interactions: pl.DataFrame, texts_config: ItemTextConfig, *, most: int, seed: int
) -> Trial:
    """A trial of at most `most` users, drawn by `seed`, from clean tables (`Items`, `Interactions`)."""
    split = split_leave_one_out(interactions)
    texts = compose_item_texts(items, texts_config).drop_nulls(TEXT)
    places = texts.select(ITEM_ID, pl.int_range(pl.len()).alias("item"))
    truth = split.truth.join(places, on=ITEM_ID).unique(USER_ID, maintain_order=True)
    truth = truth.sample(min(most, truth.height), seed=seed).with_row_index("user")
    past = split.past.join(places, on=ITEM_ID).join(truth.select(USER_ID, "user"), on=USER_ID).sort("user")
    judged = truth.join(past.select("user").unique(), on="user", maintain_order="left").sort("user")
    users = past.select(pl.col("user").rank("dense").cast(pl.Int64) - 1)["user"].to_numpy()
    return Trial(texts[TEXT].to_list(), users, past["item"].to_numpy(), judged["item"].to_numpy())


def compressed(tower: "ItemTower", sample: Sequence[str]) -> dict[str, "ItemTower"]:
    """The finished tower and its variants by name; 8-bit layers are calibrated on `sample`."""
    import torch

    from genre_pipeline.models.compression import int8_tower

    halves = {
        name: copy.deepcopy(tower).to(dtype)
        for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16))
    }
    return {ORIGINAL: tower, **halves, "int8": int8_tower(tower, sample)}


def stored(name: str, tower: "ItemTower", texts: Sequence[str], folder: Path) -> Variant:
    """The variant as it comes back from its bundle in `folder`; layers that are not 8-bit compute in float32."""
    from genre_pipeline.models.compression import normalised
    from genre_pipeline.models.tower import encode_tokens
    from genre_pipeline.training.tower_bundle import load_tower_bundle, save_tower_bundle

    save_tower_bundle(tower, folder, decisions={VARIANT: name})
    loaded = load_tower_bundle(folder).tower
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    return Variant(name, loaded, normalised(encode_tokens(loaded, loaded.tokenise(list(texts)))), size, folder)


def measured(variants: Sequence[Variant], trial: Trial, *, seed: int, rounds: int = 5) -> pl.DataFrame:
    """A row a variant, the first being the original: variant, megabytes, dimensions, texts_per_second, speed (times the
    original's), ndcg (at 10), change and margin (of the paired difference, relative to the original's; half the 95 %
    interval), cosine (mean, to the original's vectors; null between other widths).
    """
    first = variants[0]
    speeds = texts_per_second({one.name: one.tower for one in variants}, trial.sample(seed), rounds)
    base = ndcg(first.vectors, trial)
    rows = []
    for one in variants:
        quality = ndcg(one.vectors, trial)
        difference, alike = quality - base, one.vectors.shape == first.vectors.shape
        rows.append(
            {
                VARIANT: one.name,
                "megabytes": one.megabytes,
                "dimensions": one.vectors.shape[1],
                "texts_per_second": speeds[one.name],
                "speed": speeds[one.name] / speeds[first.name],
                "ndcg": quality.mean(),
                "change": difference.mean() / base.mean(),
                "margin": 1.96 * difference.std() / np.sqrt(len(base)) / base.mean(),
                "cosine": float((one.vectors * first.vectors).sum(1).mean()) if alike else None,
            }
        )
    return pl.DataFrame(rows)


def texts_per_second(towers: Mapping[str, "ItemTower"], texts: list[str], rounds: int) -> dict[str, float]:
    """By processor time on one thread, the best of some rounds, each tower in turn: ratios within one run."""
    import torch

    from genre_pipeline.models.tower import encode_tokens

    tokens = {name: tower.tokenise(texts) for name, tower in towers.items()}
    best, before = dict.fromkeys(towers, np.inf), torch.get_num_threads()
    torch.set_num_threads(1)
    for _round in range(rounds):
        for name, tower in towers.items():
            start = time.process_time()
            encode_tokens(tower, tokens[name])
            best[name] = min(best[name], time.process_time() - start)
    torch.set_num_threads(before)
    return {name: len(texts) / seconds for name, seconds in best.items()}


def ndcg(vectors: np.ndarray, trial: Trial) -> np.ndarray:
    """float64 [users]: nDCG@10 of each user's held-out item among all that the user has not had, by the cosine of its
    vector to the mean of those before. What scores the same stands before it: vectors that tell nothing apart are worth
    nothing.
    """
    profiles = np.zeros((len(trial.held_out), vectors.shape[1]), dtype=np.float32)
    np.add.at(profiles, trial.users, vectors[trial.items])
    found = np.zeros(len(trial.held_out))
    for start in range(0, len(found), _USERS_AT_ONCE):
        block = slice(start, start + _USERS_AT_ONCE)
        scores = profiles[block] @ vectors.T
        begin, end = np.searchsorted(trial.users, [start, start + len(scores)])
        wanted = scores[np.arange(len(scores)), trial.held_out[block]]
        scores[trial.users[begin:end] - start, trial.items[begin:end]] = -np.inf
        rank = (scores >= wanted[:, None]).sum(1) - 1
        found[block] = np.where(rank < K, 1 / np.log2(rank + 2), 0)
    return found


def register(
    models: "ModelRegistry", variants: Sequence[Variant], table: pl.DataFrame, tags: Mapping[str, str]
) -> "list[ModelVersion]":
    """Register each variant's bundle but the original's, its row of `table` as metrics and as tags of its version. What
    is registered already stays as it is.
    """
    known = {one.sha256 for one in models.versions(COMPRESSED)}
    made = []
    for one, row in zip(variants, table.iter_rows(named=True), strict=True):
        if one.name == ORIGINAL or one.bundle is None or bundle_sha256(one.bundle) in known:
            continue
        numbers = {name: float(value) for name, value in row.items() if name != VARIANT and value is not None}
        said = {VARIANT: one.name, **{name: f"{value:.4g}" for name, value in numbers.items()}}
        made.append(
            models.log_training(
                COMPRESSED,
                params={VARIANT: one.name, **tags},
                curves=pl.DataFrame({"epoch": [0], **{name: [value] for name, value in numbers.items()}}),
                bundle=one.bundle,
                tags=tags,
                version_tags=said,
            )
        )
    return made
