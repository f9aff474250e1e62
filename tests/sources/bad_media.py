"""Pictures and sounds as the world makes them: odd, damaged, lying and hostile. Each says what should become of it."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile
from PIL import Image

DECODED = "decoded"
EITHER = "either"
"""Decoded or rejected, as the library sees fit; never a crash."""


@dataclass(frozen=True)
class BadFile:
    name: str
    contents: bytes
    outcome: str
    """A rule's name, DECODED or EITHER."""


def picture(width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    red = np.stack(
        [columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1), (rows ^ columns) % 256], axis=-1
    )
    return Image.fromarray(red.astype(np.uint8)).convert(mode)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def sound(
    frames: int = 4_000, channels: int = 1, rate: int = 8_000, form: str = "WAV", subtype: str | None = None
) -> bytes:
    samples = 0.5 * np.sin(np.arange(frames)[:, None] / 5 + np.arange(channels)[None, :])
    return written(samples, rate, form, subtype)


def written(samples: np.ndarray, rate: int, form: str, subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=form, subtype=subtype)
    return stream.getvalue()


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG by hand: its header may say what its data does not."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def pictures() -> Iterator[BadFile]:
    yield from _damaged_pictures()
    yield from _lying_pictures()
    yield from _odd_pictures()
    yield from _blocked_pictures()


