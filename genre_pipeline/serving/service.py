"""The service itself: joins doors, published run and ladder, and gives every answer its provenance.

One thread calls what reads and scores (the event loop); `look`, `recorder.log` and `recorder.erase` run in others.
"""

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from genre_pipeline.adapters.table_records import ItemList, RunRecord
from genre_pipeline.contracts.columns import ITEM_ID, USER_ID
from genre_pipeline.contracts.errors import GenreError, UnknownItemError
from genre_pipeline.contracts.names import SCORING_SERVICE
from genre_pipeline.features.histories import HistoryConfig
from genre_pipeline.recommenders.rules import DEFAULT, HOLDOUT, RulesConfig
from genre_pipeline.recommenders.variants import user_seeds, variants_of
from genre_pipeline.serving.answers import (
    ItemsAnswer,
    ReadyAnswer,
    RecommendationsAnswer,
    ScoreAnswer,
    ScoreRequest,
    SessionAnswer,
    SessionRequest,
    lines_of,
)
from genre_pipeline.serving.choosing import NOTHING, POPULAR_REASON, Scored, by_score
from genre_pipeline.serving.doors import Clock, FeaturesDoor, Publication, TablesDoor
from genre_pipeline.serving.following import HeldRun
from genre_pipeline.serving.ladder import Ask, Strategy, choose
from genre_pipeline.serving.limits import checked_ask, checked_id, checked_ids, checked_k, checked_surface
from genre_pipeline.serving.published import PublishedRun
from genre_pipeline.serving.reading import as_bytes, stored_lines
from genre_pipeline.serving.recording import Recorder
from genre_pipeline.serving.scorer import EMPTY_LIST, UserState, popular_pool
from genre_pipeline.serving.scoring import NewItemEncoder, score_candidates
from genre_pipeline.serving.settings import ServingConfig
from genre_pipeline.serving.state import (
    NO_LIST,
    TABLES_DOWN,
    anonymous_state,
    finished_in_session,
    read_published_list,
    read_user_state,
    state_without_features,
)

_log = logging.getLogger(__name__)
BUSY = "busy: too much is asked at once to score this list now; it is the published one"
NO_SIMILAR = "no_similar_items: none published for this item"
NO_POPULAR = "no_popular_items: none published for this category; these are popular overall"
NO_HISTORY = "no_history: nothing of this session is known to the catalogue"
SIMILAR_REASON = "like the item asked for"


