"""What the configuration decides about the graph's shape, read once, when the graph is loaded.

Belongs here: which days, which assets, which edges. Kept out: values that change no edge; assets ask their project.
"""

from collections.abc import Mapping, Sequence

from genre_pipeline.config import GenreConfig, load_config
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.names import (
    ITEM_AUDIO_VECTORS,
    ITEM_IMAGE_VECTORS,
    ITEM_TEXT_CAUSAL,
    ITEM_TEXT_VECTORS,
    ITEM_TEXT_WEIGHTED,
    ITEM_TOWER_VECTORS,
    ITEM_VECTORS,
)
from genre_pipeline.features.extraction import DENSE_TECHNIQUES, FUSED, TOWER, FeaturesConfig, Vectors
from genre_pipeline.generation.settings import SCHEMES
from genre_pipeline.offline.ablation import to_prepare

VECTOR_TABLES: Mapping[str, str] = {
    "text_llm": ITEM_TEXT_VECTORS,
    "text_weighted": ITEM_TEXT_WEIGHTED,
    "text_causal": ITEM_TEXT_CAUSAL,
    "image": ITEM_IMAGE_VECTORS,
    "audio": ITEM_AUDIO_VECTORS,
    "fused": ITEM_VECTORS,
    "tower": ITEM_TOWER_VECTORS,
}
"""Where each technique's vectors lie."""
_NETWORK = "sequential"


def made_vectors(features: FeaturesConfig) -> tuple[Vectors, ...]:
    """The vectors that the graph makes; `fused` where there is anything beside text, or a recommender asks for it, as
    for `tower`.
    """
    texts = [technique for technique in DENSE_TECHNIQUES if technique in features.techniques]
    is_fused = bool(features.media) or FUSED in features.for_recommenders
    has_tower = TOWER in features.for_recommenders
    return (*texts, *features.media, *([FUSED] if is_fused else []), *([TOWER] if has_tower else []))


def fused_parts(features: FeaturesConfig) -> tuple[Vectors, ...]:
    """What `fused` is made of."""
    return (features.fused_text, *features.media)


def learned_from(features: FeaturesConfig) -> tuple[Vectors, ...]:
    """What recommenders learn from, with the parts of fused vectors: each past learns its own fusion of them."""
    parts = fused_parts(features) if FUSED in features.for_recommenders else ()
    return tuple(dict.fromkeys((*features.for_recommenders, *parts)))


def checked(config: GenreConfig) -> GenreConfig:
    """Refuse a configuration whose graph would lack something that a part of it reads. Raises `ConfigError`."""
    features, made = config.features, made_vectors(config.features)
    _require("publishing.similar_vectors", config.publishing.similar_vectors, "features", made)
    if FUSED in made:
        _require("features.fused_text", features.fused_text, "features.techniques", made)
    _require("recommenders.content.vectors", config.recommenders.content.vectors, "features", made)
    _require("reasons.vectors", config.reasons.vectors, "features.for_recommenders", features.for_recommenders)
    content = config.recommenders.sequential.training.content
    if _NETWORK in config.recommenders.enabled and content in (FUSED, TOWER):
        raise ConfigError(
            f"recommenders.sequential.training.content is {content!r}, a space that is learned anew every day, while a "
            "network serves for many",
            remedy="Use a technique that is the same every day; `genre evaluate` and `genre batch` take these too.",
        )
    return config


def _require(key: str, named: str, where: str, known: Sequence[str]) -> None:
    if named not in known:
        raise ConfigError(f"{key} names {named!r}, which {where} leaves out", remedy=f"Use one of: {', '.join(known)}.")


CONFIG = checked(load_config())
HAS_NETWORK = _NETWORK in CONFIG.recommenders.enabled
"""Without it no network is trained and none is promoted."""
MADE_VECTORS = made_vectors(CONFIG.features)
"""The vectors of items that the graph makes."""
FUSED_PARTS = fused_parts(CONFIG.features)
"""What `fused` is made of."""
LEARNED_FROM = learned_from(to_prepare(CONFIG).features)
"""The vectors that a night reads for its recommenders, and for the ablations of its evaluation."""
RECOMMENDER_VECTORS = tuple(VECTOR_TABLES[name] for name in LEARNED_FROM)
"""The tables of these."""
USER_SPACE = VECTOR_TABLES[CONFIG.recommenders.content.vectors]
"""The table whose space users' vectors lie in: what content compares."""
SIMILAR_SPACE = VECTOR_TABLES[CONFIG.publishing.similar_vectors]
"""The table whose nearest items are published."""
GENERATED = tuple(name for name in SCHEMES if name in CONFIG.generation.enabled)
"""The schemes that lists are made with, in the order in which they feed each other."""
WRITTEN = tuple(name for name in SCHEMES if name in {*CONFIG.generation.enabled, *CONFIG.generation.written})
"""Those, and the ones whose tables are made all the same."""
