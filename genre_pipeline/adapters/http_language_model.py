"""A language model behind an OpenAI-compatible endpoint: many questions at once, within limits, again where it helps.

A request that was turned away (no connection, 429, 5xx) is sent again with growing, jittered waits or when the
endpoint says. One that may have been worked on (a hang, a broken or overlong reply) may have been paid for: it is
counted at the worst and not sent again from here, because another one is for the caller's budget to allow. Failures in
a row open a circuit breaker, refusals of everything (a wrong key) close the door for good. What happens on the way is
no exception but a `CallFailed`: a night goes on without the answer.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import Field

from genre_pipeline.adapters.call_limits import CircuitBreaker, RateLimit
from genre_pipeline.adapters.chat_endpoint import ChatAnswer, ChatEndpoint, ChatEndpointConfig, NotAnsweredError
from genre_pipeline.contracts.language_model import (
    CallFailed,
    FailureKind,
    LanguageModel,
    Prompt,
    Reply,
    Spending,
    most_tokens,
)

if TYPE_CHECKING:
    import httpx


class HttpModelConfig(ChatEndpointConfig):
    """An endpoint, and how much may be asked of it at once and in a minute."""

    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests in flight."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests in any sixty seconds; None for no limit."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens in any sixty seconds, each request counted at the most it can use; None for no limit."""
    attempts: int = Field(default=4, ge=1, le=20)
    """Requests for one question, while the endpoint turns it away."""
    retry_wait_s: float = Field(default=0.5, ge=0)
    """The first wait before trying again; it doubles, with as much again of chance."""
    retry_wait_max_s: float = Field(default=30, ge=0)
    """The longest such wait. An endpoint that asks for a longer pause is not asked again for this question."""
    breaker_failures: int = Field(default=10, ge=1)
    """Failures in a row, of whatever questions, after which nobody asks for a while."""
    breaker_rest_s: float = Field(default=30, ge=0)
    """How long, before one question tries for all."""
    breaker_rests: int = Field(default=3, ge=0)
    """Rests without an answer between them, after which the endpoint is given up for this night."""
    input_price: float = Field(default=0, ge=0)
    """Money for a million tokens read."""
    output_price: float = Field(default=0, ge=0)
    """Money for a million tokens written."""


