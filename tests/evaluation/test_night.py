"""The run report: the night's facts on the evaluation's page."""

import json
import re
from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from genre_pipeline.contracts.tables import OnlineMetrics
from genre_pipeline.evaluation.drift import DRIFT_SCHEMA
from genre_pipeline.evaluation.experiment import compare_variants
from genre_pipeline.evaluation.feedback import FeedbackConfig, online_metrics, rank_metrics
from genre_pipeline.evaluation.intervals import IntervalConfig
from genre_pipeline.evaluation.list_changes import ChangedList, ListChanges, ListedTitle
from genre_pipeline.evaluation.night import (
    CHECKS_SCHEMA,
    METRIC_CHANGES_SCHEMA,
    REASONS_SCHEMA,
    ROWS_SCHEMA,
    TIMES_SCHEMA,
    NightFacts,
    metric_changes,
)
from genre_pipeline.evaluation.report import ReportParts, evaluation_parts, render_page, render_report
from tests.evaluation.test_report import Page

HOSTILE = '<script>alert("night")</script>'
ESCAPED = "&lt;script&gt;alert(&#34;night&#34;)&lt;/script&gt;"


@pytest.fixture
def night(result) -> NightFacts:
    intervals = IntervalConfig(resamples=50)
    shown = pl.DataFrame(
        {
            "user_id": [f"u{nth % 30}" for nth in range(120)],
            "item_id": [f"i{nth % 7}" for nth in range(120)],
            "timestamp": [datetime(2026, 3, 2, tzinfo=UTC)] * 120,
            "variant": [HOSTILE if nth % 30 < 15 else "default" for nth in range(120)],
            "rank": [nth % 12 + 1 for nth in range(120)],
            "is_clicked": [nth % 4 == 0 for nth in range(120)],
        },
        schema_overrides={"rank": pl.Int64, "timestamp": pl.Datetime("us", "UTC")},
    )
    popularity = pl.DataFrame({"item_id": ["i1"], "popularity": [3]}, schema_overrides={"popularity": pl.Int64})
    online = online_metrics(
        shown, popularity, 9, as_of=datetime(2026, 3, 3, tzinfo=UTC), seed=1,
        config=FeedbackConfig(), intervals=intervals,
    )  # fmt: skip
    example = ChangedList(HOSTILE, 0, (ListedTitle(HOSTILE, True),), (ListedTitle("Better", True),))
    return NightFacts(
        day="2026-03-02",
        before="2026-03-01",
        metrics=metric_changes(result.metrics, result.metrics.with_columns(pl.col("value") + 0.01)),
        changes=ListChanges(10, 3, 1, 0, 0.5, 0.25, (example,)),
        online=online,
        ranks=rank_metrics(shown, seed=1, intervals=intervals),
        experiment=compare_variants(shown, {"default": 0.5, "a": 0.5}, control="default", seed=1, intervals=intervals),
        rows=pl.DataFrame([("items", 5, None)], schema=ROWS_SCHEMA, orient="row"),
        checks=pl.DataFrame([(HOSTILE, "items", False, True)], schema=CHECKS_SCHEMA, orient="row"),
        rejected=pl.DataFrame([("items", HOSTILE, 1234)], schema=REASONS_SCHEMA, orient="row"),
        drift=pl.DataFrame(
            [("t", HOSTILE, "psi", 0.5, 0.1, 0.25, "large"), ("t", "f", "psi", None, 0.1, 0.25, "unknown")],
            schema=DRIFT_SCHEMA,
            orient="row",
        ),
        times=pl.DataFrame([("evaluation", 61.25, "success")], schema=TIMES_SCHEMA, orient="row"),
    )


def test_the_page_of_a_night_is_one_file_of_closed_tags_that_asks_nobody(result, night) -> None:
    text = render_page(evaluation_parts(result), night)
    page = Page(text)
    assert page.open == []
    assert len(page.all("h1")) == 1
    assert not re.search(r"https?://|url\(|@import|javascript:|<script", text.lower())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(attributes["href"])[1:] for attributes in page.all("a")} <= set(ids)
    assert len(page.all("table")) == len(page.all("caption"))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert all(not name.startswith("on") and name != "style" for _, attributes in page.tags for name in attributes)


def test_what_happened_is_on_it_and_hostile_text_stays_text(result, night) -> None:
    text = render_page(evaluation_parts(result), night)
    # The user, the title, two tables of variants and one of ranks, the check, the reason, the feature.
    assert text.count(ESCAPED) >= 8
    for told in (
        "The night of 2026-03-02",
        "1,234",
        "61.2",
        "stops what comes after",
        "Better",
        "Sample ratio",
        "large",
    ):
        assert told in text, told


def test_a_first_night_without_feedback_says_so(result) -> None:
    text = render_page(evaluation_parts(result), NightFacts("2026-03-01"))
    for told in (
        "No earlier day was published", "This is the first night that is published.", "No impression was posted",
        "There are no earlier lists", "There are no earlier features", "No row and no file was rejected.",
    ):  # fmt: skip
        assert told in text, told
    assert Page(text).open == []


def test_an_evaluation_that_was_kept_gives_the_same_page(result, night) -> None:
    parts = evaluation_parts(result)
    kept = ReportParts(**json.loads(json.dumps(vars(parts))))
    assert render_page(kept, night) == render_page(parts, night)
    assert render_page(kept) == render_report(result)


def test_metrics_against_those_of_the_night_before() -> None:
    columns = ["recommender", "metric", "value", "low", "high"]
    now = pl.DataFrame(
        [("h", "ndcg", 0.5, 0.2, 0.8), ("h", "gini", 0.3, None, None), ("n", "ndcg", 0.1, 0.0, 0.2)],
        schema=columns,
        orient="row",
    )
    before = pl.DataFrame([("h", "ndcg", 0.4, 0.0, 0.8), ("h", "gini", 0.2, None, None)], schema=columns, orient="row")
    expected = [
        ("h", "ndcg", 0.5, 0.4, 0.1, -0.4, 0.6),
        ("h", "gini", 0.3, 0.2, 0.1, None, None),
        ("n", "ndcg", 0.1, None, None, None, None),
    ]
    found = metric_changes(now, before)
    assert_frame_equal(found, pl.DataFrame(expected, schema=METRIC_CHANGES_SCHEMA, orient="row"))


def test_the_facts_of_a_night_start_empty() -> None:
    assert OnlineMetrics.is_valid(NightFacts("2026-03-01").online)
