"""What the service answers, and what it does when something is missing."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.contracts.errors import NotPublishedError, RequestError, UnknownItemError
from genre_pipeline.serving.answers import Event, RecommendationsAnswer
from genre_pipeline.serving.ladder import ALL_SEEN, FEWER
from genre_pipeline.serving.recording import NOT_REFRESHED
from genre_pipeline.serving.service import NO_POPULAR, NO_SIMILAR
from genre_pipeline.serving.settings import ServingConfig
from genre_pipeline.serving.state import NO_FEATURES, NO_LIST, NO_VECTOR, ONLINE_STORE_DOWN, OTHER_MODEL, TABLES_DOWN
from tests import scenario
from tests.fakes.serving_world import DAY, World, build_world, interactions

USER = "007"


@pytest.fixture
def world(night: Path) -> World:
    return build_world(night)


def post(world: World, *events: Event) -> tuple[int, int]:
    answer = world.service.recorder.refresh(*world.service.recorder.log(list(events)))
    return answer.accepted, answer.duplicates


def ids(answer: RecommendationsAnswer) -> list[str]:
    return [line.item_id for line in answer.recommendations]


def seen_by(user_id: str) -> set[str]:
    return set(interactions().filter(pl.col("user_id") == user_id)["item_id"])


def at(hours: float) -> datetime:
    return scenario.AS_OF + timedelta(hours=hours)


class TestRecommend:
    def test_real_time_when_everything_answers(self, world: World) -> None:
        answer = world.service.recommend(USER, 5)
        assert (answer.strategy, answer.degraded, answer.run_id) == ("real-time", [], "run-1")
        assert (answer.as_of, answer.age_seconds) == (scenario.AS_OF, 6 * 3600)
        assert len(ids(answer)) == 5
        assert not set(ids(answer)) & (seen_by(USER) | {scenario.UNAVAILABLE_ITEM})

    def test_score_is_the_sum_of_its_parts_and_falls(self, world: World) -> None:
        lines = world.service.recommend(USER, 10).recommendations
        for line in lines:
            total = line.parts.published + line.parts.vector + line.parts.popularity
            assert line.score == pytest.approx(total, abs=1e-6)
        scores = [line.score for line in lines]
        assert scores == sorted(scores, reverse=True)
        assert [line.rank for line in lines] == list(range(1, len(lines) + 1))

    def test_reasons_name_an_item_of_the_history(self, world: World) -> None:
        titles = {world.service.held.run.titles[world.service.held.run.positions[item]] for item in seen_by(USER)}
        lines = world.service.recommend(USER, 10).recommendations
        named = [reason for line in lines for reason in line.reasons if reason.startswith("because ")]
        assert named
        assert all(any(reason.endswith(title) for title in titles) for reason in named)
        assert all(line.reasons for line in lines)

    def test_published_list_when_the_online_store_is_down(self, world: World) -> None:
        world.features.is_down = True
        answer = world.service.recommend(USER, 5)
        assert (answer.strategy, answer.degraded) == ("published", [ONLINE_STORE_DOWN])
        assert ids(answer) == [item for item, _ in world.tables.lists[USER][:5]]

    def test_published_list_when_features_are_stale(self, world: World) -> None:
        rows = world.features.rows["user_vectors"]
        old = scenario.AS_OF - timedelta(hours=48, seconds=1)
        world.features.rows["user_vectors"] = rows.with_columns(
            pl.lit(old).cast(rows.schema["event_timestamp"]).alias("event_timestamp")
        )
        answer = world.service.recommend(USER, 5)
        assert answer.strategy == "published"
        assert answer.degraded == [f"stale_features: the user vector is from {old.isoformat()}"]

    def test_features_just_within_their_time_to_live_are_used(self, world: World) -> None:
        rows = world.features.rows["user_vectors"]
        old = scenario.AS_OF - timedelta(hours=48)
        world.features.rows["user_vectors"] = rows.with_columns(
            pl.lit(old).cast(rows.schema["event_timestamp"]).alias("event_timestamp")
        )
        assert world.service.recommend(USER, 5).strategy == "real-time"

    def test_wall_clock_age_is_reported_and_nothing_more(self, world: World) -> None:
        world.clock.advance(3600 * 24 * 365 * 20)
        answer = world.service.recommend(USER, 5)
        assert (answer.strategy, answer.degraded) == ("real-time", [])
        assert answer.age_seconds > 3600 * 24 * 365 * 20

    def test_vector_of_another_model_is_not_scored_with(self, world: World) -> None:
        world.features.rows["user_vectors"] = world.features.rows["user_vectors"].with_columns(model=pl.lit("other"))
        answer = world.service.recommend(USER, 5)
        assert (answer.strategy, answer.degraded) == ("published", [OTHER_MODEL])

    def test_published_list_is_filled_up_with_popular_items_below_it(self, world: World) -> None:
        world.features.is_down = True
        lines = world.service.recommend(USER, 12).recommendations
        assert len({line.item_id for line in lines}) == 12
        assert [line.parts.published > 0 for line in lines] == [True] * 8 + [False] * 4
        assert [line.score for line in lines] == sorted((line.score for line in lines), reverse=True)

    def test_popular_for_a_cold_user(self, world: World) -> None:
        answer = world.service.recommend(scenario.COLD_USER, 5)
        assert (answer.strategy, answer.degraded) == ("popular", [NO_FEATURES, NO_LIST])
        assert len(ids(answer)) == 5

    def test_real_time_without_a_published_list_when_the_tables_are_down(self, world: World) -> None:
        world.tables.is_down = True
        answer = world.service.recommend(USER, 5)
        assert (answer.strategy, answer.degraded) == ("real-time", [TABLES_DOWN])
        assert len(ids(answer)) == 5

    def test_similar_to_the_past_when_both_stores_are_down_and_still_no_repeats(self, world: World) -> None:
        world.tables.is_down = world.features.is_down = True
        answer = world.service.recommend(USER, 5)
        assert (answer.strategy, answer.degraded) == ("similar", [ONLINE_STORE_DOWN, TABLES_DOWN])
        assert not set(ids(answer)) & seen_by(USER)

    def test_no_user_vector_where_no_item_has_one(self, world: World) -> None:
        post(world, Event(user_id="new", item_id=scenario.TEXTLESS_ITEM))
        answer = world.service.recommend("new", 3)
        assert (answer.strategy, answer.degraded) == ("popular", [NO_VECTOR, NO_LIST])

    def test_user_who_has_had_everything_gets_repeats_and_is_told(self, world: World) -> None:
        events = [Event(user_id="all", item_id=item) for item in scenario.ITEM_IDS]
        post(world, *events)
        answer = world.service.recommend("all", 3)
        assert answer.strategy == "popular"
        assert answer.degraded[-1] == ALL_SEEN
        assert len(ids(answer)) == 3

    def test_k_above_the_catalogue_gives_what_there_is(self, world: World) -> None:
        assert len(ids(world.service.recommend("new", 100))) == scenario.N_ITEMS - 1

    @pytest.mark.parametrize("user_id", ["", "a\0b", "\ud800", "x" * 513, "é" * 257])
    def test_hostile_ids_are_refused(self, world: World, user_id: str) -> None:
        with pytest.raises(RequestError):
            world.service.recommend(user_id)

    @pytest.mark.parametrize("k", [0, -1, 101])
    def test_k_out_of_range_is_refused(self, world: World, k: int) -> None:
        with pytest.raises(RequestError):
            world.service.recommend(USER, k)

    def test_nothing_published_is_a_named_error(self, night: Path) -> None:
        world = build_world(night, is_published=False)
        with pytest.raises(NotPublishedError, match="genre run"):
            world.service.recommend(USER)

    def test_equal_scores_go_to_the_smaller_id(self, night: Path) -> None:
        config = ServingConfig(weight_published=1, weight_vector=0, weight_popularity=0)
        world = build_world(night, config)
        world.tables.lists[USER] = []
        expected = sorted(set(scenario.ITEM_IDS) - seen_by(USER) - {scenario.UNAVAILABLE_ITEM})
        assert ids(world.service.recommend(USER, 6)) == expected[:6]


class TestEvents:
    def test_event_changes_the_next_answer(self, world: World) -> None:
        before = world.service.recommend(USER, 5)
        first = ids(before)[0]
        post(world, Event(user_id=USER, item_id=first, event="like"))
        after = world.service.recommend(USER, 5)
        assert first not in ids(after)
        vectors = [answer.recommendations[-1].parts.vector for answer in (before, after)]
        assert vectors[0] != vectors[1]

    def test_cold_user_is_scored_in_real_time_after_one_event(self, world: World) -> None:
        post(world, Event(user_id=scenario.COLD_USER, item_id="i01", event="purchase"))
        answer = world.service.recommend(scenario.COLD_USER, 3)
        assert answer.strategy == "real-time"
        assert all(item in scenario.ITEM_IDS[1:8] for item in ids(answer))
        assert answer.recommendations[0].reasons[0].startswith("because you bought Comet")

    def test_late_event_lands_in_time_order_and_displaces_nothing(self, world: World) -> None:
        post(world, Event(user_id=USER, item_id="i20", timestamp=at(5)))
        fresh = world.features.online("user_vectors", [USER])["event_timestamp"][0]
        post(world, Event(user_id=USER, item_id="i21", timestamp=at(-24 * 4)))
        row = world.features.online("user_histories", [USER]).row(0, named=True)
        assert row["item_ids"][-1] == "i20"
        assert "i21" in row["item_ids"]
        assert row["timestamps"] == sorted(row["timestamps"])
        assert row["event_timestamp"] == fresh == at(5)

    def test_replay_is_idempotent(self, world: World) -> None:
        events = [Event(user_id=USER, item_id=item, timestamp=at(1), event="view") for item in ("i20", "i21")]
        assert post(world, *events) == (2, 0)
        rows = {view: frame.sort("user_id") for view, frame in world.features.rows.items()}
        assert post(world, *events) == (0, 2)
        for view, frame in rows.items():
            assert world.features.rows[view].sort("user_id").equals(frame)

    def test_duplicates_within_a_batch_count_once(self, world: World) -> None:
        event = Event(user_id=USER, item_id="i20", timestamp=at(1))
        assert post(world, event, event, Event(event_id="x", user_id=USER, item_id="i20", timestamp=at(1))) == (2, 1)

    def test_statistics_follow(self, world: World) -> None:
        before = world.features.online("user_statistics", [USER]).row(0, named=True)
        post(world, Event(user_id=USER, item_id="i20"))
        after = world.features.online("user_statistics", [USER]).row(0, named=True)
        assert after["interactions_total"] == before["interactions_total"] + 1
        assert after["days_since_last"] == 0

    def test_unknown_item_is_kept_and_named(self, world: World) -> None:
        answer = world.service.recorder.refresh(*world.service.recorder.log([Event(user_id=USER, item_id="brand-new")]))
        assert (answer.accepted, answer.unknown_items, answer.degraded) == (1, ["brand-new"], [])
        assert world.features.online("user_histories", [USER])["item_ids"][0][-1] == "brand-new"
        assert world.service.recommend(USER).strategy == "real-time"

    def test_events_wait_while_the_online_store_is_down(self, world: World) -> None:
        world.features.is_down = True
        answer = world.service.recorder.refresh(*world.service.recorder.log([Event(user_id=USER, item_id="i20")]))
        assert (answer.accepted, answer.degraded) == (1, [NOT_REFRESHED])
        assert "i20" not in ids(world.service.recommend(USER, 10))
        world.features.is_down = False
        post(world, Event(user_id="other", item_id="i01"))
        assert world.features.online("user_histories", [USER])["item_ids"][0][-1] == "i20"

    def test_events_before_the_first_night_wait_for_it(self, night: Path) -> None:
        world = build_world(night, is_published=False)
        answer = world.service.recorder.refresh(*world.service.recorder.log([Event(user_id="early", item_id="i01")]))
        assert (answer.accepted, answer.degraded) == (1, [NOT_REFRESHED])
        world.tables.publish("run-1", scenario.LAST_DAY, scenario.AS_OF)
        world.service.held.look()
        assert post(world, Event(user_id="other", item_id="i01")) == (1, 0)
        assert world.service.recommend("early").strategy == "real-time"

    def test_what_fell_out_of_the_history_is_still_seen(self, world: World) -> None:
        post(world, Event(user_id="many", item_id="i01"))
        post(world, *(Event(user_id="many", item_id=f"new-{number}", timestamp=at(1)) for number in range(60)))
        assert "i01" not in ids(world.service.recommend("many", 100))

    def test_seen_items_survive_a_restart(self, world: World, night: Path) -> None:
        world.features.is_down = True
        post(world, Event(user_id=USER, item_id="i20"))
        again = build_world(night)
        again.tables.log = world.tables.log
        again.service.held._run = None
        again.service.held.look()
        assert "i20" not in ids(again.service.recommend(USER, 20))

    @pytest.mark.parametrize(
        "event",
        [
            Event(user_id="u\0", item_id="i01"),
            Event(user_id="u", item_id=""),
            Event(user_id="u", item_id="i01", event_id="e" * 513),
            Event(user_id="u", item_id="i01", timestamp=at(7)),
            Event(user_id="u", item_id="i01", timestamp=datetime.min),
            Event(user_id="u", item_id="i01", timestamp=datetime.max),
        ],
        ids=["nul", "empty", "long", "future", "first-year", "last-year"],
    )
    def test_bad_events_are_refused_and_nothing_is_written(self, world: World, event: Event) -> None:
        with pytest.raises(RequestError):
            world.service.recorder.log([Event(user_id="u", item_id="i02"), event])
        assert world.tables.log.is_empty()

    def test_too_many_events_are_refused(self, world: World) -> None:
        with pytest.raises(RequestError, match="101 events"):
            world.service.recorder.log([Event(user_id="u", item_id="i01")] * 101)


class TestListsForEverybody:
    def test_similar_without_unavailable_items(self, world: World) -> None:
        answer = world.service.similar("i01", 2)
        assert [(line.item_id, line.rank) for line in answer.items] == [("i02", 1), ("i04", 2)]
        assert answer.degraded == []

    def test_similar_falls_back_to_vectors_then_popular_without_the_item_itself(self, world: World) -> None:
        answer = world.service.similar("i02", 100)
        assert (answer.strategy, answer.degraded) == ("similar", [NO_SIMILAR, FEWER])
        textless = world.service.similar(scenario.TEXTLESS_ITEM, 3)
        assert (textless.strategy, textless.degraded) == ("popular", [NO_SIMILAR])
        assert len(answer.items) == scenario.N_ITEMS - 2
        assert "i02" not in [line.item_id for line in answer.items]

    def test_unknown_item(self, world: World) -> None:
        with pytest.raises(UnknownItemError):
            world.service.similar("nowhere")

    def test_popular(self, world: World) -> None:
        assert [line.item_id for line in world.service.popular().items] == ["i01", "i02"]
        assert [line.item_id for line in world.service.popular("space").items] == ["i03"]

    def test_popular_of_an_unknown_category_is_popular_overall(self, world: World) -> None:
        answer = world.service.popular("opera", 3)
        assert (answer.degraded, len(answer.items)) == ([NO_POPULAR], 3)

    def test_tables_down(self, world: World) -> None:
        world.tables.is_down = True
        assert world.service.popular("", 3).degraded == [TABLES_DOWN]
        assert len(world.service.similar("i01", 3).items) == 3


class TestFollowing:
    def test_pointer_is_looked_at_when_due_and_the_run_swapped(self, world: World) -> None:
        world.tables.publish("run-2", scenario.LAST_DAY, scenario.AS_OF)
        assert not world.service.held.is_look_due()
        world.clock.advance(5)
        assert world.service.held.is_look_due()
        assert world.service.held.look()
        assert world.service.recommend(USER).run_id == "run-2"
        assert not world.service.held.look()

    def test_run_that_cannot_be_read_is_not_taken(self, tmp_path: Path) -> None:
        world = build_world(tmp_path)
        part = world.partitions.root / "items" / DAY / "part.parquet"
        part.write_bytes(part.read_bytes()[:-1])
        world.tables.publish("run-2", scenario.LAST_DAY, scenario.AS_OF)
        assert not world.service.held.look()
        answer = world.service.recommend(USER)
        assert answer.run_id == "run-1"
        assert answer.degraded[-1] == "run_behind: the newest run cannot be read (CorruptPartitionError)"

    def test_without_an_item_matrix_the_published_list_answers(self, tmp_path: Path) -> None:
        world = build_world(tmp_path)
        shutil.rmtree(world.partitions.root / "item_text_vectors")
        world.tables.publish("run-2", scenario.LAST_DAY, scenario.AS_OF)
        world.service.held.look()
        answer = world.service.recommend(USER, 5)
        assert answer.strategy == "published"
        assert answer.degraded[0].startswith("no_item_matrix: item_text_vectors has no partition")
        assert post(world, Event(user_id=USER, item_id="i20")) == (1, 0)

    def test_readiness_names_what_does_not_answer(self, world: World) -> None:
        assert world.service.readiness().ready
        world.features.is_down = True
        answer = world.service.readiness()
        assert (answer.ready, answer.checks["online_store"]) == (False, "FeatureStoreError")

    def test_service_takes_up_the_first_run_when_it_comes(self, night: Path) -> None:
        world = build_world(night, is_published=False)
        assert world.service.readiness().checks["tables"] == "nothing published"
        world.tables.publish("run-1", scenario.LAST_DAY, scenario.AS_OF)
        assert world.service.held.look()
        assert len(ids(world.service.recommend(USER, 3))) == 3


@settings(max_examples=40, deadline=None)
@given(
    posted=st.lists(
        st.tuples(st.sampled_from(["007", "028", "030", "x"]), st.sampled_from(scenario.ITEM_IDS)), max_size=30
    ),
    user_id=st.sampled_from(["007", "028", "030", "x"]),
    k=st.integers(1, 30),
    down=st.sampled_from(["", "features", "tables", "both"]),
)
def test_list_has_k_unique_available_unseen_items(
    night: Path, posted: list[tuple[str, str]], user_id: str, k: int, down: str
) -> None:
    world = build_world(night)
    if posted:
        post(world, *(Event(user_id=user, item_id=item) for user, item in posted))
    world.features.is_down = down in ("features", "both")
    world.tables.is_down = down in ("tables", "both")
    had = seen_by(user_id) | {item for user, item in posted if user == user_id}
    left = set(scenario.ITEM_IDS) - had - {scenario.UNAVAILABLE_ITEM}
    answer = ids(world.service.recommend(user_id, k))
    assert len(answer) == len(set(answer))
    if left:
        assert len(answer) == min(k, len(left))
        assert set(answer) <= left
    else:
        assert answer
