"""The driver alone: a model that answers by rule, a ledger in memory. The real ones meet in tests/adapters."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genre_pipeline.contracts.language_model import (
    CallFailed,
    FailureKind,
    LanguageModel,
    Prompt,
    Reply,
    Spending,
)
from genre_pipeline.generation.budget import Budget, BudgetConfig
from genre_pipeline.generation.calls import Answers, ask
from genre_pipeline.generation.ledger import Call
from genre_pipeline.generation.requests import ParseProblem, Request, Value

DAY = date(2026, 3, 1)
COST = 0.5


@dataclass
class ListLedger:
    """A ledger that is a list."""

    calls: list[Call] = field(default_factory=list)

    def replies(self, request_keys: Sequence[str]) -> dict[str, str]:
        wanted = set(request_keys)
        held = [(call.request_key, call.raw_reply) for call in self.calls if call.request_key in wanted]
        return {key: reply for key, reply in reversed(held) if reply is not None}

    def record(self, calls: Sequence[Call]) -> None:
        self.calls += calls

    def spending(self, day: date) -> Spending:
        spent = Spending()
        for call in self.calls:
            if call.day == day:
                tokens = call.input_tokens + call.output_tokens + call.assumed_tokens
                spent += Spending(call.attempts, tokens, call.cost)
        return spent


class RuledModel(LanguageModel):
    """Answers by a rule on the question; takes less than it may, holds several questions at once."""

    def __init__(self, rule: Callable[[str], str | CallFailed], at_once: int = 3) -> None:
        self.rule, self.at_once = rule, at_once
        self.asked: list[str] = []
        self.spent = Spending()

    @property
    def identity(self) -> str:
        return "ruled"

    def most(self, prompt: Prompt) -> Spending:
        return Spending(2, 100, COST)

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply | CallFailed]:
        return [self._reply(prompt) for prompt in prompts]

    def stream(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Reply | CallFailed]]:
        held: list[tuple[int, Prompt]] = []
        for one in enumerate(prompts):
            held.append(one)
            if len(held) == self.at_once:
                yield from ((position, self._reply(prompt)) for position, prompt in reversed(held))
                held = []
        yield from ((position, self._reply(prompt)) for position, prompt in held)

    def _reply(self, prompt: Prompt) -> Reply | CallFailed:
        self.asked.append(prompt.user)
        told = self.rule(prompt.user)
        if isinstance(told, CallFailed):
            took = Spending(told.attempts, told.input_tokens + told.output_tokens, told.cost)
        else:
            took = Spending(1, 30, COST / 5)
        self.spent += took
        return told if isinstance(told, CallFailed) else Reply(told, 20, 10, 0.25, COST / 5)


def request(number: int | str) -> Request:
    prompt = Prompt("", f"question {number}", None, 20)
    return Request("item_summaries", str(number), False, "v1", f'{{"n": "{number}"}}', prompt)


def parse(request: Request, reply: str) -> Value | ParseProblem:
    return {"said": reply} if reply.startswith("good") else ParseProblem("not_good", "It must begin with good.")


def asked(
    model: RuledModel, requests: Sequence[Request], ledger: ListLedger | None = None, **limits: float | None
) -> Answers:
    ledger = ListLedger() if ledger is None else ledger
    return ask(requests, model, ledger, Budget(BudgetConfig(**limits), ledger.spending(DAY)), parse, day=DAY)  # type: ignore[arg-type]


def good(question: str) -> str:
    return f"good {question}"


def test_answers_come_in_the_order_of_the_requests() -> None:
    found = asked(RuledModel(good), [request(number) for number in (3, 1, 2)])
    assert [answer.value for answer in found.answers] == [{"said": f"good question {n}"} for n in (3, 1, 2)]
    assert {answer.origin for answer in found.answers} == {"model"}


def test_what_is_in_the_ledger_is_never_asked_again() -> None:
    ledger, model = ListLedger(), RuledModel(good)
    first = asked(model, [request(1), request(2)], ledger)
    again = asked(model, [request(2), request(1), request(3)], ledger)
    assert model.asked == ["question 1", "question 2", "question 3"]
    assert (first.counts.cached, again.counts.cached, len(ledger.calls)) == (0, 2, 3)
    assert [answer.value for answer in again.answers][:2] == [answer.value for answer in first.answers][::-1]


def test_equal_questions_are_asked_once() -> None:
    twin = request(1)
    model = RuledModel(good)
    found = asked(model, [twin, request(2), Request(**{**vars(twin), "subject": "other"})])
    assert model.asked == ["question 1", "question 2"]
    assert [answer.request.subject for answer in found.answers] == ["1", "2", "other"]
    assert found.answers[0].value == found.answers[2].value


def test_one_repair_names_the_fault_and_its_reply_counts() -> None:
    model = RuledModel(lambda question: good(question) if "cannot be used" in question else "bad")
    ledger = ListLedger()
    (answer,) = asked(model, [request(1)], ledger).answers
    assert "It must begin with good." in model.asked[1]
    assert (answer.origin, answer.reason) == ("repaired", "")
    assert [(call.status, call.reason, call.raw_reply) for call in ledger.calls] == [
        ("failed", "not_good: It must begin with good.", "bad"),
        ("repaired", "", good(model.asked[1])),
    ]
    replayed = asked(model, [request(1)], ledger)
    assert replayed.answers[0] == answer
    assert (len(model.asked), replayed.counts.cached, replayed.counts.repaired) == (2, 1, 1)


def test_after_the_repair_the_fallback_stands_in_with_the_reason() -> None:
    model = RuledModel(lambda question: "bad")
    found = asked(model, [request(1), request(2)])
    assert len(model.asked) == 4
    assert [(answer.value, answer.origin, answer.reason) for answer in found.answers] == [
        (None, "fallback", "not_good: It must begin with good.")
    ] * 2
    assert (found.counts.fallbacks, found.counts.failed_share) == (2, 1.0)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_a_call_that_failed_on_the_way_is_made_once_more_and_counted_twice(kind: FailureKind) -> None:
    failed = CallFailed(kind, "for a reason", 20, 20, 0.1, COST, 1 if kind in ("timeout", "transport") else 0)
    model, ledger = RuledModel(lambda question: failed), ListLedger()
    found = asked(model, [request(1)], ledger)
    times = 2 if kind in (FailureKind.TIMEOUT, FailureKind.TRANSPORT, FailureKind.RATE_LIMITED) else 1
    assert len(model.asked) == times
    assert found.answers[0].reason == f"{kind}: for a reason"
    assert [call.assumed_tokens for call in ledger.calls] == [40] * (times if failed.attempts else 0)
    assert ledger.replies([call.request_key for call in ledger.calls]) == {}


def test_where_the_repair_cannot_be_made_the_first_fault_is_the_reason() -> None:
    model = RuledModel(
        lambda question: CallFailed(FailureKind.BREAKER, "closed") if "cannot be used" in question else "bad"
    )
    assert asked(model, [request(1)]).answers[0].reason == "not_good: It must begin with good."


def test_a_night_stops_at_its_budget_and_keeps_what_is_done() -> None:
    model = RuledModel(good)
    ledger = ListLedger()
    found = asked(model, [request(number) for number in range(10)], ledger, cost=4 * COST / 5 + COST)
    done = [answer.origin for answer in found.answers]
    assert done == ["model"] * 5 + ["fallback"] * 5
    assert {answer.reason for answer in found.answers[5:]} == {"budget: the night's budget is spent"}
    assert (found.counts.unasked, found.counts.failed_share) == (5, 0.0)
    assert model.spent.cost <= 4 * COST / 5 + COST
    richer = asked(model, [request(number) for number in range(10)], ledger, cost=100.0)
    assert [answer.origin for answer in richer.answers] == ["model"] * 10
    assert len(model.asked) == 10


def test_a_restart_does_not_start_the_budget_again() -> None:
    model, ledger = RuledModel(good), ListLedger()
    for _run in range(5):
        asked(model, [request(number) for number in range(10)], ledger, calls=6)
    assert model.spent.calls <= 6
    assert len(model.asked) == 5  # the sixth may take two


def test_when_it_is_late_nothing_new_is_asked() -> None:
    model, ledger = RuledModel(good), ListLedger()
    late = iter([False, False, True])
    found = ask(
        [request(number) for number in range(5)], model, ledger, Budget(BudgetConfig(), Spending()), parse, day=DAY,
        is_over=lambda: next(late, True),
    )  # fmt: skip
    assert [answer.origin for answer in found.answers] == ["model"] * 2 + ["fallback"] * 3


def test_progress_tells_how_many_of_how_many() -> None:
    told: list[tuple[int, int]] = []
    ask(
        [request(number) for number in range(4)], RuledModel(good), ListLedger(), Budget(BudgetConfig(), Spending()),
        parse, day=DAY, report=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


BEHAVIOURS = st.sampled_from(["good", "bad", "mended", "timeout", "refused", "breaker"])


@given(
    st.lists(BEHAVIOURS, min_size=1, max_size=12),
    st.one_of(st.none(), st.floats(0, 6)),
    st.one_of(st.none(), st.integers(0, 20)),
    st.one_of(st.none(), st.integers(0, 900)),
    st.integers(1, 4),
)
def test_whatever_happens_everybody_is_answered_nothing_is_overspent_and_the_ledger_adds_up(
    behaviours: list[str], cost: float | None, calls: int | None, tokens: int | None, at_once: int
) -> None:
    def rule(question: str) -> str | CallFailed:
        kind = behaviours[int(question.split()[1])]
        if kind == "timeout":
            return CallFailed(FailureKind.TIMEOUT, "late", 60, 40, 1.0, COST, 1)
        if kind in ("refused", "breaker"):
            return CallFailed(FailureKind(kind), "no", attempts=int(kind == "refused"))
        return "good" if kind == "good" or (kind == "mended" and "cannot be used" in question) else "bad"

    model, ledger = RuledModel(rule, at_once), ListLedger()
    requests = [request(number) for number in range(len(behaviours))]
    found = asked(model, requests, ledger, cost=cost, calls=calls, tokens=tokens)
    assert [answer.request for answer in found.answers] == requests
    assert all((answer.value is None) == (answer.origin == "fallback") for answer in found.answers)
    assert all(bool(answer.reason) == (answer.origin == "fallback") for answer in found.answers)
    spent = ledger.spending(DAY)
    assert spent.calls == model.spent.calls
    assert (spent.tokens, round(spent.cost, 9)) == (model.spent.tokens, round(model.spent.cost, 9))
    for limit, taken in ((cost, spent.cost), (calls, spent.calls), (tokens, spent.tokens)):
        assert limit is None or taken <= limit + 1e-9
    replied = [call.request_key for call in ledger.calls if call.raw_reply is not None]
    assert len(replied) == len(set(replied))
