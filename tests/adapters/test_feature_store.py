"""The feature store as its callers see it: nights go online, answers come in order, joins never see the future."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.adapters.feature_store import FeatureStore, FeatureStoreConfig
from genre_pipeline.adapters.partitions import PART, PartitionStore
from genre_pipeline.contracts.errors import CorruptPartitionError, FeatureStoreError, MissingPartitionError
from genre_pipeline.contracts.names import SCORING_SERVICE, TRAINING_SERVICE
from tests.adapters.feature_frames import (
    TIME,
    at,
    item_statistics,
    item_text_vectors,
    user_histories,
    user_statistics,
    user_vectors,
)

REPO = Path(__file__).parents[2] / "feature_repo"
VIEWS = (
    "item_audio_vectors",
    "item_image_vectors",
    "item_statistics",
    "item_text_vectors",
    "item_vectors",
    "user_histories",
    "user_statistics",
    "user_vectors",
)
MODALITIES = ("item_text_vectors", "item_image_vectors", "item_audio_vectors", "item_vectors")
Damage = Callable[[Path], object]


def partitions(store: FeatureStore) -> PartitionStore:
    return PartitionStore(store.config.home / "data")


def write_nights(store: FeatureStore, view: str, nights: dict[str, pl.DataFrame]) -> None:
    for day, frame in nights.items():
        partitions(store).write(view, day, frame)


def statistics_nights(store: FeatureStore) -> None:
    """Days 1 and 2 know a and b, day 3 knows a only; day 40 knows both again."""
    nights = {
        "1998-04-01": user_statistics(["a", "b"], at(1), 1),
        "1998-04-02": user_statistics(["a", "b"], at(2), 2),
        "1998-04-03": user_statistics(["a"], at(3), 3),
        "1998-05-10": user_statistics(["a", "b"], at(40), 40),
    }
    write_nights(store, "user_statistics", nights)


# materialise


def test_the_last_row_of_each_entity_goes_online(features: FeatureStore) -> None:
    statistics_nights(features)
    told: list[tuple[str, int]] = []
    written = features.materialise(["user_statistics"], at(3), at(3), lambda view, rows: told.append((view, rows)))
    assert written == {"user_statistics": 2}
    assert told == [("user_statistics", 1), ("user_statistics", 2)]
    expected = pl.concat([user_statistics(["a"], at(3), 3), user_statistics(["b"], at(2), 2)])
    assert_frame_equal(features.online("user_statistics", ["a", "b"]), expected, check_column_order=False)


def test_online_equals_the_latest_offline_row_of_every_view(features: FeatureStore) -> None:
    nights = {
        "item_statistics": item_statistics(["i0", "i1"], at(1), 4),
        "item_text_vectors": item_text_vectors(np.eye(2, dtype=np.float32), at(1)),
        "user_histories": user_histories("a", ["i1", "i0"], at(1)),
        "user_statistics": user_statistics(["a"], at(1), 5),
        "user_vectors": user_vectors([("a", at(1), None)]),
    }
    for view, frame in nights.items():
        partitions(features).write(view, "1998-04-01", frame)
    assert features.materialise(tuple(nights), at(1), at(1)) == {view: frame.height for view, frame in nights.items()}
    for view, frame in nights.items():
        ids = frame[next(name for name in ("user_id", "item_id") if name in frame.columns)].to_list()
        assert_frame_equal(features.online(view, ids), frame, check_column_order=False)


def test_every_modality_of_a_cold_item_is_online_and_what_it_lacks_is_null(features: FeatureStore) -> None:
    of_item = item_text_vectors(np.array([[0.6, 0.8], [1, 0]], dtype=np.float32), at(1))
    masked = of_item.with_columns(vector=pl.lit(None, pl.List(pl.Float32)))
    for view in MODALITIES:
        partitions(features).write(view, "1998-04-01", masked if view == "item_audio_vectors" else of_item)
    features.materialise(MODALITIES, at(1), at(1))
    found = {view: features.online(view, ["i0"])["vector"].to_list() for view in MODALITIES}
    assert found.pop("item_audio_vectors") == [None]
    assert list(found.values()) == [[pytest.approx([0.6, 0.8])]] * 3


def test_a_modality_that_is_switched_off_has_a_view_and_no_rows(sqlite_features: FeatureStore) -> None:
    assert set(MODALITIES) <= set(sqlite_features.health().views)
    assert sqlite_features.online("item_audio_vectors", ["i0"])["vector"].to_list() == [None]
    rows = pl.DataFrame({"item_id": ["i0"]}).with_columns(event_timestamp=pl.lit(at(2), TIME))
    assert sqlite_features.historical(rows, "item_audio_vectors")["vector"].to_list() == [None]


def test_training_reads_which_vector_was_known_without_the_vector(features: FeatureStore) -> None:
    for day in (1, 3):
        frame = item_text_vectors(np.eye(1, dtype=np.float32), at(day)).with_columns(model=pl.lit(f"fusion/{day}"))
        partitions(features).write("item_vectors", f"1998-04-0{day}", frame)
    rows = pl.DataFrame({"user_id": ["a"] * 3, "item_id": ["i0"] * 3}).with_columns(
        event_timestamp=pl.Series([at(0.5), at(2), at(3)], dtype=TIME)
    )
    found = features.historical(rows, TRAINING_SERVICE)
    assert found["item_vectors__model"].to_list() == [None, "fusion/1", "fusion/3"]
    assert found["item_vectors__content_hash"].to_list() == [None, "i0", "i0"]
    assert "item_vectors__vector" not in found.columns


def test_the_overlap_brings_in_what_came_late_and_nothing_older(sqlite_features: FeatureStore) -> None:
    statistics_nights(sqlite_features)
    config = sqlite_features.config.model_copy(update={"overlap_days": 0})
    exact = FeatureStore(config)
    assert exact.materialise(["user_statistics"], at(3), at(3)) == {"user_statistics": 1}
    assert exact.online("user_statistics", ["b"])["interactions_total"].to_list() == [None]
    exact.close()
    assert sqlite_features.materialise(["user_statistics"], at(3), at(3)) == {"user_statistics": 2}
    assert sqlite_features.online("user_statistics", ["b"])["interactions_total"].to_list() == [2]


def test_a_backfilled_night_does_not_undo_a_fresh_event(sqlite_features: FeatureStore) -> None:
    statistics_nights(sqlite_features)
    sqlite_features.write_online("user_statistics", user_statistics(["a"], at(2.5), 99))
    sqlite_features.materialise(["user_statistics"], at(1), at(2))
    assert sqlite_features.online("user_statistics", ["a", "b"])["interactions_total"].to_list() == [99, 2]


def test_a_forgotten_user_is_gone_from_the_views_and_nobody_else(features: FeatureStore) -> None:
    for user in ("a", "b"):
        features.write_online("user_statistics", user_statistics([user], at(2), 7))
    views = ["user_statistics", "user_histories"]
    assert features.delete_online(views, "a") == 1
    assert features.delete_online(views, "a") == 0
    assert features.delete_online(views, "a' OR '1'='1") == 0
    assert features.online("user_statistics", ["a", "b"])["interactions_total"].to_list() == [None, 7]


def test_a_window_without_rows_is_named(sqlite_features: FeatureStore) -> None:
    statistics_nights(sqlite_features)
    with pytest.raises(MissingPartitionError, match="user_statistics has no rows from 1998-04-18 00:00"):
        sqlite_features.materialise(["user_statistics"], at(19), at(20))


def test_a_damaged_partition_is_refused(sqlite_features: FeatureStore) -> None:
    statistics_nights(sqlite_features)
    path = partitions(sqlite_features).root / "user_statistics" / "1998-04-03" / PART
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptPartitionError):
        sqlite_features.materialise(["user_statistics"], at(3), at(3))
    with pytest.raises(CorruptPartitionError):
        sqlite_features.historical(user_rows([("a", at(3))]), "user_statistics")


# write and read online


def test_a_service_answers_for_one_entity_in_the_order_asked(features: FeatureStore) -> None:
    features.write_online("user_statistics", user_statistics(["a", "b"], at(1), 7))
    features.write_online("user_vectors", user_vectors([("a", at(2), [0.6, 0.8])]))
    features.write_online("item_statistics", item_statistics(["i1"], at(3), 8))
    users = features.online(SCORING_SERVICE, ["b", "nobody", "a", "b"])
    expected = {
        "user_id": ["b", "nobody", "a", "b"],
        "user_statistics__interactions_total": [7, None, 7, 7],
        "user_statistics__event_timestamp": [at(1), None, at(1), at(1)],
        "user_histories__item_ids": [None] * 4,
        "user_histories__event_timestamp": [None] * 4,
        "user_vectors__vector": [None, None, pytest.approx([0.6, 0.8]), None],
        "user_vectors__event_timestamp": [None, None, at(2), None],
    }
    assert users.select(*expected).to_dict(as_series=False) == expected
    assert not [name for name in users.columns if name.startswith("item_statistics")]
    items = features.online(SCORING_SERVICE, ["i1"], entity="item_id")
    assert items["item_statistics__interactions_total"].to_list() == [8]
    assert items.width == 1 + 8 + 1


def test_nobody_asked_for_is_a_frame_without_rows(features: FeatureStore) -> None:
    answer = features.online("user_vectors", [])
    assert answer.schema == {"user_id": pl.String, "model": pl.String, "vector": pl.List(pl.Float32)} | {
        "event_timestamp": TIME
    }
    assert answer.height == 0


def test_an_entity_the_view_does_not_have_is_named(sqlite_features: FeatureStore) -> None:
    with pytest.raises(FeatureStoreError, match="no features of 'item_id'"):
        sqlite_features.online("user_vectors", ["a"], entity="item_id")


IDS = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable())
VECTORS = st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=200)
HISTORIES = st.lists(st.tuples(IDS, st.integers(-(2**63), 2**63 - 1)), max_size=5)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vectors=st.dictionaries(IDS, VECTORS, max_size=5), history=HISTORIES)
def test_what_is_written_is_read(
    sqlite_features: FeatureStore, vectors: dict[str, list[float] | None], history: list[tuple[str, int]]
) -> None:
    frame = user_vectors([(user, at(0), vector) for user, vector in vectors.items()])
    assert sqlite_features.write_online("user_vectors", frame) == frame.height
    assert_frame_equal(
        sqlite_features.online("user_vectors", list(vectors)), frame, check_column_order=False, check_exact=True
    )
    items, times = [item for item, _ in history], [time for _, time in history]
    rows = user_histories("somebody", items, at(0)).with_columns(timestamps=pl.Series([times], dtype=pl.List(pl.Int64)))
    sqlite_features.write_online("user_histories", rows)
    assert_frame_equal(sqlite_features.online("user_histories", ["somebody"]), rows, check_column_order=False)


@pytest.mark.parametrize(
    ("frame", "problem", "culprits"),
    [
        (user_vectors([("a", at(0), [1.0])]).drop("vector", "model"), "lack columns", ("model", "vector")),
        (user_vectors([("a", at(0), [1.0])]).with_columns(vector=pl.lit(1.0)), "other types", ()),
        (
            user_vectors([("a", at(0), [1.0])]).with_columns(pl.col("event_timestamp").dt.replace_time_zone(None)),
            "not in UTC",
            ("Datetime(time_unit='us', time_zone=None)",),
        ),
        (
            user_vectors([("a", at(0), [1.0])]).with_columns(user_id=pl.lit(None, pl.String)),
            "need an entity",
            ("user_id",),
        ),
    ],
)
def test_rows_that_are_not_the_views_are_refused(
    sqlite_features: FeatureStore, frame: pl.DataFrame, problem: str, culprits: tuple[str, ...]
) -> None:
    with pytest.raises(FeatureStoreError, match=problem) as caught:
        sqlite_features.write_online("user_vectors", frame)
    assert caught.value.culprits == culprits


def test_a_service_cannot_be_written(sqlite_features: FeatureStore) -> None:
    with pytest.raises(FeatureStoreError, match="no feature view"):
        sqlite_features.write_online(SCORING_SERVICE, pl.DataFrame())


# point in time


def user_rows(rows: list[tuple[str, datetime]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"user_id": pl.String, "event_timestamp": TIME}, orient="row")


def test_a_row_sees_the_last_snapshot_before_it_and_none_after(sqlite_features: FeatureStore) -> None:
    statistics_nights(sqlite_features)
    moment = timedelta(microseconds=1)
    rows = user_rows(
        [
            ("a", at(3)),
            ("b", at(3)),
            ("a", at(3) - moment),
            ("a", at(1) - moment),
            ("nobody", at(3)),
            ("b", at(32)),
            ("b", at(32) + moment),
            ("a", at(3)),
        ]
    ).with_columns(note=pl.Series(list("abcdefgh")))
    found = sqlite_features.historical(rows, "user_statistics")
    assert_frame_equal(found.select(rows.columns), rows)
    assert found["interactions_total"].to_list() == [3, 2, 2, None, None, 2, None, 3]
    seen = [at(3), at(2), at(2), None, None, at(2), None, at(3)]
    assert found["user_statistics__event_timestamp"].to_list() == seen


def test_the_join_equals_an_asof_join(sqlite_features: FeatureStore) -> None:
    random = np.random.default_rng(7)
    users, items = [f"u{number}" for number in range(8)], [f"i{number}" for number in range(5)]
    for day in range(1, 29, 2):
        key = f"1998-04-{day:02d}"
        some = [user for user in users if random.random() < 0.6]
        partitions(sqlite_features).write("user_statistics", key, user_statistics(some, at(day), day))
        partitions(sqlite_features).write("item_statistics", key, item_statistics(items[: day % 6], at(day), day))
        histories = pl.concat([user_histories(user, [f"{user}-{day}"], at(day)) for user in users[: 1 + day % 8]])
        partitions(sqlite_features).write("user_histories", key, histories)
    rows = pl.DataFrame(
        {"user_id": random.choice(users, 400), "item_id": random.choice(items, 400), "row": np.arange(400)}
    ).with_columns(event_timestamp=pl.Series([at(day / 4) for day in random.integers(0, 260, 400)], dtype=TIME))
    blocks = FeatureStore(sqlite_features.config.model_copy(update={"join_rows": 150}))  # and a last, shorter one
    found = blocks.historical(rows, TRAINING_SERVICE)
    blocks.close()
    assert found["row"].to_list() == list(range(400))
    for view, key, feature in (
        ("user_statistics", "user_id", "interactions_total"),
        ("item_statistics", "item_id", "popularity_decayed"),
        ("user_histories", "user_id", "item_ids"),
    ):
        snapshots = partitions(sqlite_features).scan(view).collect().select(key, "event_timestamp", feature)
        expected = rows.sort("event_timestamp").join_asof(
            snapshots.sort("event_timestamp"), on="event_timestamp", by=key,
            tolerance=sqlite_features.time_to_live(view), check_sortedness=False,
        )  # fmt: skip
        assert found[f"{view}__{feature}"].to_list() == expected.sort("row")[feature].to_list()
        assert not (found[f"{view}__event_timestamp"] > found["event_timestamp"]).any()


def test_a_partition_that_is_still_being_written_is_not_read(sqlite_features: FeatureStore) -> None:
    statistics_nights(sqlite_features)
    folder = partitions(sqlite_features).root / "user_statistics"
    shutil.copytree(folder / "1998-04-03", folder / ".writing-1")
    user_statistics(["a"], at(3), 1000).write_parquet(folder / ".writing-1" / PART)
    found = sqlite_features.historical(user_rows([("a", at(5))]), "user_statistics")
    assert found["interactions_total"].to_list() == [3]


def test_before_the_first_night_nothing_is_known(sqlite_features: FeatureStore) -> None:
    rows = user_rows([("a", at(-5)), ("a", at(2))]).with_columns(item_id=pl.lit("i1"))
    never = sqlite_features.historical(rows, TRAINING_SERVICE)
    statistics_nights(sqlite_features)
    early = sqlite_features.historical(rows, TRAINING_SERVICE)
    assert never.select(rows.columns).equals(rows)
    assert never.drop(rows.columns).null_count().row(0) == (2,) * (never.width - rows.width)
    assert early.schema == never.schema
    assert early["user_statistics__interactions_total"].to_list() == [None, 2]
    assert early["user_statistics__event_timestamp"].to_list() == [None, at(2)]
    assert early["item_statistics__event_timestamp"].to_list() == [None, None]


def test_no_rows_have_no_features(sqlite_features: FeatureStore) -> None:
    statistics_nights(sqlite_features)
    some = sqlite_features.historical(user_rows([("a", at(3))]), "user_statistics")
    none = sqlite_features.historical(user_rows([]), "user_statistics")
    assert (none.height, none.schema) == (0, some.schema)


def test_a_night_without_anybody_writes_nothing(sqlite_features: FeatureStore) -> None:
    write_nights(sqlite_features, "user_vectors", {"1998-04-01": user_vectors([])})
    assert sqlite_features.materialise(["user_vectors"], at(1), at(1)) == {"user_vectors": 0}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (user_rows([("a", at(3))]).drop("user_id"), "lack columns"),
        (user_rows([("a", at(3))]).with_columns(user_id=pl.lit(None, pl.String)), "have nulls"),
        (user_rows([("a", at(3))]).with_columns(pl.col("event_timestamp").dt.replace_time_zone(None)), "not in UTC"),
        (user_rows([("a", at(3))]).with_columns(mean_value=pl.lit(1.0)), "called like"),
    ],
)
def test_rows_that_cannot_be_joined_are_refused(
    sqlite_features: FeatureStore, rows: pl.DataFrame, problem: str
) -> None:
    statistics_nights(sqlite_features)
    with pytest.raises(FeatureStoreError, match=problem):
        sqlite_features.historical(rows, "user_statistics")


# apply and health


def test_health_names_what_is_registered(features: FeatureStore) -> None:
    health = features.health()
    assert (health.views, health.services) == (VIEWS, (SCORING_SERVICE, TRAINING_SERVICE))
    assert health.registry == ("sqlite" if features.config.database_url is None else "postgresql")


def test_applying_again_keeps_what_is_online(features: FeatureStore) -> None:
    features.write_online("user_vectors", user_vectors([("a", at(0), [1.0])]))
    assert features.apply() == VIEWS
    assert features.online("user_vectors", ["a"])["vector"].to_list() == [[1.0]]


def test_a_view_that_is_declared_no_more_goes(sqlite_features: FeatureStore, tmp_path: Path) -> None:
    shutil.copytree(REPO, tmp_path / "repo")
    definitions = tmp_path / "repo" / "definitions.py"
    text = definitions.read_text()
    definitions.write_text(text.replace("user_histories, user_vectors],", "user_histories],") + "\ndel user_vectors\n")
    store = FeatureStore(sqlite_features.config.model_copy(update={"repo_path": tmp_path / "repo"}))
    assert store.apply() == tuple(view for view in VIEWS if view != "user_vectors")
    with pytest.raises(FeatureStoreError, match="no view or service of that name"):
        store.online("user_vectors", ["a"])
    store.close()


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def keep_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fill_with_text(path: Path) -> None:
    path.write_text("no database" * 100)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (Path.unlink, "not applied"),
        (truncate, "not applied"),
        (keep_half, "does not answer|empty or incomplete"),
        (fill_with_text, "does not answer"),
    ],
)
def test_a_registry_that_is_empty_or_damaged_is_named(
    sqlite_features: FeatureStore, damage: Damage, problem: str
) -> None:
    damage(sqlite_features.config.home / "feast" / "registry.db")
    with pytest.raises(FeatureStoreError, match=problem):
        sqlite_features.health()


@pytest.mark.postgres
def test_an_empty_database_is_named(postgres_url: str, tmp_path: Path) -> None:
    store = FeatureStore(FeatureStoreConfig(repo_path=REPO, home=tmp_path, database_url=postgres_url))
    with pytest.raises(FeatureStoreError, match="empty or incomplete"):
        store.health()


def test_a_database_that_is_away_is_named(tmp_path: Path) -> None:
    url = "postgresql://somebody:secret@127.0.0.1:1/nothing"
    config = FeatureStoreConfig(repo_path=REPO, home=tmp_path, database_url=url)
    with pytest.raises(FeatureStoreError, match="does not answer") as caught:
        FeatureStore(config).health()
    assert "secret" not in str(caught.value) + repr(config)


@pytest.mark.parametrize("url", ["mysql://somebody:secret@host/name", "no url"])
def test_a_database_of_another_kind_is_refused(tmp_path: Path, url: str) -> None:
    store = FeatureStore(FeatureStoreConfig(repo_path=REPO, home=tmp_path, database_url=url))
    with pytest.raises(FeatureStoreError, match="The database URL") as caught:
        store.apply()
    assert "secret" not in str(caught.value)


def test_a_missing_repository_is_named(applied_home: Path, tmp_path: Path) -> None:
    store = FeatureStore(FeatureStoreConfig(repo_path=tmp_path, home=applied_home))
    with pytest.raises(FeatureStoreError, match="no feature repository") as caught:
        store.health()
    assert caught.value.culprits == (str(tmp_path / "feature_store.yaml"),)
    with pytest.raises(FeatureStoreError, match="no feature repository"):
        store.apply()


def test_an_unknown_view_is_named(features: FeatureStore) -> None:
    with pytest.raises(FeatureStoreError, match="no view or service of that name") as caught:
        features.online("user_moods", ["a"])
    assert caught.value.culprits == ("user_moods",)


def test_the_pipelines_configuration_outranks_the_environment(
    sqlite_features: FeatureStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENRE_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GENRE_DATABASE_URL", "postgresql://somebody@127.0.0.1:1/nothing")
    assert sqlite_features.health().registry == "sqlite"
    assert not (tmp_path / "elsewhere").exists()


def test_importing_the_module_does_not_import_feast() -> None:
    script = "import sys, genre_pipeline.adapters.feature_store; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
