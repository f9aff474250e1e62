"""What the configuration decides about the graph's shape, read once, when the graph is loaded.

Belongs here: which days, which assets, which edges. Kept out: values that change no edge; assets ask their project.
"""

from genre_pipeline.config import GenreConfig, load_config
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.names import ITEM_TEXT_VECTORS, ITEM_TEXT_WEIGHTED

VECTOR_TABLES = {"text_llm": ITEM_TEXT_VECTORS, "text_weighted": ITEM_TEXT_WEIGHTED}
"""Where each technique's vectors lie."""
ALWAYS_MADE = "text_llm"
"""User vectors and the online store are made of these."""


def checked(config: GenreConfig) -> GenreConfig:
    """Refuse a configuration whose graph would lack something that a part of it reads. Raises `ConfigError`."""
    if ALWAYS_MADE not in config.features.techniques:
        raise ConfigError(
            f"The graph needs {ALWAYS_MADE!r}, which features.techniques leaves out",
            remedy="Add it; `genre batch` and `genre evaluate` run without.",
        )
    if config.reasons.vectors not in config.features.for_recommenders:
        raise ConfigError(
            f"reasons.vectors names {config.reasons.vectors!r}, which features.for_recommenders leaves out",
            remedy=f"Use one of: {', '.join(config.features.for_recommenders)}.",
        )
    return config


CONFIG = checked(load_config())
HAS_NETWORK = "sequential" in CONFIG.recommenders.enabled
"""Without it no network is trained and none is promoted."""
RECOMMENDER_VECTORS = tuple(VECTOR_TABLES[technique] for technique in CONFIG.features.for_recommenders)
"""The tables of vectors that recommenders learn from."""
