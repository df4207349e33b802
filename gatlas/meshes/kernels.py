"""Numba kernels of the mesh renderer: visibility by a z-buffer over subsamples.

Faces are clipped to the near plane and snapped to 1/256 of a subsample, so that the edge functions are exact and
neighboring faces neither overlap nor leave a gap. A picture is worked through in bands of rows; each face is listed in
the bands that it touches, in its own order, so that the result does not depend on the number of threads.

The kernels contain the code and the columns of `gatlas.meshes.colors`, whose changes numba's cache does not notice:
with a change there, raise LAYOUT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.jit import njit
from gatlas.meshes.colors import MASK, MODE, OPAQUE, surface_color

if TYPE_CHECKING:
    from jaxtyping import Float64, Int32, Int64


LAYOUT = 2  # of the tables of a Surface; numba's cache follows this file alone
SNAP = 256.0  # steps per subsample
BAND_ROWS = 16  # pixel rows of a band
NEAR_SHARE = 1e-4  # near plane, as a share of the depth of the farthest vertex
PATTERNS = 64  # orders in which the subsamples of a pixel let a translucent surface through

# Columns of a record, in steps: the three corners, positive area; then 1/z = SLOPE_X i + SLOPE_Y j + AT_0 at subsample
# (i, j), and the range that 1/z has on the face.
X0, Y0, X1, Y1, X2, Y2, SLOPE_X, SLOPE_Y, AT_0, LOWEST, HIGHEST = range(11)
RECORD = 11


class Screen(NamedTuple):
    """The faces of a mesh as one camera sees them."""

    points: Float64[np.ndarray, "v 3"]  # vertices in the camera
    inverse: Float64[np.ndarray, "3 3"]  # subsample coordinates -> ray
    records: Float64[np.ndarray, "r 11"]
    record_faces: Int32[np.ndarray, " r"]
    band_starts: Int64[np.ndarray, " bands_plus_1"]
    band_records: Int32[np.ndarray, " listed"]


# The kernels read single numbers: a view of a row, which numba counts references to, costs more than the arithmetic.
@njit(nogil=True, forceinline=True)
def edge_planes(points, faces, face):  # type: ignore[no-untyped-def]
    """The three planes through the camera's center and a face's edges, opposite to its corners: 3 x (x, y, z)."""
    i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
    x0, y0, z0 = points[i, 0], points[i, 1], points[i, 2]
    x1, y1, z1 = points[j, 0], points[j, 1], points[j, 2]
    x2, y2, z2 = points[k, 0], points[k, 1], points[k, 2]
    return (
        (y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2),
        (y2 * z0 - z2 * y0, z2 * x0 - x2 * z0, x2 * y0 - y2 * x0),
        (y0 * z1 - z0 * y1, z0 * x1 - x0 * z1, x0 * y1 - y0 * x1),
    )


@njit(nogil=True, forceinline=True)
def barycentrics(planes, inverse, i, j):  # type: ignore[no-untyped-def]
    """Barycentric coordinates, brought inside the face, at which the ray through subsample (i, j) meets it.

    They are ratios of the volumes that the ray spans with the face's edges, so they hold for faces that reach behind
    the camera. A subsample just outside, which snapping let in, gets the nearest of the face.
    """
    u, v = i + 0.5, j + 0.5
    x = inverse[0, 0] * u + inverse[0, 1] * v + inverse[0, 2]
    y = inverse[1, 1] * v + inverse[1, 2]
    b0 = planes[0][0] * x + planes[0][1] * y + planes[0][2]
    b1 = planes[1][0] * x + planes[1][1] * y + planes[1][2]
    b2 = planes[2][0] * x + planes[2][1] * y + planes[2][2]
    if b0 + b1 + b2 < 0.0:
        b0, b1, b2 = -b0, -b1, -b2
    b0, b1, b2 = max(b0, 0.0), max(b1, 0.0), max(b2, 0.0)
    total = b0 + b1 + b2
    if not total > 0.0:  # seen exactly edge-on
        return 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0
    share = 1.0 / total
    return b0 * share, b1 * share, b2 * share


@njit(nogil=True)
def _clip(p, near, polygon):  # type: ignore[no-untyped-def]
    """Corners (x, y, z) of the part of a triangle with z >= near, into `polygon`; their number."""
    count = 0
    for k in range(3):
        m = (k + 1) % 3
        if p[k, 2] >= near:
            for axis in range(3):
                polygon[count, axis] = p[k, axis]
            count += 1
        if (p[k, 2] >= near) != (p[m, 2] >= near):
            # From the nearer corner, so that both faces of an edge cut it at the same point.
            a, b = (k, m) if p[k, 2] < p[m, 2] else (m, k)
            t = (near - p[a, 2]) / (p[b, 2] - p[a, 2])
            for axis in range(2):
                polygon[count, axis] = p[a, axis] + t * (p[b, axis] - p[a, axis])
            polygon[count, 2] = near
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def project_faces(faces, points, K, inverse, near, width, height, records, record_faces):  # type: ignore[no-untyped-def]
    """Fill records for all faces in front of the camera that can touch a subsample; their number.

    `K` [3 3] and `inverse`, width and height are in subsamples; records [2f 11] has room for two per face.
    """
    count = 0
    corners = np.empty((3, 3))
    polygon = np.empty((4, 3))
    xs, ys = np.empty(4), np.empty(4)
    for face in range(len(faces)):
        nearest, farthest = np.inf, -np.inf
        for k in range(3):
            for axis in range(3):
                corners[k, axis] = points[faces[face, k], axis]
            nearest, farthest = min(nearest, corners[k, 2]), max(farthest, corners[k, 2])
        if not farthest >= near:
            continue
        n0, n1, n2 = edge_planes(points, faces, face)
        volume = corners[0, 0] * n0[0] + corners[0, 1] * n0[1] + corners[0, 2] * n0[2]
        if volume == 0.0 or not np.isfinite(volume):  # seen exactly edge-on, or without area
            continue
        s0, s1, s2 = n0[0] + n1[0] + n2[0], n0[1] + n1[1] + n2[1], n0[2] + n1[2] + n2[2]
        size = 3 if nearest >= near else _clip(corners, near, polygon)
        shape = corners if nearest >= near else polygon
        for k in range(size):
            x, y, z = shape[k, 0], shape[k, 1], shape[k, 2]
            xs[k] = np.rint(SNAP * (K[0, 0] * x + K[0, 1] * y + K[0, 2] * z) / z)
            ys[k] = np.rint(SNAP * (K[1, 1] * y + K[1, 2] * z) / z)
        for k in range(1, size - 1):
            area = (xs[k] - xs[0]) * (ys[k + 1] - ys[0]) - (ys[k] - ys[0]) * (xs[k + 1] - xs[0])
            if area == 0.0:
                continue
            a, b = (k, k + 1) if area > 0.0 else (k + 1, k)
            # Subsample i is covered where its center, i + 1/2, is.
            if max(xs[0], xs[a], xs[b]) < 0.5 * SNAP or min(xs[0], xs[a], xs[b]) > (width - 0.5) * SNAP:
                continue
            first = math.ceil(min(ys[0], ys[a], ys[b]) / SNAP - 0.5)
            last = math.floor(max(ys[0], ys[a], ys[b]) / SNAP - 0.5)
            if first > last or last < 0 or first >= height:
                continue
            record = records[count]
            record[X0], record[Y0] = xs[0], ys[0]
            record[X1], record[Y1] = xs[a], ys[a]
            record[X2], record[Y2] = xs[b], ys[b]
            record[SLOPE_X] = (s0 * inverse[0, 0] + s1 * inverse[1, 0] + s2 * inverse[2, 0]) / volume
            record[SLOPE_Y] = (s0 * inverse[0, 1] + s1 * inverse[1, 1] + s2 * inverse[2, 1]) / volume
            constant = (s0 * inverse[0, 2] + s1 * inverse[1, 2] + s2 * inverse[2, 2]) / volume
            record[AT_0] = constant + 0.5 * (record[SLOPE_X] + record[SLOPE_Y])
            record[LOWEST], record[HIGHEST] = 1.0 / farthest, 1.0 / max(nearest, near)
            record_faces[count] = face
            count += 1
    return count


@njit(nogil=True)
def _bands(records, r, rows, bands):  # type: ignore[no-untyped-def]
    low = min(records[r, Y0], records[r, Y1], records[r, Y2]) / (SNAP * rows)
    high = max(records[r, Y0], records[r, Y1], records[r, Y2]) / (SNAP * rows)
    return int(max(low, 0.0)), int(min(high, bands - 1.0))


@njit(cache=True, nogil=True)
def list_by_band(records, rows, bands):  # type: ignore[no-untyped-def]
    """The records that touch each band of `rows` subsample rows: starts [bands + 1] and records, in their own order."""
    starts = np.zeros(bands + 1, dtype=np.int64)
    for r in range(len(records)):
        first, last = _bands(records, r, rows, bands)
        for band in range(first, last + 1):
            starts[band + 1] += 1
    for band in range(bands):
        starts[band + 1] += starts[band]
    listed = np.empty(starts[bands], dtype=np.int32)
    ends = starts[:-1].copy()
    for r in range(len(records)):
        first, last = _bands(records, r, rows, bands)
        for band in range(first, last + 1):
            listed[ends[band]] = r
            ends[band] += 1
    return starts, listed


@njit(nogil=True)
def hash_of(a, b, c):  # type: ignore[no-untyped-def]
    """32 well-mixed bits of three small numbers (the finaliser of MurmurHash3)."""
    h = (a * 0x9E3779B1 + b * 0x85EBCA77 + c * 0xC2B2AE3D) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


@njit(nogil=True)
def _passes(surface, points, inverse, face, i, j, supersample, patterns):  # type: ignore[no-untyped-def]
    """True where a masked or translucent face shows at subsample (i, j).

    Translucency is a share of the pixel's subsamples. Each layer, which is a connected piece of surface seen from one
    side, takes a different share, so that what lies behind is seen through the others whatever the order of the faces,
    and no seam shows between neighbors.
    """
    planes = edge_planes(points, surface.faces, face)
    b0, b1, b2 = barycentrics(planes, inverse, i, j)
    material = surface.face_materials[face]
    alpha = surface_color(surface.corners, surface.materials, surface.texels, face, material, b0, b1, b2)[3]
    if surface.materials[material, MODE] == MASK:
        return alpha > 0.0  # the cutoff has been applied
    samples = supersample * supersample
    corner = surface.faces[face, 0]
    volume = points[corner, 0] * planes[0][0] + points[corner, 1] * planes[0][1] + points[corner, 2] * planes[0][2]
    layer = 2 * surface.layers[face] + (1 if volume > 0.0 else 0)
    bits = hash_of(i // supersample, j // supersample, layer)
    slot = (j % supersample) * supersample + i % supersample
    rank = (patterns[bits % PATTERNS, slot] + (bits >> 8)) % samples
    return alpha * samples >= rank + 0.5


@njit(nogil=True, forceinline=True)
def _span(records, r, y, width):  # type: ignore[no-untyped-def]
    """First and last subsample whose center record r covers on the line at `y`; none where first > last."""
    left, right = 0.0, width - 1.0
    for edge in range(3):
        ax, ay = records[r, 2 * edge], records[r, 2 * edge + 1]
        after = 2 * edge + 2 if edge < 2 else 0
        dx, dy = records[r, after] - ax, records[r, after + 1] - ay
        k = dx * (y - ay) + dy * ax  # inside: k - dy x > 0; a point on an edge counts for one of its two faces
        if dy == 0.0:
            if k < 0.0 or (k == 0.0 and dx <= 0.0):
                right = -1.0
        elif dy > 0.0:
            right = min(right, math.ceil((k / dy - 0.5 * SNAP) / SNAP) - 1.0)
        else:
            left = max(left, math.ceil((k / dy - 0.5 * SNAP) / SNAP))
    return int(min(left, float(width))), int(max(right, -1.0))


@njit(nogil=True)
def _resolve_band(surface, screen, band, supersample, patterns, nearest, hits):  # type: ignore[no-untyped-def]
    """Fill the buffers of a band, nearest [rows w] with 1/z and hits [rows w] with faces; its first subsample row."""
    nearest[:] = 0.0
    hits[:] = -1
    rows, width = hits.shape
    top = band * BAND_ROWS * supersample
    records, record_faces, materials = screen.records, screen.record_faces, surface.materials
    points, inverse, face_materials = screen.points, screen.inverse, surface.face_materials
    for index in range(screen.band_starts[band], screen.band_starts[band + 1]):
        r = screen.band_records[index]
        face = record_faces[r]
        opaque = materials[face_materials[face], MODE] == OPAQUE
        low = min(records[r, Y0], records[r, Y1], records[r, Y2])
        high = max(records[r, Y0], records[r, Y1], records[r, Y2])
        slope, lowest, highest = records[r, SLOPE_X], records[r, LOWEST], records[r, HIGHEST]
        first, last = math.ceil(low / SNAP - 0.5), math.floor(high / SNAP - 0.5)
        for j in range(int(max(first, top)), int(min(last, top + rows - 1)) + 1):
            left, right = _span(records, r, SNAP * (j + 0.5), width)
            at_row = records[r, SLOPE_Y] * j + records[r, AT_0]
            for i in range(left, right + 1):
                inverse_depth = np.float32(min(max(slope * i + at_row, lowest), highest))
                if inverse_depth > nearest[j - top, i] and (
                    opaque or _passes(surface, points, inverse, face, i, j, supersample, patterns)
                ):
                    nearest[j - top, i] = inverse_depth
                    hits[j - top, i] = face
    return top


@njit(nogil=True)
def _encode(linear):  # type: ignore[no-untyped-def]
    linear = min(max(linear, 0.0), 1.0)
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1.0 / 2.4) - 0.055


@njit(cache=True, nogil=True, error_model="numpy")
def render_bands(first, step, surface, screen, supersample, patterns, image):  # type: ignore[no-untyped-def]
    """Bands first, first + step, ... of a picture [h w 4]: straight RGBA, sRGB-encoded."""
    height, width = image.shape[:2]
    nearest = np.empty((BAND_ROWS * supersample, width * supersample), dtype=np.float32)
    hits = np.empty((BAND_ROWS * supersample, width * supersample), dtype=np.int32)
    points, inverse, faces, face_materials = screen.points, screen.inverse, surface.faces, surface.face_materials
    corners, materials, texels = surface.corners, surface.materials, surface.texels
    planes = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    for band in range(first, len(screen.band_starts) - 1, step):
        top = _resolve_band(surface, screen, band, supersample, patterns, nearest, hits)
        for y in range(band * BAND_ROWS, min((band + 1) * BAND_ROWS, height)):
            for x in range(width):
                red, green, blue, seen, last, material = 0.0, 0.0, 0.0, 0, -1, 0
                for j in range(y * supersample, (y + 1) * supersample):
                    for i in range(x * supersample, (x + 1) * supersample):
                        face = hits[j - top, i]
                        if face < 0:
                            continue
                        if face != last:
                            planes, material, last = edge_planes(points, faces, face), face_materials[face], face
                        b0, b1, b2 = barycentrics(planes, inverse, i, j)
                        color = surface_color(corners, materials, texels, face, material, b0, b1, b2)
                        red, green, blue = red + color[0], green + color[1], blue + color[2]
                        seen += 1
                covered = max(seen, 1)
                image[y, x, 0] = _encode(red / covered)
                image[y, x, 1] = _encode(green / covered)
                image[y, x, 2] = _encode(blue / covered)
                image[y, x, 3] = seen / (supersample * supersample)


@njit(cache=True, nogil=True, error_model="numpy")
def hit_bands(first, step, surface, screen, patterns, depths, faces, places):  # type: ignore[no-untyped-def]
    """Bands first, first + step, ... of what lies at the pixel centers: depths [h w], faces [h w], places [h w 2]."""
    height, width = depths.shape
    nearest = np.empty((BAND_ROWS, width), dtype=np.float32)
    hits = np.empty((BAND_ROWS, width), dtype=np.int32)
    for band in range(first, len(screen.band_starts) - 1, step):
        top = _resolve_band(surface, screen, band, 1, patterns, nearest, hits)
        for y in range(band * BAND_ROWS, min((band + 1) * BAND_ROWS, height)):
            for x in range(width):
                face = hits[y - top, x]
                faces[y, x] = face
                depths[y, x] = np.inf
                places[y, x, 0] = places[y, x, 1] = 0.0
                if face >= 0:
                    depths[y, x] = np.float32(1.0) / nearest[y - top, x]
                    planes = edge_planes(screen.points, surface.faces, face)
                    b0, b1, _ = barycentrics(planes, screen.inverse, x, y)
                    places[y, x, 0], places[y, x, 1] = b0, b1
