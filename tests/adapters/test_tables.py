import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.adapters.bulk_load import run_id_for
from genre_pipeline.adapters.database import Database
from genre_pipeline.adapters.tables import ItemList, ListedItem, RecommendedItem, Tables, UserRecommendations
from genre_pipeline.contracts.errors import ContractError, NotPublishedError, TablesError
from tests.adapters.staged_runs import NOW, a_catalogue, a_day, a_run, frames, lists_of, publish, recommended, stage

AS_OF = datetime(2026, 3, 2, tzinfo=UTC)
HOSTILE = [
    "' OR '1'='1",
    "u0'; DROP TABLE runs; --",
    'u"0',
    "u0\\",
    "u0%",
    "_0",
    "ü\u202e0",
    "$1",
    ":key",
    "{0}",
    "a\nb",
    "😀",
]


def test_a_user_reads_the_published_list(tables: Tables) -> None:
    publish(tables, "r1")
    assert tables.recommendations_for("u1", 2) == UserRecommendations(
        "u1",
        "r1",
        AS_OF,
        (
            RecommendedItem("i1", "Title of i1", 1, 1.0, ("Because of i1",)),
            RecommendedItem("i2", "Title of i2", 2, 0.5, ("Because of i2",)),
        ),
    )
    assert tables.recommendations_for("nobody", 2) is None


def test_items_and_categories_have_lists(tables: Tables) -> None:
    publish(tables, "r1")
    nearest = (ListedItem("i1", "Title of i1", 1, 1.0), ListedItem("i2", "Title of i2", 2, 0.5))
    assert tables.similar_to("i0") == ItemList("i0", "r1", AS_OF, nearest)
    assert tables.similar_to("i2") is None
    assert tables.popular(k=1) == ItemList("", "r1", AS_OF, (ListedItem("i1", "Title of i1", 1, 1.0),))
    assert tables.popular("a") == ItemList("a", "r1", AS_OF, (ListedItem("i1", "Title of i1", 1, 1.0),))
    assert tables.popular("unknown") is None


def test_catalogue_rows_come_in_the_order_asked(tables: Tables) -> None:
    publish(tables, "r1")
    asked = tables.catalogue_rows(["i3", "unknown", "i0", "i3"])
    assert_frame_equal(asked, a_catalogue(["i0", "i3"]).sort("item_id", descending=True))


def test_before_anything_is_published_readers_say_so(tables: Tables) -> None:
    stage(tables, "r1")
    assert tables.current() is None
    assert tables.previous() is None
    for read in (
        lambda: tables.recommendations_for("u1", 2),
        tables.popular,
        lambda: tables.similar_to("i0"),
    ):
        with pytest.raises(NotPublishedError, match="Nothing has been published"):
            read()
    with pytest.raises(NotPublishedError, match="genre run"):
        tables.catalogue_rows(["i0"])


def test_without_a_schema_readers_and_writers_name_the_remedy(database_url: str) -> None:
    bare = Tables(database_url)
    with pytest.raises(NotPublishedError, match="no tables yet"):
        bare.recommendations_for("u1", 2)
    with pytest.raises(TablesError, match="genre run"):
        stage(bare, "r1")
    bare.close()


