"""What is known of a user at this moment, read through the doors; what cannot be read or used is named, not raised."""

import logging
from datetime import timedelta

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import EVENT_TIMESTAMP, VECTOR
from genre_pipeline.contracts.errors import GenreError
from genre_pipeline.contracts.names import USER_HISTORIES, USER_VECTORS
from genre_pipeline.serving.doors import FeaturesDoor, TablesDoor
from genre_pipeline.serving.published import PublishedRun
from genre_pipeline.serving.scorer import EMPTY_LIST, PublishedList, UserState
from genre_pipeline.serving.settings import ServingConfig

_log = logging.getLogger(__name__)
ONLINE_STORE_DOWN = "online_store_down: fresh features cannot be read"
TABLES_DOWN = "tables_down: the published tables cannot be read"
NO_FEATURES = "no_fresh_features: nothing is known of this user online"
NO_VECTOR = "no_user_vector: none of the user's latest items has a vector"
NO_LIST = "no_published_list: the nightly run has no list for this user"
LIST_OF_OTHER_RUN = "list_of_other_run: the nightly list is of a run that is being taken up just now"
OTHER_MODEL = "other_model: the user vector was made by another encoder than the item matrix"


def read_user_state(
    run: PublishedRun, user_id: str, items_since: list[str], features: FeaturesDoor, config: ServingConfig
) -> tuple[UserState, list[str]]:
    """The user's state, and why it has no vector where it has none."""
    seen = np.concatenate([run.seen.of(user_id).astype(np.int64), run.positions_of(items_since)])
    try:
        histories = features.online(USER_HISTORIES, [user_id])
        vectors = features.online(USER_VECTORS, [user_id])
    except GenreError as error:
        _log.warning("online store: %s", type(error).__name__)
        return UserState(seen, seen[:0], [], None), [ONLINE_STORE_DOWN]
    history, verbs = _latest_items(run, histories)
    vector, problem = _usable_vector(run, vectors, timedelta(hours=config.feature_ttl_hours))
    return UserState(np.concatenate([seen, history]), history, verbs, vector), [problem] if problem else []


def read_published_list(
    run: PublishedRun, user_id: str, wanted: int, tables: TablesDoor
) -> tuple[PublishedList, str | None]:
    """The user's nightly list, and why it is empty where it is."""
    try:
        found = tables.recommendations_for(user_id, wanted)
    except GenreError as error:
        _log.warning("tables: %s", type(error).__name__)
        return EMPTY_LIST, TABLES_DOWN
    rows = [] if found is None else [row for row in found.rows if row.item_id in run.positions]
    if not rows:
        return EMPTY_LIST, NO_LIST
    positions = run.positions_of([row.item_id for row in rows])
    newer = None if found is None or found.run_id == run.run_id else LIST_OF_OTHER_RUN
    return PublishedList(positions, np.array([row.score for row in rows], dtype=np.float32)), newer


def _latest_items(run: PublishedRun, histories: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    row = histories.row(0, named=True)
    if row[EVENT_TIMESTAMP] is None:
        return np.zeros(0, dtype=np.int64), []
    known = [(item, event) for item, event in zip(row["item_ids"], row["events"], strict=True) if item in run.positions]
    return run.positions_of([item for item, _ in known]), [event for _, event in known]


def _usable_vector(run: PublishedRun, vectors: pl.DataFrame, ttl: timedelta) -> tuple[np.ndarray | None, str | None]:
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
