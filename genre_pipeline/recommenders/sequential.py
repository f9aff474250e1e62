"""Sequential recommender: what a user takes next, from the order of what the user had (SASRec family)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import polars as pl

from genre_pipeline.contracts.errors import TrainingError, UnknownUserError
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.recommenders.base import Recommender
from genre_pipeline.training.batches import Histories, histories_from
from genre_pipeline.training.sequence_training import SequenceTrainingConfig, content_of, train_sequence
from genre_pipeline.training.validation import Catalogue, catalogue_of, data_histories, scored_blocks

if TYPE_CHECKING:
    from torch import Tensor

    from genre_pipeline.models.sequence import SequenceModel


class SequentialConfig(Settings):
    """Sequential recommender. Everything it can be told is about its training."""

    training: SequenceTrainingConfig = SequenceTrainingConfig()
    """The network and how it is trained when `fit` trains it; a registered model brings its own network."""


class SequentialRecommender(Recommender):
    """Scores of the user-sequence network (SASRec, arXiv 1808.09781; sampled softmax, arXiv 2508.06450).

    Items without training interactions are scored by their content alone, and -inf where they have none.
    """

    name: ClassVar[str] = "sequential"

    def __init__(self, config: SequentialConfig) -> None:
        self.config: SequentialConfig = config
        self._model: SequenceModel | None = None
        self._histories: Histories | None = None
        self._catalogue: Catalogue | None = None

    def fit(self, data: TrainingSet, *, seed: int) -> Self:
        """Train for all configured epochs. Raises `TrainingError` where there is too little history.

        To stop where validation says so, call `train_sequence` with a validation target and `attach` its model.
        """
        return self.attach(train_sequence(data, self.config.training, seed=seed).model, data)

    def attach(self, model: SequenceModel, data: TrainingSet) -> Self:
        """Score with `model`, whose positions are the catalogue of `data`, the histories in `data`."""
        if model.n_items != data.n_items:
            raise TrainingError(
                f"The model has {model.n_items} items and the data {data.n_items}", remedy="Load it with `from_bundle`."
            )
        self._model, self._histories, self._catalogue = (
            model,
            data_histories(data, model.event_types),
            catalogue_of(model),
        )
        return self

    @classmethod
    def from_bundle(cls, folder: Path, data: TrainingSet, *, sha256: str | None = None) -> Self:
        """A trained model over the catalogue of `data`: items it never saw are scored by their content in `data`.

        Raises `ModelFileError` where the bundle is not sound, `TrainingError` where `data` has other content vectors.
        """
        import torch

        from genre_pipeline.training.sequence_bundle import load_sequence_bundle

        bundle = load_sequence_bundle(folder, sha256=sha256)
        known = torch.from_numpy(_known_positions(data, bundle.item_ids))
        content = _matching_content(bundle.model, known, content_of(data, bundle.decisions.get("content")))
        return cls(SequentialConfig()).attach(bundle.model.on_catalogue(known, content), data)

    def score(self, users: np.ndarray) -> np.ndarray:
        """float32 [len(users), n_items]; -inf for items known neither by id nor by content."""
        if self._histories is None:
            raise self._not_fitted()
        return self._scores(self._histories, np.asarray(users))

    def score_histories(
        self,
        items: Sequence[np.ndarray],
        seconds: Sequence[np.ndarray] | None = None,
        events: Sequence[Sequence[str]] | None = None,
    ) -> np.ndarray:
        """float32 [len(items), n_items]: scores after fresh histories: item positions, oldest first, unix seconds, and
        event types.

        Without `seconds` the network is told that no time gap is known, without `events` that no event type is, as of
        types that it was not trained on. Raises `UnknownUserError` for an empty history.
        """
        from genre_pipeline.models.sequence import TIME_BUCKETS

        empty = [place for place, history in enumerate(items) if not len(history)]
        if empty:
            raise UnknownUserError("A history is empty", remedy="Give the popular items instead.", culprits=empty)
        if self._model is None:
            raise self._not_fitted()
        types = self._model.event_types
        fresh = histories_from(items, seconds, time_buckets=TIME_BUCKETS, events=events, event_types=types)
        return self._scores(fresh, np.arange(len(items)))

    def _scores(self, histories: Histories, users: np.ndarray) -> np.ndarray:
        if self._model is None or self._catalogue is None:
            raise self._not_fitted()
        blocks = [scores for _, scores in scored_blocks(self._model, histories, users, self._catalogue)]
        return np.concatenate(blocks) if blocks else np.zeros((0, self._model.n_items), dtype=np.float32)

    def _not_fitted(self) -> TrainingError:
        return TrainingError("The sequential recommender is not fitted", remedy="Call `fit` or `from_bundle`.")


def _known_positions(data: TrainingSet, bundle_ids: pl.Series) -> np.ndarray:
    """int64 [n_items]: position of each item of `data` in the bundle, -1 where it is new."""
    known = np.full(data.n_items, -1, dtype=np.int64)
    here = data.item_positions(bundle_ids)
    known[here[here >= 0]] = np.flatnonzero(here >= 0)
    return known


def _matching_content(model: SequenceModel, known: Tensor, content: np.ndarray) -> Tensor:
    """float32 [n_items, C] for the model: fresh vectors where the data has any, else those the model was trained on."""
    import torch

    trained = model.items.content
    width = trained.shape[1]
    if content.shape[1] == width:
        return torch.from_numpy(content)
    if content.shape[1]:
        raise TrainingError(
            f"The model reads item vectors of width {width}, the data has {content.shape[1]}",
            remedy="Train the model again on the new vectors, or restore the encoder it was trained with.",
        )
    kept = torch.zeros(len(known), width)
    kept[known >= 0] = trained[known[known >= 0]]
    return kept
