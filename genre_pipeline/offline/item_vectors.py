"""Vectors of pictures and sounds, and of everything fused: sources, preprocessing and features joined, for assets and
commands alike.

Plain functions over clean tables. Kept out: which day it is, where tables are kept, and what recommends.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import CONTENT_HASH, ITEM_ID, TIMESTAMP, USER_ID, VECTOR
from genre_pipeline.contracts.media import AudioInput, MediaBatch, Modality, RejectedMedia, Sound
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.features.behaviour import BEHAVIOUR
from genre_pipeline.features.fusion import Fusion, FusionConfig, fit_fusion
from genre_pipeline.features.media_cache import NO_CONTENT, MediaCounts, encode_media, held_media, media_model
from genre_pipeline.features.media_extraction import media_extractor
from genre_pipeline.features.modality_gates import co_consumed_pairs
from genre_pipeline.features.vector_cache import MODEL, VectorCache
from genre_pipeline.features.vector_column import to_column, to_matrix
from genre_pipeline.offline.behaviour import judged_by
from genre_pipeline.offline.media_views import changed, has_views, view_name
from genre_pipeline.preprocessing.audio import AudioConfig, AudioNormaliser
from genre_pipeline.sources.file_index import FileIndex
from genre_pipeline.sources.media import read_media

Report = Callable[[int, int], None]
"""Called with (done, total) items."""
NOTHING_LEARNED = "fusion/nothing"
"""The model of fused vectors where no item that may be learned from has any vector: all of them are masked."""
_PAIRS = 200_000
"""Pairs of items that gates are learned from, at most."""
_LEAST_RATE, _MOST_RATE = 4_000, 48_000


def media_vectors(
    items: pl.DataFrame,
    modality: Modality,
    *,
    root: str | None,
    config: GenreConfig,
    cache: VectorCache,
    report: Report | None = None,
    as_views: bool = False,
) -> tuple[dy.DataFrame[ItemVectors], dy.DataFrame[RejectedMedia], MediaCounts]:
    """Vectors of a catalogue's pictures or sounds (schema `Items`) by the configured technique, in its order.

    `root` is where relative locations start from (`sources.dataset.media_root`). A file that `cache` knows by its hash
    is neither decoded nor encoded, and one that has not changed since the last time is not even read. An item without a
    file, or whose file is rejected, has a null vector. Where no item has a file, no weights are asked for. `as_views`
    changes each file as `preprocessing.augmentation` says, for training. Raises `ModelFileError` for missing weights,
    `SourceError` for a root that is no folder.
    """
    files = items.select(ITEM_ID, pl.col(modality).alias("location"))
    technique = config.features.image if modality == "image" else config.features.audio
    # Converted weights are kept beside the other caches.
    extractor = media_extractor(technique, weights=config.home / "cache" / "weights", device=config.features.device)
    if files["location"].null_count() == files.height:
        nothing = MediaCounts(items.height, items.height, rejected=0, reused=0, encoded=0)
        return _all_masked(items, extractor.name), RejectedMedia.create_empty(), nothing
    augmentation = config.preprocessing.augmentation
    view = [view_name(augmentation, modality, config.seed)] if as_views else []
    preparation = "/".join([_preparation(modality, config), *view])
    held = held_media(cache, media_model(extractor, preparation))
    known = frozenset(held[CONTENT_HASH])
    index = None if root is None else FileIndex(config.home / "cache" / "files" / _folder_of(root, modality))
    batches: Iterable[MediaBatch[Any]]
    if modality == "image":
        batches = read_media(files, "image", root=root, config=config.media, known=known, index=index)
    else:
        sounds = read_media(files, "audio", root=root, config=config.media, known=known, index=index)
        batches = _all_levelled(sounds, config)
    if as_views:
        batches = changed(batches, augmentation, seed=config.seed)
    return encode_media(items[ITEM_ID], batches, extractor, cache, preparation=preparation, held=held, report=report)


def fusion_views(
    items: pl.DataFrame, *, root: str | None, config: GenreConfig, cache: VectorCache
) -> dict[str, dy.DataFrame[ItemVectors]]:
    """Modality to the vectors of its files changed at random, of those that a `gated` fusion is to learn from."""
    if config.features.fusion.method != "gated":
        return {}
    wanted = [one for one in config.features.media if has_views(config.preprocessing.augmentation, one)]
    return {one: media_vectors(items, one, root=root, config=config, cache=cache, as_views=True)[0] for one in wanted}


def fused_vectors(
    parts: Mapping[str, pl.DataFrame],
    config: FusionConfig,
    *,
    training: pl.Series | None = None,
    pairs: np.ndarray | None = None,
    views: Mapping[str, pl.DataFrame] | None = None,
    seed: int = 0,
) -> tuple[dy.DataFrame[ItemVectors], Fusion | None]:
    """One vector an item of the modalities' `ItemVectors`, all over the same items; rows in the order of the first.

    `training`, bool [items] in that order, says which items may be learned from (all unless given); `pairs`, int64
    [p, 2], are positions in that order of items consumed together, for the method `gated`, which learns from `views` of
    modalities too. A modality that no training item has is left out, and where that leaves none, every vector is null
    and there is no `Fusion`. `model` is the identity of what was learned, `content_hash` is made of the parts' hashes.
    Raises `TrainingError` for `gated` without usable pairs.
    """
    item_ids = next(iter(parts.values()))[ITEM_ID]
    aligned = {name: _in_order(frame, item_ids) for name, frame in sorted(parts.items())}
    matrices = {name: to_matrix(frame[VECTOR]) for name, frame in aligned.items()}
    mask = np.ones(len(item_ids), dtype=bool) if training is None else training.to_numpy()
    known = {name: rows for name, rows in matrices.items() if rows[mask].any()}
    changed_rows = {
        name: to_matrix(_in_order(frame, item_ids)[VECTOR]) for name, frame in (views or {}).items() if name in known
    }
    fusion, fused = None, np.zeros((len(item_ids), 0), dtype=np.float32)
    if known:
        # Sums over several threads add up in the order in which they finish, and no night would be byte-equal.
        with threadpool_limits(limits=1, user_api="blas"):
            fusion = fit_fusion(known, config, training=mask, pairs=pairs, views=changed_rows, seed=seed)
            fused = fusion.apply(known)
    model = pl.lit(NOTHING_LEARNED if fusion is None else fusion.model).alias(MODEL)
    frame = pl.DataFrame([item_ids, _joint_hashes(aligned.values()), to_column(fused)]).with_columns(model)
    return ItemVectors.validate(frame.select(ItemVectors.column_names())), fusion


def fused_on(
    parts: Mapping[str, pl.DataFrame],
    past: pl.DataFrame,
    config: FusionConfig,
    *,
    views: Mapping[str, pl.DataFrame] | None = None,
    seed: int,
) -> tuple[dy.DataFrame[ItemVectors], Fusion | None]:
    """`fused_vectors`, learned only of items in `past` (schema `Interactions`) and of what was taken together there."""
    item_ids = next(iter(parts.values()))[ITEM_ID]
    training = item_ids.is_in(past[ITEM_ID].unique().implode())
    judges = judged_by(past) if BEHAVIOUR in parts else past
    pairs = _pairs(judges, item_ids, seed) if config.method == "gated" else None
    return fused_vectors(parts, config, training=training, pairs=pairs, views=views, seed=seed)


def levelled(sound: Sound, config: AudioConfig) -> Sound:
    """A sound as extractors hear it."""
    rate = min(max(sound.sample_rate, _LEAST_RATE), _MOST_RATE)
    normaliser = AudioNormaliser(AudioInput(sample_rate=rate), config)
    return Sound(normaliser.normalise(sound), rate)


def _pairs(past: pl.DataFrame, item_ids: pl.Series, seed: int) -> np.ndarray:
    """int64 [p, 2]: positions of items that one user had one after the other."""
    positions = pl.DataFrame({ITEM_ID: item_ids}).with_row_index("item")
    users = pl.col(USER_ID).rank("dense").cast(pl.Int64).alias("user")
    taken = past.join(positions, on=ITEM_ID, maintain_order="left").sort(USER_ID, TIMESTAMP, maintain_order=True)
    found = taken.select(users, pl.col("item").cast(pl.Int64))
    return co_consumed_pairs(found["user"].to_numpy(), found["item"].to_numpy(), _PAIRS, seed)


def _folder_of(root: str, modality: Modality) -> str:
    return f"{modality}-{hashlib.sha256(root.encode()).hexdigest()[:16]}"


def _preparation(modality: Modality, config: GenreConfig) -> str:
    """What decides a vector before the extractor sees anything: part of the key that it is kept under."""
    if modality == "image":
        return f"{config.media.picture_side}px"
    audio = config.preprocessing.audio
    return f"{config.media.max_sound_seconds:g}s/{audio.loudness_db:g}dB/{audio.trim_db:g}dB"


def _all_levelled(batches: Iterable[MediaBatch[Sound]], config: GenreConfig) -> Iterator[MediaBatch[Sound]]:
    """Silence cut off the ends and loudness made one; the rate stays, for encoders differ in theirs."""
    for batch in batches:
        yield replace(batch, decoded=tuple(levelled(sound, config.preprocessing.audio) for sound in batch.decoded))


def _all_masked(items: pl.DataFrame, model: str) -> dy.DataFrame[ItemVectors]:
    masked = items.select(
        ITEM_ID,
        pl.lit(model).alias(MODEL),
        pl.lit(NO_CONTENT).alias(CONTENT_HASH),
        pl.lit(None, pl.List(pl.Float32)).alias(VECTOR),
    )
    return ItemVectors.validate(masked)


def _in_order(frame: pl.DataFrame, item_ids: pl.Series) -> pl.DataFrame:
    asked = pl.DataFrame({ITEM_ID: item_ids})
    return asked.join(frame, on=ITEM_ID, how="left", maintain_order="left").with_columns(
        pl.col(CONTENT_HASH).fill_null(NO_CONTENT)
    )


def _joint_hashes(parts: Iterable[pl.DataFrame]) -> pl.Series:
    """One hash of an item's parts: it changes when the item's text, picture or sound does."""
    joined = pl.select(pl.concat_str([part[CONTENT_HASH] for part in parts], separator=" ")).to_series()
    return pl.Series(CONTENT_HASH, [hashlib.sha256(hashes.encode()).hexdigest() for hashes in joined], dtype=pl.String)
