"""Posters drawn from a film's title, year and genres, for a demo whose data set has no pictures.

Belongs here: palettes, letters and the file; one small typographic poster a film, deterministic, each labelled as
drawn by GENRE so that nobody takes it for the real one. Kept out: the shapes themselves (`poster_shapes`).
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

from genre_pipeline.sources.poster_shapes import CANVAS, Colour, shape_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

LABEL = "drawn by GENRE"
_REDUCE = 2
"""Everything is drawn twice as large and reduced, which smooths every edge."""
_MARGIN, _TITLE_BASE, _GENRES_TOP, _LABEL_TOP = 28, 448, 470, 508
_TITLE_SIZES = (52, 44, 38, 32, 27, 23)
_MAX_LINES = 4
_SPELLED_OUT = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-"}
)
_PALETTES: Mapping[str, tuple[Colour, Colour, Colour]] = {
    "Action": ((28, 16, 20), (142, 26, 32), (255, 180, 66)),
    "Adventure": ((10, 38, 42), (28, 112, 98), (246, 208, 120)),
    "Animation": ((40, 26, 104), (116, 72, 200), (255, 216, 96)),
    "Children": ((14, 72, 128), (66, 158, 214), (255, 228, 116)),
    "Comedy": ((128, 48, 14), (226, 132, 34), (255, 243, 210)),
    "Crime": ((12, 14, 20), (58, 66, 84), (232, 92, 84)),
    "Documentary": ((34, 38, 34), (98, 108, 92), (240, 234, 212)),
    "Drama": ((20, 26, 48), (70, 84, 132), (240, 210, 168)),
    "Fantasy": ((30, 14, 58), (100, 54, 134), (156, 234, 216)),
    "Film-Noir": ((6, 6, 8), (66, 66, 70), (240, 240, 234)),
    "Horror": ((6, 8, 8), (44, 20, 24), (236, 62, 58)),
    "Musical": ((76, 8, 58), (190, 46, 110), (255, 222, 154)),
    "Mystery": ((8, 24, 40), (32, 78, 104), (196, 226, 206)),
    "Romance": ((84, 18, 44), (194, 80, 102), (255, 226, 212)),
    "Sci-Fi": ((4, 10, 34), (20, 62, 124), (122, 238, 255)),
    "Thriller": ((12, 18, 22), (38, 72, 78), (246, 202, 62)),
    "War": ((28, 28, 18), (90, 88, 56), (230, 212, 168)),
    "Western": ((66, 28, 10), (180, 96, 42), (253, 226, 170)),
}
"""Genre to (dark, middle, light)."""
_NO_GENRE: tuple[Colour, Colour, Colour] = ((32, 34, 40), (98, 104, 116), (238, 238, 232))


def draw_poster(title: str, year: int | None, genres: Sequence[str]) -> bytes:
    """One JPEG of 180 × 270 pixels. Equal arguments give equal bytes."""
    from PIL import ImageDraw

    genre = genres[0] if genres else ""
    dark, middle, light = _PALETTES.get(genre.removesuffix("'s"), _NO_GENRE)
    image = _background(dark, middle).copy()
    draw = ImageDraw.Draw(image)
    seed = hashlib.sha256(f"{title}\x00{year}".encode()).digest()
    shape_of(genre)(draw, seed, _blend(middle, light, 0.28), light)
    image.paste(*_foot(dark))
    _write(draw, title, year, genres, light)
    target = BytesIO()
    image.reduce(_REDUCE).save(target, "JPEG", quality=85, subsampling=0, comment=LABEL.encode())
    return target.getvalue()


def _write(draw: "ImageDraw", title: str, year: int | None, genres: Sequence[str], light: Colour) -> None:
    size, lines = _fit(_drawable(title))
    top = _TITLE_BASE - round(size * 1.12) * len(lines)
    if year is not None:
        draw.text((_MARGIN, top - 34), str(year), font=_font(24), fill=light)
    for number, line in enumerate(lines):
        draw.text(
            (_MARGIN, top + number * round(size * 1.12)), line, font=_font(size), fill=(255, 255, 255),
            stroke_width=1, stroke_fill=(255, 255, 255),
        )  # fmt: skip
    draw.line((_MARGIN, _GENRES_TOP - 8, _MARGIN + 56, _GENRES_TOP - 8), fill=light, width=4)
    named = "  ·  ".join(_drawable(genre) for genre in genres[:3])
    draw.text((_MARGIN, _GENRES_TOP), named, font=_font(20 if _width(named, 20) <= _room() else 16), fill=light)
    draw.text((CANVAS[0] - _MARGIN, _LABEL_TOP), LABEL, font=_font(17), fill=(214, 214, 214), anchor="ra")


def _drawable(text: str) -> str:
    """The text in the letters Pillow's own font has, which is ASCII: accents off, anything else left out."""
    plain = unicodedata.normalize("NFKD", text.translate(_SPELLED_OUT))
    return "".join(letter for letter in plain if " " <= letter <= "~")


def _fit(title: str) -> tuple[int, list[str]]:
    """The largest letters in which the title, wrapped, has at most four lines; a longer one is cut with an ellipsis."""
    for size in _TITLE_SIZES:
        lines = _wrap(title, size)
        allowed = _MAX_LINES - 1 if size > _TITLE_SIZES[2] else _MAX_LINES
        if len(lines) <= allowed and max(_width(line, size) for line in lines) <= _room():
            return size, lines
    size = _TITLE_SIZES[-1]
    lines = _wrap(title, size)
    kept = lines[:_MAX_LINES]
    return size, kept if len(lines) <= _MAX_LINES else [*kept[:-1], kept[-1].rstrip(" ,:;") + " ..."]


def _wrap(title: str, size: int) -> list[str]:
    lines: list[str] = []
    for word in title.split() or [""]:
        if lines and _width(f"{lines[-1]} {word}", size) <= _room():
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _room() -> int:
    return CANVAS[0] - 2 * _MARGIN


def _width(text: str, size: int) -> float:
    return _font(size).getlength(text)


@lru_cache(maxsize=32)
def _font(size: int) -> "FreeTypeFont":
    """Pillow's own font. The basic layout gives the same letters whether or not a text shaper is installed."""
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=32)
def _background(dark: Colour, middle: Colour) -> "Image":
    """The middle colour above, the dark one below."""
    from PIL import Image, ImageOps

    shade = Image.linear_gradient("L").resize(CANVAS)
    return ImageOps.colorize(shade, black=middle, white=dark)


@lru_cache(maxsize=32)
def _foot(dark: Colour) -> tuple["Image", tuple[int, int], "Image"]:
    """A dark veil that rises behind the letters, so that they are read over any shape."""
    from PIL import Image

    height = CANVAS[1] - 200
    veil = Image.linear_gradient("L").resize((CANVAS[0], height)).point(lambda level: min(245, level * 2))
    return Image.new("RGB", (CANVAS[0], height), dark), (0, 200), veil


def _blend(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
