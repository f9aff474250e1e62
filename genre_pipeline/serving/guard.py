"""What stands before every request, as one plain ASGI layer: keys, host, path and body limits, a deadline, headers,
metrics, access log.

Plain ASGI because it runs for each request and must cost microseconds. The access log names the route's template, never
the path, which holds user ids.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from prometheus_client import CollectorRegistry, Counter, Histogram

from genre_pipeline.contracts.errors import AccessError, RequestError
from genre_pipeline.serving.access import Access, Refusal
from genre_pipeline.serving.settings import ServingConfig, is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger("genre_pipeline.serving.access")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not no-referrer: with it a browser says "Origin: null" of the page's own forms, as of any other site's.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_SECURITY_NAMES = frozenset(name for name, _ in SECURITY_HEADERS)
_NO_STORE = (b"cache-control", b"no-store")
IS_BUSY = "genre.is_busy"
"""Key of an ASGI scope: whether so many requests wait before this one that scoring for it would make all wait."""
_NEVER_SHED = frozenset({"/healthz", "/readyz", "/metrics"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOSTS_KEPT = 64
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counters of one app, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "genre_requests_total",
            "Requests by route and status",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "genre_request_seconds",
            "Time to answer",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=self.registry,
        )
        self.strategies = Counter(
            "genre_recommendations_total", "Lists by the strategy used", ["strategy"], registry=self.registry
        )
        self.events = Counter("genre_events_total", "Events by what became of them", ["result"], registry=self.registry)


class Guard:
    """The layer. Refuses before the application sees a request; adds headers to whatever is answered."""

    def __init__(self, app: App, config: ServingConfig, metrics: Metrics, access: Access) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._access = access
        self._waiting = 0
        self._hosts: set[bytes] = set()
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, has_started = time.perf_counter(), 500, False

        async def send_guarded(message: Message) -> None:
            nonlocal status, has_started
            if message["type"] == "http.response.start":
                status, has_started = message["status"], True
                _add_headers(message)
            await send(message)

        try:
            async with asyncio.timeout(self._config.deadline_seconds):
                await self._in_turn(scope, receive, send_guarded)
        except TimeoutError:
            if has_started:
                raise
            await _refuse(send_guarded, 503, "The answer took too long", "Try again later.", {"retry-after": "1"})
        finally:
            self._record(scope, status, time.perf_counter() - start)

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve in the order of coming; what comes when too many wait is turned away, which costs nearly nothing."""
        before = self._waiting
        if before >= self._config.waiting_max and scope["path"] not in _NEVER_SHED:
            await _refuse(send, 503, "Too many requests wait already", "Try again later.", {"retry-after": "1"})
            return
        scope[IS_BUSY] = before >= self._config.waiting_scored
        self._waiting += 1
        try:
            # Whatever came at once is counted before the first of it is served.
            await asyncio.sleep(0)
            await self._serve(scope, receive, send)
        finally:
            self._waiting -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(send, refusal.status, refusal.problem, refusal.remedy, refusal.headers)
            return
        body = await _read_body(receive, self._config.body_limit_bytes) if _may_have_body(scope) else b""
        if body is None:
            limit = self._config.body_limit_bytes
            problem, close = f"The body is larger than {limit} bytes", {"connection": "close"}
            await _refuse(send, 413, problem, "Send less in one request.", close)
            return
        await self._app(scope, _replay(body, receive), send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = dict(scope["headers"])
        if not self._access.asks_for_keys and not self._is_host_allowed(headers):
            remedy = "Call the service by its loopback address; a proxy in front sets its own Host header."
            return Refusal(421, "This host name is not served here", remedy, {})
        if scope["method"] not in _SAFE_METHODS and not _is_same_origin(headers):
            return Refusal(403, "Pages of other origins may not write here", "Call from your own server.", {})
        if not _is_valid_path(scope):
            return Refusal(422, "The path is not valid UTF-8", "Percent-encode ids as UTF-8.", {})
        query = scope.get("query_string", b"").decode("latin-1")
        return self._access.refusal(scope["method"], scope["path"], query, headers)

    def _is_host_allowed(self, headers: Mapping[bytes, bytes]) -> bool:
        # Without keys a page on another site could otherwise reach this port through a name that resolves to loopback.
        host = headers.get(b"host", b"")
        if host in self._hosts:
            return True
        is_own = self._is_own_name(host.decode("latin-1"))
        if is_own and len(self._hosts) < _HOSTS_KEPT:
            self._hosts.add(host)
        return is_own

    def _is_own_name(self, host: str) -> bool:
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.rsplit(":", 1)[0]
        return is_loopback(name) or name == self._config.host

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        key = method, route, status
        if key not in self._counters:  # looking up by labels costs more than counting
            self._counters[key] = self._metrics.requests.labels(method, route, str(status))
            self._histograms[route] = self._metrics.seconds.labels(route)
        self._counters[key].inc()
        self._histograms[route].observe(seconds)
        if _log.isEnabledFor(logging.INFO):
            _log.info("%s %s %d %.1f ms", method, route, status, seconds * 1000)


def error_body(error: str, problem: str, remedy: str) -> bytes:
    """The one error body. ASCII, so that a lone surrogate in a message cannot break its encoding."""
    return json.dumps({"error": error, "problem": problem, "remedy": remedy}).encode("ascii")


def _may_have_body(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return b"content-length" in names or b"transfer-encoding" in names


def _is_valid_path(scope: Scope) -> bool:
    raw = scope.get("raw_path") or b""
    if b"%" not in raw and raw.isascii():
        return True
    try:
        unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(chunks)
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def replayed() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _add_headers(message: Message) -> None:
    headers = list(message.get("headers", []))
    present = {name.lower() for name, _ in headers}
    if present.isdisjoint(_SECURITY_NAMES):
        headers += SECURITY_HEADERS
    else:
        headers += [(name, value) for name, value in SECURITY_HEADERS if name not in present]
    if b"cache-control" not in present:
        headers.append(_NO_STORE)
    message["headers"] = headers


async def _refuse(send: Send, status: int, problem: str, remedy: str, more: Mapping[str, str] | None = None) -> None:
    error = AccessError.__name__ if status in (401, 403, 429) else RequestError.__name__
    body = error_body(error, problem, remedy)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in (more or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _is_same_origin(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser's page that writes is one of ours; callers that are no browsers send no Origin."""
    if headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
        return False
    origin = headers.get(b"origin")
    return origin is None or origin.partition(b"://")[2] == headers.get(b"host", b"")
