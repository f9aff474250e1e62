"""Who answers the requests of commands that run without Dagster: the ledger, and the configured model in its budget."""

from collections.abc import Sequence

from genre_pipeline.config import GenreConfig
from genre_pipeline.generation.budget import Budget
from genre_pipeline.generation.calls import ask as ask_model
from genre_pipeline.generation.requests import Answer, Request
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.offline.generation import Ask
from genre_pipeline.project import Project


def asking(config: GenreConfig) -> Ask:
    """Answers as a night's are: nothing is asked that the ledger knows, and nothing beyond the budget.

    The day that pays is the last one with data. Without a model, everybody falls back.
    """
    project = Project(config)

    def ask(scheme: Scheme, requests: Sequence[Request]) -> Sequence[Answer]:
        model = project.language_model
        if model is None:
            return scheme.without_model(requests)
        day = config.days.end or config.days.start
        budget = Budget(config.generation.budget, project.ledger.spending(day))
        return ask_model(requests, model, project.ledger, budget, scheme.parse, day=day).answers

    return ask
