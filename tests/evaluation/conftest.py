"""One small evaluation that several modules look at."""

import numpy as np
import polars as pl
import pytest

from genre_pipeline.evaluation.evaluate import EvaluationConfig, EvaluationInputs, evaluate
from genre_pipeline.evaluation.intervals import IntervalConfig
from genre_pipeline.evaluation.result import (
    BLEND_SCHEMA,
    COST_SCHEMA,
    QUALITY_SCHEMA,
    REJECTED_SCHEMA,
    EvaluationResult,
    RunFacts,
)

HOSTILE = '<script>alert("1")</script>'
CONFIG = EvaluationConfig(k=3, intervals=IntervalConfig(resamples=200), comparison_resamples=300)


def frames(hostile: str = HOSTILE) -> EvaluationInputs:
    """30 users, 12 items, three recommenders: hybrid finds the future twice, popular once, dull never."""
    users = [f"u{n:02d}" for n in range(30)]
    items = [f"i{n:02d}" for n in range(12)]
    truth = [(user, items[n % 4]) for n, user in enumerate(users)] + [("u00", "i11")]
    rows = []
    for n, user in enumerate(users):
        right, wrong = items[n % 4], items[(n + 1) % 4]
        rows += [("hybrid", user, item) for item in ((right if n % 3 else wrong), "i05", f"i{6 + n % 5:02d}")]
        rows += [("popular", user, item) for item in ("i00", "i01", "i04")]
        rows += [("dull", user, "i09")]
    recommendations = pl.DataFrame(rows, schema=["recommender", "user_id", "item_id"], orient="row").with_columns(
        (pl.int_range(pl.len()).over("recommender", "user_id") + 1).cast(pl.UInt32).alias("rank"),
        pl.lit(1.0, pl.Float32).alias("score"),
    )
    facts = pl.DataFrame(
        {
            "item_id": items,
            "popularity": [40, 30, 20, 10, 9, 8, 7, 6, 5, 4, 3, 0],
            "is_cold": [False] * 11 + [True],
            "title": [hostile, *[f"Title {n}" for n in range(1, 11)], None],
            "categories": [[hostile], *[["drama", "comedy"][n % 2 :] for n in range(1, 12)]],
        }
    )
    return EvaluationInputs(
        recommendations=recommendations,
        truth=pl.DataFrame(truth, schema=["user_id", "item_id"], orient="row"),
        users=pl.DataFrame({"user_id": users, "history_length": [n * 3 for n in range(30)]}),
        items=facts,
        catalogue=facts.filter(~pl.col("is_cold"))["item_id"],
        history=pl.DataFrame({"user_id": users * 2, "item_id": ["i04"] * 30 + ["i05"] * 30}),
        cold_recommendations=recommendations.filter(pl.col("recommender") == "hybrid"),
        item_vectors={"text": np.eye(12, 5, dtype=np.float32)},
    )


def facts_of_the_run(hostile: str = HOSTILE) -> RunFacts:
    return RunFacts(
        settings={"hybrid": {"objective": hostile}, "popular": {}},
        blend_weights=pl.DataFrame([("light", "popular", 1.0)], schema=BLEND_SCHEMA, orient="row"),
        cost=pl.DataFrame([("hybrid", 1.5, 0.25, None)], schema=COST_SCHEMA, orient="row"),
        quality=pl.DataFrame([("interactions", 100, 90, 7, 3)], schema=QUALITY_SCHEMA, orient="row"),
        rejected=pl.DataFrame([("interactions", hostile, 7)], schema=REJECTED_SCHEMA, orient="row"),
    )


@pytest.fixture(scope="session")
def inputs() -> EvaluationInputs:
    return frames()


@pytest.fixture(scope="session")
def result(inputs: EvaluationInputs) -> EvaluationResult:
    return evaluate(
        inputs,
        protocol="time",
        seed=7,
        cut="2020-01-01T00:00:00+00:00",
        data=HOSTILE,
        notes=(HOSTILE,),
        config=CONFIG,
        run=facts_of_the_run(),
    )
