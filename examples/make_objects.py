"""Make small coloured objects as GLB files, and captions.json that says what each one is: eight of them by default.

Some captions share words, such as "red", "blue" and "white": a model has to read the whole caption. Light is baked into
the colours, so that a picture shows the shape.

Run: python examples/make_objects.py FOLDER [--set compose] [--count N --seed S]

With --count it makes that many others: shapes, stacks of them, furniture, vehicles, plants, animals, in random colours
and proportions. The captions name colours and parts. Object number i of a seed is the same in a set of any size.

With --set compose it makes twelve shapes in ten colours, in two folders: learned has 96 of them, and held-back
the other 24, two colours of each shape. A model that is trained on the first and makes the second from their captions
knows what the words mean.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

STEPS = 48  # around an object, and along its profile
LIGHT = np.array([0.4, 0.75, 0.55]) / np.linalg.norm([0.4, 0.75, 0.55])  # from above, right and front
AMBIENT, DIFFUSE = 0.45, 0.55

RED, WHITE, NAVY, SKY = (0.86, 0.1, 0.1), (0.95, 0.94, 0.9), (0.1, 0.16, 0.6), (0.45, 0.78, 0.95)
GREEN, BROWN, YELLOW, BLACK, ORANGE = (0.13, 0.6, 0.2), (0.42, 0.25, 0.12), (0.98, 0.83, 0.1), (0.1, 0.1, 0.12), (
    0.95, 0.45, 0.05,
)  # fmt: skip

# Profiles of surfaces of revolution: radius and height from the top down
MUSHROOM_STEM = [(0.9, 0.1), (0.27, 0.02), (0.25, -0.5), (0.36, -0.85), (0.0, -0.85)]
TREE = [(0.0, 1.0), (0.58, -0.42), (0.13, -0.42), (0.13, -0.95), (0.0, -0.95)]
VASE = [(0.0, 0.75), (0.2, 0.75), (0.32, 0.9), (0.3, 0.8), (0.17, 0.55), (0.2, 0.42), (0.42, 0.2), (0.55, -0.08),
        (0.56, -0.3), (0.46, -0.6), (0.3, -0.82), (0.28, -0.9), (0.0, -0.9)]  # fmt: skip


class Part(NamedTuple):
    """A closed surface over a grid, in one colour for each row."""

    points: np.ndarray  # [rows columns 3], y up; counter-clockwise from outside goes down a row, then along it
    colors: np.ndarray  # [rows 3], sRGB


def lathe(
    profile: list[tuple[float, float]], colors: list[tuple[float, float, float]], *, steps: int = STEPS, sides: int = 0
) -> Part:
    """A surface of revolution about y: (radius, height) from the top down, a colour between each and the next.

    It has `steps` rows and columns, or where `sides` are given that many flat sides.
    """
    radii, heights, rows = [], [], []
    lengths = [np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(profile)]
    for (start, end), color, length in zip(pairwise(profile), colors, lengths, strict=True):
        pieces = max(2, round(steps * length / sum(lengths)))
        along = np.arange(pieces + 1) / pieces
        radii += list(start[0] + (end[0] - start[0]) * along)
        heights += list(start[1] + (end[1] - start[1]) * along)
        rows += [color] * (pieces + 1)
    columns = sides or steps
    angles = 2 * np.pi * (np.arange(columns + 1) + (0.5 if sides else 0.0)) / columns
    radius, height = np.array(radii)[:, None], np.array(heights)[:, None]
    points = np.stack([radius * np.sin(angles), height + 0 * angles, radius * np.cos(angles)], axis=2)
    return Part(points, np.array(rows))


def arc(center: float, radius: float, start: float, end: float, squash: float = 1.0) -> list[tuple[float, float]]:
    """A piece of a circle about (0, center) as a profile; angles in degrees from the top."""
    angles = np.radians(np.linspace(start, end, 17))
    return [(float(radius * np.sin(a)), float(center + squash * radius * np.cos(a))) for a in angles]


def puffed(outline: np.ndarray, thickness: float, color: tuple[float, float, float], *, steps: int = STEPS) -> Part:
    """A cushion: a closed outline [n 2] in the xy plane, seen from the origin, thickest in the middle."""
    rise = np.linspace(np.pi / 2, -np.pi / 2, steps // 2 + 1)
    closed = np.concatenate([outline, outline[:1]])
    flat = np.cos(rise)[:, None, None] * closed[None]  # [rows n + 1 2]
    depth = np.broadcast_to(thickness * np.sin(rise)[:, None, None], (*flat.shape[:2], 1))
    return Part(np.concatenate([flat, depth], axis=2), np.tile(color, (len(rise), 1)))


def ring(radius: float, thickness: float, color: tuple[float, float, float], *, steps: int = STEPS) -> Part:
    """A torus about z: it stands, and its hole shows from the front."""
    around = 2 * np.pi * np.arange(steps + 1) / steps
    distance = radius + thickness * np.sin(around)[:, None]
    depth = thickness * np.cos(around)[:, None]
    points = np.stack([distance * np.cos(around), distance * np.sin(around), depth + 0 * around], axis=2)
    return Part(points, np.tile(color, (steps + 1, 1)))


def rounded_cube(power: float, color: tuple[float, float, float], *, steps: int = STEPS) -> Part:
    """A ball in the norm of a high power: a cube with soft edges."""
    polar = np.pi * np.arange(steps + 1) / steps
    around = 2 * np.pi * np.arange(2 * steps + 1) / (2 * steps)
    directions = np.stack(
        [np.outer(np.sin(polar), np.sin(around)), np.outer(np.cos(polar), np.ones_like(around)),
         np.outer(np.sin(polar), np.cos(around))], axis=2,
    )  # fmt: skip
    lengths = (np.abs(directions) ** power).sum(axis=2, keepdims=True) ** (-1 / power)
    return Part(directions * lengths, np.tile(color, (steps + 1, 1)))


def star(points: int, inner: float) -> np.ndarray:
    """The outline of a star with straight sides [n 2]."""
    corners = np.arange(2 * points + 1)
    reach = np.where(corners % 2 == 0, 1.0, inner)
    angles = np.pi * corners / points
    tips = np.stack([-reach * np.sin(angles), reach * np.cos(angles)], axis=1)
    along = np.arange(6)[None, :, None] / 6
    return (tips[:-1, None] * (1 - along) + tips[1:, None] * along).reshape(-1, 2)


def heart() -> np.ndarray:
    """The well-known outline [n 2]."""
    t = -2 * np.pi * np.arange(64) / 64
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, y + 2], axis=1) / 16


def objects() -> dict[str, tuple[str, list[Part]]]:
    """Name -> caption and parts."""
    cap = arc(0.1, 0.9, 0, 90, squash=0.75)
    body = arc(-0.42, 0.53, 0, 180)
    head = arc(0.3, 0.34, 0, 180)
    hat = [(0.0, 1.0), (0.24, 1.0), (0.24, 0.6), (0.42, 0.6), (0.42, 0.52), (0.0, 0.52)]
    return {
        "cube": ("an orange cube", [rounded_cube(8, ORANGE)]),
        "heart": ("a red heart", [puffed(heart(), 0.45, RED)]),
        "mushroom": (
            "a red mushroom with a white stem",
            [lathe(cap + MUSHROOM_STEM[1:], [RED] * len(cap) + [WHITE] * (len(MUSHROOM_STEM) - 2))],
        ),
        "ring": ("a dark blue ring", [ring(0.72, 0.26, NAVY)]),
        "snowman": (
            "a white snowman with a black hat",
            [lathe(body, [WHITE] * 16), lathe(head, [WHITE] * 16), lathe(hat, [BLACK] * 5)],
        ),
        "star": ("a yellow star", [puffed(star(5, 0.45), 0.32, YELLOW)]),
        "tree": ("a green tree with a brown trunk", [lathe(TREE, [GREEN, GREEN, BROWN, BROWN])]),
        "vase": ("a light blue vase", [lathe(VASE, [SKY] * (len(VASE) - 1))]),
    }


COLORS = {
    "red": RED, "white": WHITE, "dark blue": NAVY, "light blue": SKY, "green": GREEN, "brown": BROWN,
    "yellow": YELLOW, "black": BLACK, "orange": ORANGE, "purple": (0.5, 0.2, 0.65), "pink": (0.95, 0.55, 0.7),
    "gray": (0.55, 0.55, 0.57), "dark green": (0.05, 0.33, 0.15), "beige": (0.85, 0.76, 0.58),
    "turquoise": (0.12, 0.68, 0.65), "lime": (0.62, 0.85, 0.2),
}  # fmt: skip
COARSE = 20  # rows and columns of a part of the random objects


def turned(part: Part, axis: int, degrees: float) -> Part:
    """The part after a right-handed turn about an axis: 0 x, 1 y, 2 z."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    points = part.points.copy()
    points[..., a] = cosine * part.points[..., a] - sine * part.points[..., b]
    points[..., b] = sine * part.points[..., a] + cosine * part.points[..., b]
    return part._replace(points=points)


