"""The whole configuration in one typed place: every component's own config, composed; read from YAML and environment.

`genre.yaml` gives the values, `GENRE_*` variables override them (`GENRE_SERVING__PORT=9000`), and whatever is in
neither has its default. An unknown key, a wrong type or an unusable combination is a `ConfigError` with key and line.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, NonNegativeFloat, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from genre_pipeline.adapters.language_model import LanguageModelConfig
from genre_pipeline.adapters.postgres_schemas import url_in_schema
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.evaluation.evaluate import EvaluationConfig
from genre_pipeline.evaluation.feedback import FeedbackConfig
from genre_pipeline.features.extraction import TOWER, FeaturesConfig, Vectors
from genre_pipeline.generation.budget import BudgetConfig
from genre_pipeline.generation.settings import GenerationConfig, SchemeName
from genre_pipeline.preprocessing.cleaning import PreprocessingConfig
from genre_pipeline.recommenders.audiences import AudiencesConfig
from genre_pipeline.recommenders.reasons import ReasonsConfig
from genre_pipeline.recommenders.rules import RulesConfig
from genre_pipeline.recommenders.suite import RecommendersConfig
from genre_pipeline.serving.settings import ServingConfig
from genre_pipeline.sources.dataset import SourceConfig
from genre_pipeline.sources.media import MediaConfig
from genre_pipeline.training.distributed import DistributedConfig
from genre_pipeline.training.promotion import PromotionConfig
from genre_pipeline.training.tower_config import TowerTrainingConfig

CONFIG_FILE = "genre.yaml"
MLFLOW_SCHEMA = "mlflow"
ENV_PREFIX = "GENRE_"
_OTHER_VARIABLES = {"GENRE_CONFIG", "GENRE_TEST_DATA"}


class DaysConfig(Settings):
    """Which days the daily tables have."""

    start: date = date(2020, 1, 1)
    """The first day with data."""
    end: date | None = None
    """The last day; None goes on for ever. Set it for a data set that has ended."""


class PublishingConfig(Settings):
    """What goes into the tables that applications read."""

    k: int = Field(default=50, ge=1)
    """Length of a user's list."""
    similar_k: int = Field(default=20, ge=1)
    """Neighbours kept for an item."""
    similar_vectors: Vectors = "text_llm"
    """Vectors that say which items are similar: a text technique's, `image`, `audio`, or `fused`, where an item without
    a text has neighbours by its picture or sound."""
    popular_k: int = Field(default=50, ge=1)
    """Length of the popular list, overall and in each category."""
    min_users_share: float = Field(default=0.95, ge=0, le=1)
    """Share of known users that must have a list, or nothing is published."""


class WrittenConfig(GenerationConfig):
    """What a language model writes about items and users, who writes it, and what that may take."""

    written: tuple[SchemeName, ...] = ()
    """Schemes whose tables are made to be looked at, beside the enabled ones: no list is made with them."""
    model: LanguageModelConfig = LanguageModelConfig()
    """The language model, local or behind an endpoint."""
    budget: BudgetConfig = BudgetConfig()
    """What one night may take."""
    max_failed_share: float = Field(default=0.5, ge=0, le=1)
    """Share of what was put to the model that may fall back; with more, the asset's check stops what comes after it."""

    @model_validator(mode="after")
    def _cost_has_prices(self) -> Self:
        model = self.model
        has_prices = model.kind == "http" and (model.http.input_price or model.http.output_price)
        if self.budget.cost is not None and model.kind != "none" and not has_prices:
            raise ValueError(
                "budget.cost limits nothing without a model behind an endpoint and its prices: set "
                "model.http.input_price and model.http.output_price, or limit budget.tokens or budget.calls"
            )
        return self


