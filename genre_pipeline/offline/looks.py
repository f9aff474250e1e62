"""What a night's media and vectors look like: a few items of each modality, decoded once and kept with their content.

Joins sources, preprocessing and features for asset metadata and the page of a night. What is shown is chosen by content
hash, so that the same files are shown every night until they change, and nothing is decoded for it again.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import CATEGORIES, CONTENT_HASH, ITEM_ID, TITLE, VECTOR
from genre_pipeline.contracts.media import ImageInput, Modality, Picture, Sound
from genre_pipeline.features.item_texts import ItemTextConfig, compose_item_texts
from genre_pipeline.features.looks import (
    contact_sheet,
    log_mel,
    nearest_to,
    plane,
    plane_figure,
    png_uri,
    sound_uri,
    spectrogram_sheet,
)
from genre_pipeline.features.similarity import l2_normalise
from genre_pipeline.features.vector_column import to_matrix
from genre_pipeline.offline.item_vectors import levelled
from genre_pipeline.preprocessing.augmentation import AUDIO_KINDS, IMAGE_KINDS, TEXT_KINDS, each_alone
from genre_pipeline.preprocessing.augmentation_audio import augment_windows, mask_spectra
from genre_pipeline.preprocessing.augmentation_image import augment_squares
from genre_pipeline.preprocessing.augmentation_text import augmented_texts
from genre_pipeline.preprocessing.image import ImageNormaliser
from genre_pipeline.sources.media import read_media

Looks = Mapping[str, str]
"""What it is called to a data URI."""


class Neighbours(NamedTuple):
    """An item and its nearest others."""

    title: str
    nearest: tuple[tuple[str, float], ...]
    """Title and cosine, nearest first."""


_VERSION = 1
_PICTURES, _CHANGED_PICTURES = 18, 6
_SOUNDS, _CHANGED_SOUNDS, _SECONDS, _RATE = 6, 3, 3, 16_000
_NEIGHBOURS_OF, _NEAREST, _TEXTS = 5, 5, 4
_POINTS, _LEAST_POINTS = 2_000, 3
_GENTLY = {"field_dropout": 0.5, "token_dropout": 0.3}


def media_looks(
    items: pl.DataFrame, vectors: pl.DataFrame, modality: Modality, *, root: str | None, config: GenreConfig
) -> Looks:
    """Pictures: `contact_sheet`, `augmentation`, a row as it is and one for each kind of change. Sounds:
    `spectrograms`, `augmentation`, and `<title> · <item_id>` each, to listen to.

    `items` are in schema `Items`, `vectors` those of the modality. Kept under `<home>/cache/looks` by what is shown;
    nothing where no item has a vector.
    """
    shown = _sample(vectors, _PICTURES if modality == "image" else _SOUNDS)
    named = items.join(shown, on=ITEM_ID, how="inner", maintain_order="left").select(
        ITEM_ID, pl.col(modality).alias("location"), _titles().alias(TITLE), CONTENT_HASH
    )
    if named.is_empty():
        return {}
    return _kept(
        config.home / "cache" / "looks",
        [_VERSION, modality, named.rows(), config.preprocessing.model_dump(mode="json"), config.seed],
        lambda: _pictures(named, root, config) if modality == "image" else _sounds(named, root, config),
    )


def neighbours_of(items: pl.DataFrame, vectors: pl.DataFrame) -> list[Neighbours]:
    """The nearest others of a few items, those of the smallest content hashes."""
    known = _told(items, vectors)
    matrix = l2_normalise(to_matrix(known[VECTOR]))
    asked = _sample(vectors, _NEIGHBOURS_OF)[ITEM_ID]
    rows = np.flatnonzero(known[ITEM_ID].is_in(asked.implode()).to_numpy())
    titles = known[TITLE].to_list()
    where, cosines = nearest_to(matrix, rows.tolist(), _NEAREST)
    return [
        Neighbours(titles[row], tuple((titles[at], float(one)) for at, one in zip(*found, strict=True) if at >= 0))
        for row, *found in zip(rows.tolist(), where.tolist(), cosines.tolist(), strict=True)
    ]


def neighbours_markdown(found: Sequence[Neighbours]) -> str:
    """A row an item, its nearest with their cosines."""
    rows = [
        f"| {_cell(one.title)} | {', '.join(f'{_cell(title)} ({cosine:.2f})' for title, cosine in one.nearest)} |"
        for one in found
    ]
    return "\n".join(["| item | nearest, by cosine |", "| --- | --- |", *rows])


def plane_of(items: pl.DataFrame, vectors: pl.DataFrame, name: str) -> str:
    """A data URI of all vectors on a plane, coloured by first category; empty where there are fewer than three."""
    known = _told(items, vectors)
    if len(known) < _LEAST_POINTS:
        return ""
    some = known.gather_every(-(-len(known) // _POINTS))
    points = plane(l2_normalise(to_matrix(some[VECTOR])))
    title = f"{name}: {len(some):,} of {len(known):,} vectors, {items.height:,} items"
    return png_uri(plane_figure(points, some["category"].to_list(), title))


def text_augmentation_table(items: pl.DataFrame, fields: ItemTextConfig, config: GenreConfig) -> str:
    """Markdown: a few items' texts, and what each kind of change makes of them; probabilities as configured."""
    texts = compose_item_texts(items, fields)
    shown = texts.drop_nulls("text").sort(CONTENT_HASH).head(_TEXTS).select(ITEM_ID)
    some = items.join(shown, on=ITEM_ID, how="semi", maintain_order="left")

    def compose(items: pl.DataFrame) -> pl.Series:
        return compose_item_texts(items, fields)["text"]

    columns = {"as it is": compose(some)}
    augmentation = config.preprocessing.augmentation.text
    for kind, alone in zip(TEXT_KINDS, each_alone(augmentation, TEXT_KINDS, strength=_GENTLY), strict=True):
        changed = augmented_texts(some, compose, alone, seed=config.seed, fields=fields.fields)
        columns[f"{kind}, p = {getattr(augmentation, kind):g}"] = changed
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for row in pl.DataFrame(columns).iter_rows():
        lines.append(f"| {' | '.join(_cell(cell) for cell in row)} |")
    return "\n".join(lines)


