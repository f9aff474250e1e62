"""Scores for candidates that a caller names: items of the catalogue, and new ones that are encoded for the answer."""

import logging
from dataclasses import dataclass

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import CATEGORIES, DESCRIPTION, ITEM_ID, TITLE
from genre_pipeline.contracts.errors import GenreError, RequestError
from genre_pipeline.features.item_texts import ItemTextConfig, compose_item_texts
from genre_pipeline.serving.answers import NewItem, Part, ScoredItem, ScoreRequest
from genre_pipeline.serving.choosing import Scored, by_score, with_reasons
from genre_pipeline.serving.doors import TextEncoder
from genre_pipeline.serving.limits import checked_ids
from genre_pipeline.serving.published import PublishedRun, normalised
from genre_pipeline.serving.scorer import PublishedList, UserState, blend_weights, blended
from genre_pipeline.serving.settings import ServingConfig

_log = logging.getLogger(__name__)
UNKNOWN_ITEMS = "unknown_items: the published catalogue does not have these; give new ones as `items`"
NO_ENCODER = "no_encoder: new items are not scored here; set `serving.score_new_items`"
OTHER_ENCODER = "other_encoder: the published vectors were made by another encoder than the one loaded"
ENCODER_FAILS = "encoder_fails: the text encoder cannot be used"
NO_TEXT = "no_text: new items without any text are scored 0"
NEW_REASON = "new, judged by its text"


class NewItemEncoder:
    """Makes vectors of new items' texts, as the night would."""

    def __init__(self, encoder: TextEncoder, texts: ItemTextConfig) -> None:
        self._encoder, self._texts = encoder, texts
        self._problem: str | None = None

    def warm_up(self) -> None:
        """Load the encoder; where it cannot be loaded, new items stay unscored and the answer says so."""
        try:
            self._encoder.encode(["warm up"])
        except GenreError as error:
            _log.error("the text encoder cannot be used: %s", error.problem)
            self._problem = ENCODER_FAILS

    def problem_with(self, run: PublishedRun) -> str | None:
        """Why new items cannot be compared with this run's vectors."""
        if self._problem is not None:
            return self._problem
        return None if run.vector_model == self._encoder.model else OTHER_ENCODER

    def vectors(self, items: list[NewItem]) -> np.ndarray:
        """float32 [items, width], rows of length 1, zero where an item has no text."""
        texts = compose_item_texts(_as_frame(items, self._texts), self._texts)["text"]
        has_text = texts.is_not_null().to_numpy()
        encoded = normalised(self._encoder.encode(texts.fill_null("").to_list()))
        encoded[~has_text] = 0
        return encoded


@dataclass(frozen=True)
class CandidateScores:
    """Scores, best first, and what has none."""

    scores: list[ScoredItem]
    unscored: list[str]
    degraded: list[str]


def score_candidates(
    run: PublishedRun, user: UserState, listed: PublishedList, request: ScoreRequest, config: ServingConfig,
    encoder: NewItemEncoder | None,
) -> CandidateScores:  # fmt: skip
    """The blend for every candidate; what a user has not is 0 in it. Raises RequestError.

    An item of the catalogue needs nothing; a new one needs an encoder, and counts by its vector alone.
    """
    names = checked_ids("item_ids", request.item_ids, config)
    new_names = checked_ids("items", [item.item_id for item in request.items], config)
    if not names and not request.items:
        raise RequestError("There is nothing to score", remedy="Give `item_ids` of the catalogue, or new `items`.")
    if len(new_names) < len(request.items) or set(new_names) & set(names):
        raise RequestError("A candidate is named twice", remedy="Name each once, in `item_ids` or in `items`.")
    taste = None if user.vector is None else normalised(user.vector[np.newaxis, :])[0]
    known = _known(run, user, listed, np.sort(run.positions_of(names)), taste, config)
    unknown = [name for name in names if name not in run.positions]
    new, problems = _new(run, request.items, taste, config, encoder)
    scores = sorted([*known, *new], key=lambda line: (-line.score, line.item_id))
    unscored = [*unknown, *(() if new or not request.items else new_names)]
    return CandidateScores(scores, unscored, [*([UNKNOWN_ITEMS] if unknown else []), *problems])


def _known(
    run: PublishedRun, user: UserState, listed: PublishedList, at: np.ndarray, taste: np.ndarray | None,
    config: ServingConfig,
) -> list[ScoredItem]:  # fmt: skip
    pool = blended(run, at, taste, listed, at[:0], config)
    chosen = with_reasons(by_score(pool, len(pool)), pool, run, user, config)
    return _as_lines([run.item_ids[position] for position in chosen.positions], chosen, is_new=False)


def _new(
    run: PublishedRun, items: list[NewItem], taste: np.ndarray | None, config: ServingConfig,
    encoder: NewItemEncoder | None,
) -> tuple[list[ScoredItem], list[str]]:  # fmt: skip
    if not items:
        return [], []
    problem = NO_ENCODER if encoder is None else encoder.problem_with(run)
    if encoder is None or problem is not None:
        return [], [problem or NO_ENCODER]
    vectors = encoder.vectors(items)
    parts = np.zeros((4, len(items)), dtype=np.float32)
    if taste is not None:
        parts[1] = (vectors @ taste) * blend_weights(config)[1]
    chosen = Scored(np.arange(len(items)), parts.sum(axis=0), parts, [[NEW_REASON]] * len(items))
    silent = [NO_TEXT] if not vectors.any(axis=1).all() else []
    return _as_lines([item.item_id for item in items], chosen, is_new=True), silent


def _as_lines(item_ids: list[str], chosen: Scored, *, is_new: bool) -> list[ScoredItem]:
    columns = zip(item_ids, chosen.scores.tolist(), chosen.parts.T.tolist(), chosen.reasons, strict=True)
    return [
        ScoredItem(
            item_id=item_id,
            score=score,
            is_new=is_new,
            reasons=reasons,
            parts=Part.of(parts),
        )
        for item_id, score, parts, reasons in columns
    ]


def _as_frame(items: list[NewItem], config: ItemTextConfig) -> pl.DataFrame:
    """The columns that texts are made of; what an item does not say is null."""
    rows = [item.model_dump() for item in items]
    columns: dict[str, pl.Series] = {ITEM_ID: pl.Series([row[ITEM_ID] for row in rows], dtype=pl.String)}
    for name in dict.fromkeys([TITLE, DESCRIPTION, CATEGORIES, *config.fields]):
        values = [row.get(name) for row in rows]
        if name == CATEGORIES or any(isinstance(value, list) for value in values):
            columns[name] = pl.Series([_texts(value) for value in values], dtype=pl.List(pl.String))
        else:
            columns[name] = pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.DataFrame(columns)


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [str(one) for one in values]
