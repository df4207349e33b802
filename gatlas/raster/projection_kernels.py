"""Numba kernels: 3D Gaussians to 2D Gaussians in the picture, and the gradients back.

One thread handles a range of Gaussians. Arrays are float32; the arithmetic in registers is float64, which costs
nothing beside the rasterizer and keeps the determinants of needles.

A 2D Gaussian is kept whitened. With cov2d = [[a, b], [b, c]] (blur included) and (dx, dy) = mean - pixel center,

    sigma = (p^2 + q^2) / 2,   p = (c dx - b dy) / sqrt(c det),   q = dy / sqrt(c),

which equals the usual form with the conic, cannot turn negative, and does not cancel for needles.
The records hold u, v, w with p' = u dx + v dy, q' = w dy scaled so that exp(-sigma) = 2^-(p'^2 + q'^2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gatlas.jit import njit
from gatlas.raster.lanes import element, load

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64, UInt64

MIN_ALPHA = 1.0 / 255.0  # fainter contributions are skipped
MAX_EXTENT = 3.33  # standard deviations
CLAMP_MARGIN = 0.3  # of half the picture: where the Jacobian's viewing direction is clamped
WHITEN_SCALE = math.sqrt(0.5 * math.log2(math.e))

CULLED = np.uint64(0xFFFFFFFFFFFFFFFF)

# Columns of a record, one 64-byte line: mean, whitening, opacity, color, depth, box (first and last pixel), reach:
# p'^2 + q'^2 where alpha is 1/255, and tilt: the dy at which the ellipse of that size has its greatest dx.
RECORD_SIZE = 16
MX, MY, U, V, W, OPACITY, RED, GREEN, BLUE, DEPTH, X0, X1, Y0, Y1, REACH, TILT = range(RECORD_SIZE)

# Columns of a gradient slot, one 64-byte line for each pair of a Gaussian and a tile; s is the gradient of the loss to
# sigma. S_ABS_... are sums of absolute values, written only where they are asked for.
SLOT_SIZE = 16
SLOT_COLUMNS = 10
PREFETCHED = 8  # Gaussians ahead
S_RED, S_GREEN, S_BLUE, S_DEPTH, S_0, S_P, S_Q, S_PP, S_PQ, S_QQ, S_ABS_X, S_ABS_Y = range(SLOT_COLUMNS + 2)


@intrinsic
def _sum_slots(typing_context, slots, start, stop):  # type: ignore[no-untyped-def]
    """The sums, in float64 and in this order, of the first SLOT_COLUMNS columns of the slots [start, stop)."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        slots, start, stop = arguments
        rows = context.make_array(signature.args[0])(context, builder, slots).data
        doubles = ir.VectorType(ir.DoubleType(), SLOT_SIZE)
        sums = cgutils.alloca_once(builder, doubles)
        builder.store(ir.Constant(doubles, [ir.Constant(ir.DoubleType(), 0.0)] * SLOT_SIZE), sums)
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(start.type, 1)) as (slot, _):
            row = element(builder, rows, builder.mul(slot, ir.Constant(slot.type, SLOT_SIZE)))
            values = builder.fpext(load(builder, row).value, doubles)
            builder.store(builder.fadd(builder.load(sums), values), sums)
        total = builder.load(sums)
        columns = [builder.extract_element(total, ir.Constant(ir.IntType(32), k)) for k in range(SLOT_COLUMNS)]
        return context.make_tuple(builder, signature.return_type, columns)

    return types.UniTuple(types.float64, SLOT_COLUMNS)(slots, types.int64, types.int64), code


@intrinsic
def _prefetch(typing_context, slots, slot):  # type: ignore[no-untyped-def]
    """Have the cache fetch a slot that is soon read."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        slots, slot = arguments
        rows = context.make_array(signature.args[0])(context, builder, slots).data
        row = element(builder, rows, builder.mul(slot, ir.Constant(slot.type, SLOT_SIZE)))
        address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        read, keep, of_memory = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(function, [builder.bitcast(row, address), read, keep, of_memory])
        return context.get_dummy_value()

    return types.void(slots, types.int64), code


@njit(nogil=True)
def _rotation(qw, qx, qy, qz):  # type: ignore[no-untyped-def]
    """The nine entries, row by row, of the rotation of a unit quaternion."""
    return (
        1 - 2 * (qy * qy + qz * qz),
        2 * (qx * qy - qw * qz),
        2 * (qx * qz + qw * qy),
        2 * (qx * qy + qw * qz),
        1 - 2 * (qx * qx + qz * qz),
        2 * (qy * qz - qw * qx),
        2 * (qx * qz - qw * qy),
        2 * (qy * qz + qw * qx),
        1 - 2 * (qx * qx + qy * qy),
    )


@njit(nogil=True)
def _view_times(view, r0, r1, r2):  # type: ignore[no-untyped-def]
    """The camera's rotation times one column."""
    return (
        view[0, 0] * r0 + view[0, 1] * r1 + view[0, 2] * r2,
        view[1, 0] * r0 + view[1, 1] * r1 + view[1, 2] * r2,
        view[2, 0] * r0 + view[2, 1] * r1 + view[2, 2] * r2,
    )


