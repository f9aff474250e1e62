"""Pictures and sounds of each day, what could not be read of them, and one vector an item of everything that is known.

Text is `features`' own. Kept out: how a file is read or encoded (`offline.item_vectors`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID, TIMESTAMP, USER_ID, VECTOR
from genre_pipeline.contracts.media import Modality, RejectedMedia
from genre_pipeline.contracts.names import (
    INTERACTIONS,
    ITEM_AUDIO_VECTORS,
    ITEM_IMAGE_VECTORS,
    ITEM_VECTORS,
    ITEMS,
    REJECTED_MEDIA,
)
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.defs.features import GROUP, dated, seen, write_vectors
from genre_pipeline.defs.materialise import (
    Result,
    daily_asset,
    keeps_contract,
    passed,
    picture,
    rejects_result,
    result,
    sample_table,
)
from genre_pipeline.defs.shape import CONFIG, FUSED_PARTS, MADE_VECTORS, VECTOR_TABLES
from genre_pipeline.features.extraction import FUSED
from genre_pipeline.features.fusion import Fusion
from genre_pipeline.features.media_cache import MediaCounts
from genre_pipeline.offline.dataset import fusion_parts
from genre_pipeline.offline.item_vectors import fused_on, fusion_views, media_vectors
from genre_pipeline.offline.looks import media_looks
from genre_pipeline.offline.modality_page import render_modalities
from genre_pipeline.project import Project

FUSION_FILE = "fusion.safetensors"
"""What a day's fusion learned, beside its vectors."""
_SHOWN_REJECTED = 20
_MEDIA_TABLES = [VECTOR_TABLES[modality] for modality in CONFIG.features.media]
_FUSED_OF = [ITEMS, *(VECTOR_TABLES[name] for name in FUSED_PARTS), *([REJECTED_MEDIA] if _MEDIA_TABLES else [])]
_CAPTIONS = {
    "contact_sheet": "Some of the pictures.",
    "spectrograms": "Some of the sounds: 64 mel bands, low ones at the bottom, time to the right.",
    "augmentation": "First as it is; then what training may do to it, one kind of change at a time, as configured.",
}
_MEDIA: dict[str, Any] = {"same_day": [ITEMS], "checks": ["keeps_its_contract", "reject_few_files"], "pool": "gpu"}