class HttpLanguageModel(LanguageModel):
    """The door to an endpoint. Answers come in the order in which they are ready.

    `parameters` are what the endpoint is told about choosing tokens: temperature, top_p, seed …
    """

    def __init__(self, config: HttpModelConfig, parameters: Mapping[str, Any]) -> None:
        self._config = config
        self._parameters = dict(parameters)
        self._endpoint = ChatEndpoint(config)
        self._limit = RateLimit(config.requests_per_minute, config.tokens_per_minute)
        self._breaker = CircuitBreaker(config.breaker_failures, config.breaker_rest_s, config.breaker_rests)

    @property
    def identity(self) -> str:
        """Endpoint, model and parameters: who answers, not how fast."""
        told = json.dumps({**self._parameters, "structured": self._config.structured_output}, sort_keys=True)
        return f"http/{self._config.url}/{self._config.model}/{told}"

    def most(self, prompt: Prompt) -> Spending:
        """With every request turned away but the last, which is paid in full."""
        read, written = most_tokens(prompt)
        return Spending(self._config.attempts, read + written, self._cost(read, written))

    def complete(self, prompts: Sequence[Prompt]) -> Sequence[Reply | CallFailed]:
        """One answer a prompt, in their order."""
        answers = dict(self.stream(prompts))
        return [answers[position] for position in range(len(prompts))]

    def stream(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Reply | CallFailed]]:
        """Positions and answers as they come; a prompt is drawn when one of `concurrency` places is free."""
        from stamina.instrumentation import set_on_retry_hooks

        # stamina would tell of every retry on standard output, which belongs to a command's results.
        set_on_retry_hooks([])
        drawn = enumerate(prompts)
        with _running_loop() as loop, _client(self._endpoint, self._config.concurrency, loop) as client:
            pending: dict[Future[Reply | CallFailed], int] = {}
            try:
                while True:
                    for position, prompt in islice(drawn, self._config.concurrency - len(pending)):
                        pending[asyncio.run_coroutine_threadsafe(self._call(client, prompt), loop)] = position
                    if not pending:
                        return
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        yield pending.pop(future), future.result()
            finally:
                for future in pending:
                    future.cancel()

    async def _call(self, client: "httpx.AsyncClient", prompt: Prompt) -> Reply | CallFailed:
        started, attempts = time.monotonic(), 0
        most = most_tokens(prompt)
        try:
            async for attempt in self._attempts():
                with attempt:
                    await self._turn(sum(most))
                    attempts += 1
                    answer = await self._asked(client, self._body(prompt))
        except NotAnsweredError as error:
            read, written = most if error.may_be_paid else (0, 0)
            took = time.monotonic() - started
            return CallFailed(error.kind, error.reason, read, written, took, self._cost(read, written), attempts)
        # An endpoint that does not say what it took is believed to have taken the most.
        read = most[0] if answer.input_tokens is None else answer.input_tokens
        written = most[1] if answer.output_tokens is None else answer.output_tokens
        return Reply(answer.text, read, written, time.monotonic() - started, self._cost(read, written), attempts)

    def _attempts(self) -> Any:
        """stamina's attempts at one question."""
        import stamina

        first = self._config.retry_wait_s
        waits = {"wait_initial": first, "wait_jitter": first, "wait_max": self._config.retry_wait_max_s}
        return stamina.retry_context(self._is_worth_again, self._config.attempts, None, **waits)

    async def _turn(self, tokens: int) -> None:
        """Wait until this question may be sent."""
        while (rest := self._breaker.wait(time.monotonic())) != 0:
            if rest is None:
                raise NotAnsweredError("the endpoint failed too often or refuses everything", FailureKind.BREAKER)
            await asyncio.sleep(rest)
        now = time.monotonic()
        await asyncio.sleep(self._limit.place(now, tokens) - now)

    async def _asked(self, client: "httpx.AsyncClient", body: Mapping[str, Any]) -> ChatAnswer:
        try:
            answer = await self._endpoint.ask(client, body)
        except NotAnsweredError as error:
            self._note(error)
            raise
        self._breaker.succeeded()
        return answer

    def _note(self, error: NotAnsweredError) -> None:
        """What one failure means for all questions: a pause, a step towards the open circuit, or the end."""
        now = time.monotonic()
        if error.is_final:
            self._breaker.give_up()
        elif error.retry_after_s is not None and error.retry_after_s <= self._config.retry_wait_max_s:
            self._limit.pause_until(now + error.retry_after_s)
        else:
            self._breaker.failed(now)

    def _is_worth_again(self, error: Exception) -> bool | float:
        """For stamina: whether to send again, or after how many seconds."""
        if not isinstance(error, NotAnsweredError) or not error.is_transient:
            return False
        if error.retry_after_s is None:
            return True
        return error.retry_after_s if error.retry_after_s <= self._config.retry_wait_max_s else False

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        roles = {"system": prompt.system, "user": prompt.user}
        body: dict[str, Any] = {
            "model": self._config.model,
            "messages": [{"role": role, "content": content} for role, content in roles.items() if content],
            self._config.length_field: prompt.max_tokens,
            **self._parameters,
        }
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        if prompt.schema is not None and self._config.structured_output == "json_object":
            body["response_format"] = {"type": "json_object"}
        if prompt.schema is not None and self._config.structured_output == "json_schema":
            schema = {"name": "reply", "strict": True, "schema": prompt.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _cost(self, read: int, written: int) -> float:
        return (read * self._config.input_price + written * self._config.output_price) / 1_000_000


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own: requests go on while their caller writes down what has come."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="language-model", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def _client(endpoint: ChatEndpoint, concurrency: int, loop: asyncio.AbstractEventLoop) -> Iterator["httpx.AsyncClient"]:
    client = endpoint.open_client(concurrency)
    try:
        yield client
    finally:
        asyncio.run_coroutine_threadsafe(client.aclose(), loop).result()
