"""Every switched-on text technique over one catalogue: the one call that assets and commands share.

The configuration of all features is composed here. Pictures and sounds need their files read first: `offline` does it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, get_args

import dataframely as dy
import numpy as np
import polars as pl
from pydantic import model_validator

from genre_pipeline.contracts.columns import CONTENT_HASH, ITEM_ID
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.media import Modality
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.tables import ItemTexts, ItemVectors
from genre_pipeline.features.behaviour import BehaviourConfig
from genre_pipeline.features.extractor import SparseTextExtractor, TextExtractor
from genre_pipeline.features.fusion import FusionConfig
from genre_pipeline.features.histories import HistoryConfig
from genre_pipeline.features.item_texts import ItemTextConfig, compose_item_texts
from genre_pipeline.features.media_extraction import AudioTechniqueConfig, ImageTechniqueConfig
from genre_pipeline.features.nearest import NearestConfig
from genre_pipeline.features.statistics import StatisticsConfig
from genre_pipeline.features.tabular import TabularConfig
from genre_pipeline.features.text_bag_of_words import BagOfWords, BagOfWordsConfig
from genre_pipeline.features.text_causal import CausalText, CausalTextConfig
from genre_pipeline.features.text_llm import LlmText, LlmTextConfig
from genre_pipeline.features.text_tfidf import Tfidf, TfidfConfig
from genre_pipeline.features.text_weighted import WeightedText, WeightedTextConfig
from genre_pipeline.features.vector_cache import EncodingCounts, VectorCache, encode_items

Technique = Literal["text_bag_of_words", "text_tfidf", "text_weighted", "text_llm", "text_causal"]
DenseTechnique = Literal["text_weighted", "text_llm", "text_causal"]
Vectors = Literal["text_weighted", "text_llm", "text_causal", "image", "audio", "fused", "tower"]
"""Vectors that can be learned from: a text technique's, a modality's, those of all modalities fused, or those of a text
tower that learned from behaviour."""
DENSE_TECHNIQUES: tuple[DenseTechnique, ...] = get_args(DenseTechnique)
FUSED: Vectors = "fused"
TOWER: Vectors = "tower"
Progress = Callable[[str, int, int], None]
"""Called with (technique, done, total) texts."""


class FeaturesConfig(Settings):
    """Which features are made of items and users, and how."""

    item_texts: ItemTextConfig = ItemTextConfig()
    """How an item's text is composed of its columns."""
    techniques: tuple[Technique, ...] = ("text_bag_of_words", "text_tfidf", "text_weighted", "text_llm")
    """The text techniques that the graph materialises."""
    for_recommenders: tuple[Vectors, ...] = ("text_llm",)
    """The vectors that recommenders learn from: text techniques, each among `techniques`, `image`, `audio`, `fused`."""
    bag_of_words: BagOfWordsConfig = BagOfWordsConfig()
    """Word counts."""
    tfidf: TfidfConfig = TfidfConfig()
    """Weighted word counts."""
    weighted: WeightedTextConfig = WeightedTextConfig()
    """Embedding ⊙ TF-IDF."""
    llm: LlmTextConfig = LlmTextConfig()
    """Sentence embeddings of a pretrained encoder."""
    causal: CausalTextConfig | None = None
    """Sentence embeddings of a causal language model; needed where `techniques` name `text_causal`."""
    image: ImageTechniqueConfig = ImageTechniqueConfig()
    """Vectors of pictures."""
    audio: AudioTechniqueConfig = AudioTechniqueConfig()
    """Vectors of sounds."""
    fused_text: DenseTechnique = "text_llm"
    """The text technique whose vectors are fused with those of pictures and sounds."""
    tabular: TabularConfig = TabularConfig()
    """An item's numbers as a modality of `fused`."""
    behaviour: BehaviourConfig = BehaviourConfig()
    """Who took an item as a modality of `fused`."""
    fusion: FusionConfig = FusionConfig()
    """How text, picture, sound, numbers and history become one vector."""
    device: str = "cpu"
    """Where encoders run: cpu, cuda, cuda:1 …"""
    histories: HistoryConfig = HistoryConfig()
    """Users' latest interactions, and the vector made of them."""
    statistics: StatisticsConfig = StatisticsConfig()
    """Counts and ages of items and users."""
    nearest: NearestConfig = NearestConfig()
    """How nearest items are looked for."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.causal is None and "text_causal" in (*self.techniques, *self.texts_for_recommenders):
            raise ValueError("text_causal needs features.causal.source: a directory, `package:<name>` or a hub id")
        off = {"image", "audio"}.intersection(self.for_recommenders).difference(self.media)
        if off:
            raise ValueError(f"features.for_recommenders names {sorted(off)}, which `enabled` switches off")
        return self

    @property
    def texts_for_recommenders(self) -> tuple[DenseTechnique, ...]:
        """The text techniques that recommenders need: named themselves, or a part of `fused`."""
        wanted = (*self.for_recommenders, self.fused_text) if FUSED in self.for_recommenders else self.for_recommenders
        return tuple(technique for technique in DENSE_TECHNIQUES if technique in wanted)

    @property
    def media_for_recommenders(self) -> tuple[Modality, ...]:
        """The modalities beside text that recommenders need: named themselves, or a part of `fused`."""
        wanted = ("image", "audio") if FUSED in self.for_recommenders else self.for_recommenders
        return tuple(name for name in self.media if name in wanted)

    @property
    def media(self) -> tuple[Modality, ...]:
        """The modalities beside text that are switched on."""
        switches: dict[Modality, bool] = {"image": self.image.enabled, "audio": self.audio.enabled}
        return tuple(name for name, is_on in switches.items() if is_on)


@dataclass(frozen=True)
class Extraction:
    """One technique's vectors over the catalogue, and what making them took."""

    vectors: dy.DataFrame[ItemVectors]
    counts: EncodingCounts