class GenreConfig(BaseSettings):
    """Everything a project decides."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    home: Path = Path(".genre")
    """Where everything made is kept: partitions, caches, databases, models."""
    database_url: SecretStr | None = None
    """PostgreSQL for everything; None keeps SQLite files under `home`. Best set as GENRE_DATABASE_URL."""
    seed: int = 20
    """Every draw of chance starts here."""
    days: DaysConfig = DaysConfig()
    """Which days the daily tables have."""
    source: SourceConfig | None = None
    """Where the raw tables come from; commands with `--data` bring their own."""
    media: MediaConfig = MediaConfig()
    """How pictures and sounds are read, and what one file may cost."""
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    """What is clean, and how much may be rejected."""
    features: FeaturesConfig = FeaturesConfig()
    """Features of items and users."""
    generation: WrittenConfig = WrittenConfig()
    """What a language model writes about items and users."""
    event_weights: Mapping[str, NonNegativeFloat] = {}
    """What an event type counts in training, 1.0 where it is not named; 0 leaves it out."""
    valued_events: tuple[str, ...] = ()
    """Event types whose weight is multiplied by their `value`, as a progress from 0 to 1 is; an event without a value
    counts whole, one of 0 or less is left out."""
    recommenders: RecommendersConfig = RecommendersConfig()
    """Which recommenders there are, and how they are tuned and blended."""
    audiences: AudiencesConfig = AudiencesConfig()
    """When a user counts as away, and what teaches about such users."""
    reasons: ReasonsConfig = ReasonsConfig()
    """Why an item is in a list."""
    rules: RulesConfig = RulesConfig()
    """What lists must keep, nightly and in real time alike, and experiments on it. The defaults change nothing."""
    item_tower: TowerTrainingConfig = TowerTrainingConfig()
    """A language model that reads items and learns from what users do."""
    distributed: DistributedConfig = DistributedConfig()
    """Whether the graph's trainings share their work among processes."""
    promotion: PromotionConfig = PromotionConfig()
    """When a challenger becomes champion."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How lists are judged."""
    feedback: FeedbackConfig = FeedbackConfig()
    """How what was shown is joined to what users did."""
    publishing: PublishingConfig = PublishingConfig()
    """What goes into the tables."""
    serving: ServingConfig = ServingConfig()
    """The real-time service."""

    @field_validator("home")
    @classmethod
    def _home_is_expanded(cls, home: Path) -> Path:
        return home.expanduser()

    @model_validator(mode="after")
    def _techniques_are_made(self) -> Self:
        made = self.features.for_recommenders
        missing = set(self.features.texts_for_recommenders) - set(self.features.techniques)
        if missing:
            raise ValueError(f"features.for_recommenders needs {sorted(missing)}, which features.techniques leaves out")
        if "content" in self.recommenders.enabled and self.recommenders.content.vectors not in made:
            raise ValueError(
                f"recommenders.content.vectors is {self.recommenders.content.vectors!r}, "
                f"which features.for_recommenders leaves out"
            )
        return self

    @model_validator(mode="after")
    def _tower_is_trained(self) -> Self:
        if TOWER in self.features.for_recommenders and not self.item_tower.enabled:
            raise ValueError("features.for_recommenders names tower, which item_tower.enabled switches off")
        return self

    @model_validator(mode="after")
    def _generation_reaches_content(self) -> Self:
        vectors = self.recommenders.content.vectors
        if self.generation.enabled and vectors not in ("text_llm", "text_causal"):
            raise ValueError(
                f"generation.enabled needs recommenders.content.vectors of text_llm or text_causal, not {vectors!r}: "
                "what a model writes is compared in the space of a text"
            )
        if self.generation.enabled and vectors not in self.features.for_recommenders:
            raise ValueError(f"generation.enabled needs {vectors}, which features.for_recommenders leaves out")
        return self

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """The environment wins over the file, whose values come as arguments."""
        return env_settings, init_settings

    @property
    def tables_url(self) -> str:
        """SQLAlchemy URL of the recommendation tables."""
        return self._database("genre.db")

    @property
    def tracking_url(self) -> str:
        """SQLAlchemy URL of MLflow's backend: a file, or a schema of its own in the one database."""
        url = self._database("mlflow/mlflow.db")
        return url if url.startswith("sqlite") else url_in_schema(url, MLFLOW_SCHEMA)

    def _database(self, file: str) -> str:
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home.absolute() / file}"


