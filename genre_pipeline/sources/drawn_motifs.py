"""Motifs synthesised from a film's title, year and genres, for a demo whose data set has no sounds.

Belongs here: a short mono melody a film, deterministic, whose file says that it is synthesised. Kept out: real sounds.
FLAC, because its bytes depend on the samples alone; an Ogg stream carries a random serial number.
"""

import hashlib
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np

COMMENT = "Synthesised by GENRE from title, year and genres; not a sound of the film."
SAMPLE_RATE = 16_000
_SECONDS = 2.4
_STEP = 1 << 5
"""Samples keep their upper 11 bits: half the file, and no one hears it."""
_MAJOR, _MINOR, _DORIAN = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10)
_PENTATONIC, _BLUES, _PHRYGIAN = (0, 2, 4, 7, 9), (0, 3, 5, 6, 7, 10), (0, 1, 3, 5, 7, 8, 10)
_WHOLE, _LYDIAN, _DIMINISHED = (0, 2, 4, 6, 8, 10), (0, 2, 4, 6, 7, 9, 11), (0, 2, 3, 5, 6, 8, 9, 11)
_SCALES: Mapping[str, tuple[int, ...]] = {
    "Action": _MINOR, "Adventure": _LYDIAN, "Animation": _MAJOR, "Children's": _MAJOR, "Children": _MAJOR,
    "Comedy": _PENTATONIC, "Crime": _BLUES, "Documentary": _DORIAN, "Drama": _MINOR, "Fantasy": _LYDIAN,
    "Film-Noir": _BLUES, "Horror": _DIMINISHED, "Musical": _MAJOR, "Mystery": _WHOLE, "Romance": _DORIAN,
    "Sci-Fi": _WHOLE, "Thriller": _PHRYGIAN, "War": _PHRYGIAN, "Western": _PENTATONIC,
}  # fmt: skip
"""Genre to the scale of its melodies, in semitones."""
_BRIGHTNESS: Mapping[str, float] = {"Horror": 0.7, "Action": 0.6, "Sci-Fi": 0.55, "Romance": 0.2, "Drama": 0.25}
"""Genre to the loudness of the overtones; 0.4 where not named."""


def synthesise_motif(title: str, year: int | None, genres: Sequence[str]) -> bytes:
    """One FLAC file: mono, 16 kHz, 2.4 s; scale by genre, tempo by year, notes by title. Deterministic."""
    import soundfile

    samples = motif_samples(title, year, genres)
    target = BytesIO()
    with soundfile.SoundFile(target, "w", SAMPLE_RATE, 1, subtype="PCM_16", format="FLAC") as file:
        file.title = title
        file.comment = COMMENT
        file.write(samples)
    return target.getvalue()


def motif_samples(title: str, year: int | None, genres: Sequence[str]) -> np.ndarray:
    """int16 [38,400]: the melody of `synthesise_motif`."""
    genre = genres[0] if genres else ""
    seed = np.frombuffer(hashlib.sha256(f"{title}\x00{year}".encode()).digest(), np.uint8)
    n_notes = 5 + (min(max(year or 1980, 1920), 2020) - 1920) // 20
    scale = _SCALES.get(genre, _MAJOR)
    degrees = np.cumsum(seed[:n_notes] % 5 - 2.0).astype(int) + 3
    semitones = np.array([scale[degree % len(scale)] + 12 * (degree // len(scale)) for degree in degrees])
    pitches = 196.0 * 2 ** ((seed[31] % 7 + semitones) / 12)
    wave = _notes(pitches, _BRIGHTNESS.get(genre, 0.4))
    loudest = np.abs(wave).max()
    samples: np.ndarray = (np.round(wave / loudest * 24_000 / _STEP) * _STEP).astype(np.int16)
    return samples


def _notes(pitches: np.ndarray, brightness: float) -> np.ndarray:
    """float32 [samples]: the notes one after another, each struck and fading; three partials."""
    total = int(SAMPLE_RATE * _SECONDS)
    length = total // len(pitches)
    seconds = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    turns = 2 * np.pi * pitches[:, None].astype(np.float32) * seconds
    partials = np.sin(turns) + brightness * np.sin(2 * turns) + brightness**2 * np.sin(3 * turns)
    fade = (
        np.minimum(1, seconds / 0.012)
        * np.exp(-2.2 * seconds / seconds[-1])
        * np.minimum(1, (seconds[-1] - seconds) / 0.02)
    )
    melody = (partials * fade).ravel()
    return np.pad(melody, (0, total - len(melody))).astype(np.float32)