def placed(part: Part, size: tuple[float, float, float] | float, at: tuple[float, float, float]) -> Part:
    """The part, stretched by positive factors and then moved."""
    return part._replace(points=part.points * np.asarray(size) + np.asarray(at))


def ball(color: tuple[float, float, float]) -> Part:
    """The unit ball."""
    return lathe(arc(0.0, 1.0, 0, 180), [color] * 16, steps=COARSE)


def box(color: tuple[float, float, float]) -> Part:
    """The cube [-1, 1], with sharp edges."""
    root = float(np.sqrt(2))
    return lathe([(0.0, 1.0), (root, 1.0), (root, -1.0), (0.0, -1.0)], [color] * 3, steps=6, sides=4)


def cylinder(color: tuple[float, float, float]) -> Part:
    """A cylinder about y of radius 1, from -1 to 1."""
    return lathe([(0.0, 1.0), (1.0, 1.0), (1.0, -1.0), (0.0, -1.0)], [color] * 3, steps=COARSE)


def frustum(top: float, color: tuple[float, float, float], sides: int = 0) -> Part:
    """A cone about y of radius 1 at -1, cut to the radius `top` at 1."""
    profile = [(0.0, 1.0), (top, 1.0), (1.0, -1.0), (0.0, -1.0)] if top else [(0.0, 1.0), (1.0, -1.0), (0.0, -1.0)]
    return lathe(profile, [color] * (len(profile) - 1), steps=COARSE, sides=sides)