def _pictures(named: pl.DataFrame, root: str | None, config: GenreConfig) -> Looks:
    batches = read_media(named, "image", root=root, config=config.media)
    pictures: list[Picture] = [picture for batch in batches for picture in batch.decoded]
    squares = ImageNormaliser(ImageInput(size=88, crop_share=1)).squares(pictures[:_CHANGED_PICTURES])
    changes = each_alone(config.preprocessing.augmentation.image, IMAGE_KINDS)
    rows = [squares, *(augment_squares(squares, alone, seed=config.seed) for alone in changes)]
    changed = [np.round(255 * one.transpose(1, 2, 0)).astype(np.uint8) for row in rows for one in row]
    return {
        "contact_sheet": png_uri(contact_sheet([picture.pixels for picture in pictures])),
        "augmentation": png_uri(contact_sheet(changed, columns=max(1, len(squares)))),
    }


def _sounds(named: pl.DataFrame, root: str | None, config: GenreConfig) -> Looks:
    batches = list(read_media(named, "audio", root=root, config=config.media))
    titles = dict(named.select(ITEM_ID, TITLE).rows())
    sounds = [
        (f"{titles[item_id]} · {item_id}", levelled(sound, config.preprocessing.audio))
        for batch in batches
        for item_id, sound in zip(batch.item_ids, batch.decoded, strict=True)
    ]
    players = {title: sound_uri(sound, seconds=_SECONDS) for title, sound in sounds}
    sheet = spectrogram_sheet([log_mel(sound) for _, sound in sounds], [title for title, _ in sounds])
    return {"spectrograms": png_uri(sheet), "augmentation": _changed_sounds(sounds, config), **players}


def _changed_sounds(sounds: Sequence[tuple[str, Sound]], config: GenreConfig) -> str:
    """A row a sound: as it is, then each kind of change; masks lie on the spectrum, the others on the waveform."""
    augmentation = config.preprocessing.augmentation.audio
    spectra, captions = [], []
    for title, sound in sounds[:_CHANGED_SOUNDS]:
        window = _window(sound)
        spectra.append(log_mel(Sound(window[0], _RATE)))
        captions.append(title)
        for kind, alone in zip(AUDIO_KINDS, each_alone(augmentation, AUDIO_KINDS), strict=True):
            changed = log_mel(Sound(augment_windows(window, alone, seed=config.seed)[0], _RATE))
            spectra.append(mask_spectra(changed[None], alone, seed=config.seed)[0])
            captions.append(f"{kind}, p = {getattr(augmentation, kind):g}")
    return png_uri(spectrogram_sheet(spectra, captions, columns=1 + len(AUDIO_KINDS)))


def _window(sound: Sound) -> np.ndarray:
    """float32 [1, samples]: the first seconds at the rate that is shown, padded with zeros."""
    from genre_pipeline.features.waveform import at_rate

    samples = at_rate(sound, _RATE)[: _SECONDS * _RATE]
    return np.pad(samples, (0, _SECONDS * _RATE - len(samples)))[None]


def _sample(vectors: pl.DataFrame, count: int) -> pl.DataFrame:
    """(item_id, content_hash) of distinct contents with the smallest hashes: few of them change when few items do."""
    known = vectors.drop_nulls(VECTOR).select(ITEM_ID, CONTENT_HASH).sort(CONTENT_HASH, ITEM_ID)
    return known.unique(CONTENT_HASH, keep="first", maintain_order=True).head(count)


def _told(items: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    """Items that have a vector, with title and first category."""
    told = items.select(ITEM_ID, _titles().alias(TITLE), pl.col(CATEGORIES).list.first().alias("category"))
    return vectors.drop_nulls(VECTOR).join(told, on=ITEM_ID, how="left", maintain_order="left")


def _titles() -> pl.Expr:
    return pl.coalesce(pl.col(TITLE), pl.col(ITEM_ID))


def _kept(folder: Path, what: Sequence[object], make: Callable[[], Looks]) -> Looks:
    """Made once for each `what`; the file appears whole, and one that is damaged is made again."""
    name = hashlib.sha256(json.dumps(what, default=str).encode()).hexdigest()
    path = folder / f"{name}.json"
    with contextlib.suppress(FileNotFoundError, ValueError):
        found: Looks = json.loads(path.read_text(encoding="utf-8"))
        return found
    made = make()
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(made), encoding="utf-8")
    unfinished.replace(path)
    return made


def _cell(value: str | None) -> str:
    return (value or "–").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")[:160]
