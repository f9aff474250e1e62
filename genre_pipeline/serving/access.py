"""Who may ask for what: keys, scopes and rates, decided before a route is looked up, so that nothing tells what exists.

Where no key was ever made the service is open, and then only to this machine. As soon as there is one, every path but
the two health checks and the page's own files asks for a key; when the last is revoked, nobody is let in.
"""

import base64
import binascii
import hmac
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from genre_pipeline.adapters.api_keys import PREFIX, secret_hash, split_key
from genre_pipeline.adapters.table_records import ApiKey
from genre_pipeline.contracts.errors import GenreError
from genre_pipeline.serving.settings import ServingConfig

_log = logging.getLogger(__name__)
READ, WRITE, ADMIN = "read", "write", "admin"
_OPEN = ("/healthz", "/readyz")
_OPEN_BELOW = "/static/"
_WRITES = ("/v1/events", "/")
"""Where events are posted: by callers, and by the page's forms."""
_KEY_IN_URL = re.compile(rf"(?:^|[&;?])(?:api_?-?key|key|token|access_token)=|{PREFIX}_[0-9a-f]{{12}}_", re.IGNORECASE)
_REALM = 'Bearer realm="genre", Basic realm="genre", charset="UTF-8"'
_NO_SECRET = "0" * 64


@dataclass(frozen=True)
class Refusal:
    """Why a request is not served."""

    status: int
    problem: str
    remedy: str
    headers: Mapping[str, str]


@dataclass
class _Bucket:
    """Tokens that come back at a rate: a request takes one."""

    tokens: float
    at: float


class Access:
    """The keys as they were read last, and what each has asked for lately. Called by one thread, the event loop."""

    def __init__(
        self, issued_keys: Callable[[], Sequence[ApiKey]], config: ServingConfig, *, monotonic: Callable[[], float]
    ) -> None:
        """`monotonic` gives seconds that never go back."""
        self._issued_keys, self._config, self._monotonic = issued_keys, config, monotonic
        self._keys: dict[str, ApiKey] | None = None
        self._read_at = 0.0
        self._reading: Future[None] | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._buckets: dict[str, _Bucket] = {}

    @property
    def asks_for_keys(self) -> bool:
        """Whether requests need a key: there is one, or there was, or it is not known."""
        return self._keys is None or bool(self._keys)

    @property
    def has_valid_key(self) -> bool:
        """Whether anybody could be let in."""
        return any(key.revoked_at is None for key in (self._keys or {}).values())

    def look(self) -> None:
        """Read the keys. Where they cannot be read, those known stay."""
        self._read_at = self._monotonic()
        try:
            keys = self._issued_keys()
        except GenreError as error:
            _log.error("the keys cannot be read: %s", type(error).__name__)
            return
        self._keys = {key.key_id: key for key in keys}

    def follow(self) -> None:
        """Read the keys again, beside the requests, when that is due."""
        is_due = self._monotonic() - self._read_at >= self._config.keys_reload_seconds
        if is_due and (self._reading is None or self._reading.done()):
            self._reader = self._reader or ThreadPoolExecutor(1, thread_name_prefix="key-reader")
            self._reading = self._reader.submit(self.look)

    def refusal(self, method: str, path: str, query: str, headers: Mapping[bytes, bytes]) -> Refusal | None:
        """Why a request is refused; None where it is not."""
        self.follow()
        if _KEY_IN_URL.search(query) or (f"{PREFIX}_" in path and _KEY_IN_URL.search(path)):
            return _refused(401, "A key does not belong into a URL, where logs keep it", "Revoke it, make another.")
        if path in _OPEN or path.startswith(_OPEN_BELOW) or not self.asks_for_keys:
            return None
        if self._keys is None:
            return Refusal(
                503, "Keys cannot be checked", "Try again; the database does not answer.", {"retry-after": "5"}
            )
        key = self._known(_given_key(headers))
        if key is None:
            return _refused(401, "A valid key is needed", "Send `Authorization: Bearer genre_…`, or X-API-Key.")
        if not _may(key.scopes, scope_of(method, path)):
            return _refused(403, "The key does not allow this", "Ask for a key with the scope that the docs name.")
        return self._rate_refusal(key)

    def close(self) -> None:
        """End the thread that reads keys; the next one to be due begins another."""
        if self._reader is not None:
            self._reader.shutdown(wait=True)
            self._reader = None

    def _known(self, given: str | None) -> ApiKey | None:
        key_id, secret = (split_key(given) if given else None) or ("", "")
        key = (self._keys or {}).get(key_id)
        # Compared also where there is no such key, so that time tells nothing.
        is_right = hmac.compare_digest(secret_hash(secret), key.sha256 if key is not None else _NO_SECRET)
        return key if key is not None and is_right and key.revoked_at is None else None

    def _rate_refusal(self, key: ApiKey) -> Refusal | None:
        rate = key.requests_per_second or self._config.requests_per_second
        most, now = max(rate * self._config.burst_seconds, 1.0), self._monotonic()
        bucket = self._buckets.setdefault(key.key_id, _Bucket(most, now))
        bucket.tokens, bucket.at = min(most, bucket.tokens + (now - bucket.at) * rate), now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return None
        wait = str(max(1, round((1 - bucket.tokens) / rate)))
        return Refusal(429, "The key asks too often", f"At most {rate:g} requests a second.", {"retry-after": wait})


def scope_of(method: str, path: str) -> str:
    """The scope that a request needs."""
    if method == "DELETE":
        return ADMIN
    return WRITE if method == "POST" and path in _WRITES else READ


def _may(scopes: Sequence[str], needed: str) -> bool:
    """`admin` may do everything, `write` what it says, and so `read`."""
    return ADMIN in scopes or needed in scopes


def _given_key(headers: Mapping[bytes, bytes]) -> str | None:
    """From X-API-Key, a bearer, or the password of Basic, by which a browser can show the page."""
    own = headers.get(b"x-api-key")
    if own is not None:
        return own.decode("latin-1")
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode("latin-1").partition(":")[2]
    except binascii.Error:
        return None


def _refused(status: int, problem: str, remedy: str) -> Refusal:
    return Refusal(status, problem, remedy, {"www-authenticate": _REALM} if status == 401 else {})
