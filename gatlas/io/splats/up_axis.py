"""The vertical axis of a splat file: what its header says of it, and the turn that stands the object up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.frames import UPRIGHT, half_turn, turned

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

    Up = tuple[float, float, float]  # unit vector in the axes of the file that points up

Y_UP: Up = (0.0, 1.0, 0.0)
Y_DOWN: Up = (0.0, -1.0, 0.0)  # as viewers take a splat PLY whose header says nothing
_AXIS = re.compile(r"([-+]?)([xyz])", re.IGNORECASE)
_COMMENT = re.compile(
    r"(vertical|up)[ _-]?(?:axis|direction|vector)\s*[:=]\s*(.*)"  # whatever it says
    r"|(vertical|up)(?:[ _-]?(?:axis|direction|vector))?[:=\s]\s*([-+]?[xyz](?:[ _-]?up)?)"
    r"|(?:(?:coordinates?|coordinate[ _-]system|axes|frame)\s*[:=\s]\s*)?([-+]?[xyz])[ _-]?(?:is[ _-])?up",
    re.IGNORECASE,
)
_ENDING = re.compile(r"[ _-]?up", re.IGNORECASE)


def axis(name: str) -> Up:
    """Return the unit vector of "x", "y", "z", "-x", "-y" or "-z"."""
    sign = -1.0 if name.startswith("-") else 1.0
    return tuple(sign * (letter == name[-1]) + 0.0 for letter in "xyz")  # type: ignore[return-value]


def stated_up(comments: tuple[str, ...]) -> tuple[str, Up | None] | None:
    """Return the last comment of a header about the vertical axis and the direction that it names.

    The direction is None where the comment cannot be understood; without such a comment the result is None. Nerfstudio
    names an axis ("Vertical Axis: z"), Brush three numbers ("Vertical axis: 0 -1 0"). A plain "y" is what Brush writes
    of every file that points y down, and says no more than the layout does.
    """
    stated = None
    for comment in comments:
        if match := _COMMENT.fullmatch(comment.strip()):
            word, value = match[1] or match[3] or "up", match[2] or match[4] or match[5] or ""
            stated = comment.strip(), _direction(word.lower(), value.strip())
    return stated


def _direction(word: str, value: str) -> Up | None:
    if match := _AXIS.match(value):
        if match[0] != value and not _ENDING.fullmatch(value[match.end() :]):
            return None
        if word == "vertical" and value.lower() == "y":
            return Y_DOWN
        return axis(match[1].replace("+", "") + match[2].lower())
    try:
        numbers = np.array([float(part) for part in re.split(r"[\s,;()\[\]]+", value) if part])
    except ValueError:
        return None
    if numbers.shape != (3,) or not np.isfinite(numbers).all() or not numbers.any():
        return None
    numbers = numbers / np.abs(numbers).max()  # whose squares neither overflow nor vanish
    x, y, z = (float(part) for part in numbers / np.linalg.norm(numbers) + 0.0)
    return x, y, z


def describe(up: Up) -> str:
    """Return "y down", "z up" or the direction in numbers, for messages."""
    if sorted(map(abs, up)) != [0.0, 0.0, 1.0]:
        return "({:.3g}, {:.3g}, {:.3g}) up".format(*up)
    nearest = int(np.abs(up).argmax())
    return f"{'xyz'[nearest]} {'up' if up[nearest] > 0 else 'down'}"


def upright_rotation(up: Up) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation that brings `up` to +y.

    The axes turn as those of a mesh do, but for a file that points y down: viewers turn that about z. A direction
    between the axes turns with the nearest one and then by the least angle.
    """
    direction = np.asarray(up, dtype=np.float64)
    nearest = int(np.abs(direction).argmax())
    name = ("-" if direction[nearest] < 0 else "") + "xyz"[nearest]
    rotation = np.diag([-1.0, -1.0, 1.0]) if name == "-y" else np.array(UPRIGHT[name], dtype=np.float64)
    x, y, z = rotation @ direction
    if x == z == 0.0:
        return rotation
    cross = np.array([[0.0, -x, 0.0], [x, 0.0, z], [0.0, -z, 0.0]])  # of (x, y, z) and +y
    return (np.eye(3) + cross + cross @ cross / (1.0 + y)) @ rotation


def stand_up(
    means: Float[np.ndarray, "n 3"], quats: Float[np.ndarray, "n 4"], sh: Float[np.ndarray, "n k 3"], up: Up
) -> tuple[Float[np.ndarray, "n 3"], Float64[np.ndarray, "n 4"], Float[np.ndarray, "n k 3"]]:
    """Return positions, quaternions and coefficients of an object whose file points `up`, turned so that y does."""
    if up == Y_UP:
        return means, quats, sh
    if up == Y_DOWN:
        return half_turn(means, quats, sh, "z")
    return turned(means, quats, sh, upright_rotation(up))
