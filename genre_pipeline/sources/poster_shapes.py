"""The pictures on drawn posters: one plain shape a genre, varied by a seed.

Belongs here: geometry on a canvas of 360 × 540 points, of which the upper 330 are the picture's. Kept out: letters,
palettes and files (`drawn_posters`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

CANVAS = (360, 540)
_SKY = 330
Colour = tuple[int, int, int]
Shape = Callable[["ImageDraw", Sequence[int], Colour, Colour], None]
"""(canvas, seed bytes, quiet colour, light colour) to marks on the canvas."""


def shape_of(genre: str) -> Shape:
    """The shape of a genre, by its first word; circles where the genre is not known."""
    return _SHAPES.get(genre.removesuffix("'s"), _moons)


def _disc(draw: "ImageDraw", x: float, y: float, radius: float, colour: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _ring(draw: "ImageDraw", x: float, y: float, radius: float, colour: Colour, width: int) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)


def _moons(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    x, y, radius = 110 + seed[0] % 60, 130 + seed[1] % 50, 78 + seed[2] % 24
    _disc(draw, x, y, radius, quiet)
    _disc(draw, x + radius * 0.9, y + 20 + seed[3] % 40, radius * (0.45 + seed[4] % 5 / 14), light)


def _slashes(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    lean = 190 + seed[0] % 90
    for step in range(5):
        left, width = -160 + step * 96 + seed[1] % 40, 12 + seed[step + 2] % 34
        colour = light if step == 1 + seed[7] % 3 else quiet
        draw.polygon([(left, 540), (left + width, 540), (left + width + lean, 0), (left + lean, 0)], fill=colour)


def _mountains(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    _disc(draw, 70 + seed[0] % 220, 80 + seed[1] % 40, 34 + seed[2] % 18, light)
    for step in range(3):
        peak, top = 20 + step * 130 + seed[3 + step] % 70, 120 + seed[6 + step] % 90
        draw.polygon([(peak - 320, 540), (peak, top), (peak + 320, 540)], fill=quiet)
        snow = 34
        draw.polygon([(peak - snow, top + snow * 1.2), (peak, top), (peak + snow, top + snow * 1.2)], fill=light)


def _bubbles(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    for step in range(9):
        x, y = 20 + (seed[step] * 5) % 320, 30 + (seed[step + 9] * 3) % 250
        _disc(draw, x, y, 14 + seed[step + 3] % 44, light if step % 3 == 2 else quiet)


def _smile(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    x, y, radius = 180, 150 + seed[0] % 30, 96 + seed[1] % 20
    _disc(draw, x, y, radius, quiet)
    gap = 30 + seed[2] % 14
    for side in (-gap, gap):
        _disc(draw, x + side, y - 24, 9 + seed[3] % 6, light)
    width = 46 + seed[4] % 16
    draw.arc((x - width, y - 30, x + width, y + 56 + seed[5] % 12), 15, 165, fill=light, width=12)


def _blinds(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    pitch, tilt = 26 + seed[0] % 10, -30 + seed[1] % 60
    for step, top in enumerate(range(24, _SKY - 30, pitch)):
        colour = light if step == 2 + seed[2] % 5 else quiet
        draw.polygon([(0, top + tilt), (360, top - tilt), (360, top - tilt + 11), (0, top + tilt + 11)], fill=colour)


def _lens(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    x, y = 120 + seed[0] % 120, 140 + seed[1] % 50
    for step in range(6):
        _ring(draw, x, y, 130 - step * 20, quiet, 5 + seed[step + 2] % 7)
    _disc(draw, x, y, 20 + seed[9] % 10, light)


def _spotlight(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    top, foot = 40 + seed[0] % 280, 90 + seed[1] % 180
    draw.polygon([(top, -10), (foot - 90, 290), (foot + 90, 290)], fill=quiet)
    draw.ellipse((foot - 90, 268, foot + 90, 312), fill=light)


def _teeth(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    n = 6 + seed[0] % 4
    step = 360 / n
    for tooth in range(n):
        drop = 60 + seed[tooth + 1] % 90
        draw.polygon([(tooth * step, 0), ((tooth + 1) * step, 0), ((tooth + 0.5) * step, drop)], fill=quiet)
    for side in (-1, 1):
        x, y = 180 + side * (44 + seed[12] % 16), 226
        draw.polygon([(x - 30, y - 14 * side), (x + 30, y + 14 * side), (x, y + 24)], fill=light)


def _bars(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    for step in range(9):
        height = 40 + seed[step] % 220
        left = 30 + step * 34
        colour = light if step % 4 == seed[10] % 4 else quiet
        draw.rounded_rectangle((left, 300 - height, left + 22, 300), radius=11, fill=colour)


def _keyhole(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    x, y, radius = 180, 120 + seed[0] % 30, 42 + seed[1] % 14
    for step in range(4):
        _ring(draw, x, y + 30, radius + 40 + step * 30, quiet, 3 + seed[step + 2] % 5)
    _disc(draw, x, y, radius, light)
    draw.polygon([(x - 16, y), (x + 16, y), (x + 44, y + 150), (x - 44, y + 150)], fill=light)


def _hearts(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    _heart(draw, 130 + seed[0] % 40, 150 + seed[1] % 20, 84 + seed[2] % 20, quiet)
    _heart(draw, 220 + seed[3] % 40, 190 + seed[4] % 30, 44 + seed[5] % 20, light)


def _heart(draw: "ImageDraw", x: float, y: float, size: float, colour: Colour) -> None:
    turns = [math.tau * step / 48 for step in range(48)]
    points = [
        (
            x + size / 16 * 16 * math.sin(turn) ** 3,
            y
            - size / 16 * (13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)),
        )
        for turn in turns
    ]
    draw.polygon(points, fill=colour)


def _planet(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    for step in range(14):
        _disc(draw, (seed[step] * 7) % 360, (seed[step + 14] * 5) % 310, 2 + seed[step] % 3, light)
    x, y, radius = 130 + seed[0] % 100, 150 + seed[1] % 50, 62 + seed[2] % 30
    _disc(draw, x, y, radius, quiet)
    flat = 0.22 + seed[3] % 10 / 60
    draw.ellipse((x - radius * 1.7, y - radius * flat, x + radius * 1.7, y + radius * flat), outline=light, width=7)
    draw.pieslice((x - radius, y - radius, x + radius, y + radius), 180, 360, fill=quiet)


def _spiral(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    x, y, turn = 150 + seed[0] % 60, 150 + seed[1] % 40, seed[2] / 40
    path = [
        (x + step * 0.95 * math.cos(step / 9 + turn), y + step * 0.95 * math.sin(step / 9 + turn))
        for step in range(150)
    ]
    draw.line(path, fill=quiet, width=13, joint="curve")
    _disc(draw, x, y, 13, light)


def _star(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    pitch = 30 + seed[0] % 14
    for top in range(40, _SKY - 40, pitch):
        draw.rectangle((0, top, 360, top + pitch // 3), fill=quiet)
    _points(draw, 120 + seed[1] % 120, 150 + seed[2] % 40, 62 + seed[3] % 26, 5, light)


def _sparkles(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    x, y = 180, 170
    for step in range(4):
        draw.arc((x - 150 + step * 26, y - 150 + step * 26, x + 150 - step * 26, y + 150 - step * 26),
                 seed[step] % 180, seed[step] % 180 + 210, fill=quiet, width=8)  # fmt: skip
    for step in range(4):
        size = 16 + seed[step + 5] % 40
        _points(draw, 50 + (seed[step + 9] * 3) % 260, 60 + (seed[step + 13] * 3) % 210, size, 4, light)


def _points(draw: "ImageDraw", x: float, y: float, size: float, n: int, colour: Colour) -> None:
    inner = size * (0.42 if n > 4 else 0.2)
    corners = []
    for step in range(2 * n):
        radius, turn = (size if step % 2 == 0 else inner), math.pi * step / n - math.pi / 2
        corners.append((x + radius * math.cos(turn), y + radius * math.sin(turn)))
    draw.polygon(corners, fill=colour)


def _mesa(draw: "ImageDraw", seed: Sequence[int], quiet: Colour, light: Colour) -> None:
    _disc(draw, 90 + seed[0] % 180, 150 + seed[1] % 40, 66 + seed[2] % 20, light)
    left, width, top = 10 + seed[3] % 120, 90 + seed[4] % 60, 190 + seed[5] % 40
    draw.polygon([(left - 30, 330), (left, top), (left + width, top), (left + width + 30, 330)], fill=quiet)
    right = left + width + 40
    draw.polygon([(right, 330), (right + 20, top + 40), (right + 110, top + 40), (right + 130, 330)], fill=quiet)
    draw.rectangle((0, 286, 360, 540), fill=quiet)


_SHAPES: Mapping[str, Shape] = {
    "Action": _slashes, "Adventure": _mountains, "Animation": _bubbles, "Children": _bubbles, "Comedy": _smile,
    "Crime": _blinds, "Documentary": _lens, "Drama": _moons, "Fantasy": _sparkles, "Film-Noir": _spotlight,
    "Horror": _teeth, "Musical": _bars, "Mystery": _keyhole, "Romance": _hearts, "Sci-Fi": _planet,
    "Thriller": _spiral, "War": _star, "Western": _mesa,
}  # fmt: skip
