"""What text, pictures, sounds and numbers are worth: all fused, each alone, each left out, judged by `content`.

Each variant fuses what it has by the same method, and learns that fusion of each past anew; the configured settings of
`content` hold for all, so that nothing but the modalities differs. "none" is what is left
without any content: popularity.
"""

from collections.abc import Iterator
from dataclasses import replace

from genre_pipeline.config import GenreConfig
from genre_pipeline.features.behaviour import BEHAVIOUR
from genre_pipeline.features.extraction import FUSED
from genre_pipeline.features.tabular import TABULAR
from genre_pipeline.offline.dataset import Prepared, fusion_parts
from genre_pipeline.offline.variant import Ablation, Variant

_ALL = "all"
_CONTENT, _POPULARITY = "content", "popularity"


def with_all_modalities(config: GenreConfig) -> GenreConfig:
    """The configuration, with everything made that is fused, and `content` to look at it."""
    vectors = tuple(dict.fromkeys([*config.features.for_recommenders, FUSED]))
    enabled = tuple(dict.fromkeys([*config.recommenders.enabled, _CONTENT]))
    features = config.features.model_copy(update={"for_recommenders": vectors})
    recommenders = config.recommenders.model_copy(update={"enabled": enabled})
    return config.model_copy(update={"features": features, "recommenders": recommenders})


def modality_variants(prepared: Prepared, config: GenreConfig) -> Iterator[Variant]:
    """All, each alone, each left out where more than two are there, and none. Modalities that no item has are not."""
    interactions, items = prepared.data.interactions, prepared.data.items
    parts = fusion_parts(prepared.vectors, items, interactions, config.features)
    there = [name for name, frame in parts.items() if frame["vector"].count()]
    if not there:
        return
    yield _variant(_ALL, there, prepared, config)
    if len(there) > 1:
        for name in there:
            yield _variant(f"{name} alone", [name], prepared, config)
    if len(there) > 2:
        for name in there:
            yield _variant(f"without {name}", [other for other in there if other != name], prepared, config)
    yield Variant(
        "none",
        replace(prepared, enrich=None),
        _only(config, config.features.for_recommenders, _POPULARITY),
        _POPULARITY,
    )


def _variant(name: str, modalities: list[str], prepared: Prepared, config: GenreConfig) -> Variant:
    features = config.features
    table = {"text": features.fused_text, "image": "image", "audio": "audio"}
    kept = {table[modality]: prepared.vectors[table[modality]] for modality in modalities if modality in table}
    tabular = features.tabular.model_copy(update={"enabled": TABULAR in modalities})
    behaviour = features.behaviour.model_copy(update={"enabled": BEHAVIOUR in modalities})
    learned = features.model_copy(update={"tabular": tabular, "behaviour": behaviour})
    narrowed = config.model_copy(update={"features": learned})
    views = {one: frame for one, frame in prepared.views.items() if one in modalities}
    return Variant(name, Prepared(prepared.data, kept, views=views), _only(narrowed, (FUSED,), _CONTENT), _CONTENT)


def _only(config: GenreConfig, vectors: tuple[str, ...], recommender: str) -> GenreConfig:
    """Nothing fitted but `recommender` on `vectors`, and the popularity that every suite has."""
    features = config.features.model_copy(update={"for_recommenders": vectors})
    recommenders = config.recommenders
    content = recommenders.content.model_copy(update={"vectors": vectors[0]})
    enabled = tuple(dict.fromkeys((_POPULARITY, recommender)))
    only = recommenders.model_copy(update={"enabled": enabled, "content": content, "tune": False})
    return config.model_copy(update={"features": features, "recommenders": only})


MODALITIES = Ablation(reference=_ALL, variants=modality_variants, needs=with_all_modalities)
