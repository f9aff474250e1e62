"""Numbers as vectors: prices, years and the like, in a form whose cosine says how near two items' numbers are.

Belongs here: the form. Kept out: the scale, which has to be learned of training items alone (`preprocessing.numbers`).
"""

import numpy as np
from pydantic import Field

from genre_pipeline.contracts.settings import Settings

TABULAR = "tabular"
"""The modality's name among the parts of `fused`."""
_VERSION = 1
_FARTHEST = 4.0


class TabularConfig(Settings):
    """Which numbers of an item are a part of its fused vector."""

    enabled: bool = False
    """On makes numbers a modality beside text, picture and sound; it counts in the fusion as they do."""
    columns: tuple[str, ...] | None = None
    """Columns of `items` with numbers, truth values or dates; None takes all that there are."""
    frequencies: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Of the waves a number is written in, in radians a deviation: higher ones tell nearer numbers apart."""


def number_vectors(scaled: np.ndarray, present: np.ndarray, config: TabularConfig) -> np.ndarray:
    """float32 [items, columns × frequencies × 2] of float32 [items, columns] standardised, and bool of the same shape.

    Each number becomes points on circles (Fourier features, Rahimi and Recht 2007): a known number has the same length
    in every item, so that a cosine compares numbers and not their sizes. Beyond 4 deviations all are alike. A missing
    number is 0 throughout, an item without any a row of zeros.
    """
    waves = np.clip(scaled, -_FARTHEST, _FARTHEST)[:, :, None] * np.asarray(config.frequencies, dtype=np.float32)
    points = np.concatenate([np.cos(waves), np.sin(waves)], axis=2) * present[:, :, None]
    items, columns, numbers = points.shape
    return np.ascontiguousarray(points.reshape(items, columns * numbers), dtype=np.float32)


def tabular_model(columns: tuple[str, ...], config: TabularConfig) -> str:
    """The identity of what decides a vector, but for the scale."""
    waves = "-".join(f"{frequency:g}" for frequency in config.frequencies)
    return f"{TABULAR}/{_VERSION}/{waves}/{'-'.join(columns)}"
