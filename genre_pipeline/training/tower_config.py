"""How an item tower is trained, apart from the training so that reading a configuration does not load torch."""

from typing import Literal

from pydantic import Field

from genre_pipeline.models.sequence_config import SequenceConfig
from genre_pipeline.models.tower_config import TowerConfig
from genre_pipeline.training.sequence_training import SequenceTrainingConfig
from genre_pipeline.training.task import LoopConfig

OWN_CONTENT = "tower"


class ItemPairsConfig(LoopConfig):
    """How a tower learns from pairs of items."""

    batch_size: int = Field(default=128, ge=2)
    """Pairs in a batch: each has one right answer and so many wrong ones, less one."""
    temperature: float = Field(default=0.05, gt=0)
    """Cosines are divided by this."""
    views_share: float = Field(default=0.5, ge=0, le=1)
    """Share of pairs that are two views of one item; the others are items taken one after the other."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """Peak of the schedule."""


class TowerTrainingConfig(LoopConfig):
    """How a text tower learns from what users take next."""

    enabled: bool = False
    """Train a tower every night. Its vectors are used where `features.for_recommenders` names `tower`."""
    tower: TowerConfig = TowerConfig()
    """The network that reads an item's text, and what of it is trained."""
    network: SequenceConfig = SequenceConfig(
        width=128, ids=False, similarity="cosine", temperature=0.07, dropout=0.2, id_dropout=0.0
    )
    """The user tower over the vectors of a history; without ids, so that all it knows of an item is its text."""
    against: str | None = None
    """Technique whose vectors the tower has to beat; `null` takes the tower's own before training. An `lstm`, which
    knows nothing before training, needs one: `text_llm`."""
    pairs: ItemPairsConfig | None = None
    """Learn first from pairs of items: views of one item, and items taken one after the other. `null` leaves it out."""
    epochs: int = Field(default=8, ge=1)
    """Passes over the data in which tower and user tower learn together."""
    learning_rate: float = Field(default=3e-4, gt=0)
    """Peak rate of what of the tower is trained. It suits adapters and an `lstm`; a language model's own weights
    (`top_layers`, `full`) want a tenth."""
    max_minutes: float | None = Field(default=120.0, gt=0)
    """Time budget of the common training. After the first epoch the plan is cut to the epochs that fit into it."""
    user_epochs: int = Field(default=30, ge=1)
    """Passes in which the user tower learns alone before, on vectors that stand still."""
    user_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak rate of the user tower's weights, alone and together."""
    batch_size: int = Field(default=128, ge=1)
    """Windows of histories in a batch."""
    fresh_items: int = Field(default=1024, ge=1)
    """Distinct items a batch reads anew, whose gradients reach the tower; the others keep the vector of when they were
    last read. This, and not the catalogue, bounds the memory of a step."""
    tokens_per_batch: int = Field(default=16_384, ge=1)
    """The tower reads at most so many tokens at once, counted with padding; longer texts apart from shorter ones."""
    uses_layer_cache: bool = True
    """Where layers are frozen, compute their states once an item and keep them on disk."""
    cache_dtype: Literal["float16", "bfloat16"] = "float16"
    """Precision of the kept states."""
    full_softmax_below: int = Field(default=2000, ge=0)
    """Catalogues smaller than this use the full softmax, larger ones the sampled one with its log-q correction."""
    negatives: int = Field(default=256, ge=1)
    """Negatives of the sampled softmax, shared by all positions of a batch."""
    negative_sampling: Literal["uniform", "popularity"] = "uniform"
    """How negatives are drawn."""
    validation_users: int = Field(default=5000, ge=1)
    """Users that validation looks at, at most."""
    least_events: int = Field(default=20, ge=2)
    """Below this many (interaction, next interaction) pairs there is nothing to learn from."""

    @property
    def alone(self) -> SequenceTrainingConfig:
        """The training of the user tower alone."""
        return SequenceTrainingConfig(
            network=self.network,
            content=OWN_CONTENT,
            epochs=self.user_epochs,
            learning_rate=self.user_learning_rate,
            max_minutes=None,
            batch_size=self.batch_size,
            patience=max(self.patience, 5),
            validation_users=self.validation_users,
            full_softmax_below=self.full_softmax_below,
            negatives=self.negatives,
            negative_sampling=self.negative_sampling,
            least_events=self.least_events,
        )
