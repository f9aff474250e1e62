"""What is known of a user at this moment, read through the doors; what cannot be read or used is named, not raised."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import EVENT_TIMESTAMP, USER_ID, VECTOR
from genre_pipeline.contracts.errors import GenreError
from genre_pipeline.contracts.names import SCORING_SERVICE, USER_HISTORIES, USER_VECTORS
from genre_pipeline.contracts.tables import TIME
from genre_pipeline.features.histories import HistoryConfig, user_vectors
from genre_pipeline.serving.doors import FeaturesDoor, TablesDoor
from genre_pipeline.serving.freshness import item_vectors_of
from genre_pipeline.serving.published import PublishedRun
from genre_pipeline.serving.scorer import EMPTY_LIST, PublishedList, UserState
from genre_pipeline.serving.settings import ServingConfig

_log = logging.getLogger(__name__)
ONLINE_STORE_DOWN = "online_store_down: fresh features cannot be read"
TABLES_DOWN = "tables_down: the published tables cannot be read"
_PAST = 50
NO_FEATURES = "no_fresh_features: nothing is known of this user online"
NO_VECTOR = "no_user_vector: none of the user's latest items has a vector"
NO_LIST = "no_published_list: the nightly run has no list for this user"
LIST_OF_OTHER_RUN = "list_of_other_run: the nightly list is of a run that is being taken up just now"
OTHER_MODEL = "other_model: the user vector was made by another encoder than the item matrix"


def read_user_state(
    run: PublishedRun, user_id: str, items_since: list[str], features: FeaturesDoor, config: ServingConfig
) -> tuple[UserState, list[str]]:
    """The user's state, from one read of the scoring service, and why it has no vector where it has none.

    Where the online store does not answer, what the user is known to have had stands in for the history.
    """
    seen = np.concatenate([run.seen.of(user_id).astype(np.int64), run.positions_of(items_since)])
    try:
        known = features.online(SCORING_SERVICE, [user_id])
    except GenreError as error:
        _log.warning("online store: %s", type(error).__name__)
        past = seen[-_PAST:]
        return UserState(seen, past, [""] * len(past), None), [ONLINE_STORE_DOWN]
    history, verbs = _latest_items(run, _view(known, USER_HISTORIES))
    vector, problem = _usable_vector(run, _view(known, USER_VECTORS), timedelta(hours=config.feature_ttl_hours))
    return UserState(np.concatenate([seen, history]), history, verbs, vector), [problem] if problem else []


def read_published_list(
    run: PublishedRun, user_id: str, wanted: int, tables: TablesDoor, surface: str
) -> tuple[PublishedList, str | None]:
    """The user's nightly list, and why it is empty where it is."""
    try:
        found = tables.published_row(user_id, surface=surface)
    except GenreError as error:
        _log.warning("tables: %s", type(error).__name__)
        return EMPTY_LIST, TABLES_DOWN
    rows = [] if found is None else list(zip(found.item_ids, found.scores, found.reasons, strict=True))[:wanted]
    known = [row for row in rows if row[0] in run.positions]
    if found is None or not known:
        return EMPTY_LIST, NO_LIST
    item_ids, scores, reasons = zip(*known, strict=True)
    newer = None if found.run_id == run.run_id else LIST_OF_OTHER_RUN
    return PublishedList(run.positions_of(item_ids), np.array(scores, dtype=np.float32), reasons), newer


def state_without_features(run: PublishedRun, user_id: str, items_since: list[str]) -> UserState:
    """What is known of a user without asking the online store: what must not be shown again."""
    seen = np.concatenate([run.seen.of(user_id).astype(np.int64), run.positions_of(items_since)])
    return UserState(seen, seen[:0], [], None)


def finished_in_session(run: PublishedRun, history: Sequence[tuple[str, str]]) -> np.ndarray:
    """int64: what a session, (item id, event) without values, has finished, which opens what requires it."""
    rule = run.prerequisites
    return run.positions_of(
        [] if rule is None else [item for item, kind in history if rule.config.finishes(kind, None)]
    )


def anonymous_state(run: PublishedRun, history: Sequence[tuple[str, str]], config: HistoryConfig) -> UserState:
    """The state of a session from its (item id, event), oldest first; nothing of it is kept."""
    items = [item for item, _ in history]
    known = [(item, event) for item, event in history if item in run.positions]
    at = run.positions_of([item for item, _ in known])
    return UserState(at, at, [event for _, event in known], _session_vector(run, items, config))


def _session_vector(run: PublishedRun, items: list[str], config: HistoryConfig) -> np.ndarray | None:
    if run.vector_model is None or not items:
        return None
    now = pl.DataFrame(
        {
            USER_ID: ["session"],
            EVENT_TIMESTAMP: pl.Series([run.as_of], dtype=TIME),
            "item_ids": [items[-config.length :]],
            "timestamps": [list(range(len(items)))[-config.length :]],
            "events": [["view"] * len(items[-config.length :])],
        }
    )
    vectors = item_vectors_of(run, pl.Series(items, dtype=pl.String).unique())
    # A session has an order, and its clock tells nothing.
    row = user_vectors(now, vectors, model=run.vector_model, config=config, has_clock=False)[VECTOR][0]
    return None if row is None or not len(row) else row.to_numpy().astype(np.float32, copy=False)


def _view(known: pl.DataFrame, view: str) -> Mapping[str, pl.Series]:
    """One view's columns of a service's answer, under their own names. By hand: an expression costs a hundredfold."""
    prefix = f"{view}__"
    return {name.removeprefix(prefix): known[name] for name in known.columns if name.startswith(prefix)}


def _latest_items(run: PublishedRun, histories: Mapping[str, pl.Series]) -> tuple[np.ndarray, list[str]]:
    row = {name: histories[name][0] for name in (EVENT_TIMESTAMP, "item_ids", "events")}
    if row[EVENT_TIMESTAMP] is None:
        return np.zeros(0, dtype=np.int64), []
    known = [(item, event) for item, event in zip(row["item_ids"], row["events"], strict=True) if item in run.positions]
    return run.positions_of([item for item, _ in known]), [event for _, event in known]


def _usable_vector(
    run: PublishedRun, vectors: Mapping[str, pl.Series], ttl: timedelta
) -> tuple[np.ndarray | None, str | None]:
    if run.vectors_problem is not None:
        return None, f"no_item_matrix: {run.vectors_problem}"
    stamp, model, vector = (vectors[column][0] for column in (EVENT_TIMESTAMP, "model", VECTOR))
    if stamp is None:
        return None, NO_FEATURES
    if stamp < run.as_of - ttl:
        return None, f"stale_features: the user vector is from {stamp.isoformat()}"
    if vector is None or not len(vector):
        return None, NO_VECTOR
    if model != run.vector_model or len(vector) != run.vectors.shape[1]:
        return None, OTHER_MODEL
    return vector.to_numpy().astype(np.float32, copy=False), None
