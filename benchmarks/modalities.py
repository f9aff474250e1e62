"""What each modality says of an item, alone and fused: precision@10 of nearest neighbours, against chance.

`python benchmarks/modalities.py --data DIR`. DIR holds `items.csv` (item_id, path, description_en, and image, sound and
speech_en as locations in DIR, empty where an item has none). The label is the top two folders of `path`. A neighbour is
another item with the modality, a hit one with the same label; items whose label no other has are not asked for. Chance
is the mean share of such items among the candidates. Labels take no part in any vector, but for `gated`: its weights
are learned from pairs of one label among the training half, in the place of items consumed together, and it is judged
on the other half beside the others.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.media import Modality
from genre_pipeline.features.fusion import FusionConfig, fit_fusion
from genre_pipeline.features.nearest import similar_items
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.text_llm import LlmText
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.features.vector_column import to_matrix
from genre_pipeline.offline.item_vectors import media_vectors

K = 10
Method = Literal["concatenate", "mean", "gated"]
METHODS: tuple[Method, ...] = ("concatenate", "mean", "gated")
MEDIA = (
    ("image: EfficientNet-Lite0", "image", "image_cnn"),
    ("image: colour and texture", "image", "image_descriptors"),
    ("sound effects: MFCC", "sound", "audio_mfcc"),
    ("sound effects: log-mel", "sound", "audio_logmel"),
    ("sound effects: musicnn", "sound", "audio_musicnn"),
    ("speech: MFCC", "speech_en", "audio_mfcc"),
)
"""What a row is called, the column of files, and the technique that reads them."""
TARGETS = {"text: sentence encoder": 4.0, "image: EfficientNet-Lite0": 4.0, "sound effects: MFCC": 1.5}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Precision@10 of nearest neighbours by modality, against chance.")
    parser.add_argument("--data", type=Path, required=True, help="folder with items.csv")
    parser.add_argument("--home", type=Path, help="folder for vectors and weights; a temporary one unless given")
    return parser.parse_args()


def encoded(items: pl.DataFrame, column: str, technique: str, data: Path, home: Path) -> np.ndarray:
    """float32 [items, width] by the pipeline's own way and defaults. Says what it took, twice."""
    modality: Modality = "image" if technique.startswith("image") else "audio"
    config = GenreConfig(home=home, features={modality: {"technique": technique.removeprefix(f"{modality}_")}})  # type: ignore[arg-type]
    named, cache = items.select("item_id", pl.col(column).alias(modality)), VectorCache(home / "cache" / "vectors")
    seconds, counts = [], []
    for _night in range(2):
        start = time.perf_counter()
        table, rejected, counted = media_vectors(named, modality, root=str(data), config=config, cache=cache)
        seconds.append(time.perf_counter() - start)
        counts.append(counted)
    print(
        f"  {technique} of {column}: {counts[0].encoded} encoded in {seconds[0]:.1f} s, {rejected.height} rejected;"
        f" again, {counts[1].encoded} encoded in {seconds[1]:.2f} s ({seconds[1] / seconds[0]:.1%})",
        flush=True,
    )
    return to_matrix(table["vector"])


def precision(queries: np.ndarray, asked: np.ndarray, labels: np.ndarray) -> tuple[int, float, float]:
    """(queries, precision@10, chance) of rows of length 1; candidates are all items that have a vector."""
    present = np.asarray(queries.any(axis=1))
    same = (labels[:, None] == labels[None]) & present[None]
    np.fill_diagonal(same, False)
    rows = np.flatnonzero(present & asked & same.any(axis=1))
    neighbours, _scores = similar_items(queries, present, K)
    hits = same[rows[:, None], neighbours[rows]] & (neighbours[rows] >= 0)
    return len(rows), float(hits.mean()), float(same[rows].sum(axis=1).mean() / (present.sum() - 1))


def show(name: str, vectors: np.ndarray, asked: np.ndarray, labels: np.ndarray) -> float:
    queries, found, chance = precision(l2_normalise(vectors), asked, labels)
    target = TARGETS.get(name)
    met = "" if target is None else f"   target {target} x: {'met' if found >= target * chance else 'MISSED'}"
    print(f"  {name:34} {queries:5d}   {found:.3f}   {chance:.3f}   {found / chance:5.1f} x{met}", flush=True)
    return found


