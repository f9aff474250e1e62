"""Pictures and sounds to vectors, modalities to one: counts, masks, caches, and a fusion that knows its past only."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import VECTOR
from genre_pipeline.contracts.errors import TrainingError
from genre_pipeline.contracts.media import Sound
from genre_pipeline.features.behaviour import BEHAVIOUR, BehaviourConfig
from genre_pipeline.features.extraction import FeaturesConfig
from genre_pipeline.features.fusion import FusionConfig
from genre_pipeline.features.media_extraction import AudioTechniqueConfig, ImageTechniqueConfig
from genre_pipeline.features.vector_cache import VectorCache
from genre_pipeline.features.vector_column import to_column, to_matrix
from genre_pipeline.offline.behaviour import behaviour_part, judged_by
from genre_pipeline.offline.item_vectors import (
    NOTHING_LEARNED,
    fused_on,
    fused_vectors,
    fusion_views,
    levelled,
    media_vectors,
)
from genre_pipeline.preprocessing.audio import AudioConfig
from genre_pipeline.preprocessing.augmentation import AugmentationConfig
from genre_pipeline.preprocessing.augmentation_audio import AudioAugmentationConfig
from genre_pipeline.preprocessing.augmentation_image import ImageAugmentationConfig
from genre_pipeline.preprocessing.items import clean_items
from genre_pipeline.sources.media import MediaConfig
from tests import scenario

ITEMS = clean_items(scenario.raw_items()).kept
PAST = pl.DataFrame(scenario.clean_interaction_rows()).with_columns(
    pl.col("timestamp").str.to_datetime(time_zone="UTC")
)


@pytest.fixture
def config(tmp_path: Path) -> GenreConfig:
    return GenreConfig(
        home=tmp_path / "home",
        media=MediaConfig(workers=1),
        features=FeaturesConfig(image=ImageTechniqueConfig(technique="descriptors"), audio=AudioTechniqueConfig()),
    )


@pytest.fixture
def cache(config: GenreConfig) -> VectorCache:
    return VectorCache(config.home / "cache" / "vectors")


def table(matrix: np.ndarray, model: str = "m") -> pl.DataFrame:
    ids = pl.Series("item_id", [f"i{row:03d}" for row in range(len(matrix))], dtype=pl.String)
    vectors = to_column(matrix.astype(np.float32))
    return pl.DataFrame([ids, ids.alias("content_hash"), vectors]).with_columns(pl.lit(model).alias("model"))


def random_parts(n: int = 40, seed: int = 0) -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    text, image = rng.standard_normal((n, 6)), rng.standard_normal((n, 5))
    text[0], image[1], text[2], image[2] = 0, 0, 0, 0
    return {"text": table(text, "text"), "image": table(image, "image")}


def test_pictures_become_vectors_once(world: Path, config: GenreConfig, cache: VectorCache) -> None:
    first, rejected, counts = media_vectors(ITEMS, "image", root=str(world), config=config, cache=cache)
    assert first["item_id"].to_list() == ITEMS["item_id"].to_list()
    assert set(rejected["item_id"]) == {scenario.BROKEN_IMAGE_ITEM, scenario.MISSING_IMAGE_ITEM}
    assert (counts.items, counts.without_media, counts.rejected, counts.reused, counts.encoded) == (24, 8, 2, 11, 3)
    told: list[tuple[int, int]] = []
    again, _, counts = media_vectors(
        ITEMS, "image", root=str(world), config=config, cache=cache, report=lambda *one: told.append(one)
    )
    assert again.equals(first)
    assert (counts.reused, counts.encoded) == (14, 0)
    assert told[-1] == (16, 24)


def with_views(config: GenreConfig, method: str = "gated") -> GenreConfig:
    changes = AugmentationConfig(
        image=ImageAugmentationConfig(crop=1, jitter=1), audio=AudioAugmentationConfig(noise=1, masks=1)
    )
    fusion = config.features.fusion.model_copy(update={"method": method})
    return config.model_copy(
        update={
            "preprocessing": config.preprocessing.model_copy(update={"augmentation": changes}),
            "features": config.features.model_copy(update={"fusion": fusion}),
        }
    )


def test_views_are_other_vectors_made_once_and_leave_those_of_inference_alone(
    world: Path, config: GenreConfig, cache: VectorCache
) -> None:
    where: dict[str, Any] = {"root": str(world), "cache": cache}
    changing = with_views(config)
    plain = {one: media_vectors(ITEMS, one, config=config, **where)[0] for one in ("image", "audio")}
    assert media_vectors(ITEMS, "image", config=changing, **where)[0].equals(plain["image"])
    views = fusion_views(ITEMS, config=changing, **where)
    assert sorted(views) == ["audio", "image"]
    for modality, view in views.items():
        assert view["vector"].null_count() == plain[modality]["vector"].null_count()
        there = view["vector"].is_not_null()
        assert (to_matrix(view["vector"].filter(there)) != to_matrix(plain[modality]["vector"].filter(there))).any()
        *_, counts = media_vectors(ITEMS, modality, config=changing, as_views=True, **where)
        assert counts.encoded == 0
    other_seed = changing.model_copy(update={"seed": changing.seed + 1})
    assert not fusion_views(ITEMS, config=other_seed, **where)["image"].equals(views["image"])
    assert fusion_views(ITEMS, config=config, **where) == {}
    assert fusion_views(ITEMS, config=with_views(config, "mean"), **where) == {}


def test_what_is_done_before_the_extractor_is_part_of_the_model(
    world: Path, config: GenreConfig, cache: VectorCache
) -> None:
    def model(config: GenreConfig) -> str:
        return str(media_vectors(ITEMS, "audio", root=str(world), config=config, cache=cache)[0]["model"][0])

    quieter = config.preprocessing.model_copy(update={"audio": AudioConfig(loudness_db=-30)})
    shorter = MediaConfig(workers=1, max_sound_seconds=1)
    assert len({model(config), model(config.model_copy(update={"preprocessing": quieter})),
                model(config.model_copy(update={"media": shorter}))}) == 3  # fmt: skip


def test_without_any_file_no_weights_are_asked_for(tmp_path: Path, cache: VectorCache) -> None:
    blind = ITEMS.with_columns(image=pl.lit(None, pl.String))
    nowhere = ImageTechniqueConfig.model_validate({"cnn": {"source": str(tmp_path / "nothing")}})
    config = GenreConfig(home=tmp_path, features=FeaturesConfig(image=nowhere))
    vectors, rejected, counts = media_vectors(blind, "image", root=None, config=config, cache=cache)
    assert (vectors["vector"].null_count(), rejected.height, counts.without_media) == (24, 0, 24)
    assert not cache.folder.exists()


def test_a_sound_is_trimmed_and_levelled_at_its_own_rate() -> None:
    wave = np.concatenate([np.zeros(4_000), 0.01 * np.sin(np.arange(8_000) / 3), np.zeros(4_000)])
    heard = levelled(Sound(wave.astype(np.float32), 44_100), AudioConfig())
    assert heard.sample_rate == 44_100
    assert 8_000 <= len(heard.samples) < 10_000
    assert np.abs(heard.samples).max() > 0.05
    assert levelled(Sound(np.zeros(10, dtype=np.float32), 96_000), AudioConfig()).sample_rate == 48_000


@pytest.mark.parametrize("method", ["mean", "concatenate"])
def test_an_item_has_a_vector_if_any_part_has(method: str) -> None:
    fused, fusion = fused_vectors(random_parts(), FusionConfig(method=method))  # type: ignore[arg-type]
    assert fusion is not None
    assert fused["model"].unique().to_list() == [fusion.model]
    assert fused.filter(pl.col(VECTOR).is_null())["item_id"].to_list() == ["i002"]
    assert np.linalg.norm(to_matrix(fused[VECTOR]), axis=1)[3:] == pytest.approx(1.0, abs=1e-5)


def test_the_content_hash_follows_every_part_and_only_its_own_item() -> None:
    parts = random_parts()
    before = fused_vectors(parts, FusionConfig())[0]["content_hash"]
    changed = pl.when(pl.col("item_id") == "i007").then(pl.lit("new")).otherwise("content_hash").alias("content_hash")
    after = fused_vectors({**parts, "image": parts["image"].with_columns(changed)}, FusionConfig())[0]["content_hash"]
    assert np.flatnonzero((before != after).to_numpy()).tolist() == [7]
    swapped = fused_vectors(dict(reversed(parts.items())), FusionConfig())[0]["content_hash"]
    assert swapped.to_list() == before.to_list()


def test_tables_in_another_order_fuse_the_same_items() -> None:
    parts = random_parts()
    mixed = {**parts, "image": parts["image"].reverse()}
    assert fused_vectors(mixed, FusionConfig())[0].equals(fused_vectors(parts, FusionConfig())[0])


def test_a_modality_that_no_training_item_has_is_left_out() -> None:
    parts = random_parts()
    training = pl.Series([row == 1 or row > 5 for row in range(40)])
    blind = parts["image"].with_columns(pl.when(pl.Series(~training)).then(VECTOR).alias(VECTOR))
    fused, fusion = fused_vectors({**parts, "image": blind}, FusionConfig(), training=training)
    assert fusion is not None
    assert list(fusion.weights) == ["text"]
    assert fused[VECTOR].null_count() == 2


def test_where_nothing_can_be_learned_everything_is_masked() -> None:
    nobody = pl.Series([False] * 40)
    fused, fusion = fused_vectors(random_parts(), FusionConfig(), training=nobody)
    assert fusion is None
    assert fused["model"].unique().to_list() == [NOTHING_LEARNED]
    assert fused[VECTOR].null_count() == 40


def test_gates_need_something_taken_together() -> None:
    one_each = PAST.unique("user_id", keep="first", maintain_order=True)
    text = ITEMS.select("item_id").with_columns(
        model=pl.lit("m"), content_hash=pl.col("item_id"),
        vector=to_column(np.random.default_rng(1).standard_normal((24, 5)).astype(np.float32)),
    )  # fmt: skip
    fused, fusion = fused_on({"text": text}, PAST, FusionConfig(method="gated"), seed=1)
    assert fusion is not None
    assert fusion.weights == {"text": 1.0}
    assert fused[VECTOR].null_count() == 0
    with pytest.raises(TrainingError, match="consumed together"):
        fused_on({"text": text}, one_each, FusionConfig(method="gated"), seed=1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 9))
def test_a_fusion_knows_its_past_only(day: int) -> None:
    cut = PAST["timestamp"].min() + timedelta(days=day, hours=12)  # type: ignore[operator]
    past = PAST.filter(pl.col("timestamp") < cut)
    vectors = np.random.default_rng(2).standard_normal((24, 5)).astype(np.float32)
    unknown = ~ITEMS["item_id"].is_in(past["item_id"].implode()).to_numpy()

    def learned(matrix: np.ndarray) -> str:
        frame = ITEMS.select("item_id").with_columns(
            model=pl.lit("m"), content_hash=pl.col("item_id"), vector=to_column(matrix)
        )
        fusion = fused_on({"text": frame}, past, FusionConfig(), seed=1)[1]
        return "" if fusion is None else fusion.model

    other = np.where(unknown[:, None], 7 * vectors[::-1], vectors)
    assert learned(vectors) == learned(other)


def test_a_history_counts_by_users_it_was_not_learned_of_and_leaves_cold_items_to_their_content() -> None:
    rng = np.random.default_rng(3)
    ids = [f"i{number:02d}" for number in range(30)]
    rows = [
        (f"u{user:03d}", ids[item + 14 * (user % 2)], scenario.FIRST_DAY + timedelta(minutes=step))
        for user in range(100)
        for step, item in enumerate(rng.permutation(14)[:6])
    ]
    past = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    text = table(rng.standard_normal((30, 6)), "text").with_columns(pl.Series("item_id", ids))
    history = behaviour_part(text["item_id"], past, BehaviourConfig(factors=4))
    assert history is not None
    assert history["vector"].null_count() == 2
    fused, fusion = fused_on({"text": text, BEHAVIOUR: history}, past, FusionConfig(method="gated"), seed=1)
    assert fusion is not None
    assert fusion.weights[BEHAVIOUR] > fusion.weights["text"]
    assert fused["vector"].null_count() == 0
    judges = judged_by(past)
    assert 15 <= judges["user_id"].n_unique() <= 25
    unchanged = pl.concat([past, judges.with_columns(item_id=pl.lit("i00"))])
    again = behaviour_part(text["item_id"], unchanged, BehaviourConfig(factors=4))
    assert again is not None
    assert again.equals(history)
    assert behaviour_part(text["item_id"], past.head(3), BehaviourConfig()) is None
