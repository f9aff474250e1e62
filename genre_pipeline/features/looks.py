"""What vectors and media look like, for a person to judge: contact sheets, spectrograms, neighbours, a plane, a player.

Pure: arrays in, PNG bytes, Markdown or a data URI out. Kept out: which items are shown, and where a picture is kept.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np

from genre_pipeline.contracts.media import Sound
from genre_pipeline.features.waveform import at_rate

_GAP, _WHITE = 4, 255
_COLOURS = 128
_BANDS, _N_FFT, _HOP, _RATE = 64, 1024, 512, 16_000
_PLAYER_RATE = 11_025
_NAMED_CATEGORIES = 8


def contact_sheet(pictures: Sequence[np.ndarray], *, columns: int = 6, side: int = 88) -> bytes:
    """A PNG of uint8 [height, width, 3] pictures, each fitted into a square of `side` pixels, in rows from the left."""
    from PIL import Image

    rows = -(-len(pictures) // columns)
    step = side + _GAP
    sheet = Image.new("RGB", (columns * step - _GAP, max(1, rows) * step - _GAP), (_WHITE, _WHITE, _WHITE))
    for place, pixels in enumerate(pictures):
        thumbnail = Image.fromarray(np.ascontiguousarray(pixels))
        thumbnail.thumbnail((side, side))
        left = (place % columns) * step + (side - thumbnail.width) // 2
        top = (place // columns) * step + (side - thumbnail.height) // 2
        sheet.paste(thumbnail, (left, top))
    return _small_png(sheet)


def log_mel(sound: Sound) -> np.ndarray:
    """float32 [64 bands, T frames of 32 ms]: decibels below the loudest band, -80 to 0; no frame of silence."""
    from genre_pipeline.features.spectrum import decibels, mel_power

    samples = at_rate(sound, _RATE)
    if not len(samples):
        return np.zeros((_BANDS, 0), dtype=np.float32)
    return np.asarray(decibels(mel_power(samples, _RATE, _N_FFT, _HOP, _BANDS)).numpy().T, dtype=np.float32)


def spectrogram_sheet(spectra: Sequence[np.ndarray], captions: Sequence[str], *, columns: int = 3) -> bytes:
    """A PNG of log-mel spectra as `log_mel` gives them, low frequencies at the bottom, time to the right."""
    rows = max(1, -(-len(spectra) // columns))
    figure, grid = _figure(rows, columns, width=3.0, height=1.6)
    for place, axes in enumerate(grid):
        axes.set_axis_off()
        if place < len(spectra) and spectra[place].size:
            axes.imshow(spectra[place], origin="lower", aspect="auto", vmin=-80, vmax=0, cmap="magma")
        axes.set_title(_short(captions[place], 40) if place < len(captions) else "", fontsize=8)
    return _png(figure)


def plane(vectors: np.ndarray) -> np.ndarray:
    """float32 [n, 2]: vectors float32 [n, d] on their first two principal directions, signs fixed."""
    from scipy.linalg import eigh

    centred = vectors - vectors.mean(axis=0)
    width = centred.shape[1]
    moment = centred.T.astype(np.float64) @ centred
    _values, directions = eigh(moment, subset_by_index=(max(0, width - 2), width - 1))
    largest = np.abs(directions).argmax(axis=0)
    signed = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    placed = np.zeros((len(vectors), 2), dtype=np.float32)
    placed[:, : signed.shape[1]] = (centred @ signed)[:, ::-1]
    return placed


def plane_figure(points: np.ndarray, categories: Sequence[str | None], title: str) -> bytes:
    """A PNG of points [n, 2], the most frequent categories in a colour each, everything else grey."""
    figure, (axes,) = _figure(1, 1, width=6.0, height=4.2)
    named = [name for name, _count in Counter(filter(None, categories)).most_common(_NAMED_CATEGORIES)]
    labels = np.array([name if name in named else "" for name in categories])
    for at, name in enumerate(["", *named]):
        chosen = points[labels == name]
        colour = "0.8" if not name else f"C{at}"
        axes.scatter(chosen[:, 0], chosen[:, 1], s=6, color=colour, label=name or "other", linewidths=0)
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=2)
    return _png(figure)


def nearest_to(vectors: np.ndarray, asked: Sequence[int], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest others of the asked rows: (positions int64 [asked, k], cosines float32 [asked, k]).

    `vectors` are float32 [n, d], rows of length 1 or zero; a row of zeros is nobody's neighbour. Equal cosines go to
    the smaller position; a list that is too short ends in -1 and 0.
    """
    rows = np.asarray(asked, dtype=np.int64)
    cosines = vectors[rows] @ vectors.T  # [asked, n]
    cosines[:, ~vectors.any(axis=1)] = -np.inf
    cosines[np.arange(len(rows)), rows] = -np.inf
    where = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(cosines, where, axis=1)
    is_there = np.isfinite(found)
    return np.where(is_there, where, -1), np.where(is_there, found, 0).astype(np.float32)


def png_uri(picture: bytes) -> str:
    """PNG bytes as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def sound_uri(sound: Sound, *, seconds: float = 3.0) -> str:
    """The first seconds of a sound as a data URI of a small WAV file, which every browser plays."""
    import soundfile

    samples = at_rate(sound, _PLAYER_RATE)[: round(seconds * _PLAYER_RATE)]
    found = BytesIO()
    soundfile.write(found, samples, _PLAYER_RATE, format="WAV", subtype="PCM_16")
    return f"data:audio/wav;base64,{base64.b64encode(found.getvalue()).decode()}"


def _figure(rows: int, columns: int, *, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


def _png(figure: Any) -> bytes:
    from PIL import Image

    figure.set_dpi(80)
    figure.canvas.draw()
    return _small_png(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB"))


def _small_png(picture: Any) -> bytes:
    """With a palette: half of it or less, and all of it is kept in Dagster's own database night after night."""
    found = BytesIO()
    picture.quantize(_COLOURS).save(found, format="PNG", optimize=True)
    return found.getvalue()


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
