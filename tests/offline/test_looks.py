"""What is shown of a night: the same items until they change, each decoded once, everything named."""

import base64
import io
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.media import RejectedMedia
from genre_pipeline.features.extraction import FeaturesConfig
from genre_pipeline.features.item_texts import ItemTextConfig
from genre_pipeline.features.media_extraction import ImageTechniqueConfig
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.offline.item_vectors import media_vectors
from genre_pipeline.offline.looks import (
    media_looks,
    neighbours_markdown,
    neighbours_of,
    plane_of,
    text_augmentation_table,
)
from genre_pipeline.offline.modality_page import render_modalities
from genre_pipeline.preprocessing.items import clean_items
from genre_pipeline.sources.media import MediaConfig
from tests import scenario

ITEMS = clean_items(scenario.raw_items()).kept
NOBODY = RejectedMedia.create_empty()


@pytest.fixture
def config(tmp_path: Path) -> GenreConfig:
    features = FeaturesConfig(image=ImageTechniqueConfig(technique="descriptors"))
    return GenreConfig(home=tmp_path / "home", media=MediaConfig(workers=1), features=features)


def vectors_of(modality: str, world: Path, config: GenreConfig) -> pl.DataFrame:
    cache = VectorCache(config.home / "cache" / "vectors")
    return media_vectors(ITEMS, modality, root=str(world), config=config, cache=cache)[0]  # type: ignore[arg-type]


def size(uri: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size


def test_pictures_are_shown_once_by_content(world: Path, config: GenreConfig) -> None:
    looks = media_looks(ITEMS, vectors_of("image", world, config), "image", root=str(world), config=config)
    assert set(looks) == {"contact_sheet", "augmentation"}
    assert size(looks["augmentation"]) == (3 * 92 - 4, 4 * 92 - 4), "three distinct pictures, four rows"


def test_nothing_is_decoded_for_the_same_look_again(world: Path, config: GenreConfig) -> None:
    vectors = vectors_of("audio", world, config)
    first = media_looks(ITEMS, vectors, "audio", root=str(world), config=config)
    assert media_looks(ITEMS, vectors, "audio", root="/no/such/folder", config=config) == first
    assert len([name for name in first if name.endswith(("i01", "i07", "i13"))]) == 3
    (kept,) = (config.home / "cache" / "looks").iterdir()
    kept.write_text("{")
    assert media_looks(ITEMS, vectors, "audio", root=str(world), config=config) == first
    louder = config.model_copy(update={"seed": config.seed + 1})
    assert media_looks(ITEMS, vectors, "audio", root=str(world), config=louder) != first


def test_nothing_to_show_is_no_error(world: Path, config: GenreConfig) -> None:
    blind = vectors_of("image", world, config).with_columns(vector=pl.lit(None, pl.List(pl.Float32)))
    assert media_looks(ITEMS, blind, "image", root=str(world), config=config) == {}
    assert neighbours_of(ITEMS, blind) == []
    assert plane_of(ITEMS, blind, "image") == ""


def test_neighbours_have_their_titles_and_markup_stays_text(world: Path, config: GenreConfig) -> None:
    marked = ITEMS.with_columns(title=pl.format("<b>{}|", "item_id"))
    vectors = vectors_of("audio", world, config)
    found = neighbours_of(marked, vectors)
    assert [(one.title, len(one.nearest)) for one in found] == [("<b>i01|", 2), ("<b>i07|", 2), ("<b>i13|", 2)]
    table = neighbours_markdown(found)
    assert "<b>" not in table
    assert table.splitlines()[2].count(" | ") == 1
    assert plane_of(marked, vectors, "audio").startswith("data:image/png")


def test_texts_before_and_after(config: GenreConfig) -> None:
    lines = text_augmentation_table(ITEMS, ItemTextConfig(), config).splitlines()
    assert lines[0].split(" | ")[1:] == [
        "title_only, p = 0", "field_dropout, p = 0", "token_dropout, p = 0", "span_deletion, p = 0 |"
    ]  # fmt: skip
    assert len(lines) == 6
    for line in lines[2:]:
        whole, title, *rest = line.strip("| ").split(" | ")
        assert whole.startswith(title)
        assert any(part != whole for part in (title, *rest))


def test_the_page_escapes_what_came_from_data(world: Path, config: GenreConfig) -> None:
    vectors = vectors_of("audio", world, config)
    marked = ITEMS.with_columns(title=pl.lit("<script>alert(1)</script>"))
    looks = media_looks(marked, vectors, "audio", root=str(world), config=config)
    rejected = pl.DataFrame(
        [("i02", "image", "images/i02.png", "undecodable", "<img src=x>")], schema=NOBODY.schema, orient="row"
    )
    page = render_modalities("2024-03-10", marked, {"audio": vectors}, media={"audio": looks}, rejected=rejected)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("<audio") == 3
    empty = render_modalities("2024-03-10", ITEMS, {}, media={"image": {}}, rejected=NOBODY)
    assert "No item has one that can be read." in empty
