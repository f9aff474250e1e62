"""The ablation of generation, without a model: what stands in the table, and that nothing learns of the future."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.names import AblationName
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.evaluation.ablation import differences
from genre_pipeline.features.extraction import FeaturesConfig
from genre_pipeline.features.text_llm import LlmTextConfig
from genre_pipeline.generation.requests import Answer, Request
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.models.bert import tiny_encoder
from genre_pipeline.offline.ablation import ablate, judge_and_choose, judge_variants
from genre_pipeline.offline.ablation_generation import ENABLED, OFF, variants_asked, with_content
from genre_pipeline.offline.dataset import Prepared, prepare, source_of, training_set, training_set_for_lists
from genre_pipeline.offline.generation import past_to_tell
from genre_pipeline.offline.judging import ProtocolName, validation_part
from genre_pipeline.offline.variant import Variant
from genre_pipeline.training.splits import split_by_time
from tests.offline import shop


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenreConfig:
    home = tmp_path_factory.mktemp("home")
    encoder = tiny_encoder(home / "encoder", ["space", "kitchen", "romance"])
    features = FeaturesConfig(llm=LlmTextConfig(source=str(encoder), max_tokens=64))
    return with_content(shop.quick_config(home).model_copy(update={"features": features}))


@pytest.fixture(scope="module")
def prepared(world: Path, config: GenreConfig) -> Prepared:
    return prepare(source_of(world), config)


def test_every_variant_is_a_row_beside_off(prepared: Prepared, config: GenreConfig) -> None:
    result = ablate(AblationName.GENERATION, prepared, config, protocol="time", step_days=1, say=lambda line: None)
    assert result.champion == OFF
    assert set(result.recommenders()) == {OFF, *ENABLED}
    versus = result.comparisons.filter(metric="ndcg")["versus"]
    assert set(versus) == set(ENABLED)
    assert set(result.run.written["recommender"]) == set(ENABLED)
    assert result.run.written["tokens"].sum() == 0
    assert set(result.run.validation["recommender"]) == set(ENABLED)


@pytest.mark.parametrize("protocol", ["time", "leave-one-out", "rolling"])
def test_validation_knows_nothing_of_the_test_part(
    prepared: Prepared, config: GenreConfig, protocol: ProtocolName
) -> None:
    """Whatever is taken after the first cut: inside, the data are the same."""
    inside, inner = validation_part(prepared, protocol=protocol, step_days=1)
    assert inner == ("time" if protocol == "rolling" else protocol)
    known = inside.data.interactions
    later = prepared.data.interactions.join(known, on=known.columns, how="anti", nulls_equal=True)
    assert len(later)
    changed = pl.concat([known, later.with_columns(item_id=pl.lit("i01"))])
    other = replace(prepared, data=replace(prepared.data, interactions=changed))
    again, _ = validation_part(other, protocol=protocol, step_days=1)
    order = ["user_id", "timestamp", "item_id"]
    assert again.data.interactions.sort(order).equals(known.sort(order))


def test_what_is_found_inside_stands_beside_the_test_part(prepared: Prepared, config: GenreConfig) -> None:
    asked: list[pl.Series] = []

    def variants(part: Prepared) -> list[Variant]:
        asked.append(part.data.interactions["timestamp"].max())  # type: ignore[arg-type]
        every = variants_asked(part, config, lambda scheme, requests: scheme.without_model(requests))
        return [variant for variant in every if variant.name in (OFF, "profiles")]

    found = judge_and_choose("x", variants, OFF, prepared, config, protocol="time", step_days=1, say=lambda line: None)
    inside, _ = validation_part(prepared, protocol="time", step_days=1)
    alone = judge_variants("x", variants, OFF, inside, config, protocol="time", step_days=1, say=lambda line: None)
    assert found.run.validation.equals(differences(alone))
    assert asked[0] == asked[2] < asked[1]


def test_nobody_is_written_about_whose_list_is_not_judged(prepared: Prepared, config: GenreConfig) -> None:
    split = split_by_time(prepared.data.interactions)
    judged = split.truth["user_id"].unique().sort()
    one = replace(split, truth=split.truth.filter(pl.col("user_id") == judged[0]))
    assert past_to_tell(one, prepared.data).interactions["user_id"].unique().to_list() == [judged[0]]
    nobody = replace(split, truth=split.truth.clear())
    assert past_to_tell(nobody, prepared.data).interactions.equals(split.past)


def test_requests_tell_the_past_alone_and_each_variant_asks_for_its_own(
    prepared: Prepared, config: GenreConfig
) -> None:
    asked: dict[str, list[Request]] = {}

    def ask(scheme: Scheme, requests: Sequence[Request]) -> Sequence[Answer]:
        asked.setdefault(scheme.name, []).extend(requests)
        return scheme.without_model(requests)

    split = split_by_time(prepared.data.interactions)
    by_variant = {}
    for variant in variants_asked(prepared, config, ask):
        asked.clear()
        data = training_set_for_lists(variant.prepared, split, variant.config, only_known_items=True)
        by_variant[variant.name] = {name: len(requests) for name, requests in asked.items()}
        assert (data.enrichment is None) == (variant.name == OFF)
        future = set(split.truth["item_id"]) - set(split.past["item_id"])
        titles = dict(
            prepared.data.items.filter(prepared.data.items["item_id"].is_in(future))
            .select("item_id", "title")
            .iter_rows()
        )
        for request in (*asked.get("user_profiles", []), *asked.get("synthetic_items", [])):
            assert not {item["title"] for item in request.fields["history"]} & set(titles.values())
    assert {name: set(counts) for name, counts in by_variant.items()} == {
        OFF: set(),
        **{name: set(schemes) for name, schemes in ENABLED.items()},
    }


def test_what_an_enrichment_holds(prepared: Prepared, config: GenreConfig) -> None:
    split = split_by_time(prepared.data.interactions)
    plain = training_set(prepared, split, config, only_known_items=True)
    found = {}
    for variant in variants_asked(prepared, config, lambda scheme, requests: scheme.without_model(requests)):
        data = training_set_for_lists(variant.prepared, split, variant.config, only_known_items=True)
        found[variant.name] = data
        assert (data.item_vectors["text_llm"] == plain.item_vectors["text_llm"]).all()
        assert data.events.equals(plain.events)
    rich = {name: _rich(data) for name, data in found.items() if name != OFF}
    changed = {
        name: bool((one.item_vectors["text_llm"] != plain.item_vectors["text_llm"]).any()) for name, one in rich.items()
    }
    assert changed == {"summaries": True, "profiles": False, "synthetic": False, "chain": False, "all": True}
    assert {name for name, one in rich.items() if one.profile_vectors} == {"profiles", "chain", "all"}
    assert {name for name, one in rich.items() if one.synthetic is not None} == {"synthetic", "chain", "all"}


def _rich(data: TrainingSet) -> TrainingSet:
    assert data.enrichment is not None
    assert data.enrichment.max_rank_shift == 10
    return replace(data.enrichment.data)


def test_generation_needs_content_in_the_space_of_a_text() -> None:
    with pytest.raises(ValueError, match="text_llm or text_causal"):
        GenreConfig(
            generation={"enabled": ["user_profiles"]},  # type: ignore[arg-type]
            recommenders={"content": {"vectors": "image"}},  # type: ignore[arg-type]
            features={"for_recommenders": ["image"]},  # type: ignore[arg-type]
        )
    with pytest.raises(ValueError, match="each scheme once"):
        GenreConfig(generation={"enabled": ["user_profiles", "user_profiles"]})  # type: ignore[arg-type]
