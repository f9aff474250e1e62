"""Training of an item tower, and its trial: does it rank better than the same user tower on vectors that stand still?

First the user tower learns alone on the frozen vectors. From there both sides start as equals, with the same batches,
schedule and epochs: the control, where only the user tower goes on, and the trial, where the item tower learns too. The
better of the two frozen trainings is what the tower has to beat, on the same validation users.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from genre_pipeline.contracts.columns import ITEM_ID
from genre_pipeline.contracts.errors import ConfigError, TrainingError
from genre_pipeline.contracts.training_set import TrainingSet
from genre_pipeline.training.item_reading import ItemReading
from genre_pipeline.training.layer_cache import LayerCache
from genre_pipeline.training.loop import Report, TrainingResult, train
from genre_pipeline.training.promotion import PromotionConfig, decide_promotion
from genre_pipeline.training.sequence_training import (
    VALIDATION_NDCG,
    SequenceTask,
    refit_sequence,
    train_sequence,
)
from genre_pipeline.training.tower_config import OWN_CONTENT, TowerTrainingConfig
from genre_pipeline.training.validation import NDCG, ValidationTarget, data_histories, user_ndcg

if TYPE_CHECKING:
    from genre_pipeline.models.sequence import SequenceModel
    from genre_pipeline.models.tower import ItemTower
    from genre_pipeline.training.tower_task import TowerTask

Say = Callable[[str], None]
"""Called with a line about what happens."""
View = Callable[[pl.Series, int], Sequence[str]]
"""(item ids, seed) to the texts of these items, each changed a little."""
Plan = tuple[tuple[int, int], tuple[int, int]]
"""(planned epochs, best epoch) of the user tower alone, and of both together."""


@dataclass(frozen=True)
class Verdict:
    """Whether the trained tower may serve, and the numbers that decided."""

    beats_frozen: bool
    """The whole interval of the difference lies above 0."""
    tuned: float
    """Mean validation nDCG@10 with the trained tower."""
    frozen: float
    """The same of the user tower on frozen vectors."""
    difference: float
    low: float
    high: float
    """Ends of the paired interval of the difference."""
    users: int

    def __str__(self) -> str:
        interval = f"{self.difference:+.4f} ({self.low:+.4f} to {self.high:+.4f}) over {self.users} users"
        return f"nDCG@10 {self.tuned:.4f} against {self.frozen:.4f} frozen: {interval}"


@dataclass(frozen=True)
class TrainedTower:
    """A trained tower and how it came about."""

    tower: ItemTower
    """As it serves: on the CPU, in evaluation mode, adapters merged."""
    users: SequenceModel
    """The user tower it learned with; its content is the catalogue's new vectors."""
    vectors: np.ndarray
    """float32 [n_items, W], of length 1; zeros where an item has no text."""
    frozen: np.ndarray
    """float32 [n_items, width]: the vectors that it had to beat."""
    curves: pl.DataFrame
    """A row an epoch of the common training: epoch, train_loss, learning_rate, validation_ndcg, seconds."""
    steps: pl.DataFrame
    """A row a step: `loop.STEP_CURVE`."""
    plan: Plan
    """What `refit_tower` needs."""
    verdict: Verdict | None
    """None where there was no validation."""
    decisions: Mapping[str, Any]
    """What the training decided or was given; equal for equal runs."""
    peak_gpu_mb: float | None = None
    """Most GPU memory held by tensors; None on a CPU."""


