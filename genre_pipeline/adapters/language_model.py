"""Which language model a night asks: weights on this machine, an endpoint, or none.

What belongs here: the choice, and what holds for both doors. The doors are `local_language_model` and
`http_language_model`.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from genre_pipeline.adapters.http_language_model import HttpLanguageModel, HttpModelConfig
from genre_pipeline.adapters.local_language_model import LocalLanguageModel, LocalModelConfig
from genre_pipeline.contracts.language_model import LanguageModel
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.models.causal_decoding import Choice


class LanguageModelConfig(Settings):
    """The language model that enriches the data, and how it chooses its words."""

    kind: Literal["none", "local", "http"] = "none"
    """`none` leaves everybody to the schemes' fallback; `local` computes here; `http` asks an endpoint."""
    is_required: bool = True
    """Whether a model whose files are not here stops the night; false says so and falls back."""
    temperature: float = Field(default=0, ge=0, le=2)
    """0 takes the likeliest token each time; above, replies vary, with the seed."""
    top_p: float = Field(default=1, gt=0, le=1)
    """With a temperature: draw among the likeliest tokens that hold this share of the probability."""
    repetition_penalty: float = Field(default=1, ge=1, le=2)
    """Above 1, words said before become less likely. An endpoint is told of it only where it is not 1."""
    local: LocalModelConfig = LocalModelConfig()
    """Weights on this machine."""
    http: HttpModelConfig = HttpModelConfig()
    """An endpoint."""

    @model_validator(mode="after")
    def _endpoint_has_a_model(self) -> Self:
        if self.kind == "http" and not self.http.model:
            raise ValueError("http.model must name the endpoint's model")
        return self


def open_language_model(config: LanguageModelConfig, *, seed: int, cache: Path) -> LanguageModel | None:
    """The configured model, None where there is none. `cache` keeps weights that had to be converted.

    Raises `ConfigError` for a key that is not in the environment. Weights are looked for when they are needed.
    """
    if config.kind == "local":
        choice = Choice(config.temperature, config.top_p, config.repetition_penalty)
        return LocalLanguageModel(config.local, choice, seed=seed, cache=cache)
    if config.kind == "http":
        return HttpLanguageModel(config.http, _told(config, seed))
    return None


def _told(config: LanguageModelConfig, seed: int) -> dict[str, Any]:
    told: dict[str, Any] = {"temperature": config.temperature}
    if config.temperature > 0:
        told |= {"top_p": config.top_p, "seed": seed}
    if config.repetition_penalty != 1:
        told["repetition_penalty"] = config.repetition_penalty
    return told
