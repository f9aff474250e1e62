import inspect

import pytest

from genre_pipeline.contracts import errors
from genre_pipeline.contracts.errors import ConfigError, GenreError

FAMILY = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, GenreError)]


@pytest.mark.parametrize(
    ("culprits", "message"),
    [
        ([], "The key is wrong. Mend it."),
        (["a"], "The key is wrong ('a'). Mend it."),
        ([1, "b"], "The key is wrong (1, 'b'). Mend it."),
        (list("abcde"), "The key is wrong ('a', 'b', 'c', 'd', 'e'). Mend it."),
        (list("abcdefg"), "The key is wrong ('a', 'b', 'c', 'd', 'e', and 2 more). Mend it."),
    ],
)
def test_a_message_names_the_thing_the_values_and_the_remedy(culprits: list[object], message: str) -> None:
    error = ConfigError("The key is wrong", remedy="Mend it.", culprits=culprits)
    assert str(error) == message
    assert error.culprits == tuple(culprits)
    assert (error.problem, error.remedy) == ("The key is wrong", "Mend it.")


def test_the_family_is_one_and_each_says_what_it_is_for() -> None:
    assert len(FAMILY) > 10
    for one in FAMILY:
        assert one.__doc__
        assert one is GenreError or one.__name__.endswith("Error")
        assert isinstance(one("p", remedy="r"), GenreError)


def test_no_error_without_a_remedy() -> None:
    with pytest.raises(TypeError, match="remedy"):
        GenreError("p")  # type: ignore[call-arg]