class RecommendationService:
    """Answers from one published run a surface at a time; follows the pointers when asked to."""

    def __init__(
        self,
        config: ServingConfig,
        *,
        tables: TablesDoor,
        features: FeaturesDoor,
        load_run: Callable[[Publication], PublishedRun],
        clock: Clock,
        histories: HistoryConfig | None = None,
        has_clock: bool = True,
        rules: RulesConfig | None = None,
        seed: int = 0,
        encoder: NewItemEncoder | None = None,
    ) -> None:
        self.config = config
        every = timedelta(seconds=config.reload_seconds)
        self.surfaces = {name: HeldRun(tables, load_run, clock, every, name) for name in config.surfaces}
        self.held = self.surfaces[config.surfaces[0]]
        self._histories = histories or HistoryConfig()
        held = list(self.surfaces.values())
        self.recorder = Recorder(tables, features, held, clock, config, histories=self._histories, has_clock=has_clock)
        self._tables, self._features, self._clock = tables, features, clock
        self._rules, self._seed, self._encoder = rules or RulesConfig(), seed, encoder
        self._is_warm = False

    def warm_up(self) -> None:
        """Load what is published, answer once through every door, and take what is loaded out of garbage collection.

        Where nothing is published yet the service starts all the same, says so, and looks again later.
        """
        for held in self.surfaces.values():
            held.look()
        if self.held.has_run:
            self.recorder.catch_up()
        for user_id in self.example_users(1):
            self._try_out(user_id)
        if self._encoder is not None:
            self._encoder.warm_up()
        gc.collect()
        gc.freeze()
        self._is_warm = True

    def example_users(self, count: int) -> list[str]:
        """Some users with a past, for a page that needs one to show."""
        return list(self.held.run.seen.rows)[:count] if self.held.has_run else []

    def recommend(
        self, user_id: str, k: int | None = None, *, surface: str | None = None, variant: str = "",
        is_busy: bool = False, **wishes: Any,
    ) -> RecommendationsAnswer:  # fmt: skip
        """A user's list, now; `wishes` as `checked_ask` takes them. `variant` is the user's own unless it is named.

        Where the service `is_busy`, only who did something since the run gets a list scored now.

        Raises RequestError for what breaks a limit, NotPublishedError without a run.
        """
        user_id = self.checked_user(user_id)
        ask, held = checked_ask(self.config, k=k, **wishes), self._on(surface)
        run = held.run
        variant = variant or self.variant_of(user_id)
        if variant == HOLDOUT:
            ask = replace(ask, strategy="popular")
        is_put_off = is_busy and ask.strategy == "real-time" and not held.items_since(user_id)
        if is_put_off:
            ask = replace(ask, strategy="published")
        user, degraded = self._state_for(ask, held, user_id)
        degraded += [BUSY] if is_put_off else []
        wanted = max(self.config.candidates_published, ask.k)
        listed, problem = read_published_list(run, user_id, wanted, self._tables, held.surface)
        degraded += [problem] if problem else []
        rules, done = run.rules[variant], held.finished(user_id)
        choice = choose(run, user, listed, ask, self.config, rules=rules, seed=self._seed_of(user_id), finished=done)
        return RecommendationsAnswer(
            user_id=user_id,
            recommendations=lines_of(run, choice.chosen),
            **self._provenance(held, choice.strategy, [*degraded, *choice.degraded], variant),
        )

    def read_list(
        self, user_id: str, k: int | None = None, *, surface: str | None = None, is_busy: bool = False
    ) -> bytes | None:
        """The JSON of what `recommend` answers by the strategy `published`, at a tenth of the cost.

        None where more than the list as stored decides: `recommend` then answers, or says what is wrong. With `is_busy`
        also where the user did something since the run, and the answer says that it is no list scored now.
        """
        user_id = self.checked_user(user_id)
        k, held = checked_k(k, self.config), self._on(surface)
        run, since = held.run, held.items_since(user_id)
        variant = self.variant_of(user_id)
        if variant == HOLDOUT or (is_busy and since):
            return None
        try:
            row = self._tables.published_row(user_id, surface=held.surface)
        except GenreError:
            return None
        had = {*run.seen.of(user_id).tolist(), *run.positions_of(since).tolist()}
        wanted = max(self.config.candidates_published, k)
        lines = None if row is None else stored_lines(run, row, run.rules[variant], had, k=k, wanted=wanted)
        if lines is None:
            return None
        return as_bytes(user_id, lines, self._provenance(held, "published", [BUSY] if is_busy else [], variant))

    def session(self, request: SessionRequest) -> SessionAnswer:
        """The list of an anonymous session. Nothing of it is stored. Raises as `recommend`."""
        config, items = self.config, [event.item_id for event in request.events]
        checked_ids("events", items, config)
        ask = checked_ask(
            config, k=request.k, categories=request.categories, exclude=request.exclude,
            available_only=request.available_only,
        )  # fmt: skip
        held = self._on(request.surface)
        run = held.run
        user = anonymous_state(run, [(event.item_id, event.event) for event in request.events], self._histories)
        seed = self._seed_of("\0".join(items))
        finished = finished_in_session(run, [(event.item_id, event.event) for event in request.events])
        choice = choose(run, user, EMPTY_LIST, ask, config, rules=run.rules[DEFAULT], seed=seed, finished=finished)
        degraded = choice.degraded if len(user.history) else [NO_HISTORY, *choice.degraded]
        return SessionAnswer(
            unknown_items=[item for item in dict.fromkeys(items) if item not in run.positions],
            recommendations=lines_of(run, choice.chosen),
            **self._provenance(held, choice.strategy, degraded, DEFAULT),
        )

    def score(self, request: ScoreRequest) -> ScoreAnswer:
        """How well candidates fit a user, or nobody in particular. Raises RequestError, NotPublishedError."""
        held = self._on(request.surface)
        run, user_id = held.run, request.user_id
        degraded: list[str] = []
        if user_id is None:
            user, listed = anonymous_state(run, [], self._histories), EMPTY_LIST
        else:
            user_id = self.checked_user(user_id)
            user, degraded = read_user_state(run, user_id, held.items_since(user_id), self._features, self.config)
            wanted = self.config.candidates_published
            listed, problem = read_published_list(run, user_id, wanted, self._tables, held.surface)
            degraded += [problem] if problem and problem != NO_LIST else []
        found = score_candidates(run, user, listed, request, self.config, self._encoder)
        (variant,) = variants_of([user_id], self._rules) if user_id is not None else (DEFAULT,)
        strategy: Strategy = "real-time" if user.vector is not None else "published" if len(listed) else "popular"
        return ScoreAnswer(
            user_id=user_id,
            scores=found.scores,
            unscored=found.unscored,
            **self._provenance(held, strategy, [*degraded, *found.degraded], variant),
        )

    def similar(self, item_id: str, k: int | None = None, *, surface: str | None = None) -> ItemsAnswer:
        """Items like one item: published, else by its vector, else popular in its categories, else popular.

        Raises RequestError, UnknownItemError.
        """
        k, held = checked_k(k, self.config), self._on(surface)
        checked_id(ITEM_ID, item_id, self.config.id_limit_bytes)
        run = held.run
        own = run.positions_of([item_id])
        if not len(own):
            raise UnknownItemError(
                "The published catalogue does not have this item",
                remedy="Check the id; an item of today is known after the next night.",
                culprits=[item_id],
            )
        found, degraded = self._published_items(
            run, lambda: self._tables.similar_to(item_id, self.config.k_max, surface=held.surface), k, NO_SIMILAR
        )
        if len(found):
            return self._items(held, "published", found, SIMILAR_REASON, degraded)
        ask = Ask(k=k, strategy="similar")
        user = anonymous_state(run, [(item_id, "")], self._histories)
        rules = run.rules[DEFAULT].filters_only
        choice = choose(run, user, EMPTY_LIST, ask, self.config, rules=rules, seed=self._seed_of(item_id))
        reason = SIMILAR_REASON if choice.strategy == "similar" else POPULAR_REASON
        return self._items(held, choice.strategy, choice.chosen, reason, [*degraded, *choice.degraded])

    def popular(self, category: str = "", k: int | None = None, *, surface: str | None = None) -> ItemsAnswer:
        """Popular items: published, else as counted now; overall where a category has none. Raises RequestError."""
        k, held = checked_k(k, self.config), self._on(surface)
        if category:
            checked_id("category", category, self.config.id_limit_bytes)
        run = held.run
        found, degraded = self._published_items(
            run, lambda: self._tables.popular(category, self.config.k_max, surface=held.surface), k, NO_POPULAR
        )
        if len(found):
            return self._items(held, "published", found, POPULAR_REASON, degraded)
        allowed = run.is_candidate & run.rules[DEFAULT].is_allowed
        inside = allowed & run.in_categories([category]) if category else allowed
        strategy: Strategy = "popular-in-category" if category and inside.any() else "popular"
        pool = popular_pool(run, inside if inside.any() else allowed)
        chosen = NOTHING if pool is None else by_score(pool, k)
        return self._items(held, strategy, chosen, POPULAR_REASON, degraded)

    def variant_of(self, user_id: str) -> str:
        """The arm of an experiment that a user is in."""
        return variants_of([user_id], self._rules)[0]

    def publication(self, surface: str) -> tuple[Publication | None, RunRecord | None]:
        """What the pointer of a surface names, and what was recorded of it. Raises TablesError."""
        live = self._tables.current(surface)
        return live, None if live is None else self._tables.run(live.run_id)

    def checked_user(self, user_id: str) -> str:
        """A user's id as it may reach a store. Raises RequestError."""
        return checked_id(USER_ID, user_id, self.config.id_limit_bytes)

    def readiness(self) -> ReadyAnswer:
        """Ask every door once."""
        checks = {
            "warm_up": "ok" if self._is_warm else "not finished",
            "tables": _answer_of(self._tables.current, "nothing published"),
            "online_store": _answer_of(lambda: self._features.online(SCORING_SERVICE, ["ready"]), "no answer"),
            "item_matrix": _answer_of(lambda: self.held.run, "no run"),
        }
        if self.held.has_run and self.held.run.vectors_problem is not None:
            checks["item_matrix"] = self.held.run.vectors_problem
        return ReadyAnswer(ready=all(check == "ok" for check in checks.values()), checks=checks)

    def _state_for(self, ask: Ask, held: HeldRun, user_id: str) -> tuple[UserState, list[str]]:
        """Who asks for the published list, or for popular items, needs no fresh features."""
        since = held.items_since(user_id)
        if ask.strategy in ("published", "popular"):
            return state_without_features(held.run, user_id, since), []
        return read_user_state(held.run, user_id, since, self._features, self.config)

    def _try_out(self, user_id: str) -> None:
        try:
            self.recommend(user_id)
        except GenreError as error:
            _log.error("the first answer fails: %s: %s", type(error).__name__, error.problem)

    def _on(self, surface: str | None) -> HeldRun:
        held = self.surfaces[checked_surface(surface, self.config)]
        held.count()
        return held

    def _seed_of(self, who: str) -> np.ndarray:
        return user_seeds([who], "day", self._seed, self._clock().date())

    def _published_items(
        self, run: PublishedRun, read: Callable[[], ItemList | None], k: int, empty: str
    ) -> tuple[Scored, list[str]]:
        """A published list without what may not be shown now, and why it is empty where it is."""
        try:
            table = read()
        except GenreError as error:
            _log.warning("tables: %s", type(error).__name__)
            return NOTHING, [TABLES_DOWN]
        allowed = run.is_candidate & run.rules[DEFAULT].is_allowed
        listed = [(run.positions.get(row.item_id), row.score) for row in (table.rows if table is not None else ())]
        found = [(at, score) for at, score in listed if at is not None and allowed[at]][:k]
        if not found:
            return NOTHING, [empty]
        scores = np.array([score for _, score in found], dtype=np.float32)
        parts = np.zeros((4, len(found)), dtype=np.float32)
        parts[0] = scores
        return Scored(np.array([at for at, _ in found], dtype=np.int64), scores, parts), []

    def _items(
        self, held: HeldRun, strategy: Strategy, chosen: Scored, reason: str, degraded: list[str]
    ) -> ItemsAnswer:
        said = Scored(chosen.positions, chosen.scores, chosen.parts, [[reason]] * len(chosen))
        lines = lines_of(held.run, said)
        return ItemsAnswer(items=lines, **self._provenance(held, strategy, degraded, DEFAULT))

    def _provenance(
        self, held: HeldRun, strategy: Strategy, degraded: Sequence[str], variant: str
    ) -> Mapping[str, Any]:
        run, problem = held.run, held.problem
        behind = [] if problem is None else [f"run_behind: the newest run cannot be read ({type(problem).__name__})"]
        age = max((self._clock() - run.as_of).total_seconds(), 0.0)
        return {
            "run_id": run.run_id,
            "model_version": run.model_version,
            "surface": held.surface,
            "as_of": run.as_of,
            "age_seconds": round(age, 3),
            "strategy": strategy,
            "variant": variant,
            "degraded": [*degraded, *behind],
        }


def _answer_of(ask: Callable[[], object], empty: str) -> str:
    try:
        return empty if ask() is None else "ok"
    except GenreError as error:
        return type(error).__name__