def _damaged_pictures() -> Iterator[BadFile]:
    forms = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
    for form, ending in forms.items():
        whole = saved(picture(200, 150), form)
        for percent in (10, 30, 50, 70, 90):
            yield BadFile(f"cut-{percent}.{ending}", whole[: len(whole) * percent // 100], "undecodable")
        yield BadFile(f"magic-only.{ending}", whole[:12], "undecodable")
        yield BadFile(f"without-its-end.{ending}", whole[:-1], EITHER)
        yield BadFile(f"with-a-tail.{ending}", whole + b"tail" * 100, DECODED)
        yield BadFile(
            f"zeros-after-header.{ending}", whole[:40] + bytes(len(whole)), "undecodable" if form != "WEBP" else EITHER
        )
    for ending in forms.values():
        yield BadFile(f"empty.{ending}", b"", "file_empty")
        yield BadFile(f"page.{ending}", b"<!DOCTYPE html><html><body>404</body></html>", "format_refused")
        yield BadFile(f"zeros.{ending}", bytes(1_000), "format_refused")
    yield BadFile("text.jpg", b"not found", "format_refused")


def _lying_pictures() -> Iterator[BadFile]:
    for width, height in ((30_000, 30_000), (2**31 - 1, 1), (1, 2**31 - 1), (65_501, 1), (6_400, 6_400)):
        yield BadFile(f"says-{width}x{height}.png", png(width, height, rows=bytes(100)), "too_many_pixels")
    yield BadFile("says-0x5.png", png(0, 5), "undecodable")
    yield BadFile("more-rows-than-data.png", png(2_000, 2_000, rows=bytes(100)), "undecodable")
    jpeg = bytearray(saved(picture(), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    yield BadFile("says-65500x65500.jpg", bytes(jpeg), "too_many_pixels")
    text = zlib.compress(bytes(80_000_000), 9)
    yield BadFile("text-bomb.png", png(2, 2, rows=bytes(14), extra=_chunk(b"zTXt", b"a\0\0" + text)), "undecodable")
    yield BadFile("wrong-depth.png", png(2, 2, depth=3, rows=bytes(14)), EITHER)
    yield BadFile("one-bit-bomb.png", png(30_000, 30_000, depth=1, colour=0, rows=bytes(3_751)), "too_many_pixels")


def _odd_pictures() -> Iterator[BadFile]:
    yield BadFile("png-called.jpg", saved(picture(), "PNG"), DECODED)
    yield BadFile("jpeg-called.wav", saved(picture(), "JPEG"), DECODED)
    for width, height in ((1, 1), (1, 60_000), (60_000, 1), (2, 3), (513, 7), (3_000, 2_000)):
        yield BadFile(f"{width}x{height}.png", saved(picture(width, height), "PNG"), DECODED)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield BadFile(f"mode-{mode.replace(';', '-')}.png", saved(picture(mode=mode), "PNG"), DECODED)
    for mode in ("L", "RGB", "CMYK"):
        for is_progressive in (False, True):
            contents = saved(picture(mode=mode), "JPEG", progressive=is_progressive)
            yield BadFile(f"mode-{mode}-{is_progressive}.jpg", contents, DECODED)
    for mode in ("RGB", "RGBA"):
        yield BadFile(f"lossless-{mode}.webp", saved(picture(mode=mode), "WEBP", lossless=True), DECODED)
    yield BadFile("16-bit-colour.png", png(2, 2, depth=16, rows=bytes([0, *range(12)] * 2)), DECODED)
    yield BadFile("16-bit-alpha.png", png(2, 2, depth=16, colour=6, rows=bytes([0, *range(16)] * 2)), DECODED)
    yield BadFile("palette-alpha.png", saved(picture(mode="P"), "PNG", transparency=bytes(range(256))), DECODED)
    yield BadFile("colour-key.png", saved(picture(), "PNG", transparency=(0, 0, 0)), DECODED)
    frames = [picture(mode="RGB").rotate(angle) for angle in range(0, 360, 10)]
    for form in ("WEBP", "PNG"):
        yield BadFile(f"animated.{form.lower()}", saved(frames[0], form, save_all=True, append_images=frames), DECODED)
    yield BadFile("two-frames.jpg", saved(frames[0], "MPO", save_all=True, append_images=frames[1:2]), DECODED)
    for orientation in (*range(1, 9), 0, 77):
        yield BadFile(f"exif-{orientation}.jpg", saved(picture(), "JPEG", exif=exif(orientation)), DECODED)
    yield BadFile("bad-exif.jpg", saved(picture(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 50), DECODED)
    yield BadFile("bad-colours.jpg", saved(picture(), "JPEG", icc_profile=b"\xff" * 500), DECODED)
    yield BadFile("bad-colours.png", saved(picture(), "PNG", icc_profile=b"\xff" * 500), DECODED)


def exif(orientation: int) -> bytes:
    notes = Image.Exif()
    notes[0x0112] = orientation
    return notes.tobytes()


def _blocked_pictures() -> Iterator[BadFile]:
    for form in ("GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "PCX", "DDS", "SGI", "IM", "PDF", "EPS", "MSP", "XBM"):
        image = picture(64, 64, mode="1" if form in ("MSP", "XBM") else "RGB")
        yield BadFile(f"{form.lower()}-called.jpg", saved(image, form), "format_refused")
    beginnings = {
        "psd": b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3),
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script/></svg>',
        "fits": b"SIMPLE  =                    T" + b" " * 2_850,
        "dcx": b"\xb1\x68\xde\x3a" + bytes(200),
        "gd": b"\xff\xfe" + bytes(200),
        "spider": struct.pack(">27f", *range(27)) + bytes(900),
        "avif": b"\0\0\0\x1cftypavif" + bytes(200),
        "zip": b"PK\x03\x04" + bytes(200),
        "script": b"#!/bin/sh\nexit\n",
    }
    for name, contents in beginnings.items():
        yield BadFile(f"{name}-called.png", contents, "format_refused")


def sounds() -> Iterator[BadFile]:
    yield from _odd_sounds()
    yield from _damaged_sounds()
    yield from _blocked_sounds()


COMPRESSED = {"ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", None), "mp3": ("MP3", None)}


def _odd_sounds() -> Iterator[BadFile]:
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"):
        yield BadFile(f"{subtype}.wav", sound(subtype=subtype), DECODED)
    for channels in (1, 2, 3, 6, 16, 17, 64):
        yield BadFile(
            f"{channels}-channels.wav", sound(channels=channels), DECODED if channels < 17 else "too_many_channels"
        )
    for rate in (1, 999, 1_000, 11_025, 44_100, 191_999, 192_000, 192_001, 768_000):
        outcome = DECODED if 1_000 <= rate <= 192_000 else "rate_refused"
        yield BadFile(f"{rate}-hertz.wav", sound(rate=rate), outcome)
    for name, (form, subtype) in COMPRESSED.items():
        yield BadFile(f"whole.{name}", sound(form=form, subtype=subtype), DECODED)
        yield BadFile(f"{name}-called.wav", sound(form=form, subtype=subtype), DECODED)
    yield BadFile("extensible.wav", sound(form="WAVEX"), DECODED)
    yield BadFile("64-bit-header.wav", sound(form="RF64"), DECODED)
    tag = b"ID3\x04\0\0\0\0\0\x7f" + bytes(127)
    yield BadFile("tagged.flac", tag + sound(form="FLAC"), DECODED)
    yield BadFile("tagged.mp3", tag + sound(form="MP3"), DECODED)
    yield BadFile("tagged-aiff.mp3", tag + sound(form="AIFF"), "format_refused")
    yield BadFile("none.wav", written(np.zeros((0, 1)), 8_000, "WAV"), "sound_empty")
    for name, value in (("nan", np.nan), ("inf", np.inf), ("minus-inf", -np.inf)):
        samples = np.zeros(4_000)
        samples[2_000] = value
        yield BadFile(f"{name}.wav", written(samples, 8_000, "WAV", "FLOAT"), "sound_not_finite")
    for name, peak in (("silent", 0.0), ("clipped", 1.0), ("loud", 7.0), ("deafening", 3e38)):
        yield BadFile(f"{name}.wav", written(np.full((4_000, 2), peak), 8_000, "WAV", "FLOAT"), DECODED)
    yield BadFile("long-silence.flac", written(np.zeros(8_000 * 600), 8_000, "FLAC"), DECODED)


def _damaged_sounds() -> Iterator[BadFile]:
    for name, (form, subtype) in {"wav": ("WAV", None), **COMPRESSED}.items():
        whole = sound(frames=16_000, form=form, subtype=subtype)
        for percent in (1, 10, 30, 50, 70, 90):
            yield BadFile(f"cut-{percent}.{name}", whole[: len(whole) * percent // 100], EITHER)
        yield BadFile(f"magic-only.{name}", whole[:4], EITHER)
        yield BadFile(f"holes.{name}", whole[: len(whole) // 2] + bytes(200) + whole[len(whole) // 2 + 200 :], EITHER)
        yield BadFile(f"empty.{name}", b"", "file_empty")
        yield BadFile(f"page.{name}", b"<html><body>403</body></html>", "format_refused")
    whole = bytearray(sound())
    for name, at, size in (("data", whole.index(b"data") + 4, 0xFFFFFFFF), ("file", 4, 0xFFFFFFF0), ("small", 4, 4)):
        lying = bytearray(whole)
        lying[at : at + 4] = struct.pack("<I", size)
        yield BadFile(f"header-lies-{name}.wav", bytes(lying), DECODED if name == "data" else EITHER)
    flac = bytearray(sound(form="FLAC"))
    flac[21:26] = b"\x4f\xff\xff\xff\xff"  # total samples: 2**36 - 1
    yield BadFile("header-lies.flac", bytes(flac), EITHER)


def _blocked_sounds() -> Iterator[BadFile]:
    for form in ("AIFF", "AU", "CAF", "W64", "VOC", "NIST", "IRCAM", "PAF", "SVX", "AVR", "WVE", "XI", "PVF", "HTK"):
        subtype = {"WVE": "ALAW", "XI": "DPCM_16"}.get(form, "PCM_16")
        yield BadFile(f"{form.lower()}-called.wav", sound(form=form, subtype=subtype), "format_refused")
    beginnings = {
        "midi": b"MThd\0\0\0\x06\0\x01" + bytes(50),
        "aac": b"\xff\xf1\x50\x80" + bytes(200),
        "mp4": b"\0\0\0\x1cftypM4A " + bytes(200),
        "picture": saved(picture(), "JPEG"),
        "avi": b"RIFF\x24\0\0\0AVI " + bytes(200),
        "zeros": bytes(1_000),
        "playlist": b"#EXTM3U\nhttp://169.254.169.254/\n",
    }
    for name, contents in beginnings.items():
        yield BadFile(f"{name}-called.mp3", contents, "format_refused")


def mutants(wholes: list[tuple[str, bytes]], count: int, seed: int) -> Iterator[BadFile]:
    """Whole files with a few bytes changed, cut out or doubled."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        ending, whole = wholes[number % len(wholes)]
        mutant = bytearray(whole)
        for _ in range(int(rng.integers(1, 9))):
            at = int(rng.integers(0, len(mutant)))
            kind = int(rng.integers(0, 4))
            if kind == 0:
                mutant[at] ^= 1 << int(rng.integers(0, 8))
            elif kind == 1:
                mutant[at] = int(rng.choice([0, 1, 127, 128, 255]))
            elif kind == 2:
                mutant[at : at + int(rng.integers(1, 16))] = b""
            else:
                mutant[at:at] = mutant[at : at + int(rng.integers(1, 16))]
        yield BadFile(f"mutant-{number}.{ending}", bytes(mutant), EITHER)


def whole_pictures() -> list[tuple[str, bytes]]:
    forms = [("jpg", "JPEG", {}), ("png", "PNG", {}), ("webp", "WEBP", {}), ("webp", "WEBP", {"lossless": True})]
    wholes = [(ending, saved(picture(), form, **options)) for ending, form, options in forms]  # type: ignore[arg-type]
    frames = [picture().rotate(90), picture().rotate(180)]
    return [
        *wholes,
        ("jpg", saved(picture(), "JPEG", progressive=True, exif=exif(6))),
        ("png", saved(picture(mode="P"), "PNG", transparency=bytes(range(256)))),
        ("webp", saved(picture(), "WEBP", save_all=True, append_images=frames)),
        ("png", saved(picture(), "PNG", save_all=True, append_images=frames)),
    ]


def whole_sounds() -> list[tuple[str, bytes]]:
    forms = [("wav", "WAV", subtype) for subtype in ("PCM_16", "FLOAT", "IMA_ADPCM", "MS_ADPCM", "GSM610")]
    forms += [(name, form, subtype) for name, (form, subtype) in COMPRESSED.items()]  # type: ignore[misc]
    return [(ending, sound(frames=3_000, form=form, subtype=subtype)) for ending, form, subtype in forms]