def train_tower(
    data: TrainingSet,
    texts: pl.DataFrame,
    config: TowerTrainingConfig,
    *,
    seed: int,
    validation: ValidationTarget,
    device: str = "cpu",
    cache: Path | None = None,
    checkpoints: Path | None = None,
    promotion: PromotionConfig | None = None,
    view: View | None = None,
    say: Say = lambda line: None,
    report: Report | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainedTower:
    """Train on `data` and the items' `texts` (schema `ItemTexts`), and judge on `validation`.

    `cache` is the layer cache's folder, `checkpoints` a folder of this training alone, `view` changes texts a little
    where `config.pairs` asks for views. Raises `TrainingError` where
    there is no text or too little history, `ModelFileError` and `ConfigError` as the tower's loader.
    """
    target = validation.first_users(config.validation_users, seed)
    start = start_tower(data, texts, config, seed=seed, device=device, cache=cache)
    say(f"{config.tower.kind} tower: {int(start.reading.has_text.sum()):,} texts, user tower alone first")
    alone = train_sequence(
        start.data, config.alone, seed=seed, device=device, validation=target, checkpoints=_in(checkpoints, "alone")
    )
    scores = [user_ndcg(alone.model, data, target)]
    say(f"user tower alone: nDCG@10 {_mean(scores[0]):.4f} after {alone.best_epoch} epochs")
    common: dict[str, Any] = {"seed": seed, "device": device, "clock": clock}
    if start.is_own:
        control = start.task(config, alone.model, target, learns=False)
        train(control, config, checkpoints=_in(checkpoints, "control"), **common)
        scores.append(user_ndcg(control.model.users, data, target))
        say(f"control, tower frozen: nDCG@10 {_mean(scores[1]):.4f}")
    start.learn_pairs(texts, config, view, _in(checkpoints, "pairs"))
    task = start.task(config, alone.model if start.is_own else None, target, learns=True)
    result = train(task, config, checkpoints=_in(checkpoints, "tower"), report=report, **common)
    verdict = _verdict(user_ndcg(task.model.users, data, target), scores, promotion or PromotionConfig(), seed)
    say(str(verdict))
    return _trained(task, result, (alone.planned_epochs, alone.best_epoch), verdict, start)


def refit_tower(
    data: TrainingSet,
    texts: pl.DataFrame,
    config: TowerTrainingConfig,
    plan: Plan,
    *,
    seed: int,
    device: str = "cpu",
    cache: Path | None = None,
    checkpoints: Path | None = None,
    view: View | None = None,
    report: Report | None = None,
) -> TrainedTower:
    """Train on more data as long as validation found best; `plan` is that training's. No clock decides anything."""
    (alone_plan, (planned, best)) = plan
    start = start_tower(data, texts, config, seed=seed, device=device, cache=cache)
    users: SequenceModel | None = None
    if start.is_own:
        users = refit_sequence(start.data, config.alone, alone_plan, seed=seed, device=device).model
    fixed = config.model_copy(update={"epochs": planned, "max_minutes": None})
    start.learn_pairs(texts, config, view, _in(checkpoints, "pairs"))
    task = start.task(fixed, users, None, learns=True)
    result = train(
        task, fixed, seed=seed, device=device, checkpoints=_in(checkpoints, "tower"), report=report, last_epoch=best
    )
    return _trained(task, result, alone_plan, None, start)


@dataclass(frozen=True)
class TowerStart:
    """Where all trainings of one tower start from."""

    data: TrainingSet
    """With the vectors that the user tower learns on alone, as its technique `tower`."""
    reading: ItemReading
    own: np.ndarray
    """float32 [n_items, W]: the tower's vectors before training."""
    is_own: bool
    """Whether those are what the trained ones have to beat."""
    seed: int
    device: str

    def task(
        self, config: TowerTrainingConfig, users: SequenceModel | None, target: ValidationTarget | None, *, learns: bool
    ) -> TowerTask:
        """The common training, from these users' weights on, or from new ones."""
        import torch

        from genre_pipeline.training.tower_task import TowerTask

        data = replace(self.data, item_vectors={OWN_CONTENT: self.own})
        sequence = SequenceTask(data, config.alone, seed=self.seed, target=target)
        if users is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                sequence.prepare()
        else:
            sequence.model = copy.deepcopy(users)
        task = TowerTask(sequence, self.reading, sequence.model, config, learns=learns)
        if learns and config.pairs is not None:
            task.model.to(self.device)
            task.refresh()
        return task

    def learn_pairs(
        self, texts: pl.DataFrame, config: TowerTrainingConfig, view: View | None, checkpoints: Path | None
    ) -> None:
        """Let the tower learn from pairs of items, where the configuration asks for it."""
        if config.pairs is None:
            return
        from genre_pipeline.training.item_pairs import ItemPairsTask, consecutive_pairs

        known = pl.DataFrame({ITEM_ID: self.data.item_ids})
        said = known.join(texts, on=ITEM_ID, how="left", maintain_order="left")["text"].to_list()
        pairs = consecutive_pairs(data_histories(self.data))
        changed = None if view is None else lambda items, seed: view(self.data.item_ids.gather(items), seed)
        task = ItemPairsTask(self.reading.tower, said, pairs, config.pairs, seed=self.seed, view=changed)
        train(task, config.pairs, seed=self.seed, device=self.device, checkpoints=checkpoints)


def start_tower(
    data: TrainingSet,
    texts: pl.DataFrame,
    config: TowerTrainingConfig,
    *,
    seed: int,
    device: str = "cpu",
    cache: Path | None = None,
) -> TowerStart:
    """Build the tower, run its frozen layers where they are cached, read every item once. Raises as `train_tower`."""
    import torch

    from genre_pipeline.models.towers import build_tower

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = build_tower(config.tower, texts["text"].drop_nulls().to_list()).to(device)
    held = LayerCache(cache, dtype=config.cache_dtype) if cache is not None and config.uses_layer_cache else None
    reading = ItemReading.of(tower, data.item_ids, texts, cache=held)
    own = reading.all_vectors(budget=config.tokens_per_batch, is_half=config.precision == "bfloat16").cpu().numpy()
    frozen = _frozen(data, own, config)
    return TowerStart(replace(data, item_vectors={OWN_CONTENT: frozen}), reading, own, frozen is own, seed, device)


def _frozen(data: TrainingSet, own: np.ndarray, config: TowerTrainingConfig) -> np.ndarray:
    """The vectors to beat."""
    if config.against is None and config.tower.kind != "lstm":
        return own
    if config.against is None or config.against not in data.item_vectors:
        raise ConfigError(
            f"There are no vectors {config.against!r} for the tower to be compared with",
            remedy="Set `against` to a technique that `features.for_recommenders` names, such as text_llm.",
            culprits=sorted(data.item_vectors),
        )
    return data.item_vectors[config.against]


def _verdict(tuned: pl.DataFrame, frozen: list[pl.DataFrame], promotion: PromotionConfig, seed: int) -> Verdict:
    best = max(frozen, key=_mean)
    decision = decide_promotion(tuned, best, promotion, seed=seed)
    if decision.difference is None or decision.low is None or decision.high is None:
        raise TrainingError("The towers could not be compared", remedy="Give validation users.")
    enough = tuned.height >= promotion.least_users
    means = float(tuned[NDCG].mean()), float(best[NDCG].mean())  # type: ignore[arg-type]
    return Verdict(enough and decision.low > 0, *means, decision.difference, decision.low, decision.high, tuned.height)


def _trained(
    task: TowerTask, result: TrainingResult, alone: tuple[int, int], verdict: Verdict | None, start: TowerStart
) -> TrainedTower:
    from genre_pipeline.models.towers import finish_tower

    task.model.to(start.device)
    task.refresh()
    task.model.cpu()
    plan: Plan = alone, (result.planned_epochs, result.best_epoch)
    curves = result.epochs
    if VALIDATION_NDCG not in curves.columns:
        curves = curves.with_columns(pl.lit(None, pl.Float64).alias(VALIDATION_NDCG))
    return TrainedTower(
        finish_tower(task.reading.tower),
        task.model.users,
        task.model.users.items.content.numpy(),
        start.data.item_vectors[OWN_CONTENT],
        curves.select("epoch", "train_loss", "learning_rate", VALIDATION_NDCG, "seconds"),
        result.curves,
        plan,
        verdict,
        _decisions(task, plan, verdict, start),
        result.peak_gpu_mb,
    )


def _decisions(task: TowerTask, plan: Plan, verdict: Verdict | None, start: TowerStart) -> dict[str, Any]:
    data = task.sequence.data
    return {
        "seed": start.seed,
        "plan": [list(part) for part in plan],
        "verdict": None if verdict is None else asdict(verdict),
        "against": task.config.against or "the tower before training",
        "trained": task.config.tower.fine_tune,
        "softmax": "full" if task.sequence.negatives is None else f"sampled {task.sequence.negatives}",
        "texts": int(start.reading.has_text.sum()),
        "users": data.n_users,
        "items": data.n_items,
        "events": data.events.height,
        "as_of": data.as_of.isoformat(),
    }


def _mean(scores: pl.DataFrame) -> float:
    return float(scores[NDCG].mean())  # type: ignore[arg-type]


def _in(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name
