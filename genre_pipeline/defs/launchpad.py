"""Settings that one run may change: what the Launchpad shows is the component's own pydantic class.

Types, defaults' absence and docstrings come from the class; what is entered is laid over what `genre.yaml` says and
validated by the class itself, so that there is one list of settings and one set of rules.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import dagster as dg
from pydantic import ValidationError

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.settings import Settings

Component = TypeVar("Component", bound=Settings)


def launchpad_schema(component: type[Settings]) -> dict[str, dg.Field]:
    """Dagster's configuration schema of a component's settings: every field may be left out."""
    return {
        name: dg.Field(_kind(field.annotation), is_required=False, description=field.description)
        for name, field in component.model_fields.items()
    }


def launched(configured: Component, entered: Mapping[str, Any]) -> Component:
    """The configured settings, with what was entered for this run laid over them. Raises `ConfigError`."""
    try:
        return type(configured).model_validate(_over(configured.model_dump(), entered))
    except ValidationError as error:
        problems = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
        raise ConfigError(
            f"The run's configuration cannot be used: {'; '.join(problems)}",
            remedy="docs/configuration.md says what each setting may be.",
        ) from error


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        inner = below.get(name)
        merged[name] = _over(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def _kind(annotation: Any) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        given = [one for one in arguments if one is not NoneType]
        kind = _kind(given[0]) if len(given) == 1 else dg.Any
        return dg.Noneable(kind) if NoneType in arguments else kind
    if origin is Literal:
        return dg.Enum(f"one_of_{'_'.join(map(str, arguments))}", [dg.EnumValue(str(one)) for one in arguments])
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return launchpad_schema(annotation)
    # Dagster takes 1 for a float only where it is told that both will do.
    simple = {int: int, float: dg.Float, bool: bool, str: str}
    return simple.get(annotation, dg.Any)
