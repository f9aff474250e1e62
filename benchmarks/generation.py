"""Does generation help? Off, each scheme, the chain and all, on MovieLens-100K and Amazon Beauty.

Writing needs a machine with the model, judging one without. Three steps, the first two of which are repeated until no
request is left: what a repair or a chained request says depends on the replies before it.

    python benchmarks/generation.py --data DIR --requests round1.jsonl.gz
    python benchmarks/generation_replies.py --model MODEL --requests round1.jsonl.gz --replies round1.replies.jsonl
    python benchmarks/generation.py --data DIR --replies round1.replies.jsonl --requests round2.jsonl.gz
    …
    python benchmarks/generation.py --data DIR --replies *.replies.jsonl > benchmarks/generation.md

DIR holds `ml-100k` (GroupLens' files; plots from `omdb_metadata.jsonl` where it lies there) and `amazon-beauty`
(`items.tsv`: item_id, asin, title; `sequences.txt`: a user and its items in order, a line each). The slice: everything
of MovieLens; of Beauty all summaries, profiles of users with up to 20 items, synthetic items for those with up to 5.
What has no reply falls back, and the tables say how much that is. Only users who are judged are written about, on the
test part and, but for `--test-only`, on validation inside the training part. Writes Markdown to standard output.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import USER_ID
from genre_pipeline.contracts.language_model import CallFailed, FailureKind, LanguageModel, Prompt, Reply, Spending
from genre_pipeline.evaluation.ablation import ablation_markdown, choice_line
from genre_pipeline.evaluation.metrics import NDCG
from genre_pipeline.evaluation.result import EvaluationResult
from genre_pipeline.generation.budget import Budget, BudgetConfig
from genre_pipeline.generation.calls import ask as ask_model
from genre_pipeline.generation.ledger import Call
from genre_pipeline.generation.requests import Answer, Request, canonical_json
from genre_pipeline.generation.scheme import Scheme
from genre_pipeline.offline.ablation import judge_and_choose, judge_variants
from genre_pipeline.offline.ablation_generation import OFF, variants_asked, with_content
from genre_pipeline.offline.dataset import Prepared, prepare, source_of, training_set
from genre_pipeline.offline.generation import Ask, generate, past_to_tell
from genre_pipeline.offline.judging import ProtocolName, validation_part
from genre_pipeline.training.splits import split_by_time, split_leave_one_out

RUNS: tuple[tuple[str, ProtocolName], ...] = (
    ("ml-100k", "time"),
    ("ml-100k", "leave-one-out"),
    ("amazon-beauty", "leave-one-out"),
)
DOMAINS = {"ml-100k": "films", "amazon-beauty": "shop"}
BEAUTY_PROFILE_ITEMS = 20
CHAINED = ("chain", "all")
"""Not worth asking before the profiles have been written."""
NO_MODEL = "nobody"


@dataclass
class Replayed(LanguageModel):
    """Answers from a file of replies; what the file does not have is noted, and not asked."""

    name: str
    replies: dict[str, dict[str, Any]]
    missing: dict[str, Prompt] = field(default_factory=dict)
    given: list[dict[str, Any]] = field(default_factory=list)
    """What was answered since somebody last counted it, repairs too."""

    @property
    def identity(self) -> str:
        return self.name

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply | CallFailed]:
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> Reply | CallFailed:
        found = self.replies.get(prompt_key(prompt))
        if found is None:
            self.missing[prompt_key(prompt)] = prompt
            return CallFailed(FailureKind.BUDGET, "not in the file of replies")
        self.given.append(found)
        return Reply(found["text"], found["input_tokens"], found["output_tokens"], found["seconds"], 0.0)


class MemoryLedger:
    """`generation.ledger.Ledger` that forgets: the file of replies is what is kept."""

    def replies(self, request_keys: Sequence[str]) -> dict[str, str]:
        return {}

    def record(self, calls: Sequence[Call]) -> None:
        pass


@dataclass
class Spent:
    """What the requests of a variant came to, asked or found."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, scheme: str, answers: Sequence[Answer], model: Replayed) -> None:
        told, model.given = model.given, []
        origins = [answer.origin for answer in answers]
        self.rows.append(
            {
                "scheme": scheme,
                "requests": len(answers),
                "model": origins.count("model"),
                "repaired": origins.count("repaired"),
                "fallback": origins.count("fallback"),
                "tokens read": sum(one["input_tokens"] for one in told),
                "tokens written": sum(one["output_tokens"] for one in told),
                "seconds": round(sum(one["seconds"] for one in told), 1),
                "money": 0.0,
            }
        )


