"""One row of an ablation: a data set and a configuration with something left out, and whose lists are judged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.language_model import Spending
from genre_pipeline.offline.dataset import Prepared


@dataclass(frozen=True)
class Variant:
    """What is judged under one name."""

    name: str
    """The row's name in the table: "without image"."""
    prepared: Prepared
    config: GenreConfig
    """Enables `recommender`, and the popularity that every suite needs; nothing else has to be fitted."""
    recommender: str = "content"
    """Whose lists stand for the variant."""
    is_tuned_as_reference: bool = False
    """What sets it apart from the reference is not looked at by tuning, which is then done once for both."""
    taken: Callable[[], Spending] | None = None
    """What the texts written for it took, once its lists are made; None where nothing is written."""


@dataclass(frozen=True)
class Ablation:
    """A question that variants answer together."""

    reference: str
    """The variant that the others are compared with, each on the same users."""
    variants: Callable[[Prepared, GenreConfig], Iterable[Variant]]
    """The variants, reference first. Made lazily: one is judged and let go before the next is made."""
    needs: Callable[[GenreConfig], GenreConfig]
    """The configuration that data are to be prepared with, so that every variant finds its part of them."""
    is_chosen_from: bool = False
    """Whether one of the variants is to be switched on: they are then judged on validation too, which chooses."""
