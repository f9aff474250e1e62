"""The scenario as folders that commands are pointed at, and a configuration that is done in a second."""

from pathlib import Path

import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.evaluation.evaluate import EvaluationConfig
from genre_pipeline.offline.dataset import Prepared, prepare, source_of
from genre_pipeline.recommenders.hybrid import HybridConfig
from genre_pipeline.recommenders.suite import RecommendersConfig
from tests import scenario

QUICK_YAML = """
recommenders:
  enabled: [popularity, item_knn, ease]
  tune: false
  hybrid: {trials: 20}
evaluation: {comparison_resamples: 50}
"""


def quick_config(home: Path) -> GenreConfig:
    return GenreConfig(
        home=home,
        recommenders=RecommendersConfig(
            enabled=("popularity", "item_knn", "ease"), tune=False, hybrid=HybridConfig(trials=20)
        ),
        evaluation=EvaluationConfig(comparison_resamples=50),
    )


def order_only_folder(path: Path) -> Path:
    """Interactions alone, timestamps an integer order, no items' table: all that some data sets have."""
    path.mkdir(parents=True)
    rows = scenario.clean_interaction_rows()
    frame = pl.DataFrame(rows).sort("timestamp", maintain_order=True).select("user_id", "item_id")
    frame.with_row_index("timestamp", offset=1).write_csv(path / "interactions.csv")
    return path


def prepared(folder: Path, config: GenreConfig) -> Prepared:
    return prepare(source_of(folder), config)


def seen_pairs() -> pl.DataFrame:
    return pl.DataFrame(scenario.clean_interaction_rows()).select("user_id", "item_id")
