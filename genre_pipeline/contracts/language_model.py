"""What a language model is to whoever asks it: prompts in, replies or named failures out, in the same order.

The doors (local weights, an HTTP endpoint) implement `LanguageModel`; `generation` makes the prompts and reads the
replies. A failure is data here, not an exception: one of many prompts may fail, and the others are still worth having.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_ROLE_TOKENS = 64


@dataclass(frozen=True)
class Prompt:
    """One question to a language model."""

    system: str
    """Who the model is to be; empty for none, and then no role is told to it."""
    user: str
    """The question itself."""
    schema: Mapping[str, Any] | None
    """JSON schema that the reply must follow, for models that can be held to one; None where any text will do."""
    max_tokens: int
    """The reply ends here at the latest."""
    stop: tuple[str, ...] = ()
    """The reply ends before the first of these strings."""
    is_chat: bool = True
    """False: the model is to go on from `user` as it stands, without roles, as small models do best."""


@dataclass(frozen=True)
class Reply:
    """What came back, and what it took."""

    text: str
    """Without what `Prompt.stop` named."""
    input_tokens: int
    output_tokens: int
    seconds: float
    """From the first attempt to the last byte; of a batch computed together, this reply's equal share."""
    cost: float
    """Money, in the currency of the configured prices; 0 for a model of one's own."""
    attempts: int = 1
    """Requests that went out for it."""


class FailureKind(StrEnum):
    """Why no reply came."""

    REFUSED = "refused"
    """The endpoint would not take this prompt: too long, filtered, malformed, not allowed."""
    TIMEOUT = "timeout"
    """No complete reply before the deadline."""
    RATE_LIMITED = "rate_limited"
    """Still turned away after the retries."""
    TRANSPORT = "transport"
    """Connection, server error, or a reply that is not of the protocol, after the retries."""
    BUDGET = "budget"
    """The night's budget is spent: it was not sent."""
    BREAKER = "breaker"
    """The endpoint failed too often: it was not sent."""


@dataclass(frozen=True)
class CallFailed:
    """No reply to a prompt."""

    kind: FailureKind
    detail: str
    """One line for a person; never a key, never the prompt."""
    input_tokens: int = 0
    """Tokens that were sent, or may have been, and must be counted as spent."""
    output_tokens: int = 0
    """Tokens that may have been written, at the most."""
    seconds: float = 0.0
    cost: float = 0.0
    attempts: int = 0
    """Requests that went out for it."""


@dataclass(frozen=True)
class Spending:
    """What calls take: what they took, or what they may take at the most."""

    calls: int = 0
    """Requests that go out, with those that the endpoint turns away."""
    tokens: int = 0
    """Read and written."""
    cost: float = 0.0
    """Money, in the currency of the configured prices."""
    seconds: float = 0.0
    """The calls' own time, one after the other: calls that went out together took less. Nobody knows it before."""

    def __add__(self, other: "Spending") -> "Spending":
        tokens, seconds = self.tokens + other.tokens, self.seconds + other.seconds
        return Spending(self.calls + other.calls, tokens, self.cost + other.cost, seconds)


class LanguageModel(ABC):
    """Answers prompts in batches. One that is opened holds weights or connections; it is asked many times."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Model and sampling parameters, all that a reply depends on besides the prompt; part of a cache key."""

    def prepare(self, say: Callable[[str], None]) -> None:
        """Look for what `identity` tells of, and make what is made once; `say` hears of what takes long.

        Raises `ModelFileError` where weights cannot be had. Without this it happens at the first use.
        """
        del say

    def most(self, prompt: Prompt) -> Spending:
        """What asking this may take at the most: known before it is asked."""
        return Spending(1, sum(most_tokens(prompt)), 0.0)

    def stream(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Reply | CallFailed]]:
        """Positions and answers as they come. Prompts are drawn when there is room for them, and no sooner."""
        for start, prompt in enumerate(prompts):
            yield start, self.complete([prompt])[0]

    @abstractmethod
    def complete(self, prompts: Sequence[Prompt]) -> Sequence[Reply | CallFailed]:
        """One answer a prompt, in their order. Raises only what no prompt could mend, such as missing weights."""


def most_tokens(prompt: Prompt) -> tuple[int, int]:
    """(tokens read, tokens written), at the most: a token is at least a byte, and roles take a few of their own."""
    return len(prompt.system.encode()) + len(prompt.user.encode()) + _ROLE_TOKENS, prompt.max_tokens
