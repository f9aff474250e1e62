"""Tasks that the training loop finishes in a blink."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from genre_pipeline.training.task import StepLoss, TrainingTask

WIDTH = 6


class Noisy(TrainingTask[tuple[Tensor, Tensor]]):
    """Linear regression through dropout: every step draws from torch's generator. Batches are of unequal size."""

    decides = "validation_loss"
    larger_is_better = False

    def __init__(self, *, seed: int = 3, sizes: tuple[int, ...] = (8, 8, 5, 8, 3), dropout: float = 0.2) -> None:
        self.seed, self.sizes, self.dropout = seed, sizes, dropout

    def prepare(self) -> None:
        self.model = nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(self.dropout), nn.Tanh(), nn.Linear(8, 1))

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(1000 * self.seed + epoch)
        for size in self.sizes:
            x = torch.randn(size, WIDTH, generator=generator)
            yield x, x.sum(dim=1, keepdim=True)

    def loss(self, batch: tuple[Tensor, Tensor]) -> StepLoss:
        x, y = batch
        return StepLoss(nn.functional.mse_loss(self.model(x), y), float(len(x)), x.numel(), len(x))

    def validate(self) -> Mapping[str, float]:
        self.model.eval()
        x = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0)).to(next(self.model.parameters()).device)
        with torch.inference_mode():
            return {"validation_loss": float(nn.functional.mse_loss(self.model(x), x.sum(dim=1, keepdim=True)))}


class Scripted(Noisy):
    """Validation says what it was told to say."""

    decides = "score"
    larger_is_better = True

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores

    def validate(self) -> Mapping[str, float]:
        return {"score": self.scores.pop(0)}


def weights(task: TrainingTask) -> dict[str, bytes]:
    """Every weight's bytes."""
    return {name: tensor.numpy().tobytes() for name, tensor in task.model.state_dict().items()}
