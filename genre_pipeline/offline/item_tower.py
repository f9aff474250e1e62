"""The item tower of a past: trained on it, judged on its end, and the vectors it gives, for assets and commands alike.

A tower that does not beat the frozen vectors never serves: then these are what is given. Kept out: which day it is,
where tables and models are kept.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dataframely as dy
import numpy as np
import polars as pl

from genre_pipeline.config import GenreConfig
from genre_pipeline.contracts.columns import CONTENT_HASH, ITEM_ID, TIMESTAMP, VECTOR
from genre_pipeline.contracts.tables import ItemVectors
from genre_pipeline.contracts.training_set import TrainingSet, build_training_set
from genre_pipeline.features.item_texts import compose_item_texts
from genre_pipeline.features.vector_cache import MODEL, VectorCache
from genre_pipeline.features.vector_column import to_column
from genre_pipeline.models.causal_gguf import converted_gguf, find_gguf
from genre_pipeline.preprocessing.augmentation_text import augmented_texts
from genre_pipeline.training.loop import Report
from genre_pipeline.training.splits import Split, end_of, split_by_time, split_leave_one_out
from genre_pipeline.training.tower_config import TowerTrainingConfig
from genre_pipeline.training.tower_training import TrainedTower, refit_tower, train_tower
from genre_pipeline.training.validation import validation_target

Say = Callable[[str], None]
"""Called with a line about what happens."""


@dataclass(frozen=True)
class LearnedTower:
    """A tower trained on a past, and what it gives."""

    validated: TrainedTower
    """Trained before the past's last part, and judged on that."""
    final: TrainedTower | None
    """As long again on the whole past; None where the tower does not beat the frozen vectors, and never serves."""
    vectors: dy.DataFrame[ItemVectors]
    """Of the whole catalogue: the final tower's, or the frozen ones."""


def tower_on(
    items: pl.DataFrame,
    past: pl.DataFrame,
    vectors: Mapping[str, pl.DataFrame],
    config: GenreConfig,
    *,
    has_clock: bool = True,
    say: Say = lambda line: None,
) -> dy.DataFrame[ItemVectors]:
    """The vectors of `items` (schema `Items`) by the tower that learned of `past` (`Interactions`), and of no more.

    `vectors` are those the tower may have to beat. Equal pasts are trained on once: what was learned is kept in the
    cache of vectors. Raises as `train_tower`.
    """
    texts = compose_item_texts(items, config.features.item_texts)
    model, cache = _identity(texts, past, config), VectorCache(config.home / "cache" / "vectors")
    held, _corrupt = cache.load(model, texts[CONTENT_HASH])
    if held.height < texts.drop_nulls("text")[CONTENT_HASH].n_unique():
        learned = learn_tower(items, past, vectors, config, has_clock=has_clock, say=say)
        held = learned.vectors.drop_nulls(VECTOR).unique(CONTENT_HASH, maintain_order=True)
        held = held.select(CONTENT_HASH, VECTOR)
        cache.append(model, held)
    vector = pl.when(pl.col("text").is_not_null()).then(VECTOR).alias(VECTOR)
    joined = texts.join(held, on=CONTENT_HASH, how="left", maintain_order="left")
    return ItemVectors.validate(joined.select(ITEM_ID, pl.lit(model).alias(MODEL), CONTENT_HASH, vector))


