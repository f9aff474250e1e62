"""A text encoder for tests: which category's word a text holds, on the axes of the tiny world."""

from collections.abc import Sequence

import numpy as np

from tests import scenario
from tests.fakes.serving_world import MODEL


class Axes:
    """float32 [texts, 4]."""

    def __init__(self, model: str = MODEL) -> None:
        self.model = model

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = [[float(name in text) for name in scenario.CATEGORIES] + [0.1] for text in texts]
        return np.array(rows, dtype=np.float32)
