"""The base of every component's configuration: frozen, typed, and deaf to unknown keys."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A component's configuration. Field docstrings are the documentation; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
