"""How fast texts and pictures are encoded: ratios within one run; the rates belong to the machine.

    python benchmarks/encode.py [--texts N] [--pictures N] [--sounds N] [--rounds N] > benchmarks/encode.md

The comparison with sentence-transformers, which the project does not depend on, needs
`pip install --no-deps sentence-transformers`: without --no-deps it may change the locked torch and transformers.

Texts of a catalogue's mixed lengths, all different, go through the extractor, through a loop of unsorted batches of
32, and through sentence-transformers' own `encode` where it is installed, each round in turn; medians are compared,
and the vectors too. Pictures and sounds, written as files, go the whole way by configuration (reading, decoding
ahead, normalising, encoding, keeping), against the encoder alone on what was made beforehand: pixels for the
convolutional network, decoded media for the others, whose own work starts there. Then the same night once more, with
nothing changed. Run it on a machine that does nothing else: its load stands in what it writes.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import soundfile
import torch
from PIL import Image

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.media import MediaBatch, Modality
from genre_pipeline.features.audio_mfcc import Mfcc
from genre_pipeline.features.audio_musicnn import MusicnnFeatures
from genre_pipeline.features.image_cnn import INPUT, ImageCnn, ImageCnnConfig
from genre_pipeline.features.image_descriptors import Descriptors
from genre_pipeline.features.media_extractor import MediaExtractor
from genre_pipeline.features.pixels import to_pixels
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.text_llm import LlmText
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.models.bert import load_encoder
from genre_pipeline.models.efficientnet_lite import load_efficientnet, locate_efficientnet
from genre_pipeline.offline.item_vectors import media_vectors
from genre_pipeline.sources.media import MediaConfig, read_media

TEXT = """the a of story about comet kitchen family letters romance night river history young woman finds lost city war
detective murder small town space ship crew island secret garden recipe bread music band road summer winter"""
WORDS = TEXT.split()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Encoding speed, as ratios within one run.")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--pictures", type=int, default=640)
    parser.add_argument("--sounds", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def catalogue_texts(count: int) -> list[str]:
    """Titles, titles with categories, and descriptions: 3 to 200 words, most of them short."""
    generator = np.random.default_rng(0)
    lengths = np.clip(np.exp(generator.normal(3.0, 1.0, count)), 3, 200).astype(int)
    return [f"{row} " + " ".join(generator.choice(WORDS, length)) for row, length in enumerate(lengths)]


def unsorted_loop(source: str) -> Callable[[Sequence[str]], np.ndarray]:
    """What one writes first: 32 texts as they come, padded to the longest."""
    model, tokenizer, _identity = load_encoder(source)

    def encode(texts: Sequence[str]) -> np.ndarray:
        rows = []
        for start in range(0, len(texts), 32):
            batch = tokenizer(
                list(texts[start : start + 32]), padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                states = model(**batch).last_hidden_state
            weight = batch["attention_mask"].unsqueeze(-1).float()
            rows.append(((states * weight).sum(1) / weight.sum(1)).numpy())
        return l2_normalise(np.concatenate(rows))

    return encode


def sentence_transformers_encode(folder: Path) -> Callable[[Sequence[str]], np.ndarray] | None:
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer, models  # type: ignore[import-not-found]

    transformer = models.Transformer(str(folder), max_seq_length=256)
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    return lambda texts: l2_normalise(model.encode(list(texts), batch_size=32, show_progress_bar=False))


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def texts_table(count: int, rounds: int) -> None:
    texts, extractor = catalogue_texts(count), LlmText()
    ways: dict[str, Callable[[Sequence[str]], np.ndarray] | None] = {
        "this extractor": extractor.encode,
        "unsorted batches of 32": unsorted_loop(extractor.config.source),
        "sentence-transformers": sentence_transformers_encode(extractor._files.folder),
    }
    seconds: dict[str, list[float]] = {name: [] for name, way in ways.items() if way}
    vectors: dict[str, np.ndarray] = {}
    for round_number in range(rounds + 1):  # the first round warms up
        given = texts[:64] if round_number == 0 else texts
        for name, way in ways.items():
            if way is not None:
                took, vectors[name] = timed(partial(way, given))
                seconds[name] += [took] if round_number else []
    words = statistics.mean(len(text.split()) for text in texts)
    print(f"## Texts: {count}, {words:.0f} words on average\n")
    print("| way | texts/s | this extractor is faster by | least cosine |\n| --- | --- | --- | --- |")
    for name in ways:
        if name not in seconds:
            print(f"| {name} | not installed, left out | | |")
            continue
        # Each round by itself: a machine that others slow down slows its neighbours in time alike.
        faster = statistics.median(one / own for one, own in zip(seconds[name], seconds["this extractor"], strict=True))
        cosine = (vectors[name] * vectors["this extractor"]).sum(axis=1).min()
        print(f"| {name} | {count / statistics.median(seconds[name]):.1f} | {faster:.2f} × | {cosine:.5f} |")
    print("\nTargets: 2 × the unsorted loop, 1 × sentence-transformers, cosines within 0.001 of 1.\n")


def media_table(technique: str, items: pl.DataFrame, root: Path, ready: Callable[[], float], rounds: int) -> None:
    """The pipeline of files, by configuration, against its encoder on media that lie ready; each round in turn."""
    modality: Modality = "image" if items["image"].null_count() == 0 else "audio"
    with tempfile.TemporaryDirectory() as temporary:
        alone: list[float] = []
        first: list[float] = []
        again: list[float] = []
        for one in range(rounds + 1):  # the first round warms up
            config = configured(technique, Path(temporary) / str(one), root.parent / "weights")
            few = items if one else items.head(8)
            found = (
                ready(),
                pipeline_seconds(few, modality, root, config),
                pipeline_seconds(few, modality, root, config),
            )
            for kept, seconds in zip((alone, first, again), found if one else (), strict=False):
                kept.append(seconds)
    share = statistics.median(one / other for one, other in zip(alone, first, strict=True))
    encoder, pipeline, unchanged = (statistics.median(seconds) for seconds in (alone, first, again))
    count = items.height
    print(
        f"| {technique} | {count} | {count / encoder:.1f} | {count / pipeline:.1f} | {share:.0%} "
        f"| {unchanged:.3f} s, {unchanged / pipeline:.1%} |",
        flush=True,
    )


def configured(technique: str, home: Path, weights: Path) -> GenreConfig:
    """Defaults, with the technique that is asked for, and weights converted once for all rounds."""
    (home / "cache").mkdir(parents=True)
    weights.mkdir(exist_ok=True)
    (home / "cache" / "weights").symlink_to(weights)
    modality, _, name = technique.partition("_")
    return GenreConfig(home=home, features={modality: {"technique": name}})  # type: ignore[arg-type]


def pipeline_seconds(items: pl.DataFrame, modality: Modality, root: Path, config: GenreConfig) -> float:
    """Read, decode, encode, keep, join: a night of one modality."""
    start = time.perf_counter()
    cache = VectorCache(config.home / "cache" / "vectors")
    media_vectors(items, modality, root=str(root), config=config, cache=cache)
    return time.perf_counter() - start


def written_pictures(folder: Path, count: int) -> pl.DataFrame:
    """Items with pictures of 400 x 500 pixels as JPEG files."""
    generator = np.random.default_rng(0)
    names = [f"{number}.jpg" for number in range(count)]
    for name in names:
        small = Image.fromarray(generator.integers(0, 256, (10, 8, 3), dtype=np.uint8))
        small.resize((400, 500), Image.Resampling.BICUBIC).save(folder / name)
    return pl.DataFrame({"item_id": names, "image": names, "audio": None}, schema_overrides={"audio": pl.String})


def written_sounds(folder: Path, count: int) -> pl.DataFrame:
    """Items with sounds of ten seconds as FLAC files: tones in noise, at 22,050 samples a second."""
    generator = np.random.default_rng(0)
    names = [f"{number}.flac" for number in range(count)]
    time_axis = np.arange(10 * 22_050) / 22_050
    for name in names:
        tone = 0.2 * np.sin(2 * np.pi * generator.uniform(100, 4000) * time_axis)
        soundfile.write(folder / name, tone + 0.02 * generator.standard_normal(len(tone)), 22_050)
    return pl.DataFrame({"item_id": names, "image": None, "audio": names}, schema_overrides={"image": pl.String})


def network_seconds(items: pl.DataFrame, root: Path, weights: Path) -> Callable[[], float]:
    """The convolutional network on batches of pixels that lie ready, all else left out."""
    network = load_efficientnet(locate_efficientnet(ImageCnn(weights).config.source, weights)[0])
    size = ImageCnnConfig().batch_size
    batches = read_media(items.select("item_id", location="image"), "image", root=str(root), config=MediaConfig())
    ready = [
        to_pixels(batch.decoded[start : start + size], INPUT)
        for batch in batches
        for start in range(0, len(batch.decoded), size)
    ]

    def work() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            for pixels in ready:
                network.features(pixels)
        return time.perf_counter() - start

    return work


def extractor_seconds(
    items: pl.DataFrame, modality: Modality, root: Path, extractor: MediaExtractor[Any]
) -> Callable[[], float]:
    """An extractor on decoded media that lie ready."""
    location = items.select("item_id", location=modality)
    batches: Iterable[MediaBatch[Any]] = read_media(location, modality, root=str(root), config=MediaConfig())
    ready = [medium for batch in batches for medium in batch.decoded]

    def work() -> float:
        start = time.perf_counter()
        extractor.encode(ready)
        return time.perf_counter() - start

    return work


def media_tables(pictures: int, sounds: int, rounds: int) -> None:
    print("## Files to vectors\n")
    print("| technique | files | encoder alone, /s | from files, /s | share of the encoder's own | nothing changed |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder, weights = Path(temporary) / "files", Path(temporary) / "weights"
        folder.mkdir()
        seen = written_pictures(folder, pictures)
        media_table("image_cnn", seen, folder, network_seconds(seen, folder, weights), rounds)
        colours = extractor_seconds(seen, "image", folder, Descriptors())
        media_table("image_descriptors", seen, folder, colours, rounds)
        heard = written_sounds(folder, sounds)
        media_table("audio_mfcc", heard, folder, extractor_seconds(heard, "audio", folder, Mfcc()), rounds)
        music = extractor_seconds(heard.head(32), "audio", folder, MusicnnFeatures(weights))
        media_table("audio_musicnn", heard.head(32), folder, music, rounds)
    print("\nTargets: 90 % where a network encodes, and under 3 % of the first run with nothing changed.")
    print("Descriptors and MFCC take less time than decoding what they read: decoding bounds their share.")


def main() -> None:
    options = arguments()
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    print("# Encoding\n\nWritten by `python benchmarks/encode.py`: medians of ratios, each within one round.\n")
    print(f"{os.cpu_count()} processors, torch {torch.__version__}, {threads} threads, load before {load:.1f}.\n")
    texts_table(options.texts, options.rounds)
    media_tables(options.pictures, options.sounds, options.rounds)


if __name__ == "__main__":
    main()
