"""What text, pictures, sounds and numbers are worth: all fused, each alone, each left out, judged by `content`."""

from collections.abc import Iterator

from genre_pipeline.config import GenreConfig
from genre_pipeline.offline.dataset import Prepared
from genre_pipeline.offline.variant import Ablation, Variant


def modality_variants(prepared: Prepared, config: GenreConfig) -> Iterator[Variant]:
    """The configured vectors, and each technique's alone."""
    yield Variant("all", prepared, _content_alone(config, config.recommenders.content.vectors))
    for technique in prepared.vectors:
        yield Variant(technique, prepared, _content_alone(config, technique))


def _content_alone(config: GenreConfig, vectors: str) -> GenreConfig:
    recommenders = config.recommenders
    content = recommenders.content.model_copy(update={"vectors": vectors})
    only = recommenders.model_copy(update={"enabled": ("popularity", "content"), "content": content})
    return config.model_copy(update={"recommenders": only})


MODALITIES = Ablation(reference="all", variants=modality_variants)
