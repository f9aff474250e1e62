"""Who answers a scheme's requests: the ledger, then the configured model within the night's budget, or nobody.

Assets and commands ask through the same function, so that a question paid for by one is free for the other.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.contracts.language_model import LanguageModel, Spending
from genre_pipeline.generation.budget import Budget
from genre_pipeline.generation.calls import Answers, CallCounts, Report, ask
from genre_pipeline.generation.requests import Answer, Request
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.offline.generation import Ask
from genre_pipeline.project import Project

Say = Callable[[str], None]
_SAID_EVERY_S = 5.0


def answered(
    project: Project,
    scheme: Scheme,
    requests: Sequence[Request],
    day: date,
    *,
    say: Say = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> Answers:
    """An answer to every request, in their order; `day` pays. Whatever has none falls back, with the reason.

    Of more requests than `generation.budget.subjects` names for the scheme, the first are asked.

    Raises `ConfigError` and `ModelFileError` where a model that is required cannot be had.
    """
    config = project.config.generation
    model = _model(project, say)
    if model is None:
        return _unasked(scheme, requests, "no language model")
    limit = config.budget.subjects_of(scheme.name, len(requests))
    started = clock()
    made = ask(
        requests[:limit],
        model,
        project.ledger,
        Budget(config.budget, project.ledger.spending(day)),
        scheme.parse,
        day=day,
        is_over=lambda: config.budget.scheme_seconds is not None and clock() - started > config.budget.scheme_seconds,
        report=_progress(scheme.name, say, clock),
    )
    rest = _unasked(scheme, requests[limit:], "budget: beyond budget.subjects")
    return replace(made, answers=[*made.answers, *rest.answers], counts=_sum(made.counts, rest.counts))


def asking(config: GenreConfig, *, say: Say = lambda line: None, told: Callable[[Spending], None] | None = None) -> Ask:
    """Answers for commands that run without Dagster. The day that pays is the last one with data.

    `told` hears what the answers of each scheme took, also where they were paid for before.
    """
    project = Project(config)
    day = config.days.end or config.days.start

    def ask_scheme(scheme: Scheme, requests: Sequence[Request]) -> Sequence[Answer]:
        made = answered(project, scheme, requests, day, say=say)
        if told is not None:
            told(project.ledger.taken(made.keys) if made.keys else Spending())
        return made.answers

    return ask_scheme


def _model(project: Project, say: Say) -> LanguageModel | None:
    model = project.language_model
    if model is None:
        return None
    try:
        model.prepare(say)
    except ModelFileError as error:
        if project.config.generation.model.is_required:
            raise
        say(f"No language model, so everybody gets the fallback. {error}")
        return None
    return model


def _unasked(scheme: Scheme, requests: Sequence[Request], reason: str) -> Answers:
    counts = CallCounts(requests=len(requests), fallbacks=len(requests), unasked=len(requests))
    return Answers(scheme.without_model(requests, reason), counts)


def _sum(made: CallCounts, rest: CallCounts) -> CallCounts:
    return replace(
        made,
        requests=made.requests + rest.requests,
        fallbacks=made.fallbacks + rest.fallbacks,
        unasked=made.unasked + rest.unasked,
    )


def _progress(name: str, say: Say, clock: Callable[[], float]) -> Report:
    """Says every few seconds how many are answered, how fast, and how long the rest will take. Repairs, which come
    after the questions, are counted for themselves.
    """
    started = last = clock()
    before = 0

    def report(done: int, total: int) -> None:
        nonlocal started, last, before
        now = clock()
        if done < before:
            started = last
        before = done
        if now - last < _SAID_EVERY_S and done < total:
            return
        last = now
        rate = done / max(now - started, 1e-9)
        say(f"{name}: {done:,} of {total:,}, {rate:.2g} a second, {(total - done) / rate:.0f} s left")

    return report
