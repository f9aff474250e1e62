"""The reference of every setting, written from the config classes themselves, so that it cannot fall behind."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from genre_pipeline.config import GenreConfig

_HEAD = """# Configuration

Every key of `genre.yaml`. A variable overrides the file: `GENRE_SERVING__PORT=9000` sets `serving.port`; lists and
mappings are given as JSON. What is in neither has the default below. An unknown key is an error that names its line.

Written by `genre config > docs/configuration.md`.
"""


def reference() -> str:
    """Markdown: a table a section, keys with type, default and meaning."""
    return "\n".join([_HEAD, *_section("", GenreConfig)]).rstrip() + "\n"


def _section(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    own = {name: field for name, field in model.model_fields.items() if _nested(field) is None}
    nested = {name: _nested(field) for name, field in model.model_fields.items()}
    if own:
        yield f"## {prefix.rstrip('.') or 'Top level'}\n"
        yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
        yield from (_row(prefix, name, field) for name, field in own.items())
        yield ""
    for name, inner in nested.items():
        if inner is not None:
            yield from _section(f"{prefix}{name}.", inner)


def _row(prefix: str, name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{prefix}{name}` | {_type(field.annotation)} | {_default(field)} | {meaning} |"


def _nested(field: FieldInfo) -> type[BaseModel] | None:
    """The section behind a key; an optional section too."""
    kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _type(annotation: Any) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    for noise in (
        "typing.",
        "collections.abc.",
        "pathlib.",
        "pydantic.types.",
        "datetime.",
        "genre_pipeline.contracts.names.",
    ):
        text = text.replace(noise, "")
    return f"`{text}`".replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    text = str(value) if hasattr(value, "as_posix") or hasattr(value, "isoformat") else repr(value)
    return f"`{text}`".replace("|", "\\|")
