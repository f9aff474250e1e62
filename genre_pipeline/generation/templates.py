"""Prompts as files: one a domain (films, shop, news, courses), packaged, to be copied and edited.

A file has a version and, for each scheme, a prompt in two styles: `json` for models that write JSON, `lines` for small
ones that do not. `$data` stands for the fields as JSON, `$delimiter` for the mark around them, and each field may stand
for itself. Schemas of replies are not in the file: the code that reads a reply knows them.
"""

import hashlib
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings

Style = Literal["json", "lines"]
DOMAINS = ("films", "shop", "news", "courses")


class PromptTemplate(Settings):
    """One prompt."""

    system: str = ""
    """Who the model is to be; empty for none."""
    user: str
    """The question, with `$` placeholders."""
    max_tokens: int = Field(ge=1)
    """The reply ends here at the latest."""
    stop: tuple[str, ...] = ()
    """The reply ends before the first of these."""
    is_chat: bool = True
    """False lets the model go on from the text as it stands."""

    def filled(self, words: dict[str, str]) -> str:
        """The question with every placeholder replaced, once: what the words hold is not looked at again."""
        return Template(self.user.strip()).substitute(words)


class SchemeTemplates(Settings):
    """A scheme's prompt in both styles."""

    json_style: PromptTemplate = Field(alias="json")
    """For models that write JSON."""
    lines: PromptTemplate
    """For models that do not."""

    def of(self, style: Style) -> PromptTemplate:
        """The prompt of a style."""
        return self.json_style if style == "json" else self.lines


class Templates(Settings):
    """A domain's prompts."""

    version: str = Field(min_length=1)
    """Raise it with every change of meaning; the file's hash is added, so that an edited prompt always asks anew."""
    item_summaries: SchemeTemplates
    """One line about an item, and tags."""
    user_profiles: SchemeTemplates
    """Interests and a sentence about a user."""
    synthetic_items: SchemeTemplates
    """Items that a user would like."""
    written_reasons: SchemeTemplates
    """Why an item is in a list."""


_FIELDS = {
    "item_summaries": {"title", "description", "categories"},
    "user_profiles": {"history", "titles", "vocabulary"},
    "synthetic_items": {"history", "titles", "profile", "count"},
    "written_reasons": {"title", "description", "reasons"},
}
"""What each scheme's prompts may name beside `data` and `delimiter`."""


def load_templates(name: str) -> Templates:
    """The prompts of a packaged domain, or of a file at that path; `version` ends in the hash of the file's text.

    Raises `ConfigError` for a file that is missing, not YAML, of another form, or names a field that there is not.
    """
    text = _text(name)
    try:
        found = Templates.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            f"The prompt templates {name!r} cannot be used: {_first_line(error)}",
            remedy=f"Copy one of the packaged files ({', '.join(DOMAINS)}) and edit it.",
        ) from error
    for scheme, fields in _FIELDS.items():
        for style in ("json_style", "lines"):
            _check_fields(getattr(getattr(found, scheme), style), fields, f"{scheme}.{style}")
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return found.model_copy(update={"version": f"{found.version}-{mark}"})


def _text(name: str) -> str:
    packaged = files("genre_pipeline.generation") / "templates" / f"{name}.yaml"
    source = packaged if name in DOMAINS else Path(name).expanduser()
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The prompt templates {name!r} cannot be read",
            remedy=f"Name one of {', '.join(DOMAINS)}, or the path of a YAML file in UTF-8.",
        ) from error


def _check_fields(template: PromptTemplate, fields: set[str], where: str) -> None:
    known = fields | {"data", "delimiter"}
    parsed = Template(template.user)
    named = set(parsed.get_identifiers()) if parsed.is_valid() else {"$"}
    if named - known or not named & (fields | {"data"}):
        raise ConfigError(
            f"The prompt {where} names fields that it cannot have, or none at all",
            remedy=f"It may name: {', '.join('$' + name for name in sorted(known))}; write $$ for a dollar.",
            culprits=sorted(named - known),
        )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
