"""One question to an OpenAI-compatible chat endpoint, and whatever comes back, in the project's words.

What belongs here: the protocol, the reply's size and time, and which failures may have cost something. What does not:
trying again, limits and budgets (`http_language_model`). Spoken by vLLM, llama.cpp's server and commercial services.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.language_model import FailureKind
from genre_pipeline.contracts.settings import Settings

if TYPE_CHECKING:
    import httpx

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 529}
_KINDS = {429: FailureKind.RATE_LIMITED, 408: FailureKind.TIMEOUT, 504: FailureKind.TIMEOUT}
_REFUSES_EVERYTHING = {401, 402, 403, 404, 405}


class ChatEndpointConfig(Settings):
    """Where an OpenAI-compatible endpoint is, and how it is spoken to."""

    url: str = "http://127.0.0.1:8000/v1"
    """What `/chat/completions` is added to."""
    model: str = ""
    """The model's name at the endpoint; part of every request's identity."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None where the endpoint wants none."""
    proxy: str | None = None
    """http or https URL of a proxy on the way there; those that the environment names are not used."""
    structured_output: Literal["none", "json_object", "json_schema"] = "none"
    """What the endpoint can be held to: any JSON, or the scheme's own JSON schema (as `response_format`)."""
    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls the limit of a reply's tokens."""
    deadline_s: float = Field(default=60, gt=0)
    """A request without its whole reply after this long is given up, and counted as paid at the worst."""
    reply_bytes: int = Field(default=1_000_000, ge=1_000)
    """A longer reply is cut off while it comes in, and counted as paid at the worst."""

    @field_validator("url")
    @classmethod
    def _url_is_bare(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https URL")
        if parts.username or parts.password or parts.query:
            raise ValueError("must hold no key or password: name an environment variable in api_key_env")
        return url.rstrip("/")

    @field_validator("proxy")
    @classmethod
    def _proxy_is_a_url(cls, proxy: str | None) -> str | None:
        if proxy is not None and (urlsplit(proxy).scheme not in ("http", "https") or not urlsplit(proxy).hostname):
            raise ValueError("must be an http or https URL")
        return proxy


class NotAnsweredError(Exception):
    """A question that got no answer. Never leaves `adapters`: it becomes a `CallFailed`."""

    def __init__(
        self,
        reason: str,
        kind: FailureKind = FailureKind.TRANSPORT,
        *,
        may_be_paid: bool = False,
        is_transient: bool = False,
        is_final: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.may_be_paid = may_be_paid
        """The endpoint may have worked for it, and charge."""
        self.is_transient = is_transient
        """The same question may be answered later."""
        self.is_final = is_final
        """Every question will be refused: a wrong key, no such model."""
        self.retry_after_s = retry_after_s
        """When the endpoint wants to be asked again."""


@dataclass(frozen=True)
class ChatAnswer:
    """A reply's text and what it cost; None where the endpoint did not say."""

    text: str
    """Empty where the model said nothing."""
    input_tokens: int | None
    output_tokens: int | None


class ChatEndpoint:
    """An endpoint, asked through a client of httpx that its caller opens and closes."""

    def __init__(self, config: ChatEndpointConfig) -> None:
        self._config = config
        self._key = _key(config.api_key_env)

    def open_client(self, concurrency: int) -> "httpx.AsyncClient":
        """A client for so many requests at once. It follows no redirection and takes no key from a .netrc file."""
        import httpx

        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        later = 2 * self._config.deadline_s  # than the deadline of `ask`, which is the one that counts
        return httpx.AsyncClient(
            limits=limits, timeout=later, follow_redirects=False, trust_env=False, proxy=self._config.proxy
        )

    async def ask(self, client: "httpx.AsyncClient", body: Mapping[str, Any]) -> ChatAnswer:
        """Send one request. Raises `NotAnsweredError` for everything but a whole, readable answer."""
        import httpx

        deadline = self._config.deadline_s
        try:
            async with asyncio.timeout(deadline), self._sent(client, body) as response:
                _refuse_status(response)
                raw = await self._whole(response)
        except TimeoutError as error:
            raise NotAnsweredError(f"no reply within {deadline:g} s", FailureKind.TIMEOUT, may_be_paid=True) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotAnsweredError(f"no connection: {type(error).__name__}", is_transient=True) from error
        except httpx.HTTPError as error:
            raise NotAnsweredError(f"the connection broke: {type(error).__name__}", may_be_paid=True) from error
        return _understood(raw)

    def _sent(self, client: "httpx.AsyncClient", body: Mapping[str, Any]) -> Any:
        # Without compression the bytes that come in are the bytes there are: none unfolds to a thousand.
        headers = {"Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
        return client.stream("POST", f"{self._config.url}/chat/completions", json=body, headers=headers)

    async def _whole(self, response: "httpx.Response") -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise NotAnsweredError("the reply is compressed, which was not asked for", may_be_paid=True)
        raw = bytearray()
        async for part in response.aiter_raw():
            raw += part
            if len(raw) > self._config.reply_bytes:
                raise NotAnsweredError(f"the reply is over {self._config.reply_bytes:,} bytes", may_be_paid=True)
        return bytes(raw)


def _key(variable: str | None) -> SecretStr | None:
    if variable is None:
        return None
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(
            f"The environment variable {variable}, which generation.model.http.api_key_env names, is not set",
            remedy=f"Set {variable} to the endpoint's key, or name another variable.",
        )
    return SecretStr(value)


def _refuse_status(response: "httpx.Response") -> None:
    """Raise unless 200. The body is left unread: it may repeat the prompt, or part of the key."""
    status = response.status_code
    if status == 200:
        return
    is_transient = status in _TRANSIENT
    raise NotAnsweredError(
        f"HTTP {status}",
        _KINDS.get(status, FailureKind.TRANSPORT if is_transient else FailureKind.REFUSED),
        is_transient=is_transient,
        is_final=status in _REFUSES_EVERYTHING or 300 <= status < 400,
        retry_after_s=_seconds(response.headers.get("Retry-After")),
    )


def _seconds(retry_after: str | None) -> float | None:
    """The header, a number or a date, as seconds from now."""
    if retry_after is None:
        return None
    try:
        return max(float(retry_after), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _understood(raw: bytes) -> ChatAnswer:
    try:
        answer = json.loads(raw)
        message = answer["choices"][0]["message"]
        text = message.get("content") or message.get("refusal") or ""
        usage = answer.get("usage") or {}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise NotAnsweredError("the reply is not of the protocol", may_be_paid=True) from error
    if not isinstance(text, str) or not isinstance(usage, dict):
        raise NotAnsweredError("the reply is not of the protocol", may_be_paid=True)
    return ChatAnswer(text, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None