def build_extractor(technique: Technique, config: FeaturesConfig) -> TextExtractor:
    """The extractor of a technique, not fitted yet."""
    builders: Mapping[str, Callable[[], TextExtractor]] = {
        "text_bag_of_words": lambda: BagOfWords(config.bag_of_words),
        "text_tfidf": lambda: Tfidf(config.tfidf),
        "text_weighted": lambda: WeightedText(config.weighted),
        "text_llm": lambda: LlmText(config.llm, device=config.device),
        "text_causal": lambda: CausalText(_named(config.causal), device=config.device),
    }
    return builders[technique]()


def _named(causal: CausalTextConfig | None) -> CausalTextConfig:
    assert causal is not None, "FeaturesConfig asks for it"
    return causal


def extract(
    technique: Technique,
    texts: dy.DataFrame[ItemTexts],
    config: FeaturesConfig,
    cache: VectorCache,
    progress: Progress | None = None,
) -> Extraction:
    """One technique over composed texts. Pretrained techniques encode once; those fitted to the corpus, every time."""
    extractor = build_extractor(technique, config).fit(texts["text"].drop_nulls().to_list())
    report = None if progress is None else lambda done, total: progress(technique, done, total)
    pretrained = technique in ("text_llm", "text_causal")
    vectors, counts = encode_items(texts, extractor, cache if pretrained else None, report)
    return Extraction(vectors, counts)


def extract_sparse(technique: Technique, texts: dy.DataFrame[ItemTexts], config: FeaturesConfig) -> pl.DataFrame:
    """A fitted technique's rows as they are: item_id, model, content_hash, indices List(UInt32), values List(Float32).

    `indices` are columns of the vocabulary, ascending. Both lists are null where an item has no text. Raises
    `ConfigError` for a technique whose vectors are dense.
    """
    extractor = build_extractor(technique, config)
    if not isinstance(extractor, SparseTextExtractor):
        raise ConfigError(f"{technique} gives dense vectors", remedy="Use `extract`.")
    said = texts.filter(pl.col("text").is_not_null())
    rows = extractor.fit(said["text"].to_list()).encode_sparse(said["text"].to_list())
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    cells = pl.DataFrame({"row": row_of, "indices": rows.indices.astype(np.uint32), "values": rows.data})
    lists = cells.group_by("row", maintain_order=True).agg("indices", "values")
    sparse = said.select(ITEM_ID, pl.int_range(pl.len()).alias("row")).join(lists, on="row", how="left").drop("row")
    identity = pl.lit(extractor.model).alias("model")
    return texts.select(ITEM_ID, identity, CONTENT_HASH).join(sparse, on=ITEM_ID, how="left", maintain_order="left")


def extract_for_recommenders(
    items: pl.DataFrame, config: FeaturesConfig, cache: VectorCache, progress: Progress | None = None
) -> dict[str, pl.DataFrame]:
    """Text technique to its vectors (schema `ItemVectors`) of a catalogue (schema `Items`); empty without any text."""
    texts = compose_item_texts(items, config.item_texts)
    if texts["text"].null_count() == texts.height:
        return {}
    wanted = config.texts_for_recommenders
    return {technique: extract(technique, texts, config, cache, progress).vectors for technique in wanted}
