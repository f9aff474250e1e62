"""The door to an endpoint, held against a real server on a real socket that misbehaves in every way it can."""

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from genre_pipeline.adapters.http_language_model import HttpLanguageModel, HttpModelConfig
from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.language_model import CallFailed, FailureKind, Prompt, Reply
from tests.fakes.chat_server import HUGE_BYTES, ChatServer, Turn, chat_server

PROMPT = Prompt(system="be brief", user="what is it", schema={"type": "object"}, max_tokens=20, stop=("\n",))
FAST: dict[str, Any] = {
    "model": "m", "deadline_s": 0.2, "retry_wait_s": 0.001, "retry_wait_max_s": 0.05, "input_price": 2.0,
    "output_price": 4.0, "breaker_rest_s": 0.01,
}  # fmt: skip


def door(server: ChatServer, **more: Any) -> HttpLanguageModel:
    return HttpLanguageModel(HttpModelConfig(**{**FAST, "url": server.url, **more}), {"temperature": 0})


def prompts(count: int) -> list[Prompt]:
    return [replace(PROMPT, user=f"question {number}") for number in range(count)]


def answered(reply: Reply | CallFailed) -> str:
    return reply.text if isinstance(reply, Reply) else str(reply.kind)


def test_a_question_and_its_answer() -> None:
    with chat_server(lambda body, nth: Turn(text="a short film")) as server:
        (reply,) = door(server, structured_output="json_schema").complete([PROMPT])
    assert isinstance(reply, Reply)
    assert replace(reply, seconds=0) == Reply("a short film", 5, 3, 0, (5 * 2 + 3 * 4) / 1e6, 1)
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "what is it"}],
            "max_tokens": 20,
            "temperature": 0,
            "stop": ["\n"],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": {"type": "object"}},
            },
        }
    ]


def test_answers_find_their_questions_whatever_their_order_and_no_more_fly_than_may() -> None:
    def slower_first(body: dict[str, Any], nth: int) -> Turn:
        number = int(body["messages"][-1]["content"].split()[1])
        return Turn(text=str(number), delay_s=0.002 * (number % 5))

    with chat_server(slower_first) as server:
        replies = door(server, concurrency=4).complete(prompts(30))
    assert [answered(reply) for reply in replies] == [str(number) for number in range(30)]
    assert 2 <= server.most_in_flight <= 4


def test_prompts_are_drawn_no_sooner_than_there_is_room() -> None:
    drawn = []

    def source() -> Any:
        for number, prompt in enumerate(prompts(9)):
            drawn.append(number)
            yield prompt

    with chat_server(lambda body, nth: Turn(text="x")) as server:
        stream = door(server, concurrency=3).stream(source())
        next(stream)
        assert len(drawn) == 3
        stream.close()
        assert server.requests <= 4


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_what_is_turned_away_is_sent_again(status: int) -> None:
    with chat_server(lambda body, nth: Turn("status", status=status) if nth < 2 else Turn(text="ok")) as server:
        (reply,) = door(server, attempts=3).complete([PROMPT])
    assert isinstance(reply, Reply)
    assert (reply.text, reply.attempts, reply.input_tokens, server.requests) == ("ok", 3, 5, 3)


def test_after_its_attempts_a_question_has_failed_and_cost_nothing() -> None:
    with chat_server(lambda body, nth: Turn("status", status=503)) as server:
        (reply,) = door(server, attempts=3).complete([PROMPT])
    assert isinstance(reply, CallFailed)
    assert replace(reply, seconds=0) == CallFailed(FailureKind.TRANSPORT, "HTTP 503", attempts=3)
    assert server.requests == 3


def test_the_endpoint_says_when_to_come_again() -> None:
    def busy(body: dict[str, Any], nth: int) -> Turn:
        return Turn("status", status=429, headers={"Retry-After": "0"}) if nth == 0 else Turn(text="ok")

    with chat_server(busy) as server:
        assert [answered(one) for one in door(server).complete(prompts(3))] == ["ok"] * 3
    long = Turn("status", status=429, headers={"Retry-After": "3600"})
    with chat_server(lambda body, nth: long) as server:
        (reply,) = door(server).complete([PROMPT])
        assert (answered(reply), server.requests) == ("rate_limited", 1)


@pytest.mark.parametrize(
    ("turn", "kind", "detail"),
    [
        (Turn("hang"), FailureKind.TIMEOUT, "no reply within 0.05 s"),
        (Turn("huge"), FailureKind.TRANSPORT, "the reply is over 1,000,000 bytes"),
        (Turn("drop"), FailureKind.TRANSPORT, "the connection broke: RemoteProtocolError"),
        (Turn("raw", "not JSON"), FailureKind.TRANSPORT, "the reply is not of the protocol"),
        (Turn("raw", '{"choices": []}'), FailureKind.TRANSPORT, "the reply is not of the protocol"),
        (Turn("raw", "[" * 100_000), FailureKind.TRANSPORT, "the reply is not of the protocol"),
        (Turn("raw", '{"choices": [{"message": {"content": 7}}]}'), FailureKind.TRANSPORT,
         "the reply is not of the protocol"),
        (Turn("raw", "{}", headers={"Content-Encoding": "gzip"}), FailureKind.TRANSPORT,
         "the reply is compressed, which was not asked for"),
    ],
)  # fmt: skip
def test_what_may_have_been_paid_is_counted_at_the_worst_and_not_sent_again(
    turn: Turn, kind: FailureKind, detail: str
) -> None:
    with chat_server(lambda body, nth: turn) as server:
        model = door(server, deadline_s=0.05 if turn.kind == "hang" else 5)
        (reply,) = model.complete([PROMPT])
        most = model.most(PROMPT)
    assert isinstance(reply, CallFailed)
    assert (reply.kind, reply.detail, reply.attempts, server.requests) == (kind, detail, 1, 1)
    assert (reply.input_tokens + reply.output_tokens, reply.cost) == (most.tokens, most.cost)
    assert most.tokens >= server.tokens_charged