def test_plain_sql_on_the_views_gives_the_readers_rows(tables: Tables, database_url: str) -> None:
    publish(tables, "r1")
    stage(tables, "unpublished", a_day(1), mark=5.0)
    with Database(database_url).read() as connection:
        query = sa.text("SELECT * FROM current_recommendations WHERE user_id = 'u2' ORDER BY rank")
        rows = connection.execute(query).mappings().all()
        similar = connection.execute(sa.text("SELECT * FROM current_similar_items")).mappings().all()
        popular = connection.execute(sa.text("SELECT * FROM current_popular_items")).mappings().all()
    answer = tables.recommendations_for("u2", 10)
    assert answer is not None
    unfolded = tuple(
        RecommendedItem(
            row["item_id"],
            row["title"],
            row["rank"],
            row["score"],
            tuple(json.loads(row["reasons"]) if isinstance(row["reasons"], str) else row["reasons"]),
        )
        for row in rows
    )
    assert unfolded == answer.rows
    assert {(row["user_id"], row["run_id"], row["surface"]) for row in rows} == {("u2", "r1", "default")}
    names = ["user_id", "rank", "item_id", "title", "score", "reasons", "run_id", "as_of", "surface", "variant"]
    assert list(rows[0]) == names
    assert [(row["item_id"], row["rank"], row["similar_item_id"]) for row in similar] == [
        ("i0", 1, "i1"),
        ("i0", 2, "i2"),
        ("i1", 1, "i0"),
    ]
    assert [(row["category"], row["rank"], row["item_id"]) for row in popular] == [
        ("", 1, "i1"),
        ("", 2, "i0"),
        ("a", 1, "i1"),
    ]


ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.generate],  # Shrinking would publish for minutes.
)
@given(
    lists=st.dictionaries(ids, st.lists(ids, min_size=1, max_size=5, unique=True), min_size=1, max_size=4),
    scores=st.lists(finite, min_size=5, max_size=5),
    reasons=st.lists(ids, max_size=3),
)
def test_what_is_published_is_what_is_read(
    tables: Tables, lists: dict[str, list[str]], scores: list[float], reasons: list[str]
) -> None:
    items = sorted({item for listed in lists.values() for item in listed})
    score = pl.Series(scores, dtype=pl.Float32)
    rows = recommended(lists).with_columns(
        score=pl.lit(score).gather(pl.col("rank") - 1), reasons=pl.lit(reasons, pl.List(pl.String))
    )
    nothing = lists_of({}, "item_id", "similar_item_id"), lists_of({}, "category")
    expected = tables.stage(a_run("any"), rows, *nothing, a_catalogue(items))
    run_id = run_id_for(a_day(0), expected.fingerprint)
    tables.stage(a_run(run_id), rows, *nothing, a_catalogue(items))
    tables.publish(run_id, expected=expected)
    for user, listed in lists.items():
        answer = tables.recommendations_for(user, 5)
        assert answer is not None
        assert [row.item_id for row in answer.rows] == listed
        assert (
            pl.Series([row.score for row in answer.rows], dtype=pl.Float32).to_list() == score.to_list()[: len(listed)]
        )
        assert {row.reasons for row in answer.rows} == {tuple(reasons)}


def test_ids_are_data_never_sql(tables: Tables) -> None:
    lists = {user: ["i1"] for user in HOSTILE}
    similar = lists_of({user: ["i1"] for user in HOSTILE}, "item_id", "similar_item_id")
    expected = tables.stage(
        a_run("r'1"), recommended(lists), similar, lists_of(lists, "category"), a_catalogue(["i0", "i1"])
    )
    tables.publish("r'1", expected=expected)
    for user in HOSTILE:
        own, near, popular = tables.recommendations_for(user, 3), tables.similar_to(user), tables.popular(user)
        assert own is not None
        assert near is not None
        assert popular is not None
        assert (own.user_id, near.key, popular.key) == (user, user, user)
    assert tables.recommendations_for("u", 3) is None
    assert tables.catalogue_rows([*HOSTILE, "i1"])["item_id"].to_list() == ["i1"]
    assert tables.delete_user(HOSTILE[0]) == {"recommendations": 1, "events": 0, "llm_calls": 0}
    assert tables.recommendations_for(HOSTILE[1], 3) is not None


@pytest.mark.parametrize("unstorable", ["a\0b", "\ud800"])
def test_an_id_no_database_holds_belongs_to_nobody(tables: Tables, unstorable: str) -> None:
    publish(tables, "r1")
    assert tables.recommendations_for(unstorable, 3) is None
    assert tables.catalogue_rows([unstorable]).is_empty()
    assert tables.delete_user(unstorable) == {"recommendations": 0, "events": 0, "llm_calls": 0}


def test_a_text_with_nul_is_refused_by_name(tables: Tables) -> None:
    recs, similar, popular, catalogue = frames()
    titled = catalogue.with_columns(title=pl.lit("bad\0title"))
    with pytest.raises(ContractError, match="catalogue has texts with the character NUL"):
        tables.stage(a_run("r1"), recs, similar, popular, titled)
    reasoned = recs.with_columns(reasons=pl.lit(["bad\0reason"]))
    with pytest.raises(ContractError, match="recommendations has texts"):
        tables.stage(a_run("r1"), reasoned, similar, popular, catalogue)


def test_a_metric_that_is_no_number_is_refused() -> None:
    with pytest.raises(ContractError, match="metrics of run 'r1' cannot be written as JSON"):
        replace(a_run("r1"), metrics={"ndcg@10": float("nan")})


