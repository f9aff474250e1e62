"""Pictures and sounds through the whole graph: vectors, masks, what was rejected, cold items online, nothing twice."""

import base64
import io
import re
from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest
from PIL import Image
from polars.testing import assert_frame_equal

from tests import scenario
from tests.defs.worlds import CONFIG, NIGHTS, World

pytestmark = pytest.mark.slow

DAY = NIGHTS[-1]
MEDIA = "item_image_vectors,item_audio_vectors"
FEATURES = CONFIG["features"]
assert isinstance(FEATURES, dict)


@pytest.fixture
def instance(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    yield from opened(world, monkeypatch)


def opened(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(world.folder))
    monkeypatch.setenv("GENRE_HOME", str(world.folder / "home"))
    monkeypatch.delenv("GENRE_DATABASE_URL", raising=False)
    with dg.DagsterInstance.get() as found:
        yield found


def told(instance: dg.DagsterInstance, asset: str, day: str) -> dict[str, object]:
    filters = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[day])
    (record,) = instance.fetch_materializations(filters, limit=1).records
    assert record.asset_materialization is not None
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def with_vector(world: World, table: str) -> set[str]:
    return set(world.project.partitions.read(table, DAY).drop_nulls("vector")["item_id"])


def test_what_can_be_seen_or_heard_has_a_vector_and_the_rest_is_masked(world: World) -> None:
    items = scenario.raw_items().filter(pl.col("item_id").is_in(scenario.ITEM_IDS))
    unseen = {scenario.BROKEN_IMAGE_ITEM, scenario.MISSING_IMAGE_ITEM}
    unheard = {scenario.BROKEN_AUDIO_ITEM, scenario.SILENT_ITEM}
    assert with_vector(world, "item_image_vectors") == set(items.drop_nulls("image")["item_id"]) - unseen
    assert with_vector(world, "item_audio_vectors") == set(items.drop_nulls("audio")["item_id"]) - unheard


def test_an_item_is_fused_of_whatever_it_has(world: World) -> None:
    fused = with_vector(world, "item_vectors")
    assert fused == set(scenario.ITEM_IDS)
    assert scenario.TEXTLESS_ITEM not in with_vector(world, "item_text_vectors")
    table = world.project.partitions.read("item_vectors", DAY)
    assert table["item_id"].to_list() == world.project.partitions.read("items", DAY)["item_id"].to_list()
    assert set(table["vector"].drop_nulls().list.eval(pl.element().pow(2).sum().sqrt()).list.first().round(5)) == {1.0}


def test_a_file_that_cannot_be_read_is_a_row_with_its_reason(world: World) -> None:
    found = world.project.partitions.read("rejected_media", DAY).drop("detail").sort("item_id")
    image, sound = ("images/{}.png", "sounds/{}.wav")
    broken, missing, cut = scenario.BROKEN_IMAGE_ITEM, scenario.MISSING_IMAGE_ITEM, scenario.BROKEN_AUDIO_ITEM
    expected = pl.DataFrame(
        [
            (broken, "image", image.format(broken), "format_refused"),
            (missing, "image", image.format(missing), "file_missing"),
            (cut, "audio", sound.format(cut), "undecodable"),
        ],
        schema=found.schema, orient="row",
    )  # fmt: skip
    assert_frame_equal(found, expected)


def test_a_cold_item_is_online_at_once(world: World) -> None:
    past = world.project.partitions.scan("interactions", until=DAY).collect()
    assert scenario.COLD_ITEM not in set(past["item_id"])
    for view in ("item_image_vectors", "item_vectors"):
        online = world.project.features.online(view, [scenario.COLD_ITEM])
        kept = world.project.partitions.read(view, DAY).filter(item_id=scenario.COLD_ITEM)
        assert online["vector"].null_count() == 0
        assert_frame_equal(online, kept, check_column_order=False)


def test_a_picture_alone_has_similar_items(world: World) -> None:
    similar = world.project.partitions.read("similar_items", DAY)
    assert not similar.filter(item_id=scenario.TEXTLESS_ITEM).is_empty()