@daily_asset(group=GROUP, **_MEDIA)
def item_image_vectors(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Vectors of the items' pictures. Only files never seen by this model are decoded and encoded; an item without a
    readable picture has no vector.
    """
    return _media(context, project, ITEM_IMAGE_VECTORS, "image")


@daily_asset(group=GROUP, **_MEDIA)
def item_audio_vectors(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Vectors of the items' sounds. Only files never seen by this model are decoded and encoded; an item without a
    readable sound, or with a silent one, has no vector.
    """
    return _media(context, project, ITEM_AUDIO_VECTORS, "audio")


@daily_asset(
    group=GROUP,
    same_day=_MEDIA_TABLES,
    checks=["keeps_its_contract"],
)
def rejected_media(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """Files of the day that could not be read, each with its reason. Their items stay: that modality is masked."""
    day = context.partition_key
    modalities = project.config.features.media
    frame = pl.concat([project.partitions.read(rejected_of(modality), day) for modality in modalities])
    manifest = project.partitions.write(REJECTED_MEDIA, day, frame)
    reasons = dg.MetadataValue.md(sample_table(frame, rows=_SHOWN_REJECTED))
    return rejects_result(REJECTED_MEDIA, frame, manifest, RejectedMedia, of="modality", unit="files", reasons=reasons)


@daily_asset(
    group=GROUP,
    same_day=_FUSED_OF,
    all_days=[INTERACTIONS],
    checks=["keeps_its_contract"],
)
def item_vectors(context: dg.AssetExecutionContext, project: dg.ResourceParam[Project]) -> Result:
    """One vector an item of whatever is known of it: text, picture, sound, in any mix. What joins them is learned of
    the items that somebody had taken by the day's end; a cold item is fused by the same numbers.
    """
    day, config = context.partition_key, project.config
    vectors: dict[str, pl.DataFrame] = {name: project.partitions.read(VECTOR_TABLES[name], day) for name in FUSED_PARTS}
    past = project.partitions.scan(INTERACTIONS, until=day).select(USER_ID, ITEM_ID, TIMESTAMP).collect()
    items = project.partitions.read(ITEMS, day)
    parts = fusion_parts(vectors, items, past, config.features)
    views = fusion_views(items, root=project.media_root, config=config, cache=project.vectors)
    frame, fusion = fused_on(parts, past, config.features.fusion, views=views, seed=config.seed)
    weights = {} if fusion is None else fusion.weights
    manifest = write_vectors(
        project, ITEM_VECTORS, day, frame, companions=_saver(fusion),
        method=config.features.fusion.method, weights=weights, seed=config.seed,
    )  # fmt: skip
    return result(
        dated(frame, day),
        manifest,
        checks=[keeps_contract(ITEM_VECTORS, frame, ItemVectors)],
        masked=frame[VECTOR].null_count(),
        page=dg.MetadataValue.path(str(_page(project, day, parts, frame))),
        **seen(project, day, ITEM_VECTORS, frame),
        weights=dg.MetadataValue.json(weights),
        **{f"with_{name}": part.height - part[VECTOR].null_count() for name, part in parts.items()},
    )


def rejected_of(modality: Modality) -> str:
    """Where the rejected files of one modality wait for `rejected_media` to gather them."""
    return f"{REJECTED_MEDIA}.{modality}"


def _media(context: dg.AssetExecutionContext, project: Project, name: str, modality: Modality) -> Result:
    day, config = context.partition_key, project.config
    items = project.partitions.read(ITEMS, day)
    frame, rejected, counts = media_vectors(
        items, modality, root=project.media_root, config=config, cache=project.vectors, report=_told(context, modality)
    )
    # The reasons first, so that a run that stops over its rejected share has kept them.
    project.partitions.write(rejected_of(modality), day, rejected)
    manifest = write_vectors(project, name, day, frame)
    looks = media_looks(items, frame, modality, root=project.media_root, config=config)
    checks = [keeps_contract(name, frame, ItemVectors), _rejects_few(name, counts, config.media.max_rejected_share)]
    shown = {what: picture(looks[what], caption) for what, caption in _CAPTIONS.items() if what in looks}
    return result(
        dated(frame, day), manifest, checks=checks, **vars(counts), **shown, **seen(project, day, name, frame)
    )


def _page(project: Project, day: str, parts: Mapping[str, pl.DataFrame], fused: pl.DataFrame) -> Path:
    """Everything that can be seen and heard of the day's items, on one page beside the day's report."""
    path = project.reports(day) / "modalities.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    items, root, config = project.partitions.read(ITEMS, day), project.media_root, project.config
    rejected = project.partitions.read(REJECTED_MEDIA, day) if config.features.media else RejectedMedia.create_empty()
    page = render_modalities(
        day, items, {**parts, "all fused": fused},
        media={name: media_looks(items, parts[name], name, root=root, config=config) for name in config.features.media},
        rejected=rejected,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")
    return path


def _rejects_few(name: str, counts: MediaCounts, most: float) -> dg.AssetCheckResult:
    share = counts.rejected / max(1, counts.items - counts.without_media)
    return passed(name, "reject_few_files", share <= most, share=share, most=most, rejected=counts.rejected)


def _saver(fusion: Fusion | None) -> Callable[[Path], None] | None:
    from safetensors.numpy import save_file

    return None if fusion is None else lambda folder: save_file(fusion.to_arrays(), folder / FUSION_FILE)


def _told(context: dg.AssetExecutionContext, modality: str) -> Callable[[int, int], None]:
    """A line each time another tenth is done: a catalogue may have a million files."""
    told = {0}

    def tell(done: int, total: int) -> None:
        tenth = 10 * done // max(1, total)
        if tenth not in told:
            told.add(tenth)
            context.log.info(f"{modality}: {done:,} of {total:,} files")

    return tell


_SWITCHED: dict[str, Any] = {"image": item_image_vectors, "audio": item_audio_vectors}
ASSETS: list[Any] = [
    *(_SWITCHED[modality] for modality in CONFIG.features.media),
    *([rejected_media] if CONFIG.features.media else []),
    *([item_vectors] if FUSED in MADE_VECTORS else []),
]
