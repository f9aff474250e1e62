"""Asking a language model: the ledger first, then the model within the night's budget, one repair, and no exceptions.

Every reply is in the ledger before it is used, and a reply that is there is never asked for again: a killed run goes on
where it was, and the next night asks only what is new. Equal questions are asked once. A question whose call failed on
the way (no reply in time, no connection) is asked once more; a reply that the scheme cannot use gets one repair, a new
prompt that names its fault. Whatever has no usable reply then is left to the scheme's fallback, with the reason.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, cast

from genre_pipeline.contracts.language_model import CallFailed, FailureKind, LanguageModel, Prompt, Reply, Spending
from genre_pipeline.generation.budget import Budget
from genre_pipeline.generation.ledger import Call, Ledger, kept
from genre_pipeline.generation.requests import Answer, Origin, Parse, ParseProblem, Request, Value

Report = Callable[[int, int], None]
"""Called with (questions answered, of how many)."""
_WORTH_ASKING_AGAIN = {FailureKind.TIMEOUT, FailureKind.TRANSPORT, FailureKind.RATE_LIMITED}
_NOT_AFFORDED = CallFailed(FailureKind.BUDGET, "the night's budget is spent")


@dataclass
class CallCounts:
    """What asking came to."""

    requests: int = 0
    """Questions, equal ones each."""
    cached: int = 0
    """Answered by the ledger at once."""
    repaired: int = 0
    """Usable at the second attempt."""
    fallbacks: int = 0
    """Without a usable reply, though the model was to be asked."""
    unasked: int = 0
    """Of those, the ones that the budget left no room for."""
    spending: Spending = field(default_factory=Spending)
    """What this run added to the night's."""
    seconds: list[float] = field(default_factory=list)
    """Of each new reply."""

    def add(self, answer: Answer, is_cached: bool, found: Value | ParseProblem | CallFailed) -> None:
        """Count one answer; `found` is what came of its last question."""
        self.cached += is_cached
        self.repaired += answer.origin == "repaired"
        self.fallbacks += answer.origin == "fallback"
        self.unasked += isinstance(found, CallFailed) and found.kind is FailureKind.BUDGET

    @property
    def failed_share(self) -> float:
        """Share of the questions put to the model that fell back."""
        asked = self.requests - self.unasked
        return (self.fallbacks - self.unasked) / asked if asked else 0.0


@dataclass(frozen=True)
class Answers:
    """An answer a request, in their order, and what it took."""

    answers: list[Answer]
    counts: CallCounts
    keys: tuple[str, ...] = ()
    """What the ledger knows the questions by, repairs among them, once each."""


def ask(
    requests: Sequence[Request],
    model: LanguageModel,
    ledger: Ledger,
    budget: Budget,
    parse: Parse,
    *,
    day: date,
    is_over: Callable[[], bool] = lambda: False,
    report: Report | None = None,
) -> Answers:
    """Answer every request: from the ledger, by the model, or with the reason why the fallback must.

    `day` is the night that pays; `is_over` says when nothing new is to be asked. Raises only what `model` and `ledger`
    raise for all prompts alike.
    """
    counts = CallCounts(requests=len(requests))
    desk = _Desk(model, ledger, budget, parse, day, is_over, report, counts)
    keys = [request.key(model.identity) for request in requests]
    got = desk.answered({key: _Question(request, request) for key, request in zip(keys, requests, strict=True)})
    repairs = {key: _repair(request, got[key]) for key, request in zip(keys, requests, strict=True)}
    by_own_key = {repair.asked.key(model.identity): repair for repair in repairs.values() if repair is not None}
    second = desk.answered(by_own_key)
    answers = []
    for key, request in zip(keys, requests, strict=True):
        repair = repairs[key]
        final = got[key] if repair is None else second[repair.asked.key(model.identity)]
        answers.append(_answer(request, got[key], None if repair is None else final))
        counts.add(answers[-1], got[key].is_cached, final.found)
    return Answers(answers, counts, tuple(dict.fromkeys([*keys, *by_own_key])))


@dataclass(frozen=True)
class _Question:
    """What is put to the model, and whose reply it is to be."""

    asked: Request
    first: Request
    """The request itself, also where `asked` is its repair."""

    @property
    def usable(self) -> Literal["model", "repaired"]:
        """What a usable reply is called."""
        return "model" if self.asked is self.first else "repaired"


@dataclass(frozen=True)
class _Got:
    """What came of a question."""

    reply: str
    """Empty where none came."""
    found: Value | ParseProblem | CallFailed
    is_cached: bool


