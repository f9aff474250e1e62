"""How fast texts and pictures are encoded: ratios within one run; the rates belong to the machine.

`python benchmarks/encode.py [--texts N] [--pictures N] [--rounds N]`. Texts of a catalogue's mixed lengths, all
different, go through the extractor, through a loop of unsorted batches of 32, and through sentence-transformers' own
`encode` where it is installed, each round in turn; the medians are compared, and the vectors too. Pictures, written as
JPEG files, go through reading, decoding and encoding, against the encoder alone on tensors made beforehand; then once
more with nothing changed.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from PIL import Image

from genre_pipeline.features.image_cnn import INPUT, ImageCnn
from genre_pipeline.features.media_cache import encode_media, held_media, media_model
from genre_pipeline.features.pixels import to_pixels
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.text_llm import LlmText
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.models.bert import load_encoder
from genre_pipeline.models.efficientnet_lite import load_efficientnet, locate_efficientnet
from genre_pipeline.sources.media import MediaConfig, read_media

TEXT = """the a of story about comet kitchen family letters romance night river history young woman finds lost city war
detective murder small town space ship crew island secret garden recipe bread music band road summer winter"""
WORDS = TEXT.split()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Encoding speed, as ratios within one run.")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--pictures", type=int, default=256)
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
    ours = statistics.median(seconds["this extractor"])
    print(f"Texts: {count}, {statistics.mean(len(text.split()) for text in texts):.0f} words on average")
    for name in ways:
        if name not in seconds:
            print(f"  {name:24} not installed, left out")
            continue
        median = statistics.median(seconds[name])
        cosine = (vectors[name] * vectors["this extractor"]).sum(axis=1).min()
        print(
            f"  {name:24} {count / median:7.1f} texts/s   this extractor {median / ours:.2f} x   cosine >= {cosine:.5f}"
        )


def pictures_table(count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        items, weights = written_pictures(folder, count), folder / "weights"
        extractor = ImageCnn(weights)
        alone, whole, again = zip(
            *(
                (
                    tensor_seconds(items, folder, weights),
                    *pipeline_seconds(items, folder, extractor, folder / f"cache-{one}"),
                )
                for one in range(rounds)
            ),
            strict=True,
        )
    encoder, pipeline = statistics.median(alone), statistics.median(whole)
    share = statistics.median(one / other for one, other in zip(alone, whole, strict=True))
    print(f"Pictures: {count} JPEG files of 400 x 500 pixels")
    print(f"  encoder on ready tensors {count / encoder:7.1f} pictures/s")
    print(f"  reading to vectors       {count / pipeline:7.1f} pictures/s   {share:.0%} of the encoder's own")
    unchanged = statistics.median(again)
    print(f"  with nothing changed     {unchanged:7.2f} s             {unchanged / pipeline:.1%} of the first run")


def written_pictures(folder: Path, count: int) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(generator.integers(0, 256, (10, 8, 3), dtype=np.uint8))
        small.resize((400, 500), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    names = [f"{number}.jpg" for number in range(count)]
    return pl.DataFrame({"item_id": names, "location": names})


def tensor_seconds(items: pl.DataFrame, folder: Path, weights: Path) -> float:
    """The network on batches that lie ready, all else left out."""
    network = load_efficientnet(locate_efficientnet(ImageCnn(weights).config.source, weights)[0])
    batches = read_media(items, "image", root=str(folder), config=MediaConfig())
    ready = [
        to_pixels(batch.decoded[start : start + 16], INPUT)
        for batch in batches
        for start in range(0, len(batch.decoded), 16)
    ]
    with torch.inference_mode():
        network.features(ready[0])
        start = time.perf_counter()
        for pixels in ready:
            network.features(pixels)
        return time.perf_counter() - start


def pipeline_seconds(items: pl.DataFrame, folder: Path, extractor: ImageCnn, cache: Path) -> tuple[float, float]:
    """(first night, a second one with nothing changed)."""
    extractor.encode_batch(next(iter(read_media(items[:1], "image", root=str(folder), config=MediaConfig()))).decoded)
    vectors = VectorCache(cache)
    seconds = []
    for _night in range(2):
        start = time.perf_counter()
        held = held_media(vectors, media_model(extractor))
        known = set(held["content_hash"])
        batches = read_media(items, "image", root=str(folder), config=MediaConfig(), known=known)
        encode_media(items["item_id"], batches, extractor, vectors, held=held)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def main() -> None:
    options = arguments()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    texts_table(options.texts, options.rounds)
    pictures_table(options.pictures, options.rounds)


if __name__ == "__main__":
    main()
