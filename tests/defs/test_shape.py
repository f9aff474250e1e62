import pytest

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.defs.shape import checked, fused_parts, learned_from, made_vectors
from genre_pipeline.features.extraction import FeaturesConfig

TEXT_ONLY = {"image": {"enabled": False}, "audio": {"enabled": False}}


def features(**values: object) -> FeaturesConfig:
    return FeaturesConfig.model_validate(values)


def test_what_is_made_follows_the_switches() -> None:
    assert made_vectors(features()) == ("text_weighted", "text_llm", "image", "audio", "fused")
    assert made_vectors(features(audio={"enabled": False})) == ("text_weighted", "text_llm", "image", "fused")
    assert made_vectors(features(**TEXT_ONLY, techniques=["text_llm"])) == ("text_llm",)
    assert made_vectors(features(**TEXT_ONLY, for_recommenders=["fused"]))[-1] == "fused"


def test_fused_vectors_bring_their_parts() -> None:
    assert fused_parts(features(audio={"enabled": False})) == ("text_llm", "image")
    assert learned_from(features()) == ("text_llm",)
    assert learned_from(features(for_recommenders=["fused", "image"])) == ("fused", "image", "text_llm", "audio")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"publishing": {"similar_vectors": "text_causal"}}, "publishing.similar_vectors names 'text_causal'"),
        ({"features": {**TEXT_ONLY}, "publishing": {"similar_vectors": "image"}}, "similar_vectors names 'image'"),
        ({"features": {"fused_text": "text_weighted", "techniques": ["text_llm"]}}, "fused_text names 'text_weighted'"),
        (
            {"reasons": {"vectors": "image"}},
            "reasons.vectors names 'image', which features.for_recommenders leaves out",
        ),
        (
            {
                "features": {"for_recommenders": ["text_llm", "fused"]},
                "recommenders": {"sequential": {"training": {"content": "fused"}}},
            },
            "learned anew every day",
        ),
    ],
)
def test_a_graph_that_would_lack_something_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked(GenreConfig.model_validate(values))


def test_content_may_compare_fused_vectors() -> None:
    values = {
        "features": {"for_recommenders": ["text_llm", "fused"]},
        "recommenders": {"content": {"vectors": "fused"}},
    }
    assert checked(GenreConfig.model_validate(values)).recommenders.content.vectors == "fused"
