"""Decoding: one file's bytes in, one picture or sound out, or the rule that the file breaks.

Belongs here: formats, limits that a header can break, Pillow and soundfile calls. Kept out: the process it runs in
(`decoder_process`). Neither imports the rest of the house, so that starting a process costs a tenth of a second.
"""

import io
import re
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import soundfile

_IMAGE_FORMATS = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP"}
_SOUND_FORMATS = {"WAV": {"WAV", "WAVEX", "RF64"}, "FLAC": {"FLAC"}, "OGG": {"OGG"}, "MP3": {"MP3", "MPEG"}}
_UNREADABLE = (OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, ArithmeticError, struct.error)
"""What Pillow raises of damaged bytes. Anything else ends the process, which costs the one file all the same."""
_HANDLE = re.compile(r"<_io\.BytesIO object at 0x[0-9a-fA-F]+>")
_BLOCK_FRAMES = 65_536
MAX_DIMENSION = 65_500
MIN_RATE, MAX_RATE = 1_000, 192_000
MAX_CHANNELS = 16

Limits = Mapping[str, Any]
Decode = Callable[[bytes, Limits], tuple[np.ndarray, int]]


class RefusedError(Exception):
    """A file breaks a rule: the rule's name, and a sentence that says how."""

    def __init__(self, rule: str, detail: str) -> None:
        self.rule, self.detail = rule, detail
        super().__init__(detail)


def decode(contents: bytes, limits: Limits) -> tuple[np.ndarray, int]:
    """A picture, uint8 [height, width, 3] and 0, or a sound, float32 [samples] and its rate. Raises RefusedError.

    `limits` has `modality`, `formats`, `max_pixels`, `picture_side` and `max_sound_seconds`.
    """
    if not contents:
        raise RefusedError("file_empty", "The file has no bytes")
    return (decode_picture(contents, limits), 0) if limits["modality"] == "image" else decode_sound(contents, limits)


def decode_picture(contents: bytes, limits: Limits) -> np.ndarray:
    """uint8 [height, width, 3]: first frame, upright, on white, at most `picture_side` pixels on its longest side."""
    formats = [name for name in _IMAGE_FORMATS if name in limits["formats"]]
    try:
        image = Image.open(io.BytesIO(contents), formats=formats)
    except _UNREADABLE as error:
        sniffed = sniff(contents)
        if sniffed in formats:
            raise RefusedError("undecodable", f"Not a readable {sniffed}: {_said(error)}") from error
        raise RefusedError("format_refused", f"Not one of {', '.join(formats)}; it looks like {sniffed}") from error
    _check_size(image, limits["max_pixels"])
    try:
        return _pixels(image, limits["picture_side"])
    except _UNREADABLE as error:
        raise RefusedError("undecodable", f"Not a readable {image.format}: {_said(error)}") from error


def decode_sound(contents: bytes, limits: Limits) -> tuple[np.ndarray, int]:
    """float32 [samples] in -1 to 1 and the rate: channels averaged, at most `max_sound_seconds` from the start."""
    import soundfile

    sniffed = sniff(contents)
    if sniffed not in limits["formats"]:
        raise RefusedError("format_refused", f"Not one of {', '.join(limits['formats'])}; it looks like {sniffed}")
    try:
        with soundfile.SoundFile(io.BytesIO(contents)) as sound:
            _check_sound(sound, sniffed)
            samples = _mono(sound, int(limits["max_sound_seconds"] * sound.samplerate))
            rate = int(sound.samplerate)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise RefusedError("undecodable", f"Not a readable {sniffed}: {_said(error)}") from error
    if not len(samples):
        raise RefusedError("sound_empty", "The sound has no samples")
    if not np.isfinite(samples).all():
        raise RefusedError("sound_not_finite", "The sound has samples that are no number")
    peak = float(np.abs(samples).max())
    return (samples / np.float32(peak) if peak > 1 else samples), rate


def sniff(contents: bytes) -> str:
    """What the first bytes say a file is; a name or an ending says nothing."""
    for name, starts in _MAGIC.items():
        if contents.startswith(starts):
            return name
    if contents[:4] in (b"RIFF", b"RIFX"):
        return {b"WAVE": "WAV", b"WEBP": "WEBP"}.get(contents[8:12], "another RIFF file")
    if contents.startswith(b"ID3"):
        return _after_tag(contents)
    if len(contents) > 1 and contents[0] == 0xFF and contents[1] & 0xE0 == 0xE0 and contents[1] & 0x06:
        return "MP3"
    return _markup(contents)


