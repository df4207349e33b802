"""Sixteen float32 lanes as one LLVM vector, for numba intrinsics: arithmetic on `Lanes` emits vector instructions.

LLVM gives a vector of sixteen to the machine in the pieces that it has: one register with AVX-512, two with AVX, four
with SSE2 or Neon. Emitting vectors, and not loops that may or may not be vectorised, keeps sums in registers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llvmlite import ir

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import Float32

COUNT = 16

FLOAT = ir.FloatType()
INT = ir.IntType(32)
FLOATS = ir.VectorType(FLOAT, COUNT)
INTS = ir.VectorType(INT, COUNT)
ALIGNMENT = 64  # bytes: a cache line
UNALIGNED = 4  # bytes: a float

# No re-association: every sum has one order. Fused multiply-adds are allowed.
FLAGS = ("contract", "nsz", "arcp")

# 2^f on [-1/2, 1/2]: the polynomial through the Chebyshev nodes, whose error is below that of rounding.
EXP2 = (1.0, 0.693147207, 0.240226509, 0.0555032723, 0.00961805668, 0.00134004282, 0.000154614447)
# Added to a number, this leaves its nearest integer plus the bias of a float's exponent in the lowest bits.
ROUND = 1.5 * 2.0**23
BIAS = 127.0
MANTISSA_BITS = 23


def aligned(*shape: int) -> Float32[np.ndarray, "*shape"]:
    """Return uninitialized memory that starts on a cache line."""
    import numpy as np

    size = math.prod(shape)
    raw = np.empty(size + ALIGNMENT // 4, dtype=np.float32)
    start = -raw.ctypes.data % ALIGNMENT // 4
    return raw[start : start + size].reshape(shape)


class Lanes:
    """Sixteen floats. Operators take other lanes, or a Python number for all of them."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def _wrap(self, value: ir.Value) -> Lanes:
        return Lanes(self.builder, value)

    def _of(self, other: Lanes | float) -> ir.Value:
        return other.value if isinstance(other, Lanes) else constant(self.builder, [other] * COUNT).value

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._wrap(self.builder.fadd(self.value, self._of(other), flags=FLAGS))

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._wrap(self.builder.fsub(self.value, self._of(other), flags=FLAGS))

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._wrap(self.builder.fmul(self.value, self._of(other), flags=FLAGS))

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self._wrap(self.builder.fdiv(self.value, self._of(other), flags=FLAGS))

    def __rsub__(self, other: float) -> Lanes:
        return constant(self.builder, [other] * COUNT) - self

    def __neg__(self) -> Lanes:
        return constant(self.builder, [-0.0] * COUNT) - self

    def __le__(self, other: Lanes | float) -> Mask:
        return self._compare("<=", other)

    def __lt__(self, other: Lanes | float) -> Mask:
        return self._compare("<", other)

    def __gt__(self, other: Lanes | float) -> Mask:
        return self._compare(">", other)

    def _compare(self, operator: str, other: Lanes | float) -> Mask:
        """False where either is not a number."""
        return Mask(self.builder, self.builder.fcmp_ordered(operator, self.value, self._of(other)))

    def min(self, other: Lanes | float) -> Lanes:
        """The lesser, lane by lane."""
        return (self < other).choose(self, other)

    def max(self, other: Lanes | float) -> Lanes:
        """The greater, lane by lane."""
        return (self > other).choose(self, other)

    def abs(self) -> Lanes:
        """Without the sign bit."""
        bits = self.builder.bitcast(self.value, INTS)
        cleared = self.builder.and_(bits, ir.Constant(INTS, [ir.Constant(INT, 0x7FFFFFFF)] * COUNT))
        return self._wrap(self.builder.bitcast(cleared, FLOATS))

    def exp2(self) -> Lanes:
        """2^x for x in [-126, 0], relative error about 1e-7; any value, also none, for what is outside."""
        shifted = self + (ROUND + BIAS)
        f = self - (shifted - (ROUND + BIAS))
        value = f * EXP2[-1] + EXP2[-2]
        for coefficient in EXP2[-3::-1]:
            value = f * value + coefficient
        shift = ir.Constant(INTS, [ir.Constant(INT, MANTISSA_BITS)] * COUNT)
        power = self.builder.shl(self.builder.bitcast(shifted.value, INTS), shift)
        return value * self._wrap(self.builder.bitcast(power, FLOATS))

    def shuffled(self, other: Lanes, order: Sequence[int]) -> Lanes:
        """Lanes picked from these (0 to 15) and the others (16 to 31)."""
        mask = ir.Constant(INTS, [ir.Constant(INT, lane) for lane in order])
        return self._wrap(self.builder.shuffle_vector(self.value, other.value, mask))

    def store(self, pointer: ir.Value, alignment: int = ALIGNMENT) -> None:
        """Write to a float's address that is a multiple of `alignment`."""
        self.builder.store(self.value, self.builder.bitcast(pointer, FLOATS.as_pointer()), align=alignment)


class Mask:
    """Sixteen yes or no."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.builder, self.builder.and_(self.value, other.value))

    def __invert__(self) -> Mask:
        return Mask(self.builder, self.builder.not_(self.value))

    def choose(self, yes: Lanes, no: Lanes | float) -> Lanes:
        """`yes` where set, else `no`."""
        return Lanes(self.builder, self.builder.select(self.value, yes.value, yes._of(no)))

    def any(self) -> ir.Value:
        """One bit: is a lane set?"""
        bits = self.builder.bitcast(self.value, ir.IntType(COUNT))
        return self.builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(COUNT), 0))


def constant(builder: ir.IRBuilder, values: Sequence[float]) -> Lanes:
    """Known values, rounded to float32."""
    return Lanes(builder, ir.Constant(FLOATS, [ir.Constant(FLOAT, _float32(value)) for value in values]))


def splat(builder: ir.IRBuilder, value: ir.Value) -> Lanes:
    """One float in all lanes."""
    undefined = ir.Constant(FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(INT, 0))
    return Lanes(builder, builder.shuffle_vector(first, undefined, ir.Constant(INTS, [ir.Constant(INT, 0)] * COUNT)))


def load(builder: ir.IRBuilder, pointer: ir.Value, alignment: int = ALIGNMENT) -> Lanes:
    """Read from a float's address that is a multiple of `alignment`."""
    return Lanes(builder, builder.load(builder.bitcast(pointer, FLOATS.as_pointer()), align=alignment))


def sums(vectors: Sequence[Lanes]) -> Lanes:
    """The sum of each of up to sixteen vectors in the lane of its number; the lanes left over hold 0."""
    builder = vectors[0].builder
    zero = constant(builder, [0.0] * COUNT)
    rows: list[Lanes] = list(vectors)
    step = 1
    while step < COUNT:  # a transposition that adds: in each round two vectors become one
        first = [lane if lane % (2 * step) < step else lane - step + COUNT for lane in range(COUNT)]
        second = [lane + step for lane in first]
        if len(rows) % 2:
            rows.append(zero)
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [a.shuffled(b, first) + a.shuffled(b, second) for a, b in pairs]
        step *= 2
    return rows[0]


def _float32(value: float) -> float:
    import numpy as np

    return float(np.float32(value))


def element(builder: ir.IRBuilder, pointer: ir.Value, index: Any) -> ir.Value:
    """The address of an item: of the array that starts at `pointer`, the one at `index`, a number or a value."""
    if isinstance(index, int):
        index = ir.Constant(ir.IntType(64), index)
    return builder.gep(pointer, [index], inbounds=True)