def test_a_reply_of_ten_megabytes_is_cut_off_while_it_comes_in() -> None:
    with chat_server(lambda body, nth: Turn("huge")) as server:
        (reply,) = door(server, deadline_s=5, reply_bytes=50_000).complete([PROMPT])
    assert isinstance(reply, CallFailed)
    assert reply.detail == "the reply is over 50,000 bytes"
    assert 50_000 < server.huge_bytes_sent < HUGE_BYTES == 10_000_000


def test_an_endpoint_that_does_not_say_what_it_took_is_counted_at_the_most() -> None:
    body = json.dumps(
        {"choices": [{"message": {"content": None, "refusal": "I cannot"}}], "usage": {"prompt_tokens": -1}}
    )
    with chat_server(lambda asked, nth: Turn("raw", body)) as server:
        model = door(server)
        (reply,) = model.complete([PROMPT])
        assert isinstance(reply, Reply)
        assert (reply.text, reply.input_tokens + reply.output_tokens) == ("I cannot", model.most(PROMPT).tokens)


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_refusal_of_everything_closes_the_door(status: int) -> None:
    with chat_server(lambda body, nth: Turn("status", status=status)) as server:
        replies = door(server, concurrency=1).complete(prompts(50))
    assert answered(replies[0]) == "refused"
    assert {answered(reply) for reply in replies[1:]} == {"breaker"}
    assert server.requests == 1


def test_a_refusal_of_one_prompt_is_its_own() -> None:
    def picky(body: dict[str, Any], nth: int) -> Turn:
        return Turn("status", status=400) if "question 1" in str(body) else Turn(text="ok")

    with chat_server(picky) as server:
        assert [answered(reply) for reply in door(server).complete(prompts(3))] == ["ok", "refused", "ok"]


def test_an_endpoint_that_is_down_is_given_up_after_its_rests() -> None:
    with chat_server(lambda body, nth: Turn("status", status=500)) as server:
        model = door(server, attempts=1, concurrency=2, breaker_failures=5, breaker_rests=2)
        replies = model.complete(prompts(200))
    assert server.requests <= 5 + 2 + 2
    assert [answered(reply) for reply in replies].count("breaker") >= 190


def test_an_endpoint_that_comes_back_is_asked_on() -> None:
    down = {"left": 8}

    def returns(body: dict[str, Any], nth: int) -> Turn:
        down["left"] -= 1
        return Turn("status", status=500) if down["left"] >= 0 else Turn(text="ok")

    with chat_server(returns) as server:
        model = door(server, attempts=10, concurrency=2, breaker_failures=4, breaker_rests=6)
        assert {answered(reply) for reply in model.complete(prompts(20))} == {"ok"}


def test_nobody_there_is_a_failure_and_no_exception() -> None:
    with chat_server(lambda body, nth: Turn()) as server:
        pass
    (reply,) = door(server, attempts=2).complete([PROMPT])
    assert isinstance(reply, CallFailed)
    assert (reply.kind, reply.attempts, reply.cost) == (FailureKind.TRANSPORT, 2, 0)
    assert reply.detail.startswith("no connection")


SECRET = "sk-do-not-tell-0123456789"


def test_the_key_reaches_the_endpoint_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    with chat_server(lambda body, nth: Turn("status", status=500) if nth == 0 else Turn(text="ok")) as server:
        model = door(server, api_key_env="MODEL_KEY")
        (reply,) = model.complete([PROMPT])
        refused = door(server, api_key_env="MODEL_KEY", url=f"{server.url}/nowhere").complete([PROMPT])
    assert f"Authorization: Bearer {SECRET}" in server.headers[0]
    out = capfd.readouterr()
    told = [repr(model), repr(vars(model)), repr(vars(model._endpoint)), model.identity, repr(reply), repr(refused)]
    told += [repr(model._config), str(model._config.model_dump()), caplog.text, out.out, out.err]
    assert [text for text in told if SECRET in text] == []


def test_a_key_that_is_not_there_and_a_key_in_the_url_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"MODEL_KEY, which generation\.model\.http\.api_key_env names"):
        HttpLanguageModel(HttpModelConfig(model="m", api_key_env="MODEL_KEY"), {})
    for url in (f"http://user:{SECRET}@host/v1", f"http://host/v1?key={SECRET}", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="must"):
            HttpModelConfig(model="m", url=url)


@pytest.mark.parametrize("proxy", ["proxy.example:3128", "socks5://proxy.example", "http://"])
def test_a_proxy_that_cannot_be_used_is_refused_before_the_night(proxy: str) -> None:
    with pytest.raises(ValueError, match="http or https URL"):
        HttpModelConfig(model="m", proxy=proxy)
    assert HttpModelConfig(model="m", proxy="http://proxy.example:3128").proxy == "http://proxy.example:3128"


def test_who_answers_is_part_of_the_identity_and_how_fast_is_not() -> None:
    base = HttpModelConfig(model="m")
    identity = HttpLanguageModel(base, {"temperature": 0}).identity
    assert HttpLanguageModel(base.model_copy(update={"concurrency": 1}), {"temperature": 0}).identity == identity
    others = [
        HttpLanguageModel(base.model_copy(update={"model": "n"}), {"temperature": 0}),
        HttpLanguageModel(base.model_copy(update={"structured_output": "json_schema"}), {"temperature": 0}),
        HttpLanguageModel(base, {"temperature": 1}),
    ]
    assert len({identity, *(other.identity for other in others)}) == 4
