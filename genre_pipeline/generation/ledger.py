"""What the ledger of calls keeps, and what the room asks of it: a row a call, and replies by key.

The table behind it is `llm_calls`. A row is written when its reply has come and before it is used, and is never
changed: what has been paid for is there after a crash, and nobody pays for it again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Protocol

_KEPT_CHARACTERS = 100_000

Status = Literal["model", "repaired", "failed"]
"""The model's first answer was usable; its second was, to a prompt that named the first one's fault; neither."""


@dataclass(frozen=True)
class Call:
    """One call of a language model, whatever came of it."""

    request_key: str
    """Hash of prompt version, model, parameters and input: equal requests share a reply."""
    scheme: str
    subject: str
    """The item or user that it is about."""
    is_personal: bool
    """Whether the subject is a user, with whom the row is forgotten."""
    prompt_version: str
    model: str
    parameters: Mapping[str, Any]
    input_hash: str
    raw_reply: str | None
    """None where none came."""
    parsed: Any
    """What the scheme read out of the reply, as JSON; None where it could not."""
    status: Status
    reason: str
    """Why it failed; empty where it did not."""
    input_tokens: int
    output_tokens: int
    assumed_tokens: int
    """Tokens that the endpoint never reported, at the worst: of a reply that was cut off or did not come in time."""
    cost: float
    """Money for all of these tokens, in the currency of the configured prices."""
    latency_s: float
    attempts: int
    """Requests that went out for it, with those that the endpoint turned away."""
    day: date
    """The night that asked."""


def kept(reply: str) -> str:
    """A reply as the ledger keeps it, and as it is therefore used: what comes back later must be the same.

    Cut at 100,000 characters, without what a database cannot hold: NUL, and halves of surrogate pairs.
    """
    return reply[:_KEPT_CHARACTERS].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


class Ledger(Protocol):
    """The door to the table, or a stand-in."""

    def replies(self, request_keys: Sequence[str]) -> Mapping[str, str]:
        """The raw reply of each key that has one."""

    def record(self, calls: Sequence[Call]) -> None:
        """Write calls, durable on return."""
