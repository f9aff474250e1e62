"""How fast a remote model may be asked, and when asking it has no sense: rate limits and a circuit breaker.

Arithmetic on times that the caller gives, in seconds; nothing here waits.
"""

from collections import deque
from dataclasses import dataclass

_MINUTE_S = 60.0


class RateLimit:
    """Requests and tokens of any sixty seconds, held below their limits; places are given in the order of asking."""

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        self._given: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._not_before = 0.0

    def place(self, now: float, tokens: int) -> float:
        """When a request of `tokens` may be sent, `now` or later; it counts from then on.

        A request of more tokens than a minute may have goes alone.
        """
        moment = max(now, self._not_before, self._given[-1][0] if self._given else now)
        self._forget(moment)
        while self._given and not self._has_room(tokens):
            moment = max(moment, self._given[0][0] + _MINUTE_S)
            self._forget(moment)
        if self._requests is not None or self._tokens is not None:
            self._given.append((moment, tokens))
            self._sum += tokens
        return moment

    def pause_until(self, moment: float) -> None:
        """Give no place before: the endpoint has said so."""
        self._not_before = max(self._not_before, moment)

    def _has_room(self, tokens: int) -> bool:
        fits = self._tokens is None or self._sum + tokens <= self._tokens
        return fits and (self._requests is None or len(self._given) < self._requests)

    def _forget(self, moment: float) -> None:
        while self._given and self._given[0][0] + _MINUTE_S <= moment:
            self._sum -= self._given.popleft()[1]


@dataclass
class CircuitBreaker:
    """Counts failures in a row. After `threshold` of them nobody asks for `rest_s`, then one tries for all.

    After `rests` rests without an answer between them it stays open: the endpoint is given up for this night.
    """

    threshold: int
    rest_s: float
    rests: int
    _failures: int = 0
    _rested: int = 0
    _open_until: float = 0.0
    _is_trying: bool = False

    @property
    def is_given_up(self) -> bool:
        """Whether the endpoint is not asked again."""
        return self._rested > self.rests

    def wait(self, now: float) -> float | None:
        """Seconds until it makes sense to come again: 0 to ask now, None where it never will.

        Whoever gets 0 after a rest is the one that tries; the others wait for what comes of it.
        """
        if self.is_given_up:
            return None
        if self._failures < self.threshold:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        if self._is_trying:
            return self.rest_s / 10
        self._is_trying = True
        return 0.0

    def succeeded(self) -> None:
        """An answer came: everybody may ask."""
        self._failures = self._rested = 0
        self._is_trying = False

    def failed(self, now: float) -> None:
        """No answer came."""
        self._failures += 1
        if self._is_trying or self._failures == self.threshold:
            self._is_trying = False
            self._rested += 1
            self._open_until = now + self.rest_s

    def give_up(self) -> None:
        """Not to be asked again: it refuses every request for the same reason, such as a wrong key."""
        self._rested = self.rests + 1
