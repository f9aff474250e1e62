"""A night's purse: what calls may come to, looked at before each with the most that it may take.

What is set aside for calls in flight counts as spent until they are settled, so that the sum is never over a limit,
not even for a moment.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, NonNegativeInt

from genre_pipeline.contracts.language_model import Spending
from genre_pipeline.contracts.settings import Settings


class BudgetConfig(Settings):
    """What one night may take, over all schemes. What is beyond it falls back, and the assets say how many."""

    cost: float | None = Field(default=None, ge=0)
    """Money, in the currency of the model's prices; None for no limit."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens, read and written; None for no limit."""
    calls: int | None = Field(default=None, ge=0)
    """Requests that go out, with those that the endpoint turns away; None for no limit."""
    scheme_seconds: float | None = Field(default=None, gt=0)
    """After this long a scheme asks nothing new in this run; None for no limit."""
    subjects: Mapping[
        Literal["item_summaries", "user_profiles", "synthetic_items", "written_reasons"], NonNegativeInt
    ] = {}
    """Scheme to how many items, users or places of lists it asks about, the first by id; all where it is not named."""

    def subjects_of(self, scheme: str, available: int) -> int:
        """How many of the `available` subjects a scheme may ask about."""
        return next((most for name, most in self.subjects.items() if name == scheme), available)


class Budget:
    """The purse of one night, of which `spent` is gone already."""

    def __init__(self, config: BudgetConfig, spent: Spending) -> None:
        self._limits = (config.calls, config.tokens, config.cost)
        self._taken = spent

    def set_aside(self, most: Spending) -> bool:
        """Whether a call that may take so much can be afforded; if so, it is set aside for it."""
        after = self._taken + most
        sums = (after.calls, after.tokens, after.cost)
        fits = all(limit is None or total <= limit for total, limit in zip(sums, self._limits, strict=True))
        if fits:
            self._taken = after
        return fits

    def settle(self, most: Spending, took: Spending) -> None:
        """A call has ended: what it did not take of what was set aside is there again."""
        self._taken = self._taken + took + Spending(-most.calls, -most.tokens, -most.cost)
