"""A night of questions to an endpoint, small enough to watch: run as a program, it may be killed at any moment."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import polars as pl

from genre_pipeline.adapters.http_language_model import HttpLanguageModel, HttpModelConfig
from genre_pipeline.adapters.ledger import CallLedger
from genre_pipeline.contracts.language_model import LanguageModel
from genre_pipeline.generation.budget import Budget, BudgetConfig
from genre_pipeline.generation.calls import Answers, ask
from genre_pipeline.generation.profiles import told_histories
from genre_pipeline.generation.requests import Answer, Request
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.generation.settings import GenerationConfig
from genre_pipeline.generation.templates import Style
from genre_pipeline.generation.vocabulary import learn_vocabulary

DAY = date(2026, 3, 1)
_NOUNS = ("Comet", "Orbit", "Nebula", "Rocket", "Bread", "Saffron", "Noodles", "Cocoa", "Letters", "Waltz", "Summer")


def items(count: int) -> pl.DataFrame:
    """Items of three categories, each with a title and a description of its own."""
    categories = ["space", "kitchen", "romance", "family", "comedy"]
    rows = [
        {
            "item_id": f"i{number:03d}",
            "title": f"{_NOUNS[number % 11]} number {number}",
            "description": f"A {categories[number % 5]} story about {_NOUNS[number % 11].lower()} and friends.",
            "categories": [categories[number % 5]],
        }
        for number in range(count)
    ]
    return pl.DataFrame(rows)


def interactions(users: int, catalogue: pl.DataFrame) -> pl.DataFrame:
    """Three different items a user."""
    rows = [
        {
            "user_id": f"u{user}",
            "item_id": catalogue["item_id"][(user * 3 + step) % catalogue.height],
            "timestamp": datetime(2026, 2, 1 + step, tzinfo=UTC),
        }
        for user in range(users)
        for step in range(3)
    ]
    return pl.DataFrame(rows)


def questions(
    name: str, style: Style, count: int
) -> tuple[Scheme, list[Request], Callable[[list[Answer]], pl.DataFrame]]:
    """A scheme, its requests about so many items or users, and how their answers become its table."""
    config = GenerationConfig(style=style)
    summaries, profiles, synthetic = config.schemes()
    catalogue = items(max(count, 20))
    if name == "item_summaries":
        return summaries, summaries.requests(catalogue.head(count)), summaries.frame
    vocabulary = learn_vocabulary(catalogue, config.vocabulary)
    histories = told_histories(interactions(count, catalogue), catalogue, vocabulary, newest=20)
    if name == "user_profiles":
        as_of = datetime(2026, 3, 2, tzinfo=UTC)
        return profiles, profiles.requests(histories), partial(profiles.frame, histories=histories, as_of=as_of)
    return synthetic, synthetic.requests(histories), synthetic.invented


def night(
    scheme: Scheme, requests: list[Request], model: LanguageModel, ledger: CallLedger, limits: BudgetConfig
) -> Answers:
    """Ask them all, on what the day has left."""
    return ask(requests, model, ledger, Budget(limits, ledger.spending(DAY)), scheme.parse, day=DAY)


def main(endpoint: str, database: str, target: str, count: str) -> None:
    """Ask about `count` items, and write what came of it to `target`."""
    scheme, requests, frame = questions("item_summaries", "json", int(count))
    config = HttpModelConfig(url=endpoint, model="m", concurrency=4, retry_wait_s=0.001)
    ledger = CallLedger(database)
    found = night(scheme, requests, HttpLanguageModel(config, {}), ledger, BudgetConfig())
    frame(found.answers).write_parquet(Path(target))
    ledger.close()


def host() -> None:
    """A night for each line of arguments on standard input, each in a child whose pid is told, then how it ended."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            main(*line.split())
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    host()
