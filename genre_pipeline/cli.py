"""The front door for the terminal: `genre …` parses, calls and prints. Nothing is computed here.

Progress goes to standard error, results to standard output; with `--json` exactly one JSON object goes there. Exit 0 is
done, 1 is a problem that the message names with its remedy, 2 is wrong usage.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from genre_pipeline import console
from genre_pipeline.contracts.errors import GenreError
from genre_pipeline.contracts.names import AblationName

if TYPE_CHECKING:
    from genre_pipeline.config import GenreConfig
    from genre_pipeline.project import Project

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="GENRE: personal recommendations from text, images and audio. Start with `genre demo`.",
)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file; GENRE_CONFIG or ./genre.yaml otherwise.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
DateOption = Annotated[
    datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The day; the last complete one otherwise.")
]
DataOption = Annotated[Path, typer.Option("--data", help="Standard folder, or a MovieLens folder in any of its forms.")]


@app.command(epilog="Example: `genre demo --movielens ~/ml-100k`")
def demo(
    movielens: Annotated[
        Path | None, typer.Option(help="A GroupLens folder on this machine instead of the download.")
    ] = None,
    config: ConfigOption = None,
    user: Annotated[str, typer.Option(help="Whose history and list to print.")] = "196",
    again: Annotated[bool, typer.Option("--again", help="Run the night even if it is published already.")] = False,
) -> None:
    """Fetch the demo data, run its last night, show a user's list and how good the lists are."""
    from genre_pipeline.defs.running import last_complete_day
    from genre_pipeline.sources.demo import fetch_demo

    project = _project(config)
    fetch_demo(project.home / "demo", movielens_folder=movielens, report=console.say)
    day = last_complete_day(project)
    published = project.tables.current()
    if published is None or published.day < day or again:
        _run_night(project, day, ())
    else:
        console.say(f"{day} is published already as {published.run_id}; `--again` computes it afresh.")
    console.show_demo(project, user, day.isoformat())


@app.command(epilog="Example: `genre run --date 1998-04-21 --select item_statistics,user_statistics`")
def run(
    config: ConfigOption = None,
    date_: DateOption = None,
    select: Annotated[str, typer.Option(help="Assets to materialise, separated by commas; all otherwise.")] = "",
    json_: JsonOption = False,
) -> None:
    """The nightly job in this process: the same assets as the schedule, on the instance that the Dagster UI shows."""
    from genre_pipeline.defs.running import last_complete_day

    project = _project(config)
    day = date_.date() if date_ is not None else last_complete_day(project)
    outcome = _run_night(project, day, [name.strip() for name in select.split(",") if name.strip()])
    published = project.tables.current()
    if json_:
        _print_json({"day": day.isoformat(), "dagster_run_id": outcome, "published": published and published.run_id})
    else:
        console.say(f"{day} done. Published: {published.run_id if published else 'nothing yet'}.")