def turned_vessel(rng: np.random.Generator, colors: list[tuple[float, float, float]]) -> Part:
    """A vase of a random outline, from -1 to 1; the colours alternate along it."""
    heights = np.linspace(1, -1, 9)
    knots = rng.uniform(0.25, 0.75, 4)
    radii = np.interp(heights, np.linspace(1, -1, 4), knots)
    radii = np.convolve(np.pad(radii, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    outer = list(zip(radii.tolist(), heights.tolist(), strict=True))
    inner = [(0.0, 0.7), (0.85 * outer[0][0], 0.7), (0.85 * outer[0][0], 1.0)]
    bands = [colors[i % len(colors)] for i in range(len(outer) - 1)]
    return lathe([*inner, *outer, (0.0, -1.0)], [*[colors[0]] * 3, *bands, colors[0]], steps=COARSE)


SHAPES: dict[str, Callable[[tuple[float, float, float]], Part]] = {
    "ball": ball,
    "box": box,
    "cube": lambda color: rounded_cube(8, color, steps=COARSE),
    "cone": lambda color: frustum(0.0, color),
    "cylinder": cylinder,
    "egg": lambda color: placed(ball(color), (0.72, 1.0, 0.72), (0.0, 0.0, 0.0)),
    "pyramid": lambda color: frustum(0.0, color, sides=4),
    "prism": lambda color: lathe([(0.0, 1.0), (1.0, 1.0), (1.0, -1.0), (0.0, -1.0)], [color] * 3, steps=6, sides=6),
    "ring": lambda color: ring(0.72, 0.26, color, steps=COARSE),
    "star": lambda color: puffed(star(5, 0.45), 0.32, color, steps=COARSE),
    "heart": lambda color: puffed(heart(), 0.45, color, steps=COARSE),
}
# Of the set "compose", whose captions are "a COLOR SHAPE". Words of one piece, far apart in colour.
COMPOSED_COLORS = {
    "red": RED, "orange": ORANGE, "yellow": YELLOW, "green": GREEN, "turquoise": (0.12, 0.68, 0.65),
    "blue": (0.12, 0.25, 0.8), "purple": (0.5, 0.2, 0.65), "pink": (0.95, 0.55, 0.7), "brown": BROWN, "white": WHITE,
}  # fmt: skip
HELD_BACK = (0, 5)  # of the ten colours, counted from the shape's number on
FLAT_TOPS = ("box", "cube", "cylinder", "prism")  # that something can stand on


class Palette:
    """Random colours by name, each used once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.names = list(rng.permutation(list(COLORS)))

    def take(self) -> tuple[str, tuple[float, float, float]]:
        """The next colour."""
        name = str(self.names.pop())
        return name, COLORS[name]


def random_object(rng: np.random.Generator) -> tuple[str, list[Part]]:
    """A caption and the parts of a random object."""
    kinds = [single, striped, stack, tower, beside, table, chair, lamp, plant, house, cup, figure, rocket, car, animal,
             dumbbell, flower, planet]  # fmt: skip
    weights = np.array([3, 2, 4, 2, 2] + [1] * (len(kinds) - 5), dtype=float)
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    caption, parts = kind(rng, Palette(rng))
    stretch = tuple(rng.uniform(0.85, 1.18, 3))
    return caption, [placed(part, stretch, (0.0, 0.0, 0.0)) for part in parts]


def article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def single(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """One shape."""
    name, (word, color) = str(rng.choice([*SHAPES, "vase"])), palette.take()
    return article(f"{word} {name}"), [turned_vessel(rng, [color]) if name == "vase" else SHAPES[name](color)]


def striped(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A shape in two colours, in bands."""
    (one, first), (two, second) = palette.take(), palette.take()
    name, count = str(rng.choice(["vase", "ball", "cylinder", "cone"])), int(rng.integers(3, 7))
    if name == "vase":
        part = turned_vessel(rng, [first, second])
    else:
        heights = np.linspace(1, -1, count + 1)
        outlines: dict[str, Callable[[float], float]] = {
            "ball": lambda height: float(np.sqrt(max(0.0, 1 - height * height))),
            "cylinder": lambda height: 0.8,
            "cone": lambda height: (1 - height) / 2,
        }
        radius = outlines[name]
        profile, colors = [(0.0, 1.0)], []
        for i, (high, low) in enumerate(pairwise(heights)):
            steps = np.linspace(high, low, 5)[0 if i == 0 and name == "cylinder" else 1 :]
            profile += [(radius(h), float(h)) for h in steps]
            colors += [first if i % 2 == 0 else second] * len(steps)
        if name != "ball":
            profile.append((0.0, -1.0))
            colors.append(colors[-1])
        part = lathe(profile, colors, steps=COARSE)
    return f"{article(name)} with {one} and {two} stripes", [part]


def stack(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A shape on another one."""
    (one, first), (two, second) = palette.take(), palette.take()
    top, under = str(rng.choice(list(SHAPES))), str(rng.choice(FLAT_TOPS))
    size, low = rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.7)
    parts = [
        placed(SHAPES[under](second), (0.9, low, 0.9), (0.0, -low, 0.0)),
        placed(SHAPES[top](first), size, (0.0, 0.97 * size, 0.0)),
    ]
    return f"{article(f'{one} {top}')} on {article(f'{two} {under}')}", parts


def tower(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """Three shapes, each on the one before it."""
    names = [str(rng.choice(FLAT_TOPS)), str(rng.choice(FLAT_TOPS)), str(rng.choice(list(SHAPES)))]
    parts, words, height, size = [], [], 0.0, 0.9
    for name in names:
        word, color = palette.take()
        half = size * rng.uniform(0.4, 0.7) if name in FLAT_TOPS else size
        parts.append(placed(SHAPES[name](color), (size, half, size), (0.0, height + half, 0.0)))
        words.append(article(f"{word} {name}"))
        height, size = height + 1.95 * half, size * rng.uniform(0.6, 0.85)
    return " on ".join(reversed(words)), parts


def beside(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """Two shapes next to each other."""
    (one, first), (two, second) = palette.take(), palette.take()
    left, right = (str(each) for each in rng.choice(list(SHAPES), 2, replace=False))
    a, b = rng.uniform(0.45, 0.75, 2)
    parts = [placed(SHAPES[left](first), a, (-0.75, a, 0.0)), placed(SHAPES[right](second), b, (0.75, b, 0.0))]
    return f"{article(f'{one} {left}')} next to {article(f'{two} {right}')}", parts


def legs(color: tuple[float, float, float], spread: float, height: float, width: float) -> list[Part]:
    """Four legs that end at y = 0."""
    corners = [(x, z) for x in (-spread, spread) for z in (-spread, spread)]
    return [placed(box(color), (width, height / 2, width), (x, -height / 2, z)) for x, z in corners]


def table(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A plate on four legs."""
    (one, first), (two, second) = palette.take(), palette.take()
    round_top, thick = bool(rng.random() < 0.5), rng.uniform(0.06, 0.12)
    top = placed((cylinder if round_top else box)(first), (1.0, thick, 1.0), (0.0, thick, 0.0))
    words = f"{one} {'round ' if round_top else ''}table"
    return f"{article(words)} with {two} legs", [
        top,
        *legs(second, 0.6, rng.uniform(0.8, 1.3), rng.uniform(0.07, 0.13)),
    ]


def chair(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A seat with a back, on four legs; the front is +z."""
    (one, first), (two, second) = palette.take(), palette.take()
    back = rng.uniform(0.45, 0.75)
    parts = [
        placed(box(first), (0.6, 0.08, 0.6), (0.0, 0.08, 0.0)),
        placed(box(second), (0.6, back, 0.08), (0.0, 0.16 + back, -0.52)),
        *legs(first, 0.5, rng.uniform(0.6, 0.9), 0.08),
    ]
    return f"{article(f'{one} chair')} with {article(f'{two} back')}", parts


def lamp(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A foot, a pole and a shade."""
    (one, first), (two, second) = palette.take(), palette.take()
    height, shade = rng.uniform(0.7, 1.0), rng.uniform(0.3, 0.45)
    parts = [
        placed(cylinder(second), (0.4, 0.06, 0.4), (0.0, 0.06, 0.0)),
        placed(cylinder(second), (0.07, height / 2, 0.07), (0.0, height / 2, 0.0)),
        placed(frustum(rng.uniform(0.3, 0.7), first), (0.55, shade, 0.55), (0.0, height + shade, 0.0)),
    ]
    return f"{article(f'{two} lamp')} with {article(f'{one} shade')}", parts


def plant(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A tree of balls or cones, or a mushroom."""
    (one, first), (two, second) = palette.take(), palette.take()
    kind, height = str(rng.choice(["tree", "fir tree", "mushroom"])), rng.uniform(0.5, 0.9)
    parts = [placed(cylinder(second), (0.16, height / 2, 0.16), (0.0, height / 2, 0.0))]
    if kind == "tree":
        parts.append(placed(ball(first), rng.uniform(0.5, 0.75), (0.0, height + 0.4, 0.0)))
    elif kind == "fir tree":
        for level in range(3):
            size = 0.65 - 0.15 * level
            parts.append(placed(frustum(0.0, first), (size, 0.35, size), (0.0, height + 0.3 + 0.4 * level, 0.0)))
    else:
        cap = lathe([*arc(0.0, 1.0, 0, 90, squash=0.7), (0.0, 0.0)], [first] * 17, steps=COARSE)
        parts.append(placed(cap, rng.uniform(0.6, 0.85), (0.0, height - 0.05, 0.0)))
    return f"{article(f'{one} {kind}')} with {article(f'{two} trunk' if kind != 'mushroom' else f'{two} stem')}", parts


def house(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """Walls, a roof and a door on the front."""
    (one, first), (two, second), (three, third) = palette.take(), palette.take(), palette.take()
    wide, high, roof = rng.uniform(0.6, 0.9), rng.uniform(0.4, 0.7), rng.uniform(0.3, 0.5)
    pyramid = placed(frustum(0.0, second, sides=4), (1.45 * wide, roof, 1.15), (0.0, 2 * high + roof, 0.0))
    parts = [
        placed(box(first), (wide, high, 0.7), (0.0, high, 0.0)),
        pyramid,
        placed(box(third), (0.18, 0.5 * high, 0.04), (0.0, 0.5 * high, 0.7)),
    ]
    return f"{article(f'{one} house')} with {article(f'{two} roof')} and {article(f'{three} door')}", parts


def cup(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A cup with a handle to the right."""
    (one, first), (two, second) = palette.take(), palette.take()
    top, foot, high = rng.uniform(0.6, 0.75), rng.uniform(0.4, 0.65), rng.uniform(0.6, 0.8)
    profile = [
        (0.0, -0.8 * high),
        (0.85 * foot, -0.8 * high),
        (0.88 * top, high),
        (top, high),
        (foot, -high),
        (0.0, -high),
    ]
    handle = placed(ring(0.3, 0.09, second, steps=COARSE), 1.0, ((top + foot) / 2 + 0.2, 0.0, 0.0))
    return f"{article(f'{one} cup')} with {article(f'{two} handle')}", [
        lathe(profile, [first] * 5, steps=COARSE),
        handle,
    ]


def figure(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A body, a head and a hat."""
    (one, first), (two, second), (three, third) = palette.take(), palette.take(), palette.take()
    name, body, head = (
        str(rng.choice(["ball", "cone", "egg", "cylinder"])),
        rng.uniform(0.5, 0.65),
        rng.uniform(0.3, 0.4),
    )
    neck = 1.85 * body
    parts = [
        placed(SHAPES[name](first), body, (0.0, body, 0.0)),
        placed(ball(second), head, (0.0, neck + 0.8 * head, 0.0)),
        placed(
            frustum(rng.uniform(0.0, 0.8), third), (0.8 * head, 0.22, 0.8 * head), (0.0, neck + 1.6 * head + 0.15, 0.0)
        ),
    ]
    return f"{article(f'{one} figure')} with {article(f'{two} head')} and {article(f'{three} hat')}", parts


def rocket(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A body with a tip and fins."""
    (one, first), (two, second) = palette.take(), palette.take()
    radius, high = rng.uniform(0.25, 0.38), rng.uniform(0.5, 0.75)
    fin = placed(box(second), (0.2, 0.22, 0.05), (radius + 0.15, 0.22, 0.0))
    turns = np.arange(count := int(rng.integers(3, 5))) * 360.0 / count
    parts = [
        placed(cylinder(first), (radius, high, radius), (0.0, high, 0.0)),
        placed(frustum(0.0, second), (radius, 0.3, radius), (0.0, 2 * high + 0.3, 0.0)),
        *(turned(fin, 1, float(turn)) for turn in turns),
    ]
    return f"{article(f'{one} rocket')} with {article(f'{two} tip')}", parts


def car(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A body, a cabin and four wheels; the front is +z."""
    (one, first), (two, second), (three, third) = palette.take(), palette.take(), palette.take()
    long, wheel = rng.uniform(0.8, 1.0), rng.uniform(0.18, 0.28)
    tyre = turned(placed(cylinder(third), (wheel, 0.09, wheel), (0.0, 0.0, 0.0)), 2, 90.0)
    places = [(x, z) for x in (-0.5, 0.5) for z in (-0.6 * long, 0.6 * long)]
    parts = [
        placed(rounded_cube(8, first, steps=COARSE), (0.5, 0.25, long), (0.0, wheel + 0.2, 0.0)),
        placed(box(second), (0.4, 0.2, 0.45 * long), (0.0, wheel + 0.6, rng.uniform(-0.25, 0.05))),
        *(placed(tyre, 1.0, (x, wheel, z)) for x, z in places),
    ]
    return f"{article(f'{one} car')} with {article(f'{two} cabin')} and {three} wheels", parts


def animal(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A body on four legs, with a head on +z."""
    (one, first), (two, second) = palette.take(), palette.take()
    fat, leg, head = rng.uniform(0.35, 0.5), rng.uniform(0.35, 0.6), rng.uniform(0.25, 0.35)
    body = placed(ball(first), (fat, fat, 0.8), (0.0, leg + 0.7 * fat, 0.0))
    front = (0.0, leg + fat + rng.uniform(0.1, 0.3), 0.75)
    ears = [placed(frustum(0.0, second), (0.1, 0.14, 0.1), (x, front[1] + head, front[2])) for x in (-0.15, 0.15)]
    feet = [placed(part, (0.55, 1.0, 1.0), (0.0, leg + 0.15, 0.0)) for part in legs(first, 0.4, leg + 0.15, 0.1)]
    return f"{article(f'{one} animal')} with {article(f'{two} head')}", [
        body, placed(ball(second), head, front), *ears, *feet,
    ]  # fmt: skip


def dumbbell(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """Two weights on a bar along x."""
    (one, first), (two, second) = palette.take(), palette.take()
    name, size = str(rng.choice(["ball", "cube", "cylinder"])), rng.uniform(0.35, 0.5)
    bar = turned(placed(cylinder(second), (0.12, 0.7, 0.12), (0.0, 0.0, 0.0)), 2, 90.0)
    ends = [placed(turned(SHAPES[name](first), 2, 90.0), size, (x, 0.0, 0.0)) for x in (-0.75, 0.75)]
    return f"two {one} {name}s on {article(f'{two} bar')}", [bar, *ends]


def flower(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """Petals about a middle, on a stem; it faces +z."""
    (one, first), (two, second), (three, third) = palette.take(), palette.take(), palette.take()
    count, high = int(rng.integers(5, 8)), rng.uniform(0.6, 0.9)
    petal = placed(ball(first), (0.22, 0.3, 0.12), (0.0, 0.42, 0.0))
    head = [placed(ball(second), (0.25, 0.25, 0.2), (0.0, 0.0, 0.05))]
    head += [turned(petal, 2, 360.0 * i / count) for i in range(count)]
    stem = placed(cylinder(third), (0.07, high, 0.07), (0.0, -high, 0.0))
    return f"{article(f'{one} flower')} with {article(f'{two} middle')} and {article(f'{three} stem')}", [stem, *head]


def planet(rng: np.random.Generator, palette: Palette) -> tuple[str, list[Part]]:
    """A ball with a ring around it, a little tilted."""
    (one, first), (two, second) = palette.take(), palette.take()
    belt = turned(turned(ring(0.95, 0.1, second, steps=COARSE), 0, 90.0), 2, rng.uniform(-25, 25))
    return f"{article(f'{one} ball')} with {article(f'{two} ring')} around it", [
        placed(ball(first), 0.6, (0, 0, 0)),
        belt,
    ]


def random_objects(count: int, seed: int) -> dict[str, tuple[str, list[Part]]]:
    """Name -> caption and parts, of objects that follow from the seed and their number."""
    return {f"object-{i:04d}": random_object(np.random.default_rng([seed, i])) for i in range(count)}


def composed_shapes(color: tuple[float, float, float]) -> dict[str, Part]:
    """The twelve shapes of the set "compose" in a colour."""
    cap = arc(0.1, 0.9, 0, 90, squash=0.75)
    whole = {
        "ball": arc(0.0, 1.0, 0, 180),
        "cone": [(0.0, 1.0), (0.8, -0.8), (0.0, -0.8)],
        "cylinder": [(0.0, 0.8), (0.6, 0.8), (0.6, -0.8), (0.0, -0.8)],
        "mushroom": [*cap, *MUSHROOM_STEM[1:]],
        "tree": [*TREE],
        "vase": [*VASE],
    }
    turned = {name: lathe(profile, [color] * (len(profile) - 1)) for name, profile in whole.items()}
    others = {
        "cube": rounded_cube(8, color),
        "egg": placed(turned["ball"], (0.62, 1.0, 0.62), (0.0, 0.0, 0.0)),
        "heart": puffed(heart(), 0.45, color),
        "pyramid": lathe([(0.0, 1.0), (1.1, -0.7), (0.0, -0.7)], [color] * 2, sides=4),
        "ring": ring(0.72, 0.26, color),
        "star": puffed(star(5, 0.45), 0.32, color),
    }
    return dict(sorted((turned | others).items()))


def composed_objects() -> tuple[dict[str, tuple[str, list[Part]]], dict[str, tuple[str, list[Part]]]]:
    """Name -> caption and parts, of the objects to learn and of those held back, all of equal size."""
    learned, held_back = {}, {}
    for i, (word, color) in enumerate(COMPOSED_COLORS.items()):
        for j, (name, part) in enumerate(composed_shapes(color).items()):
            chosen = held_back if (i - j) % len(COMPOSED_COLORS) in HELD_BACK else learned
            chosen[f"{word}-{name}"] = article(f"{word} {name}"), [part]
    return learned, held_back


def facets(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """The flat pieces of a part: corners [f 4 3] and their colour in linear light [f 3], with the light on them."""
    points = part.points
    corners = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2).reshape(-1, 4, 3)
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    lengths = np.linalg.norm(normals, axis=1)
    kept = lengths > 1e-9
    light = AMBIENT + DIFFUSE * (1 + normals[kept] / lengths[kept, None] @ LIGHT) / 2
    colors = np.repeat(part.colors[:-1], points.shape[1] - 1, axis=0)[kept]
    return corners[kept], colors**2.2 * light[:, None]


def build(name: str, parts: list[Part]) -> bytes:
    """The GLB of an object."""
    pieces = [facets(part) for part in parts]
    corners = np.concatenate([piece[0] for piece in pieces])
    positions = corners.reshape(-1, 3).round(4).astype("<f4")
    colors = np.repeat(np.concatenate([piece[1] for piece in pieces]), 4, axis=0).round(4).astype("<f4")
    triangles = (4 * np.arange(len(corners))[:, None] + np.array([0, 1, 2, 0, 2, 3])).astype("<u4")
    blocks = [positions.tobytes(), colors.tobytes(), triangles.tobytes()]
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    document = {
        "asset": {"version": "2.0", "generator": "gatlas examples/make_objects.py"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(positions), "type": "VEC3", **bounds},
            {"bufferView": 1, "componentType": 5126, "count": len(positions), "type": "VEC3"},
            {"bufferView": 2, "componentType": 5125, "count": int(triangles.size), "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(block)}
            for start, block in zip(starts, blocks, strict=False)
        ],
        "buffers": [{"byteLength": starts[-1]}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", starts[-1], 0x004E4942)
    body = chunks + b"".join(blocks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def write(folder: Path, made: dict[str, tuple[str, list[Part]]]) -> None:
    """Write objects and their captions; a ValueError where others are in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if others := sorted(path.name for path in folder.glob("*.glb") if path.stem not in made):
        raise ValueError(f"{folder}: holds other objects, the first is {others[0]}: remove them or name another folder")
    captions = {}
    for name, (caption, parts) in made.items():
        (folder / f"{name}.glb").write_bytes(build(name, parts))
        captions[name] = caption
    (folder / "captions.json").write_text(json.dumps(captions, indent=2) + "\n")


def main(folder: Path, count: int | None = None, seed: int = 0, *, compose: bool = False) -> None:
    """Write a set of objects and their captions; a ValueError where others are in the folder."""
    if compose:
        learned, held_back = composed_objects()
        write(folder / "learned", learned)
        write(folder / "held-back", held_back)
    else:
        write(folder, objects() if count is None else random_objects(count, seed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=["demo", "compose"], help="eight objects (default), or shapes times colours")
    parser.add_argument("--count", type=int, help="number of random objects, instead of the eight")
    parser.add_argument("--seed", type=int, help="of the random objects; default 0")
    wish = parser.parse_args()
    if wish.count is not None and wish.count < 1:
        parser.error("--count must be at least 1")
    if wish.seed is not None and (wish.seed < 0 or wish.count is None):
        parser.error("--seed must be at least 0, and needs --count")
    if wish.set is not None and wish.count is not None:
        parser.error("--set and --count exclude each other")
    try:
        main(wish.folder, wish.count, wish.seed or 0, compose=wish.set == "compose")
    except (OSError, ValueError) as error:
        parser.error(str(error))
