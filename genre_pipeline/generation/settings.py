"""The configuration of generation: which schemes are on, in whose words, and how far they may move a list."""

from typing import Literal, Self

from pydantic import Field, model_validator

from genre_pipeline.contracts.settings import Settings
from genre_pipeline.generation.profiles import Profiles, ProfilesConfig
from genre_pipeline.generation.summaries import Summaries, SummariesConfig
from genre_pipeline.generation.synthetic import Synthetic, SyntheticConfig
from genre_pipeline.generation.templates import Style, load_templates
from genre_pipeline.generation.vocabulary import VocabularyConfig
from genre_pipeline.generation.written_reasons import WrittenReasons, WrittenReasonsConfig

SchemeName = Literal["item_summaries", "user_profiles", "synthetic_items"]
SCHEMES: tuple[SchemeName, ...] = ("item_summaries", "user_profiles", "synthetic_items")


class GenerationConfig(Settings):
    """What a language model writes about items and users, and what may come of it."""

    enabled: tuple[SchemeName, ...] = ()
    """Schemes that lists are made with; none by default."""
    chained: bool = True
    """Profiles feed the invention of synthetic items, where both are on."""
    templates: str = "films"
    """The prompts: `films`, `shop`, `news` or `courses`, or the path of a copy of one."""
    style: Style = "lines"
    """How the model answers: `json`, or `lines` for small models."""
    vocabulary: VocabularyConfig = VocabularyConfig()
    """Which words may be an interest."""
    summaries: SummariesConfig = SummariesConfig()
    """What an item's summary may be."""
    profiles: ProfilesConfig = ProfilesConfig()
    """Who gets a profile, and what it may be."""
    synthetic: SyntheticConfig = SyntheticConfig()
    """Who gets synthetic items, and what becomes of them."""
    reasons: WrittenReasonsConfig = WrittenReasonsConfig()
    """Reasons in a model's words."""
    max_rank_shift: int = Field(default=10, ge=0)
    """Places that an item may stand from where it would stand without generation, in any user's list."""

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(set(self.enabled)) != len(self.enabled):
            raise ValueError("name each scheme once")
        return self

    def schemes(self) -> tuple[Summaries, Profiles, Synthetic]:
        """All three, ready to make requests. Raises `ConfigError` for unusable templates."""
        templates = load_templates(self.templates)
        return (
            Summaries(self.summaries, templates, self.style),
            Profiles(self.profiles, templates, self.style),
            Synthetic(self.synthetic, templates, self.style),
        )

    def reason_writer(self) -> WrittenReasons:
        """The scheme of written reasons. Raises `ConfigError` for unusable templates."""
        return WrittenReasons(self.reasons, load_templates(self.templates), self.style)
