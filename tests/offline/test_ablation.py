"""Ablations: what stands in the table, that it is fair, and that no variant learns of the future."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.names import AblationName
from genre_pipeline.evaluation.ablation import ablation_markdown, ablation_rows
from genre_pipeline.features.extraction import FeaturesConfig
from genre_pipeline.features.image_descriptors import DescriptorsConfig
from genre_pipeline.features.media_extraction import ImageTechniqueConfig
from genre_pipeline.features.tabular import TabularConfig
from genre_pipeline.features.text_llm import LlmTextConfig
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.offline.ablation import ABLATIONS, ablate, evaluate_with_ablations, to_prepare
from genre_pipeline.offline.dataset import Prepared, prepare, source_of, training_set
from genre_pipeline.offline.writing import write_evaluation
from genre_pipeline.training.splits import split_by_time
from tests.offline import shop

VARIANTS = [
    "all", "text alone", "image alone", "audio alone", "tabular alone",
    "without text", "without image", "without audio", "without tabular", "none",
]  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenreConfig:
    home = tmp_path_factory.mktemp("home")
    encoder = tiny_encoder(home / "encoder", ["space", "kitchen", "romance"])
    quick = shop.quick_config(home)
    features = FeaturesConfig(
        llm=LlmTextConfig(source=str(encoder), max_tokens=64),
        image=ImageTechniqueConfig(technique="descriptors", descriptors=DescriptorsConfig(size=16, cells=2)),
        tabular=TabularConfig(enabled=True),
    )
    ablation = quick.evaluation.model_copy(update={"ablate": (AblationName.MODALITIES,)})
    return quick.model_copy(update={"features": features, "evaluation": ablation})


@pytest.fixture(scope="module")
def prepared(world: Path, config: GenreConfig) -> Prepared:
    return prepare(source_of(world), to_prepare(config))


def test_the_table_and_its_files(prepared: Prepared, config: GenreConfig, tmp_path: Path) -> None:
    said: list[str] = []
    found = evaluate_with_ablations(prepared, config, protocol="time", step_days=1, say=said.append)
    assert [line for line in said if line.startswith("modalities")] == [f"modalities: {name}" for name in VARIANTS]
    assert set(found.result.recommenders()) == {"popularity", "item_knn", "ease", "hybrid"}
    ablation = found.ablations["modalities"]
    rows = ablation_rows(ablation)
    assert rows[0]["variant"] == "all"
    assert {row["variant"] for row in rows} == set(VARIANTS)
    assert list(rows[0])[:4] == ["variant", "nDCG@10", "vs all", "recall@10"]
    assert rows[0]["vs all"] == ""
    assert all("[" in row["vs all"] for row in rows[1:])
    names = write_evaluation(found, tmp_path)
    assert names == ["metrics.json", "report.html", "ablation.json", "recommendations.parquet"]
    kept = json.loads((tmp_path / "ablation.json").read_text())["modalities"]
    assert (kept["champion"], set(kept["recommenders"])) == ("all", set(VARIANTS))
    page = (tmp_path / "report.html").read_text()
    assert 'id="ablations"' in page
    assert "without tabular" in page
    assert ablation_markdown(ablation).startswith("| variant | nDCG@10 | vs all |")


def test_a_variant_is_the_modality_that_it_names(prepared: Prepared, config: GenreConfig) -> None:
    split = split_by_time(prepared.data.interactions)
    vectors = {
        variant.name: training_set(variant.prepared, split, variant.config, only_known_items=True).item_vectors
        for variant in ABLATIONS[AblationName.MODALITIES].variants(prepared, config)
    }
    assert set(vectors["all"]) == {"fused"}
    has = {name: made["fused"].any(axis=1) for name, made in vectors.items() if name != "none"}
    pictures = prepared.vectors["image"].drop_nulls("vector")["item_id"]
    known = pl.Series(sorted([*prepared.data.items["item_id"], "i99"]))
    np.testing.assert_array_equal(has["image alone"], known.is_in(pictures.implode()))
    assert has["audio alone"].sum() < has["image alone"].sum() < has["text alone"].sum()
    assert has["all"].sum() >= has["without text"].sum()
    assert not np.allclose(vectors["all"]["fused"], vectors["without image"]["fused"])


def test_a_data_set_with_one_modality_compares_it_with_none(prepared: Prepared, config: GenreConfig) -> None:
    bare = config.model_copy(update={"features": config.features.model_copy(update={"tabular": TabularConfig()})})
    texts = Prepared(prepared.data, {"text_llm": prepared.vectors["text_llm"]})
    found = ablate(AblationName.MODALITIES, texts, bare, protocol="time", step_days=1, say=lambda _: None)
    assert set(found.recommenders()) == {"all", "none"}
    with pytest.raises(ConfigError, match="finds nothing to compare in 'world'"):
        ablate(AblationName.MODALITIES, Prepared(prepared.data, {}), bare, protocol="time", step_days=1, say=print)


def test_rolling_steps_and_cold_items_have_their_place(prepared: Prepared, config: GenreConfig) -> None:
    last = prepared.data.interactions["timestamp"].max()
    rows = [(f"{user:03d}", "i24", last + timedelta(minutes=user), "view", None) for user in range(1, 25)]  # type: ignore[operator]
    late = pl.DataFrame(rows, schema=prepared.data.interactions.schema, orient="row")
    data = type(prepared.data)(**{**vars(prepared.data), "interactions": pl.concat([prepared.data.interactions, late])})
    grown = Prepared(data, prepared.vectors)
    for protocol in ("time", "rolling"):
        found = ablate(AblationName.MODALITIES, grown, config, protocol=protocol, step_days=1, say=lambda _: None)  # type: ignore[arg-type]
        row = next(row for row in ablation_rows(found) if row["variant"] == "text alone")
        assert list(row)[4:] == ["cold recall@50", "× chance", "cold vs all"]
        assert float(row["× chance"]) >= 1


@given(st.lists(st.integers(0, 23), min_size=1, max_size=40), st.floats(0, 1e6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_vectors_of_the_past_do_not_change_with_the_future(
    prepared: Prepared, config: GenreConfig, taken: list[int], price: float
) -> None:
    """Whatever is taken after the cut, and whatever items cost that nobody had had before it: the same bits."""
    wide = to_prepare(config)
    split = split_by_time(prepared.data.interactions)
    before = training_set(prepared, split, wide, only_known_items=True)
    is_late = pl.col("timestamp") >= split.as_of
    other = [f"i{taken[place % len(taken)] + 1:02d}" for place in range(prepared.data.interactions.height)]
    known = split.past["item_id"].unique().implode()
    changed = {
        "interactions": prepared.data.interactions.with_columns(
            item_id=pl.when(is_late).then(pl.Series(other)).otherwise("item_id")
        ),
        "items": prepared.data.items.with_columns(
            price=pl.when(pl.col("item_id").is_in(known)).then("price").otherwise(price)
        ),
    }
    future = Prepared(type(prepared.data)(**{**vars(prepared.data), **changed}), prepared.vectors)
    after = training_set(future, split_by_time(future.data.interactions), wide, only_known_items=True)
    assert set(before.item_vectors) == {"text_llm", "fused"}
    rows = before.item_positions(split.past["item_id"].unique().sort())
    for name, vectors in before.item_vectors.items():
        at = after.item_positions(before.item_ids.gather(rows))
        np.testing.assert_array_equal(after.item_vectors[name][at], vectors[rows])
