import pytest
from pydantic import ValidationError

from genre_pipeline.contracts.settings import Settings


class Colour(Settings):
    """A colour."""

    name: str = "red"
    """What it is called."""


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="shade"):
        Colour(shade=1)  # type: ignore[call-arg]


def test_settings_are_frozen_and_can_be_compared_and_hashed() -> None:
    colour = Colour()
    with pytest.raises(ValidationError, match="frozen"):
        colour.name = "blue"
    assert colour == Colour(name="red")
    assert len({colour, Colour(), Colour(name="blue")}) == 2


def test_a_docstring_is_the_description() -> None:
    assert Colour.model_fields["name"].description == "What it is called."