@njit(nogil=True)
def _view_transposed_times(view, a, b, c):  # type: ignore[no-untyped-def]
    """The transposed rotation of the camera times one column."""
    return (
        view[0, 0] * a + view[1, 0] * b + view[2, 0] * c,
        view[0, 1] * a + view[1, 1] * b + view[2, 1] * c,
        view[0, 2] * a + view[1, 2] * b + view[2, 2] * c,
    )


@njit(nogil=True)
def _clamped(value, low, high):  # type: ignore[no-untyped-def]
    return min(max(value, low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def project(
    start: int,
    stop: int,
    means: Float32[np.ndarray, "n 3"],
    quats: Float32[np.ndarray, "n 4"],
    scales: Float32[np.ndarray, "n 3"],
    opacities: Float32[np.ndarray, " n"],
    colors: Float32[np.ndarray, "n 3"],
    view: Float64[np.ndarray, "4 4"],
    K: Float64[np.ndarray, "3 3"],
    width: int,
    height: int,
    near_plane: float,
    far_plane: float,
    eps2d: float,
    antialiased: bool,
    records: Float32[np.ndarray, "n 16"],
    keys: UInt64[np.ndarray, " n"],
) -> None:
    """Fill the records of the Gaussians [start, stop) and their sort keys: bits of the depth, then the index.

    The key is CULLED, and the record left as it is, where a Gaussian cannot touch a pixel.
    """
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = CLAMP_MARGIN * 0.5 * width / fx, CLAMP_MARGIN * 0.5 * height / fy
    low_x, high_x = -(cx / fx + margin_x), (width - cx) / fx + margin_x
    low_y, high_y = -(cy / fy + margin_y), (height - cy) / fy + margin_y
    depth_bits = np.empty(1, dtype=np.float32)
    for i in range(start, stop):
        keys[i] = CULLED
        opacity = np.float64(opacities[i])
        if not opacity >= MIN_ALPHA:
            continue
        m0, m1, m2 = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        x, y, z = _view_times(view, m0, m1, m2)
        x, y, z = x + view[0, 3], y + view[1, 3], z + view[2, 3]
        if not (near_plane <= z <= far_plane):
            continue
        qw, qx, qy, qz = (
            np.float64(quats[i, 0]),
            np.float64(quats[i, 1]),
            np.float64(quats[i, 2]),
            np.float64(quats[i, 3]),
        )
        inverse_norm = 1.0 / math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
        r = _rotation(qw * inverse_norm, qx * inverse_norm, qy * inverse_norm, qz * inverse_norm)
        inverse_z = 1.0 / z
        j00, j11 = fx * inverse_z, fy * inverse_z
        j02 = -j00 * _clamped(x * inverse_z, low_x, high_x)
        j12 = -j11 * _clamped(y * inverse_z, low_y, high_y)

        # T = J R_view R S: the rows t0, t1 of a 2 x 3 matrix; cov2d = T T' + eps2d I.
        s0, s1, s2 = np.float64(scales[i, 0]), np.float64(scales[i, 1]), np.float64(scales[i, 2])
        va0, vb0, vc0 = _view_times(view, r[0], r[3], r[6])
        va1, vb1, vc1 = _view_times(view, r[1], r[4], r[7])
        va2, vb2, vc2 = _view_times(view, r[2], r[5], r[8])
        t00, t01, t02 = (j00 * va0 + j02 * vc0) * s0, (j00 * va1 + j02 * vc1) * s1, (j00 * va2 + j02 * vc2) * s2
        t10, t11, t12 = (j11 * vb0 + j12 * vc0) * s0, (j11 * vb1 + j12 * vc1) * s1, (j11 * vb2 + j12 * vc2) * s2
        a = t00 * t00 + t01 * t01 + t02 * t02
        b = t00 * t10 + t01 * t11 + t02 * t12
        c = t10 * t10 + t11 * t11 + t12 * t12
        n0, n1, n2 = t01 * t12 - t02 * t11, t02 * t10 - t00 * t12, t00 * t11 - t01 * t10
        det = n0 * n0 + n1 * n1 + n2 * n2 + eps2d * (a + c) + eps2d * eps2d  # Lagrange's identity: no cancellation
        if not (0.0 < det < np.inf):
            continue
        if antialiased:  # the blur makes a Gaussian larger; this keeps what it shows in all
            opacity *= math.sqrt((n0 * n0 + n1 * n1 + n2 * n2) / det)
            if not opacity >= MIN_ALPHA:
                continue
        a += eps2d
        c += eps2d

        # Beyond this extent alpha < MIN_ALPHA, so the box leaves out nothing (for opacities <= 1).
        extent = min(MAX_EXTENT, math.sqrt(2.0 * math.log(opacity / MIN_ALPHA)))
        mean_x, mean_y = fx * x * inverse_z + cx, fy * y * inverse_z + cy
        radius_x, radius_y = extent * math.sqrt(a), extent * math.sqrt(c)
        x0, x1 = max(0.0, math.ceil(mean_x - radius_x - 0.5)), min(width - 1.0, math.floor(mean_x + radius_x - 0.5))
        y0, y1 = max(0.0, math.ceil(mean_y - radius_y - 0.5)), min(height - 1.0, math.floor(mean_y + radius_y - 0.5))
        if not (x0 <= x1 and y0 <= y1):
            continue

        record = records[i]
        record[MX], record[MY] = mean_x, mean_y
        record[U] = WHITEN_SCALE * math.sqrt(c / det)
        record[V] = -WHITEN_SCALE * b / math.sqrt(c * det)
        record[W] = WHITEN_SCALE / math.sqrt(c)
        record[OPACITY] = opacity
        record[RED], record[GREEN], record[BLUE] = colors[i, 0], colors[i, 1], colors[i, 2]
        record[DEPTH] = z
        record[X0], record[X1], record[Y0], record[Y1] = x0, x1, y0, y1
        reach = 2.0 * math.log(opacity / MIN_ALPHA)
        record[REACH], record[TILT] = WHITEN_SCALE**2 * reach, math.sqrt(reach / a) * b
        depth_bits[0] = z
        keys[i] = (np.uint64(depth_bits.view(np.uint32)[0]) << np.uint64(32)) | np.uint64(i)


@njit(cache=True, nogil=True, error_model="numpy")
def project_backward(
    start: int,
    stop: int,
    ranks: Int64[np.ndarray, " n"],
    slot_starts: Int64[np.ndarray, " m_plus_1"],
    slots: Float32[np.ndarray, "pairs 16"],
    means: Float32[np.ndarray, "n 3"],
    quats: Float32[np.ndarray, "n 4"],
    scales: Float32[np.ndarray, "n 3"],
    opacities: Float32[np.ndarray, " n"],
    view: Float64[np.ndarray, "4 4"],
    K: Float64[np.ndarray, "3 3"],
    width: int,
    height: int,
    eps2d: float,
    antialiased: bool,
    v_means: Float32[np.ndarray, "n 3"],
    v_quats: Float32[np.ndarray, "n 4"],
    v_scales: Float32[np.ndarray, "n 3"],
    v_opacities: Float32[np.ndarray, " n"],
    v_colors: Float32[np.ndarray, "n 3"],
    absolute: Float32[np.ndarray, "n 2"] | None,
) -> None:
    """Sum the slots of the Gaussians [start, stop) and add their gradients to `v_...`.

    `ranks` are their places in depth order, -1 for those that are not visible. Of all that is read and written here
    only the slots are in that order: the caches like one such array better than ten.

    To `absolute`, where there is one, are added the sums over the pixels of the absolute gradients to the mean2d.
    """
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = CLAMP_MARGIN * 0.5 * width / fx, CLAMP_MARGIN * 0.5 * height / fy
    low_x, high_x = -(cx / fx + margin_x), (width - cx) / fx + margin_x
    low_y, high_y = -(cy / fy + margin_y), (height - cy) / fy + margin_y
    for i in range(start, stop):
        rank, ahead = ranks[i], ranks[min(i + PREFETCHED, stop - 1)]
        if ahead >= 0:
            _prefetch(slots, slot_starts[ahead])  # type: ignore[call-arg]
        if rank < 0:
            continue
        g = _sum_slots(slots, slot_starts[rank], slot_starts[rank + 1])  # type: ignore[call-arg, var-annotated]
        if absolute is not None:
            for slot in range(slot_starts[rank], slot_starts[rank + 1]):
                absolute[i, 0] += slots[slot, S_ABS_X] / np.float32(WHITEN_SCALE**2)
                absolute[i, 1] += slots[slot, S_ABS_Y] / np.float32(WHITEN_SCALE**2)
        reached = False
        for total in g:
            reached |= total != 0.0
        if not reached:  # hidden: nothing of it was blended
            continue
        v_colors[i, 0] += np.float32(g[S_RED])
        v_colors[i, 1] += np.float32(g[S_GREEN])
        v_colors[i, 2] += np.float32(g[S_BLUE])
        v_opacities[i] -= np.float32(g[S_0] / np.float64(opacities[i]))

        # Forward again.
        m0, m1, m2 = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        x, y, z = _view_times(view, m0, m1, m2)
        x, y, z = x + view[0, 3], y + view[1, 3], z + view[2, 3]
        qw, qx, qy, qz = (
            np.float64(quats[i, 0]),
            np.float64(quats[i, 1]),
            np.float64(quats[i, 2]),
            np.float64(quats[i, 3]),
        )
        inverse_norm = 1.0 / math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
        qw, qx, qy, qz = qw * inverse_norm, qx * inverse_norm, qy * inverse_norm, qz * inverse_norm
        r = _rotation(qw, qx, qy, qz)
        inverse_z = 1.0 / z
        ratio_x, ratio_y = _clamped(x * inverse_z, low_x, high_x), _clamped(y * inverse_z, low_y, high_y)
        j00, j11 = fx * inverse_z, fy * inverse_z
        j02, j12 = -j00 * ratio_x, -j11 * ratio_y
        s0, s1, s2 = np.float64(scales[i, 0]), np.float64(scales[i, 1]), np.float64(scales[i, 2])
        va0, vb0, vc0 = _view_times(view, r[0], r[3], r[6])
        va1, vb1, vc1 = _view_times(view, r[1], r[4], r[7])
        va2, vb2, vc2 = _view_times(view, r[2], r[5], r[8])
        t00, t01, t02 = (j00 * va0 + j02 * vc0) * s0, (j00 * va1 + j02 * vc1) * s1, (j00 * va2 + j02 * vc2) * s2
        t10, t11, t12 = (j11 * vb0 + j12 * vc0) * s0, (j11 * vb1 + j12 * vc1) * s1, (j11 * vb2 + j12 * vc2) * s2
        a = t00 * t00 + t01 * t01 + t02 * t02
        b = t00 * t10 + t01 * t11 + t02 * t12
        c = t10 * t10 + t11 * t11 + t12 * t12
        n0, n1, n2 = t01 * t12 - t02 * t11, t02 * t10 - t00 * t12, t00 * t11 - t01 * t10
        det0 = n0 * n0 + n1 * n1 + n2 * n2
        det = det0 + eps2d * (a + c) + eps2d * eps2d
        c += eps2d
        u, v, w = math.sqrt(c / det), -b / math.sqrt(c * det), 1.0 / math.sqrt(c)

        # sigma = |y|^2 / 2 with y = L' d, L L' = cov2d^-1, d = mean2d - pixel. Sums over the pixels:
        g_p, g_q = g[S_P] / WHITEN_SCALE, g[S_Q] / WHITEN_SCALE
        g_pp, g_pq, g_qq = g[S_PP] / WHITEN_SCALE**2, g[S_PQ] / WHITEN_SCALE**2, g[S_QQ] / WHITEN_SCALE**2
        v_mean_x, v_mean_y = u * g_p, v * g_p + w * g_q  # L sum(s y)
        # v_cov2d = -L sum(s y y') L' / 2, so v_T = 2 v_cov2d T = -L sum(s y y') (L' T).
        y00, y01, y02 = u * t00 + v * t10, u * t01 + v * t11, u * t02 + v * t12
        y10, y11, y12 = w * t10, w * t11, w * t12
        h00, h01, h02 = g_pp * y00 + g_pq * y10, g_pp * y01 + g_pq * y11, g_pp * y02 + g_pq * y12
        h10, h11, h12 = g_pq * y00 + g_qq * y10, g_pq * y01 + g_qq * y11, g_pq * y02 + g_qq * y12
        vt00, vt01, vt02 = -u * h00, -u * h01, -u * h02
        vt10, vt11, vt12 = -(v * h00 + w * h10), -(v * h01 + w * h11), -(v * h02 + w * h12)
        if antialiased:
            # log opacity grows with (log det(T T') - log det(cov2d)) / 2, so v_T gains g (inv(T T') - L L') T, where
            # g = -sum(s) and inv(T T') T has the rows t1 x n / det0 and n x t0 / det0, with n = t0 x t1.
            k0, k = -g[S_0] / det0, g[S_0]
            vt00 += k0 * (t11 * n2 - t12 * n1) + k * (u * y00)
            vt01 += k0 * (t12 * n0 - t10 * n2) + k * (u * y01)
            vt02 += k0 * (t10 * n1 - t11 * n0) + k * (u * y02)
            vt10 += k0 * (n1 * t02 - n2 * t01) + k * (v * y00 + w * y10)
            vt11 += k0 * (n2 * t00 - n0 * t02) + k * (v * y01 + w * y11)
            vt12 += k0 * (n0 * t01 - n1 * t00) + k * (v * y02 + w * y12)

        # T = (J V) S with V = R_view R.
        v_scales[i, 0] += np.float32(vt00 * (j00 * va0 + j02 * vc0) + vt10 * (j11 * vb0 + j12 * vc0))
        v_scales[i, 1] += np.float32(vt01 * (j00 * va1 + j02 * vc1) + vt11 * (j11 * vb1 + j12 * vc1))
        v_scales[i, 2] += np.float32(vt02 * (j00 * va2 + j02 * vc2) + vt12 * (j11 * vb2 + j12 * vc2))
        vt00, vt10, vt01, vt11, vt02, vt12 = vt00 * s0, vt10 * s0, vt01 * s1, vt11 * s1, vt02 * s2, vt12 * s2
        v_j00 = vt00 * va0 + vt01 * va1 + vt02 * va2
        v_j02 = vt00 * vc0 + vt01 * vc1 + vt02 * vc2
        v_j11 = vt10 * vb0 + vt11 * vb1 + vt12 * vb2
        v_j12 = vt10 * vc0 + vt11 * vc1 + vt12 * vc2

        # j00 = fx / z, j02 = -fx ratio_x / z; mean_x = fx x / z + cx. A clamped ratio is a constant.
        v_x, v_y = v_mean_x * j00, v_mean_y * j11
        v_z = g[S_DEPTH] - (v_mean_x * j00 * x + v_mean_y * j11 * y) * inverse_z
        v_z -= (v_j00 * j00 + v_j02 * j02 + v_j11 * j11 + v_j12 * j12) * inverse_z
        if low_x <= x * inverse_z <= high_x:
            v_ratio = -v_j02 * j00
            v_x += v_ratio * inverse_z
            v_z -= v_ratio * ratio_x * inverse_z
        if low_y <= y * inverse_z <= high_y:
            v_ratio = -v_j12 * j11
            v_y += v_ratio * inverse_z
            v_z -= v_ratio * ratio_y * inverse_z
        v_means[i, 0] += np.float32(view[0, 0] * v_x + view[1, 0] * v_y + view[2, 0] * v_z)
        v_means[i, 1] += np.float32(view[0, 1] * v_x + view[1, 1] * v_y + view[2, 1] * v_z)
        v_means[i, 2] += np.float32(view[0, 2] * v_x + view[1, 2] * v_y + view[2, 2] * v_z)

        # v_R = R_view' J' v_T S.
        ca0, cb0, cc0 = j00 * vt00, j11 * vt10, j02 * vt00 + j12 * vt10
        ca1, cb1, cc1 = j00 * vt01, j11 * vt11, j02 * vt01 + j12 * vt11
        ca2, cb2, cc2 = j00 * vt02, j11 * vt12, j02 * vt02 + j12 * vt12
        r00, r10, r20 = _view_transposed_times(view, ca0, cb0, cc0)
        r01, r11, r21 = _view_transposed_times(view, ca1, cb1, cc1)
        r02, r12, r22 = _view_transposed_times(view, ca2, cb2, cc2)
        v_w = 2 * (qx * (r21 - r12) + qy * (r02 - r20) + qz * (r10 - r01))
        v_i = 2 * (-2 * qx * (r11 + r22) + qy * (r10 + r01) + qz * (r20 + r02) + qw * (r21 - r12))
        v_j = 2 * (qx * (r10 + r01) - 2 * qy * (r00 + r22) + qz * (r21 + r12) + qw * (r02 - r20))
        v_k = 2 * (qx * (r20 + r02) + qy * (r21 + r12) - 2 * qz * (r00 + r11) + qw * (r10 - r01))
        along = v_w * qw + v_i * qx + v_j * qy + v_k * qz  # the length of a quaternion does not matter
        v_quats[i, 0] += np.float32((v_w - along * qw) * inverse_norm)
        v_quats[i, 1] += np.float32((v_i - along * qx) * inverse_norm)
        v_quats[i, 2] += np.float32((v_j - along * qy) * inverse_norm)
        v_quats[i, 3] += np.float32((v_k - along * qz) * inverse_norm)
