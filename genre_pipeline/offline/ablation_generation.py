"""What a language model's texts are worth: off, each scheme, profiles feeding the synthetic items, and all.

Judged by a hybrid of the recommenders that generation reaches at little cost. Each variant generates on the past that
its lists are made of; replies come from the ledger, and from the configured model within its budget. Tuning does not
look at generation: what is compared are the same weights, with and without. Which variant is worth switching on is
chosen inside the training part.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.language_model import Spending
from genre_pipeline.offline.asking import asking
from genre_pipeline.offline.dataset import Prepared
from genre_pipeline.offline.generation import Ask, enricher
from genre_pipeline.offline.variant import Ablation, Variant

OFF = "off"
ENABLED: Mapping[str, tuple[str, ...]] = {
    "summaries": ("item_summaries",),
    "profiles": ("user_profiles",),
    "synthetic": ("synthetic_items",),
    "chain": ("user_profiles", "synthetic_items"),
    "all": ("item_summaries", "user_profiles", "synthetic_items"),
}
"""Variant to the schemes that it switches on; the chain's synthetic items are invented from profiles."""
_REACHED = ("popularity", "content", "item_knn")


def with_content(config: GenreConfig) -> GenreConfig:
    """The configuration with `content` on a pretrained text technique, and without the recommenders not looked at."""
    recommenders = config.recommenders
    vectors = recommenders.content.vectors if recommenders.content.vectors == "text_causal" else "text_llm"
    content = recommenders.content.model_copy(update={"vectors": vectors})
    made = tuple(dict.fromkeys([*config.features.for_recommenders, vectors]))
    enabled = tuple(dict.fromkeys([*recommenders.enabled, *_REACHED]))
    features = config.features.model_copy(update={"for_recommenders": made})
    changed = recommenders.model_copy(update={"enabled": enabled, "content": content})
    return config.model_copy(update={"features": features, "recommenders": changed})


def variants_asked(prepared: Prepared, config: GenreConfig, ask: Ask) -> Iterator[Variant]:
    """Off and every entry of `ENABLED`, answered by `ask`."""
    narrow = with_content(config)
    recommenders = narrow.recommenders.model_copy(update={"enabled": _REACHED})
    narrow = narrow.model_copy(update={"recommenders": recommenders})
    yield Variant(OFF, replace(prepared, enrich=None), narrow, "hybrid")
    for name, enabled in ENABLED.items():
        generation = narrow.generation.model_copy(update={"enabled": enabled, "chained": True})
        switched = narrow.model_copy(update={"generation": generation})
        enrich = enricher(prepared.data, switched, ask=ask)
        yield Variant(name, replace(prepared, enrich=enrich), switched, "hybrid", is_tuned_as_reference=True)


def generation_variants(prepared: Prepared, config: GenreConfig) -> Iterator[Variant]:
    """`variants_asked`, by the configured model; each but off tells what its texts took."""
    tally = _Tally()
    for variant in variants_asked(prepared, config, asking(config, told=tally.add)):
        tally.total = Spending()
        yield variant if variant.name == OFF else replace(variant, taken=lambda: tally.total)


@dataclass
class _Tally:
    """Of one variant: the next is made when the one before has been judged."""

    total: Spending = field(default_factory=Spending)

    def add(self, taken: Spending) -> None:
        self.total += taken


GENERATION = Ablation(reference=OFF, variants=generation_variants, needs=with_content, is_chosen_from=True)
