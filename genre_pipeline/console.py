"""What the terminal shows: progress and notes on standard error, tables and lists on standard output."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from genre_pipeline.contracts.errors import GenreError

if TYPE_CHECKING:
    import polars as pl

    from genre_pipeline.adapters.table_records import ApiKey
    from genre_pipeline.evaluation.experiment import Experiment
    from genre_pipeline.evaluation.result import EvaluationResult
    from genre_pipeline.project import Project

_PIPED_WIDTH = 160
"""A file or a log has no width, and COLUMNS is that of the terminal behind it: enough for the evaluation's table."""
_OUT = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
_NOTES = Console(stderr=True, highlight=False)
_HISTORY_ROWS = 10


def say(line: str) -> None:
    """A note about what is going on."""
    _NOTES.print(escape(line), soft_wrap=True)


def show_error(error: GenreError) -> None:
    """What is wrong and how to mend it."""
    _NOTES.print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}", soft_wrap=True)


@contextmanager
def progress(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar with count and time left for each thing that reports (name, done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=_NOTES, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield report


def show_list(found: Mapping[str, Any]) -> None:
    """A published list as a table."""
    if found["source"] != "published":
        say(f"User {found['user_id']} has no list of their own: these are the popular items.")
    _OUT.print(_list_table(found, f"For user {found['user_id']}, as of {found['as_of']}"))


def show_state(found: Mapping[str, Any]) -> None:
    """What is published, a line each."""
    for name, value in found.items():
        _OUT.print(f"[bold]{name}[/]: {escape(str(value))}")


def show_keys(keys: "list[ApiKey]") -> None:
    """The keys of the service, without their secrets."""
    table = Table(title="Keys of the service", title_justify="left")
    for name in ("key", "name", "scopes", "requests/s", "made", "revoked"):
        table.add_column(name)
    for key in keys:
        rate = "" if key.requests_per_second is None else f"{key.requests_per_second:g}"
        revoked = "" if key.revoked_at is None else f"{key.revoked_at:%Y-%m-%d %H:%M}"
        made = f"{key.created_at:%Y-%m-%d %H:%M}"
        table.add_row(key.key_id, escape(key.name), ", ".join(key.scopes), rate, made, revoked)
    _OUT.print(table)


def show_models(found: Sequence[Mapping[str, Any]]) -> None:
    """Trained models, a row a version."""
    table = Table(title="Models", title_justify="left")
    for name in ("model", "version", "day", "aliases", "sha256"):
        table.add_column(name)
    for one in found:
        aliases = ", ".join([*one["aliases"], *(["rolled back"] if one["is_rolled_back"] else [])])
        table.add_row(one["model"], one["version"], one["day"] or "", aliases, one["sha256"][:12])
    _OUT.print(table)


def show_variants(found: "pl.DataFrame") -> None:
    """Compressed variants of a model, the original first."""
    table = Table(title="Variants", title_justify="left")
    for name in found.columns:
        table.add_column(name)
    for row in found.iter_rows():
        table.add_row(*("" if value is None else value if isinstance(value, str) else f"{value:.4g}" for value in row))
    _OUT.print(table)


def show_evaluation(result: "EvaluationResult") -> None:
    """The table of recommenders, best first, with half the width of each 95 % interval."""
    from genre_pipeline.evaluation.console import console_rows

    protocol = result.protocol
    title = f"{protocol.data}: {protocol.name}, {protocol.users:,} users, {protocol.items:,} items"
    _OUT.print(_rows_table(console_rows(result), title, bold=result.champion))


def show_ablation(name: str, result: "EvaluationResult") -> None:
    """The table of an ablation's variants, its reference first."""
    from genre_pipeline.evaluation.ablation import ablation_rows, choice_line

    _OUT.print(_rows_table(ablation_rows(result), f"Ablation: {name}", bold=result.champion))
    chosen = choice_line(result)
    if chosen:
        _OUT.print(escape(chosen))


def show_experiment(found: "Experiment", day: str) -> None:
    """The variants of an experiment, the control first, and what to know before believing it."""
    from genre_pipeline.evaluation.experiment import experiment_notes, experiment_rows

    rows = experiment_rows(found)
    if not rows:
        say(f"No impression was posted in the days up to {day}: nothing to compare. docs/serving.md says how.")
        return
    _OUT.print(_rows_table(rows, f"Clicks by variant, up to {day}", bold=found.control))
    for note in experiment_notes(found):
        say(note)


def show_demo(project: "Project", user: str, day: str) -> None:
    """One user's past beside the list, the evaluation of the night, and where to look next."""
    from genre_pipeline.offline.lists import night_evaluation, published_list, user_history

    history = Table(title=escape(f"What user {user} took last"), title_justify="left")
    history.add_column("title")
    history.add_column("value", justify="right")
    for row in user_history(project, user, day, _HISTORY_ROWS):
        history.add_row(escape(str(row["title"])), "" if row["value"] is None else f"{row['value']:g}")
    found = published_list(project.tables, user, _HISTORY_ROWS)
    _OUT.print(Columns([history, _list_table(found, f"What GENRE recommends, as of {found['as_of'][:10]}")]))
    metrics = night_evaluation(project, day)
    table = Table(
        title=f"How good the lists are (cut {metrics['cut'][:10]}, {metrics['users']} users, k = {metrics['k']})",
        title_justify="left",
    )
    for name in metrics["rows"][0]:
        table.add_column(name, justify="left" if name == "recommender" else "right")
    for row in metrics["rows"]:
        table.add_row(*row.values(), style="bold" if row["recommender"] == "hybrid" else None)
    _OUT.print(table)
    _OUT.print(Panel(_next_steps(project, day, user), title="Where to look next", title_align="left"))


def _rows_table(rows: list[dict[str, str]], title: str, *, bold: str) -> Table:
    """Rows of text under their keys; the first cell names a row."""
    table = Table(title=escape(title), title_justify="left")
    for place, name in enumerate(rows[0]):
        table.add_column(escape(name), justify="right" if place else "left")
    for row in rows:
        first, *_ = row.values()
        table.add_row(*map(escape, row.values()), style="bold" if first == bold else None)
    return table


def _list_table(found: Mapping[str, Any], title: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for name in ("#", "title", "score", "why"):
        table.add_column(name, justify="right" if name in ("#", "score") else "left")
    for row in found["recommendations"]:
        why = "; ".join(row["reasons"])
        table.add_row(str(row["rank"]), escape(row["title"] or row["item_id"]), f"{row['score']:.3f}", escape(why))
    return table


def _next_steps(project: "Project", day: str, user: str) -> str:
    report = escape(str(project.home / "reports" / day / "report.html"))
    tables = escape(str(project.home / "genre.db"))
    return "\n".join(
        [
            f"[bold]{report}[/]  the evaluation, with intervals and segments",
            "[bold]make ui[/]  the graph that made it, in Dagster: http://127.0.0.1:3000",
            "[bold]make serve[/]  the real-time service and its page: http://127.0.0.1:8000",
            f"[bold]genre recommend {escape(user)} --json[/]  the same list for an application",
            f"[bold]{tables}[/]  the tables, for plain SQL on the view current_recommendations",
        ]
    )
