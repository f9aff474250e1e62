"""The report: one self-contained HTML page, made from a result, and from the facts of a night where there is one.

Belongs here: the page and its parts. What the sections of an evaluation show is in `report_evaluation`, those of a
night in `report_night`, words and styles in `report*.html` and `report.css`. The page has no script and asks no host
for anything; everything that came from data is escaped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genre_pipeline.evaluation import labels
from genre_pipeline.evaluation.night import NightFacts
from genre_pipeline.evaluation.report_evaluation import evaluation_context
from genre_pipeline.evaluation.report_night import night_context
from genre_pipeline.evaluation.result import EvaluationResult

if TYPE_CHECKING:
    from jinja2 import Environment

Row = dict[str, Any]


@dataclass(frozen=True)
class ReportParts:
    """HTML of one part of the page: its words at the top, its links, its sections. Safe: made by the templates here."""

    title: str
    heading: str
    champion: str
    k: int
    lead: str
    nav: str
    sections: str


def render_report(result: EvaluationResult, ablations: Mapping[str, EvaluationResult] | None = None) -> str:
    """The whole page as HTML text, UTF-8, the same for the same result; `ablations` have a section, a table each."""
    return render_page(evaluation_parts(result, ablations))


def render_page(evaluation: ReportParts, night: NightFacts | None = None) -> str:
    """The page of an evaluation; with a `night`, the run report: what happened in it comes first."""
    environment = _templates()
    parts = [vars(evaluation)]
    title, heading, eyebrow = evaluation.title, evaluation.heading, "Evaluation report"
    if night is not None:
        facts = night_context(night, evaluation.champion, evaluation.k)
        parts.insert(0, _rendered(environment, "report_night", facts))
        title, heading, eyebrow = f"Night of {night.day}", f"The night of {night.day}", "Run report"
    return environment.get_template("report.html").render(title=title, heading=heading, eyebrow=eyebrow, parts=parts)


def evaluation_parts(result: EvaluationResult, ablations: Mapping[str, EvaluationResult] | None = None) -> ReportParts:
    """What the page shows of an evaluation, to be kept and put together with a night later."""
    data, context = result.protocol.data, evaluation_context(result, ablations or {})
    return ReportParts(
        title=f"Evaluation{f' of {data}' if data else ''}: {result.champion}",
        heading=f"{f'{data}: ' if data else ''}how good are the lists?",
        champion=result.champion,
        k=result.protocol.k,
        **_rendered(_templates(), "report_evaluation", context),
    )


def _rendered(environment: "Environment", template: str, context: Row) -> dict[str, str]:
    """The three parts, each a template of its own: `<template>_lead.html` and so on."""
    names = ("lead", "nav", "sections")
    return {name: environment.get_template(f"{template}_{name}.html").render(context) for name in names}


def _templates() -> "Environment":
    environment = page_templates(Path(__file__).parent)
    environment.filters.update(number=labels.number, signed=labels.signed, p=labels.p_value, count=labels.count)
    return environment


def page_templates(folder: Path) -> "Environment":
    """The templates of a folder: what came from data is escaped, and a name that is not given is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