def load_config(path: Path | None = None, *, overrides: Mapping[str, Any] | None = None) -> GenreConfig:
    """Read `path`, or GENRE_CONFIG, or `genre.yaml` here if there is one; `overrides` replace top-level keys.

    Raises `ConfigError`, naming file, line and key, or the variable.
    """
    _check_variables()
    file = path or _default_file()
    text = _text(file) if file is not None else ""
    values = {**_mapping(text, file), **(overrides or {})}
    try:
        return GenreConfig(**values)
    except ValidationError as error:
        raise _readable(error, text, file) from error
    except SettingsError as error:
        raise ConfigError(
            f"An environment variable is not JSON: {error}",
            remedy="Write a list or a mapping as JSON, or set one key of it: GENRE_SERVING__PORT=9000.",
            culprits=[name for name in os.environ if name.startswith(ENV_PREFIX)],
        ) from error


def _default_file() -> Path | None:
    named = os.environ.get("GENRE_CONFIG")
    if named:
        return Path(named)
    here = Path(CONFIG_FILE)
    return here if here.is_file() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The configuration {str(file)!r} cannot be read: {error.strerror}", remedy="Name an existing YAML file."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The configuration {str(file)!r} is not UTF-8", remedy="Save it as UTF-8.") from error


def _mapping(text: str, file: Path | None) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{_where(file, error)} is not YAML", remedy="Mend that line, or the one above it."
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{file} does not hold named keys", remedy="Write `key: value` lines, as in the README.")
    repeated = list(_repeated_keys(root, file))
    if repeated:
        # YAML would silently keep the last of them.
        raise ConfigError("A key is written twice", remedy="Leave one of them.", culprits=repeated)
    return values


def _where(file: Path | None, error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(file)
    return f"{file}, line {error.problem_mark.line + 1}: {error.problem or error.context},"


def _repeated_keys(node: yaml.Node | None, file: Path | None) -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value, file)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            if name.value in seen:
                yield f"{file}, line {name.start_mark.line + 1}: {name.value}"
            seen.add(name.value)
            yield from _repeated_keys(value, file)


def _check_variables() -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in GenreConfig.model_fields}
    unknown = [
        name
        for name in os.environ
        if name.startswith(ENV_PREFIX) and name not in _OTHER_VARIABLES and name.split("__")[0] not in known
    ]
    if unknown:
        raise ConfigError(
            "An environment variable names no setting", remedy=f"Known: {', '.join(sorted(known))}.", culprits=unknown
        )


def _readable(error: ValidationError, text: str, file: Path | None) -> ConfigError:
    problems = [_problem(detail["loc"], detail["msg"], text, file) for detail in error.errors()]
    return ConfigError("; ".join(problems), remedy="Every key is listed in docs/configuration.md.")


def _problem(location: tuple[int | str, ...], message: str, text: str, file: Path | None) -> str:
    keys = [str(part) for part in location]
    line = _line_of(keys, text)
    variable = _variable_of(keys)
    where = f"{variable}: " if variable else f"{file}, line {line}: " if line else ""
    return f"{where}{'.'.join(keys) or 'configuration'}: {message}"


def _variable_of(keys: list[str]) -> str | None:
    """The variable that set this key or one above it, which wins over the file."""
    names = [ENV_PREFIX + "__".join(keys[:depth]).upper() for depth in range(len(keys), 0, -1)]
    return next((name for name in names if name in os.environ), None)


def _line_of(keys: list[str], text: str) -> int | None:
    """The line of the deepest key that the file has."""
    node = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    line = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        found = [(name, value) for name, value in node.value if name.value == key]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line