@dataclass(frozen=True)
class _Desk:
    """One run's asking. Questions go by their keys."""

    model: LanguageModel
    ledger: Ledger
    budget: Budget
    parse: Parse
    day: date
    is_over: Callable[[], bool]
    report: Report | None
    counts: CallCounts

    def answered(self, questions: Mapping[str, _Question]) -> dict[str, _Got]:
        """What came of each question: the ledger's reply, or the model's, asked again once if it failed on the way."""
        held = self.ledger.replies(list(questions))
        got = {key: _Got(reply, self.parse(questions[key].first, reply), True) for key, reply in held.items()}
        missing = {key: question for key, question in questions.items() if key not in got}
        for _attempt in range(2):
            left = {key: one for key, one in missing.items() if key not in got or _is_worth_again(got[key])}
            for key, one in self._called(left):
                got[key] = one
                if self.report is not None:
                    self.report(len(got), len(questions))
        return got

    def _called(self, questions: Mapping[str, _Question]) -> Iterator[tuple[str, _Got]]:
        """Each question with what came of it, in the order of coming; written to the ledger before it is given."""
        waiting = deque(questions)
        while waiting:
            drawn: list[str] = []
            for position, reply in self.model.stream(self._afforded(waiting, drawn, questions)):
                key = drawn[position]
                yield key, self._received(key, questions[key], reply)
            if not drawn:
                break
        for key in waiting:
            yield key, _Got("", _NOT_AFFORDED, False)

    def _afforded(self, waiting: deque[str], drawn: list[str], questions: Mapping[str, _Question]) -> Iterator[Prompt]:
        """Prompts for as long as the budget has room for the next. What is in flight may still give room back."""
        while waiting and not self.is_over():
            prompt = questions[waiting[0]].asked.prompt
            if not self.budget.set_aside(self.model.most(prompt)):
                return
            drawn.append(waiting.popleft())
            yield prompt

    def _received(self, key: str, question: _Question, reply: Reply | CallFailed) -> _Got:
        text = kept(reply.text) if isinstance(reply, Reply) else ""
        found = self.parse(question.first, text) if isinstance(reply, Reply) else reply
        took = Spending(reply.attempts, reply.input_tokens + reply.output_tokens, reply.cost, reply.seconds)
        self.budget.settle(self.model.most(question.asked.prompt), took)
        self.counts.spending += took
        if reply.attempts:
            self.ledger.record([self._row(key, question, reply, text, found)])
        if isinstance(reply, Reply):
            self.counts.seconds.append(reply.seconds)
        return _Got(text, found, False)

    def _row(
        self, key: str, question: _Question, reply: Reply | CallFailed, text: str,
        found: Value | ParseProblem | CallFailed,
    ) -> Call:  # fmt: skip
        request, is_reply = question.asked, isinstance(reply, Reply)
        is_usable = not isinstance(found, ParseProblem | CallFailed)
        tokens = (reply.input_tokens, reply.output_tokens)
        return Call(
            request_key=key,
            scheme=request.scheme,
            subject=request.subject,
            is_personal=request.is_personal,
            prompt_version=request.prompt_version,
            model=self.model.identity,
            parameters=_parameters(request.prompt),
            input_hash=request.input_hash,
            raw_reply=text if is_reply else None,
            parsed=found if is_usable else None,
            status=question.usable if is_usable else "failed",
            reason=_reason(found),
            input_tokens=tokens[0] if is_reply else 0,
            output_tokens=tokens[1] if is_reply else 0,
            assumed_tokens=0 if is_reply else sum(tokens),
            cost=reply.cost,
            latency_s=reply.seconds,
            attempts=reply.attempts,
            day=self.day,
        )


def _repair(request: Request, got: _Got) -> _Question | None:
    """The second attempt at a question whose reply the scheme could not use."""
    return _Question(request.repair(got.reply, got.found), request) if isinstance(got.found, ParseProblem) else None


def _answer(request: Request, first: _Got, second: _Got | None) -> Answer:
    for got, origin in ((first, "model"), (second, "repaired")):
        if got is not None and not isinstance(got.found, ParseProblem | CallFailed):
            return Answer(request, got.found, cast(Origin, origin))
    # The model's own fault says more than that nobody could ask it to mend it.
    return Answer(request, None, "fallback", _reason(first.found if _is_failed(second) else (second or first).found))


def _is_failed(got: _Got | None) -> bool:
    return got is not None and isinstance(got.found, CallFailed)


def _is_worth_again(got: _Got) -> bool:
    return isinstance(got.found, CallFailed) and got.found.kind in _WORTH_ASKING_AGAIN


def _reason(found: Value | ParseProblem | CallFailed) -> str:
    if isinstance(found, CallFailed):
        return f"{found.kind}: {found.detail}"
    return str(found) if isinstance(found, ParseProblem) else ""


def _parameters(prompt: Prompt) -> dict[str, Any]:
    return {
        "max_tokens": prompt.max_tokens,
        "stop": list(prompt.stop),
        "is_chat": prompt.is_chat,
        "has_schema": prompt.schema is not None,
    }