def test_a_run_is_recorded_whole(tables: Tables) -> None:
    publish(tables, "r1")
    assert tables.run("r1") == a_run("r1")
    assert tables.run("r2") is None
    assert a_run("r1").as_of == AS_OF


def test_instants_survive_a_process_that_turned_them_into_epochs(tables: Tables) -> None:
    sqlite3.register_adapter(datetime, lambda value: int(value.timestamp()))
    try:
        publish(tables, "r1")
        when = datetime(2026, 3, 1, 23, 30, tzinfo=UTC).astimezone(tz=None)
        event = {"event_id": "e", "user_id": "u", "item_id": "i", "timestamp": when, "event": "view"}
        tables.append_events([event])
        assert tables.current() is not None
        assert tables.events_of(a_day(0))["timestamp"].to_list() == [when.astimezone(UTC)]
    finally:
        del sqlite3.adapters[(datetime, sqlite3.PrepareProtocol)]
    live = tables.current()
    assert live is not None
    assert (live.as_of, live.published_at, live.as_of.utcoffset()) == (AS_OF, NOW, timedelta(0))


def test_forgetting_a_user_leaves_the_others_and_the_run_publishable(tables: Tables) -> None:
    publish(tables, "r1")
    expected = stage(tables, "r2", a_day(1), mark=1.0)
    event = {"user_id": "u1", "item_id": "i", "timestamp": NOW, "event": "view"}
    tables.append_events([{"event_id": "e1", **event}, {"event_id": "e2", **event, "user_id": "u2"}])
    assert tables.delete_user("u1") == {"recommendations": 2, "events": 1, "llm_calls": 0}
    assert tables.recommendations_for("u1", 3) is None
    assert tables.publish("r2", expected=expected).moved
    assert tables.recommendations_for("u1", 3) is None
    assert tables.recommendations_for("u2", 3) is not None
    assert tables.events_of(NOW.date())["user_id"].to_list() == ["u2"]


def test_health_says_what_is_live_and_hides_the_password(tables: Tables) -> None:
    assert tables.health().publication is None
    publish(tables, "r1")
    health = tables.health()
    assert health.is_migrated
    assert health.publication is not None
    assert health.publication.run_id == "r1"
    unreachable = Tables("postgresql://genre:hunter2@127.0.0.1:1/none")
    with pytest.raises(TablesError, match="did not answer") as caught:
        unreachable.health()
    assert "hunter2" not in str(caught.value)


def test_each_list_has_its_variant_in_the_table_and_the_view(tables: Tables, database_url: str) -> None:
    lists, similar, popular, catalogue = frames()
    arms = pl.when(pl.col("user_id") == "u1").then(pl.lit("varied")).otherwise(pl.lit("default")).alias("variant")
    expected = tables.stage(a_run("r1"), lists.with_columns(arms), similar, popular, catalogue)
    assert expected.fingerprint != tables.stage(a_run("r0"), lists, similar, popular, catalogue).fingerprint
    tables.publish("r1", expected=expected)
    found = {user: tables.recommendations_for(user, 2) for user in ("u1", "u2")}
    assert {user: answer and answer.variant for user, answer in found.items()} == {"u1": "varied", "u2": "default"}
    with Database(database_url).read() as connection:
        rows = connection.execute(sa.text("SELECT DISTINCT user_id, variant FROM current_recommendations")).all()
    assert {tuple(row) for row in rows} >= {("u1", "varied"), ("u2", "default")}


def test_a_stored_row_is_the_list_that_readers_see(tables: Tables) -> None:
    with pytest.raises(NotPublishedError):
        tables.published_row("u1")
    publish(tables, "r1")
    for user in ("u1", "u2"):
        listed, row = tables.recommendations_for(user, 10), tables.published_row(user)
        assert listed is not None
        assert row is not None
        assert (row.run_id, row.variant) == ("r1", "default")
        assert list(zip(row.item_ids, row.scores, row.reasons, strict=True)) == [
            (line.item_id, line.score, list(line.reasons)) for line in listed.rows
        ]
    for nobody in ("nobody", "u1' OR '1'='1", "u\0", "\ud800"):
        assert tables.published_row(nobody) is None
    publish(tables, "r2", a_day(1))
    row = tables.published_row("u1")
    assert row is not None
    assert row.run_id == "r2"