@dataclass(frozen=True)
class Asked:
    """One run: a data set, a protocol, and how much of it."""

    folder: Path
    name: str
    protocol: ProtocolName
    users: int | None
    """A sample of so many; None judges all."""
    is_test_only: bool
    """Validation is not asked."""
    config: GenreConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ml-100k and amazon-beauty")
    parser.add_argument("--only", metavar="DATA[/PROTOCOL]", help="one data set, or one run of it")
    parser.add_argument("--home", type=Path, default=Path(".genre"), help="where vectors are kept")
    parser.add_argument("--requests", type=Path, help="write what has no reply yet, and judge nothing")
    parser.add_argument("--users", type=int, help="of each data set, so many users, drawn with the seed of the project")
    parser.add_argument("--templates", type=Path, help="folder with films.yaml and shop.yaml, for other prompts")
    parser.add_argument(
        "--test-only", nargs="*", default=[], metavar="DATA/PROTOCOL", help="runs for which validation is not asked"
    )
    parser.add_argument("--replies", type=Path, nargs="*", default=[], help="files that generation_replies.py wrote")
    options = parser.parse_args()
    model = read_replies(options.replies)
    runs = [
        Asked(
            folder=standard_folder(options.data / name, options.home), name=name, protocol=protocol,
            users=options.users, is_test_only=f"{name}/{protocol}" in options.test_only,
            config=configuration(name, options.home, options.templates),
        )
        for name, protocol in RUNS
        if options.only in (None, name, f"{name}/{protocol}")
    ]  # fmt: skip
    if options.requests is not None:
        for run in runs:
            collect(run, model)
        write_requests(options.requests, model.missing)
        return
    print(f"# Does generation help?\n\nWritten by `python benchmarks/generation.py`; replies of {model.identity}.\n")
    for run in runs:
        print(section(run, model), flush=True)


def section(run: Asked, model: Replayed) -> str:
    """The ablation of one data set as Markdown."""
    start, config = time.perf_counter(), run.config
    prepared = sampled(prepare(source_of(run.folder), config), run.users, config.seed)
    spent: dict[str, Spent] = {}
    judge = judge_variants if run.is_test_only else judge_and_choose
    result = judge(
        "generation",
        lambda part: variants_asked(part, config, asking(model, spent if part is prepared else {})),
        OFF,
        prepared,
        config,
        protocol=run.protocol,
        step_days=7,
        say=note,
    )
    drawn = "" if run.users is None else f"a sample of {run.users:,} users; "
    facts = f"{drawn}{result.protocol.users:,} users judged, {result.protocol.items:,} items, protocol {run.protocol}"
    minutes = (time.perf_counter() - start) / 60
    return "\n".join(
        [
            f"## {run.name}, {run.protocol}\n\n{facts}; judged in {minutes:.1f} minutes.\n",
            ablation_markdown(result),
            f"\n{choice_line(result)}" if not run.is_test_only else "",
            f"\nnDCG@{result.protocol.k} by segment:\n",
            segments(result),
            "\nWhat each scheme took (the chain asks for its synthetic items again, with profiles):\n",
            costs(spent),
        ]
    )


def sampled(prepared: Prepared, users: int | None, seed: int) -> Prepared:
    """The interactions of so many users alone; items stay, so that requests are the same."""
    interactions = prepared.data.interactions
    known = interactions[USER_ID].unique().sort()
    if users is None or users >= len(known):
        return prepared
    drawn = known.sample(users, seed=seed)
    kept = interactions.filter(pl.col(USER_ID).is_in(drawn.implode()))
    return replace(prepared, data=replace(prepared.data, interactions=kept))


def collect(run: Asked, model: Replayed) -> None:
    """Note every request of the variants that has no reply; nothing is encoded for it."""
    config, protocol = run.config, run.protocol
    blind = config.recommenders.model_copy(update={"enabled": ("popularity",)})
    prepared = prepare(source_of(run.folder), config.model_copy(update={"recommenders": blind}))
    prepared = sampled(prepared, run.users, config.seed)
    inside = [] if run.is_test_only else [validation_part(prepared, protocol=protocol, step_days=7)[0]]
    for part in (prepared, *inside):
        split = (split_by_time if protocol == "time" else split_leave_one_out)(part.data.interactions)
        data = training_set(part, split, config, only_known_items=True)
        data = replace(data, item_vectors={"text_llm": np.zeros((data.n_items, 1), dtype=np.float32)})
        past, ask = past_to_tell(split, part.data), asking(model, {})
        for variant in variants_asked(part, config, ask):
            if variant.name != OFF and (model.replies or variant.name not in CHAINED):
                generate(past, data, variant.config, ask=ask, encode=no_vectors)
            note(f"{run.name}, {protocol}, {variant.name}: {len(model.missing):,} requests without a reply")


def no_vectors(texts: pl.Series) -> np.ndarray:
    return np.zeros((len(texts), 1), np.float32)


