"""What items that nobody has had yet are recommended by: recall@50 of each recommender against chance, and what each
modality adds.

    python benchmarks/cold_items.py --data-root DIR [--ablate] [--tabular] [--cosine] > benchmarks/cold_items.md

DIR holds `ml-100k` (GroupLens' files, `omdb_metadata.jsonl` with plots, `posters/<movie id>.jpg`) and
`movietweetings-100k` (titles and genres alone). MovieLens becomes a standard folder with plots and posters, in a
temporary place. Protocol `time`: films first rated after the cut, by users known before it, among the whole catalogue.
`--ablate` adds the table of modalities on MovieLens; `--cosine` takes the expected demand from `content` (decision
17). Markdown goes to standard output, progress to standard error.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.names import AblationName
from genre_pipeline.evaluation.ablation import ablation_markdown
from genre_pipeline.evaluation.result import EvaluationResult
from genre_pipeline.features.tabular import TabularConfig
from genre_pipeline.offline.ablation import evaluate_with_ablations, to_prepare
from genre_pipeline.offline.dataset import prepare, source_of
from genre_pipeline.offline.evaluate import Evaluation
from genre_pipeline.sources.movielens import read_movielens

TARGET = 5.0
RECOMMENDERS = ("popularity", "content", "item_knn", "ease", "als")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cold items: recall@50 against chance.")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path(".genre"), help="where encoded texts and pictures are cached")
    parser.add_argument("--ablate", action="store_true", help="add the table of modalities on MovieLens")
    parser.add_argument("--tabular", action="store_true", help="make numbers (year, day of publication) a modality")
    parser.add_argument("--cosine", action="store_true", help="content by its cosine alone")
    return parser.parse_args()


def movielens_with_media(source: Path, folder: Path) -> Path:
    """A standard folder: GroupLens' tables, each film with its plot and its poster where there is one."""
    raw = read_movielens(source)
    assert raw.items is not None
    shutil.copytree(source / "posters", folder / "posters", copy_function=shutil.copyfile)
    plots = pl.read_ndjson(source / "omdb_metadata.jsonl", infer_schema_length=None).select(
        item_id=pl.col("movie_id").cast(pl.String), description=pl.when(pl.col("Plot") != "N/A").then("Plot")
    )
    pictures = pl.DataFrame({"image": [f"posters/{path.name}" for path in sorted((folder / "posters").glob("*.jpg"))]})
    films = pictures.with_columns(item_id=pl.col("image").str.extract(r"(\d+)\.jpg"))
    items = raw.items.collect().join(plots.unique("item_id"), on="item_id", how="left", maintain_order="left")
    items.join(films, on="item_id", how="left", maintain_order="left").write_parquet(folder / "items.parquet")
    raw.interactions.collect().write_parquet(folder / "interactions.parquet")
    return folder


def judged(folder: Path, config: GenreConfig) -> Evaluation:
    prepared = prepare(source_of(folder), to_prepare(config))
    return evaluate_with_ablations(prepared, config, protocol="time", step_days=7, say=note)


def cold_table(result: EvaluationResult) -> str:
    """recommender, recall@50 on cold items with its interval, and how many times chance that is."""
    rows = result.segments.metrics.filter((pl.col("kind") == "cold_items") & (pl.col("metric") == "recall"))
    chance = rows.filter(pl.col("recommender") == "random")["value"].item()
    lines = ["| recommender | cold recall@50 | × chance |", "| --- | --- | --- |"]
    for row in rows.sort("value", "recommender", descending=[True, False]).iter_rows(named=True):
        interval = f" [{row['low']:.3f}, {row['high']:.3f}]"
        lines.append(f"| {row['recommender']} | {row['value']:.4f}{interval} | {row['value'] / chance:.1f} |")
    content = rows.filter(pl.col("recommender") == "content")["value"].item() / chance
    verdict = "met" if content >= TARGET else "MISSED"
    users = rows["users"].to_list()
    return "\n".join([*lines, "", f"{users[0]} users; content {content:.1f} × chance, target {TARGET:g}: {verdict}."])


def section(name: str, found: Evaluation) -> str:
    tables = [f"## {name}, time\n\nCut {found.result.protocol.cut}.\n\n{cold_table(found.result)}\n"]
    tables += [f"### {what}\n\n{ablation_markdown(result)}\n" for what, result in found.ablations.items()]
    return "\n".join(tables)


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    options = arguments()
    base = GenreConfig(home=options.home)
    content = base.recommenders.content
    if options.cosine:
        content = content.model_copy(update={"popularity_weight": 0.0})
    recommenders = base.recommenders.model_copy(update={"enabled": RECOMMENDERS, "content": content})
    plain = base.model_copy(update={"recommenders": recommenders})
    rich = plain.model_copy(
        update={
            "features": plain.features.model_copy(update={"tabular": TabularConfig(enabled=options.tabular)}),
            "evaluation": plain.evaluation.model_copy(
                update={"ablate": (AblationName.MODALITIES,) if options.ablate else ()}
            ),
        }
    )
    flags = "".join(f" --{name}" for name in ("ablate", "tabular", "cosine") if getattr(options, name))
    print(
        f"# Cold items\n\nWritten by `python benchmarks/cold_items.py --data-root DIR{flags}`: "
        "without the sequence network, else defaults.\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = movielens_with_media(options.data_root / "ml-100k", Path(temporary))
        print(section("ml-100k with plots and posters", judged(folder, rich)), flush=True)
    print(section("movietweetings-100k", judged(options.data_root / "movietweetings-100k", plain)), flush=True)


if __name__ == "__main__":
    main()