@app.command(epilog="Example: `genre evaluate --data ~/ml-100k --protocol leave-one-out --out report/`")
def evaluate(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, recommendations.parquet and report.html.")],
    config: ConfigOption = None,
    protocol: Annotated[
        Literal["time", "leave-one-out", "rolling"], typer.Option(help="How past and future are cut.")
    ] = "time",
    k: Annotated[int, typer.Option(min=1, help="Ranks that are judged.")] = 10,
    step_days: Annotated[int, typer.Option(min=1, help="Protocol rolling: days between refits.")] = 7,
    ablate: Annotated[
        list[AblationName] | None,
        typer.Option(help="Judge what parts are worth; `generation` is chosen on validation. May be given again."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Honest offline evaluation: trains on the past only, ranks all items, chooses nothing on the test."""
    from genre_pipeline.offline.ablation import evaluate_with_ablations, to_prepare
    from genre_pipeline.offline.dataset import prepare, source_of
    from genre_pipeline.offline.writing import check_report_folder, write_evaluation

    settings = _config(config)
    check_report_folder(out)
    how = settings.evaluation.model_copy(update={"k": k, "ablate": tuple(ablate or settings.evaluation.ablate)})
    judged = settings.model_copy(update={"evaluation": how})
    with console.progress("texts") as progress:
        prepared = prepare(source_of(data), to_prepare(judged), progress, say=console.say)
    found = evaluate_with_ablations(prepared, judged, protocol=protocol, step_days=step_days, say=console.say)
    written = write_evaluation(found, out)
    if json_:
        _print_json(found.result.to_json())
    else:
        console.show_evaluation(found.result)
        for name, ablation in found.ablations.items():
            console.show_ablation(name, ablation)
        console.say(f"Written to {out}: {', '.join(written)}")


@app.command(epilog="Example: `genre batch --data shop/ -k 20 --out lists.parquet`")
def batch(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="File to write, .csv or .parquet: user_id,item_id,rank,score.")],
    config: ConfigOption = None,
    users: Annotated[
        Path | None, typer.Option(help="File with a column user_id, or one id a line; all otherwise.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of each list.")] = 10,
    recommender: Annotated[str, typer.Option(help="One recommender by name instead of the hybrid.")] = "hybrid",
    json_: JsonOption = False,
) -> None:
    """Train on everything in a data set and write each user's list of unseen items. Needs no Dagster."""
    from genre_pipeline.offline.batch import batch_recommendations, config_for
    from genre_pipeline.offline.dataset import prepare, source_of
    from genre_pipeline.offline.writing import check_list_file, read_users, write_lists

    settings = config_for(recommender, _config(config))
    check_list_file(out)
    asked = None if users is None else read_users(users)
    with console.progress("texts") as progress:
        prepared = prepare(source_of(data), settings, progress, say=console.say)
    with console.progress("users") as progress:
        lists = batch_recommendations(
            prepared, settings, k=k, say=console.say, users=asked, recommender=recommender,
            report=lambda done, total: progress("users", done, total),
        )  # fmt: skip
    write_lists(lists, out)
    if json_:
        _print_json({"users": lists["user_id"].n_unique(), "rows": lists.height, "out": str(out)})
    else:
        console.say(f"{lists['user_id'].n_unique():,} lists, {lists.height:,} rows: {out}")


@app.command(epilog="Example: `genre recommend 196 -k 5 --json`")
def recommend(
    user: Annotated[str, typer.Argument(help="The user's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Items to show.")] = 10,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """A user's published list, with reasons. A user without one gets the popular list, and is told so."""
    from genre_pipeline.offline.lists import published_list

    found = published_list(_project(config).tables, user, k)
    _answer(json_, found, lambda: console.show_list(found))


@app.command(epilog="Example: `genre serve`, then open http://127.0.0.1:8000")
def serve(config: ConfigOption = None) -> None:
    """The real-time service and its page. Host and port: `serving.host`, `serving.port`, or GENRE_SERVING__PORT."""
    from genre_pipeline.serving.wiring import build_access, build_service
    from genre_pipeline.serving.wiring import serve as listen

    project = _project(config)
    settings, serving, source = project.config, project.config.serving, project.config.source
    access = build_access(project.tables, serving)
    service = build_service(
        project.tables, project.features, project.partitions, serving,
        features_config=settings.features, rules=settings.rules, seed=settings.seed,
    )  # fmt: skip
    console.say(f"http://{serving.host}:{serving.port}  (page at /, API described at /openapi.json; Ctrl-C stops)")
    root = Path(source.path) if source is not None and source.path else None
    listen(service, access, media_root=root, partitions=project.partitions)


keys_app = typer.Typer(no_args_is_help=True, help="Keys of the service: who may read, write, administer.")
app.add_typer(keys_app, name="keys")


@keys_app.command("create", epilog="Example: `genre keys create shop --scope read --scope write`")
def keys_create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[list[str], typer.Option(help="read, write, admin; may be given again.")],
    requests_per_second: Annotated[
        float | None, typer.Option(help="The key's own limit; `serving.requests_per_second` otherwise.")
    ] = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    key, whole = _project(config).tables.create_key(name, scope, requests_per_second=requests_per_second)
    if json_:
        _print_json({"key_id": key.key_id, "key": whole, "scopes": key.scopes})
    else:
        console.say(f"{key.key_id}, for {key.name}: {', '.join(key.scopes)}. Keep it now; it cannot be shown again.")
        sys.stdout.write(whole + "\n")


@keys_app.command("list", epilog="Example: `genre keys list --json`")
def keys_list(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Every key there ever was, without its secret."""
    keys = _project(config).tables.issued_keys()
    shown = [{name: value for name, value in vars(key).items() if name != "sha256"} for key in keys]
    _answer(json_, {"keys": shown}, lambda: console.show_keys(keys))


@keys_app.command("revoke", epilog="Example: `genre keys revoke 5f0c9a3b2d11`")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="As `genre keys list` shows it.")], config: ConfigOption = None
) -> None:
    """Revoke a key for good; a running service knows within seconds."""
    key = _project(config).tables.revoke_key(key_id)
    console.say(f"{key.key_id}, for {key.name}, is revoked since {key.revoked_at:%Y-%m-%d %H:%M} UTC.")


@app.command(epilog="Example: `genre status --json`")
def status(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """What is published, of which day, by which model, and how good it was."""
    from genre_pipeline.offline.lists import published_state

    found = published_state(_project(config).tables)
    _answer(json_, found, lambda: console.show_state(found))


@app.command(epilog="Example: `genre experiment --date 2026-03-31 --days 14 --control default`")
def experiment(
    config: ConfigOption = None,
    date_: DateOption = None,
    days: Annotated[int | None, typer.Option(min=1, help="How many days; `feedback.days` otherwise.")] = None,
    control: Annotated[str, typer.Option(help="The variant that the others are compared with.")] = "default",
    json_: JsonOption = False,
) -> None:
    """Variants by the clicks on what was shown: rates, differences with intervals, and whether the arms fit."""
    from genre_pipeline.defs.running import last_complete_day
    from genre_pipeline.evaluation.experiment import experiment_json
    from genre_pipeline.offline.feedback import experiment_on, shown_until

    project = _project(config)
    day = date_.date() if date_ is not None else last_complete_day(project)
    found = experiment_on(
        shown_until(project.tables, day.isoformat(), project.config, days=days), project.config, control=control
    )
    told = {"day": day.isoformat(), **experiment_json(found)}
    _answer(json_, told, lambda: console.show_experiment(found, day.isoformat()))


@app.command(epilog="Example: `genre models --json`")
def models(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Every trained model and version, which of them serves, and which were rolled back."""
    found = _project(config).models.overview()
    _answer(json_, {"models": found}, lambda: console.show_models(found))


@app.command(epilog="Example: `genre compress --json`")
def compress(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Make the item tower smaller in several ways, measure each beside the original, and register them in MLflow."""
    from genre_pipeline.offline.compression import compress_item_tower

    project = _project(config)
    found = compress_item_tower(project.models, project.partitions, project.config, say=console.say)
    _answer(json_, {"variants": found.to_dicts()}, lambda: console.show_variants(found))


@app.command(epilog="Example: `genre rollback sequence_model`")
def rollback(
    model: Annotated[str, typer.Argument(help="As `genre models` shows it.")],
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Make a model's previous champion champion again. No night takes up the one that is sent away."""
    registry = _project(config).models
    before, now = registry.alias(model, "champion"), registry.roll_back(model)
    versions = {"model": model, "champion": now.version, "rolled_back": None if before is None else before.version}
    if json_:
        _print_json(versions)
    else:
        console.say("{model}: version {champion} is champion again, {rolled_back} is rolled back.".format(**versions))
        console.say("The next night makes its lists with it; `genre run --date DAY` makes those of a day anew.")


@app.command(name="config", epilog="Example: `genre config | less`")
def config_() -> None:
    """Every setting with its type, default and meaning, as Markdown."""
    from genre_pipeline.config_reference import reference

    sys.stdout.write(reference())


def main() -> None:
    """Run the command line; named errors become a message and exit code 1."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait cost a network nine times its work where others want the processors too.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    _run_guarded(app)


def _run_guarded(command: Callable[[], Any]) -> None:
    try:
        command()
    except GenreError as error:
        console.show_error(error)
        sys.exit(1)


def _config(path: Path | None) -> "GenreConfig":
    from genre_pipeline.config import load_config

    return load_config(path)


def _project(path: Path | None) -> "Project":
    from genre_pipeline.project import Project

    if path is not None:
        # The graph's definitions read the configuration for themselves.
        os.environ["GENRE_CONFIG"] = str(path.absolute())
    return Project(_config(path))


def _run_night(project: "Project", day: date, select: list[str] | tuple[str, ...]) -> str:
    from genre_pipeline.definitions import defs
    from genre_pipeline.defs.running import run_night

    return run_night(defs, project, day, select=select, say=console.say).checked(day)


def _answer(as_json: bool, value: Any, show: Callable[[], None]) -> None:
    _print_json(value) if as_json else show()


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