def configuration(name: str, home: Path, templates: Path | None) -> GenreConfig:
    config = with_content(GenreConfig(home=home))
    profiles = config.generation.profiles
    if name == "amazon-beauty":
        profiles = profiles.model_copy(update={"max_items": BEAUTY_PROFILE_ITEMS})
    domain = DOMAINS[name] if templates is None else str(templates / f"{DOMAINS[name]}.yaml")
    changes = {"templates": domain, "profiles": profiles}
    return config.model_copy(update={"generation": config.generation.model_copy(update=changes)})


def asking(model: Replayed, spent: dict[str, Spent]) -> Ask:
    """The pipeline's own driver, without limits: nothing is really asked."""
    ledger = MemoryLedger()

    def ask(scheme: Scheme, requests: Sequence[Request]) -> Sequence[Answer]:
        budget = Budget(BudgetConfig(), Spending())
        answers = ask_model(requests, model, ledger, budget, scheme.parse, day=date.min).answers
        spent.setdefault(f"{scheme.name}{'' if scheme.name not in spent else ', again'}", Spent()).add(
            scheme.name, answers, model
        )
        return answers

    return ask


def segments(result: EvaluationResult) -> str:
    wanted = result.segments.metrics.filter(pl.col("metric").str.starts_with(NDCG))
    names = [result.champion, *(name for name in result.recommenders() if name != result.champion)]
    lines = [["segment", "users", *names]]
    for rows in wanted.partition_by("kind", "segment", maintain_order=True):
        values = dict(zip(rows["recommender"], rows["value"], strict=True))
        shown = [f"{values[name]:.4f}" if values.get(name) is not None else "–" for name in names]
        lines.append([f"{rows['kind'][0]} {rows['segment'][0]}", f"{max(rows['users'].to_list()):,}", *shown])
    return markdown(lines)


def costs(spent: dict[str, Spent]) -> str:
    rows = [row for one in spent.values() for row in one.rows]
    distinct = list({canonical_json(row): row for row in rows}.values())
    if not distinct:
        return "Nothing was asked."
    return markdown(
        [
            list(distinct[0]),
            *([f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()] for row in distinct),
        ]
    )


def markdown(lines: list[list[str]]) -> str:
    head, *rest = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rest])


def prompt_key(prompt: Prompt) -> str:
    """What a file of replies knows a prompt by."""
    return sha256(canonical_json(prompt_row(prompt)).encode()).hexdigest()


def prompt_row(prompt: Prompt) -> dict[str, Any]:
    row = {name: getattr(prompt, name) for name in ("system", "user", "max_tokens", "is_chat")}
    return {**row, "stop": list(prompt.stop)}


def write_requests(path: Path, prompts: dict[str, Prompt]) -> None:
    lines = (json.dumps({"key": key, **prompt_row(prompt)}, ensure_ascii=False) for key, prompt in prompts.items())
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    note(f"{len(prompts):,} requests in {path}, {path.stat().st_size / 2**20:.1f} MiB")


def read_replies(paths: Iterable[Path]) -> Replayed:
    """The first line of a file names the model, the others hold its replies."""
    names: set[str] = set()
    replies: dict[str, dict[str, Any]] = {}
    for path in paths:
        rows = iter(lines_of(path))
        names.add(next(rows)["identity"])
        replies.update((row["key"], row) for row in rows)
    return Replayed(" and ".join(sorted(names)) or NO_MODEL, replies)


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def standard_folder(folder: Path, home: Path) -> Path:
    """A data set in the standard form, made once in `home`."""
    out = home / "benchmark" / folder.name
    if not (out / "items.parquet").is_file():
        out.mkdir(parents=True, exist_ok=True)
        interactions, items = movielens(folder) if folder.name == "ml-100k" else beauty(folder)
        interactions.write_parquet(out / "interactions.parquet")
        items.write_parquet(out / "items.parquet")
    return out


def movielens(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    from genre_pipeline.sources.dataset import read_dataset

    raw = read_dataset(source_of(folder))
    assert raw.items is not None
    items, plots = raw.items.collect(), folder / "omdb_metadata.jsonl"
    if plots.is_file():
        told = pl.DataFrame([(str(row["movie_id"]), row.get("Plot")) for row in lines_of(plots)], orient="row")
        told.columns = ["item_id", "description"]
        known = told.filter(~pl.col("description").is_in(["N/A", ""])).unique("item_id", keep="first")
        items = items.join(known, on="item_id", how="left", maintain_order="left")
    return raw.interactions.collect(), items


def beauty(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = [line.split() for line in (folder / "sequences.txt").read_text().splitlines()]
    lists = pl.DataFrame({"user_id": [row[0] for row in rows], "item_id": [row[1:] for row in rows]})
    places = pl.int_ranges(pl.col("item_id").list.len()).alias("timestamp")
    items = pl.read_csv(folder / "items.tsv", separator="\t", quote_char=None, infer_schema=False)
    return lists.with_columns(places).explode("item_id", "timestamp"), items.select("item_id", "title")


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