def pairs_of_one_label(labels: np.ndarray, training: np.ndarray, seed: int) -> np.ndarray:
    """int64 [pairs, 2]: what users who keep to a label might have had one after the other."""
    generator = np.random.default_rng(seed)
    found = []
    for label in np.unique(labels[training]):
        members = np.flatnonzero(training & (labels == label))
        if len(members) > 1:
            first = generator.choice(members, 10 * len(members))
            second = generator.choice(members, 10 * len(members))
            found.append(np.stack([first, second], axis=1)[first != second])
    return np.concatenate(found)


def fuse(vectors: Mapping[str, np.ndarray], method: Method) -> np.ndarray:
    return fit_fusion(vectors, FusionConfig(method=method)).apply(vectors)


def fused_tables(vectors: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
    has = {name: np.asarray(rows.any(axis=1)) for name, rows in vectors.items()}
    everybody = np.ones(len(labels), dtype=bool)
    print("\nFused (concatenate and mean see no label)")
    best = 0.0
    for method in METHODS[:2]:
        fused = fuse(vectors, method)
        best = max(best, show(f"all three, {method}", fused, everybody, labels))
    single = max(precision(l2_normalise(rows), everybody, labels)[1] for rows in vectors.values())
    print(f"  fused {best:.3f}, best single modality {single:.3f}: {'met' if best >= single else 'MISSED'}")
    print("\nLeave one out (mean)")
    for left_out in vectors:
        rest = {name: rows for name, rows in vectors.items() if name != left_out}
        show(f"without {left_out}", fuse(rest, "mean"), everybody, labels)
    print("\nThe same queries: items that have the modality")
    fused = fuse(vectors, "mean")
    for name, rows in vectors.items():
        show(f"{name} alone", rows, has[name], labels)
        show(f"fused, of items with {name}", fused, has[name], labels)


def held_out_tables(vectors: Mapping[str, np.ndarray], labels: np.ndarray, seed: int) -> None:
    training = np.random.default_rng(seed).random(len(labels)) < 0.5
    pairs = pairs_of_one_label(labels, training, seed)
    print("\nLearned on a random half, asked for the other half")
    for name, rows in vectors.items():
        show(f"{name} alone", rows, ~training, labels)
    for method in METHODS:
        fusion = fit_fusion(vectors, FusionConfig(method=method), training=training, pairs=pairs, seed=seed)
        show(f"all three, {method}", fusion.apply(vectors), ~training, labels)
        if method == "gated":
            print("  weights: " + ", ".join(f"{name} {weight:.2f}" for name, weight in fusion.weights.items()))
    fusion = fit_fusion(vectors, FusionConfig(method="mean"), training=training, seed=seed)
    cross_modal(fusion.apply({"image": vectors["image"]}), fusion.apply({"text": vectors["text"]}), ~training, labels)


def cross_modal(pictures: np.ndarray, texts: np.ndarray, asked: np.ndarray, labels: np.ndarray) -> None:
    """A picture asks, other items' texts answer: what a picture-only item is recommended by."""
    rows = np.flatnonzero(asked & pictures.any(axis=1))
    scores = pictures[rows] @ texts.T
    scores[np.arange(len(rows)), rows] = -np.inf
    scores[:, ~texts.any(axis=1)] = -np.inf
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    found = (labels[nearest] == labels[rows, None]).mean()
    chance = ((labels[rows, None] == labels[None]).sum(axis=1) - 1).mean() / (len(labels) - 1)
    name = "picture asks, texts answer (mean)"
    print(f"  {name:34} {len(rows):5d}   {found:.3f}   {chance:.3f}   {found / chance:5.1f} x")


def main() -> None:
    options = arguments()
    items = pl.read_csv(options.data / "items.csv")
    folders = items["path"].str.split("/").list.head(2).list.join("/")
    labels = folders.to_numpy()
    everybody = np.ones(len(labels), dtype=bool)
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary)
        print(f"{items.height} items, {folders.n_unique()} labels. Encoding:")
        text = LlmText().encode(items["description_en"].to_list())
        vectors = {"text: sentence encoder": text}
        for name, column, technique in MEDIA:
            vectors[name] = encoded(items, column, technique, options.data, home)
    print(f"\n  {'One modality':34} items    p@{K}   chance   ratio")
    for name, rows in vectors.items():
        show(name, rows, everybody, labels)
    modalities = {
        "text": vectors["text: sentence encoder"],
        "image": vectors["image: EfficientNet-Lite0"],
        "audio": vectors["sound effects: MFCC"],
    }
    fused_tables(modalities, labels)
    held_out_tables(modalities, labels, seed=0)


if __name__ == "__main__":
    main()