def test_training_knows_which_vectors_were_known_the_evening_before(world: World) -> None:
    features = world.project.partitions.read("training_features", DAY)
    before = world.project.partitions.read("item_vectors", NIGHTS[-2])
    known = features.select("item_id", "item_vectors__model", "item_vectors__content_hash").unique()
    expected = known.select("item_id").join(before, on="item_id").select("item_id", "model", "content_hash")
    renamed = expected.rename({"model": "item_vectors__model", "content_hash": "item_vectors__content_hash"})
    assert_frame_equal(known, renamed, check_row_order=False)


def test_a_second_run_reads_nothing_again(own_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = own_world.manifests(DAY)
    answer = own_world.genre("run", "--date", DAY, "--select", MEDIA)
    assert answer.code == 0, answer.notes
    assert own_world.manifests(DAY) == before
    for instance in opened(own_world, monkeypatch):
        for asset, reused in (("item_image_vectors", 14), ("item_audio_vectors", 4)):
            found = told(instance, asset, DAY)
            assert (found["encoded"], found["reused"]) == (0, reused), asset


def test_the_first_night_encodes_each_file_once(instance: dg.DagsterInstance) -> None:
    first = told(instance, "item_image_vectors", NIGHTS[0])
    counts = {name: first[name] for name in ("items", "without_media", "rejected", "reused", "encoded")}
    assert counts == {"items": 24, "without_media": 9, "rejected": 2, "reused": 10, "encoded": 3}


def test_too_many_rejected_files_stop_the_night_and_are_kept(own_world: World) -> None:
    own_world.configure({"media": {"workers": 1, "max_rejected_share": 0.1}})
    store, published = own_world.project.partitions, own_world.published()
    answer = own_world.genre("run", "--date", DAY)
    assert answer.code == 1
    assert "  ✗   check item_image_vectors_reject_few_files failed" in answer.notes
    assert "  –   publication  skipped" in answer.notes
    assert store.read("rejected_media.image", DAY).height == 2
    assert own_world.published() == published


def test_a_modality_that_is_switched_off_leaves_a_view_without_rows(own_world: World) -> None:
    own_world.configure({"features": {**FEATURES, "audio": {"enabled": False}}})
    fused = own_world.manifests(DAY)["item_vectors"]
    answer = own_world.genre("run", "--date", DAY, "--select", "rejected_media,item_vectors,online_features")
    assert answer.code == 0, answer.notes
    assert own_world.manifests(DAY)["item_vectors"] != fused
    assert set(own_world.project.partitions.read("rejected_media", DAY)["modality"]) == {"image"}
    assert "item_audio_vectors" in own_world.project.features.health().views
    refused = own_world.genre("run", "--date", DAY, "--select", "item_audio_vectors")
    assert refused.code == 1


def test_missing_weights_are_named_with_the_three_ways(own_world: World) -> None:
    own_world.configure({"features": {**FEATURES, "image": {"technique": "cnn", "cnn": {"source": "/no/such"}}}})
    answer = own_world.genre("run", "--date", DAY, "--select", "item_image_vectors")
    assert answer.code == 1
    assert "ModelFileError" in answer.notes
    assert "pip install" in answer.notes


def test_the_metadata_shows_what_there_is(instance: dg.DagsterInstance) -> None:
    for asset, pictures in {
        "item_image_vectors": ("contact_sheet", "augmentation", "plane"),
        "item_audio_vectors": ("spectrograms", "augmentation", "plane"),
        "item_vectors": ("plane",),
        "item_text_vectors": ("plane",),
    }.items():
        found = told(instance, asset, DAY)
        for name in pictures:
            (encoded,) = re.findall(r"data:image/png;base64,([^)]+)\)", str(found[name]))
            assert Image.open(io.BytesIO(base64.b64decode(encoded))).format == "PNG", (asset, name)
            assert len(encoded) < 150_000
        assert str(found["neighbours"]).startswith("| item | nearest")
    assert "title_only, p = 0" in str(told(instance, "item_texts", DAY)["augmentation"])


def test_the_page_of_a_night_plays_sounds_and_asks_nobody(world: World) -> None:
    page = (world.folder / "home" / "reports" / DAY / "modalities.html").read_text()
    assert page.count("data:audio/wav") == 3
    assert scenario.BROKEN_AUDIO_ITEM in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import', page)