def _markup(contents: bytes) -> str:
    if contents[:512].lstrip()[:1] != b"<":
        return "an unknown format"
    return "SVG" if b"<svg" in contents[:2048].lower() else "HTML or XML"


def _after_tag(contents: bytes) -> str:
    """An ID3 tag stands before MP3, and at times before FLAC; its length is in four bytes of seven bits."""
    size = sum((byte & 0x7F) << shift for byte, shift in zip(contents[6:10], (21, 14, 7, 0), strict=False))
    rest = contents[10 + size : 10 + size + 2048].lstrip(b"\0")
    return sniff(rest) if not rest.startswith(b"ID3") else "MP3"


_MAGIC: dict[str, tuple[bytes, ...]] = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*"),
    "PSD": (b"8BPS",),
    "EPS": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "PDF": (b"%PDF",),
    "FITS": (b"SIMPLE  =",),
    "WAV": (b"RF64",),
    "FLAC": (b"fLaC",),
    "OGG": (b"OggS",),
    "AIFF": (b"FORM",),
    "AU": (b".snd",),
    "MIDI": (b"MThd",),
    "ZIP": (b"PK\x03\x04",),
    "GZIP": (b"\x1f\x8b",),
}


def _said(error: Exception) -> str:
    """What a library says, without the address in memory that it names: equal files have equal reasons."""
    return _HANDLE.sub("the file", str(error))


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise RefusedError("undecodable", f"The header says {width} x {height} pixels")
    if width * height > max_pixels or max(width, height) > MAX_DIMENSION:
        raise RefusedError("too_many_pixels", f"The header says {width} x {height} pixels; {max_pixels:,} are allowed")


def _pixels(image: Image.Image, side: int) -> np.ndarray:
    """Shrink before anything else makes a copy: only the decoder itself sees the whole picture."""
    image.draft(None, (side, side))
    image.load()
    turn = _TURNS.get(_orientation(image) or 1)
    frame = _eight_bits(image)
    frame.thumbnail((side, side), reducing_gap=2.0)
    frame = _flattened(frame)
    return np.ascontiguousarray(np.asarray(frame if turn is None else frame.transpose(turn), dtype=np.uint8))


_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int | None:
    try:
        value = image.getexif().get(_ORIENTATION)
    except _UNREADABLE:
        return None  # a damaged note about the picture is no damage to the picture
    return value if isinstance(value, int) else None


def _eight_bits(image: Image.Image) -> Image.Image:
    """A mode that can be resized smoothly: 16 bits become 8, a palette its colours, a colour key its alpha."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
        return image
    return image.convert("RGBA" if image.mode in ("PA", "RGBa", "La") else "RGB")


def _flattened(frame: Image.Image) -> Image.Image:
    if frame.mode not in ("RGBA", "LA"):
        return frame if frame.mode == "RGB" else frame.convert("RGB")
    over = frame.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")


def _check_sound(sound: "soundfile.SoundFile", sniffed: str) -> None:
    if sound.format not in _SOUND_FORMATS[sniffed]:
        raise RefusedError("format_refused", f"It begins like {sniffed} and is {sound.format}")
    if not MIN_RATE <= sound.samplerate <= MAX_RATE:
        raise RefusedError("rate_refused", f"{sound.samplerate:,} samples a second; {MIN_RATE} to {MAX_RATE} are read")
    if sound.channels > MAX_CHANNELS:
        raise RefusedError("too_many_channels", f"{sound.channels} channels; {MAX_CHANNELS} are read")


def _mono(sound: "soundfile.SoundFile", cap: int) -> np.ndarray:
    """Block by block, because a header may promise any number of frames; what is read is believed, nothing else."""
    blocks: list[np.ndarray] = []
    left = cap
    while left > 0:
        block = sound.read(min(left, _BLOCK_FRAMES), dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block.mean(axis=1, dtype=np.float64).astype(np.float32))
        left -= len(block)
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)