def learn_tower(
    items: pl.DataFrame,
    past: pl.DataFrame,
    vectors: Mapping[str, pl.DataFrame],
    config: GenreConfig,
    *,
    training: TowerTrainingConfig | None = None,
    has_clock: bool = True,
    checkpoints: Path | None = None,
    say: Say = lambda line: None,
    report: Report | None = None,
) -> LearnedTower:
    """Train on the past but its last part, judge on that, and where the tower wins, train again on all of it.

    `training` stands in for `config.item_tower`. Raises as `train_tower`.
    """
    training = _readable(training or config.item_tower, config.home)
    texts = compose_item_texts(items, config.features.item_texts)
    split = split_by_time(past) if has_clock else split_leave_one_out(past)
    common: dict[str, Any] = {
        "seed": config.seed,
        "device": config.features.device,
        "cache": config.home / "cache" / "layers",
        "view": partial(_changed, items, config),
    }
    data = _training_set(split, items, vectors, config, has_clock=has_clock, only_known_items=True)
    validated = train_tower(
        data, texts, training, validation=validation_target(data, split.truth), promotion=config.promotion,
        checkpoints=checkpoints and checkpoints / "validated", say=say, report=report, **common,
    )  # fmt: skip
    whole = Split(past, split.truth.clear(), end_of(past))
    everything = _training_set(whole, items, vectors, config, has_clock=has_clock, only_known_items=False)
    if validated.verdict is None or not validated.verdict.beats_frozen:
        say("the frozen vectors stay: the tower does not beat them for certain")
        return LearnedTower(validated, None, _frame(texts, data, validated.frozen, "frozen"))
    final = refit_tower(
        everything, texts, training, validated.plan, checkpoints=checkpoints and checkpoints / "final", **common
    )
    return LearnedTower(validated, final, _frame(texts, everything, final.vectors, "tower"))


def _readable(training: TowerTrainingConfig, home: Path) -> TowerTrainingConfig:
    """With the folder that a GGUF file was converted to in the place of the file, which cannot be trained."""
    tower = training.tower
    gguf = find_gguf(tower.source) if tower.kind == "gpt" else None
    if gguf is None:
        return training
    folder = converted_gguf(gguf, home / "cache" / "models", sha256=tower.weights_sha256)
    converted = tower.model_copy(update={"source": str(folder), "weights_sha256": None})
    return training.model_copy(update={"tower": converted})


def _changed(items: pl.DataFrame, config: GenreConfig, item_ids: pl.Series, seed: int) -> Sequence[str]:
    """The texts of these items as another view shows them: fields lost, then words."""
    asked, said = items.filter(pl.col(ITEM_ID).is_in(item_ids.unique().implode())), config.features.item_texts
    changes = config.preprocessing.augmentation.text
    texts = augmented_texts(
        asked, lambda some: compose_item_texts(some, said)["text"], changes, seed=seed, fields=said.fields
    )
    seen = pl.DataFrame({ITEM_ID: item_ids}).join(
        asked.select(ITEM_ID, text=texts), on=ITEM_ID, how="left", maintain_order="left"
    )
    return seen["text"].fill_null("").to_list()


def _training_set(
    split: Split,
    items: pl.DataFrame,
    vectors: Mapping[str, pl.DataFrame],
    config: GenreConfig,
    *,
    has_clock: bool,
    only_known_items: bool,
) -> TrainingSet:
    beaten = {name: frame for name, frame in vectors.items() if name == config.item_tower.against}
    return build_training_set(
        split.past,
        items,
        as_of=split.as_of,
        has_clock=has_clock,
        event_weights=config.event_weights,
        valued_events=config.valued_events,
        item_vectors=beaten,
        only_known_items=only_known_items,
    )


def _frame(texts: pl.DataFrame, data: TrainingSet, matrix: np.ndarray, which: str) -> dy.DataFrame[ItemVectors]:
    """The catalogue's rows of `matrix` [n_items, W], in the order of `texts`."""
    identity = f"item_tower/{which}/{hashlib.sha256(matrix.tobytes()).hexdigest()[:16]}"
    rows = matrix[data.item_positions(texts[ITEM_ID])]
    said = texts.select(ITEM_ID, pl.lit(identity).alias(MODEL), CONTENT_HASH).with_columns(to_column(rows))
    return ItemVectors.validate(said)


def _identity(texts: pl.DataFrame, past: pl.DataFrame, config: GenreConfig) -> str:
    """Equal where training would be: texts, past, settings and seed."""
    settings = f"{config.item_tower.model_dump_json()} {config.promotion.model_dump_json()} {config.seed}"
    changes = config.preprocessing.augmentation.text.model_dump_json()
    weights = f"{sorted(config.event_weights.items())} {sorted(config.valued_events)}"
    digest = hashlib.sha256(f"{settings} {changes} {weights}".encode())
    for frame in (texts.sort(ITEM_ID), past.sort(TIMESTAMP, maintain_order=True)):
        digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
    return f"item_tower/{digest.hexdigest()}"
