"""Numba kernels: normals of depth maps, and the fusion of the maps in a sparse grid.

One thread handles a range of views or of blocks, and writes to nothing else: results do not depend on their number.
`gatlas.meshes.fusion_reference` is the same fusion in plain numpy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatlas.jit import njit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64

BLOCK = 4  # voxels along the side of a block
VOXELS = BLOCK**3
UNITS = 127.0  # a normal's component of 1, as it is stored
SAME_SIDE = 0.2  # least dot product with the best normal of observations of one sheet; below its negative: the other
IN_FRONT, BEHIND = 3.0, 1.5  # voxels: as far from a surface its distance counts


@njit(nogil=True, cache=True)
def find_normals(
    start: int,
    stop: int,
    views: Float64[np.ndarray, "c 3 4"],
    focals: Float64[np.ndarray, "c 4"],
    depths: Float32[np.ndarray, "c h w"],
    normals: Int8[np.ndarray, "c h w 4"],
) -> None:
    """Fill the normals of views start..stop: of each axis the neighbor whose depth differs less gives the tangent."""
    height, width = depths.shape[1], depths.shape[2]
    for view in range(start, stop):
        fx, fy, cx, cy = focals[view, 0], focals[view, 1], focals[view, 2], focals[view, 3]
        for row in range(height):
            for column in range(width):
                z = float(depths[view, row, column])
                if z <= 0.0:
                    continue
                right, down = 0, 0
                best = math.inf
                for step in (-1, 1):
                    if 0 <= column + step < width and depths[view, row, column + step] > 0.0:
                        apart = abs(float(depths[view, row, column + step]) - z)
                        if apart < best:
                            best, right = apart, step
                best = math.inf
                for step in (-1, 1):
                    if 0 <= row + step < height and depths[view, row + step, column] > 0.0:
                        apart = abs(float(depths[view, row + step, column]) - z)
                        if apart < best:
                            best, down = apart, step
                if right == 0 or down == 0:
                    continue
                x, y = (column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy
                za, zb = float(depths[view, row, column + right]), float(depths[view, row + down, column])
                ax, ay, az = (x + right / fx) * za - x * z, y * (za - z), za - z
                bx, by, bz = x * (zb - z), (y + down / fy) * zb - y * z, zb - z
                nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
                length = math.sqrt(nx * nx + ny * ny + nz * nz)
                if length == 0.0:
                    continue
                if nx * x + ny * y + nz > 0.0:
                    length = -length
                nx, ny, nz = nx / length, ny / length, nz / length
                for axis in range(3):
                    world = views[view, 0, axis] * nx + views[view, 1, axis] * ny + views[view, 2, axis] * nz
                    normals[view, row, column, axis] = round(UNITS * world)
                normals[view, row, column, 3] = 1


@njit(nogil=True, cache=True)
def meet_gaussians(
    start: int,
    stop: int,
    views: Float64[np.ndarray, "c 3 4"],
    focals: Float64[np.ndarray, "c 4"],
    means: Float64[np.ndarray, "n 3"],
    precisions: Float64[np.ndarray, "n 6"],
    indices: Int32[np.ndarray, "c h w"],
    depths: Float32[np.ndarray, "c h w"],
    normals: Int8[np.ndarray, "c h w 4"],
) -> None:
    """Fill depths and normals of views start..stop: of each pixel's ray and the Gaussian with the pixel's index.

    With the inverse covariance A (xx, xy, xz, yy, yz, zz), a ray of direction d is closest to the mean m, in standard
    deviations, at t = d A (m - eye) / d A d; all such points of parallel rays are a plane with the normal A d.
    """
    height, width = indices.shape[1], indices.shape[2]
    for view in range(start, stop):
        fx, fy, cx, cy = focals[view, 0], focals[view, 1], focals[view, 2], focals[view, 3]
        r = views[view]
        ex = -(r[0, 0] * r[0, 3] + r[1, 0] * r[1, 3] + r[2, 0] * r[2, 3])
        ey = -(r[0, 1] * r[0, 3] + r[1, 1] * r[1, 3] + r[2, 1] * r[2, 3])
        ez = -(r[0, 2] * r[0, 3] + r[1, 2] * r[1, 3] + r[2, 2] * r[2, 3])
        for row in range(height):
            for column in range(width):
                index = indices[view, row, column]
                if index < 0:
                    depths[view, row, column] = 0.0
                    continue
                x, y = (column + 0.5 - cx) / fx, (row + 0.5 - cy) / fy
                dx = r[0, 0] * x + r[1, 0] * y + r[2, 0]
                dy = r[0, 1] * x + r[1, 1] * y + r[2, 1]
                dz = r[0, 2] * x + r[1, 2] * y + r[2, 2]
                a = precisions[index]
                nx = a[0] * dx + a[1] * dy + a[2] * dz
                ny = a[1] * dx + a[3] * dy + a[4] * dz
                nz = a[2] * dx + a[4] * dy + a[5] * dz
                mx, my, mz = means[index, 0] - ex, means[index, 1] - ey, means[index, 2] - ez
                depths[view, row, column] = (nx * mx + ny * my + nz * mz) / (nx * dx + ny * dy + nz * dz)
                length = -UNITS / math.sqrt(nx * nx + ny * ny + nz * nz)
                normals[view, row, column, 0] = round(length * nx)
                normals[view, row, column, 1] = round(length * ny)
                normals[view, row, column, 2] = round(length * nz)
                normals[view, row, column, 3] = 1


@njit(nogil=True, cache=True)
def mark_blocks(
    start: int,
    stop: int,
    views: Float64[np.ndarray, "c 3 4"],
    focals: Float64[np.ndarray, "c 4"],
    depths: Float32[np.ndarray, "c h w"],
    corner: float,
    side: float,
    marked: Bool[np.ndarray, "b b b"],
) -> None:
    """Mark the blocks that hold a point of the maps start..stop; blocks of length `side` begin at `corner`."""
    height, width, count = depths.shape[1], depths.shape[2], marked.shape[0]
    for view in range(start, stop):
        fx, fy, cx, cy = focals[view, 0], focals[view, 1], focals[view, 2], focals[view, 3]
        for row in range(height):
            for column in range(width):
                z = float(depths[view, row, column])
                if z <= 0.0:
                    continue
                x = (column + 0.5 - cx) / fx * z - views[view, 0, 3]
                y = (row + 0.5 - cy) / fy * z - views[view, 1, 3]
                w = z - views[view, 2, 3]
                i = math.floor((views[view, 0, 0] * x + views[view, 1, 0] * y + views[view, 2, 0] * w - corner) / side)
                j = math.floor((views[view, 0, 1] * x + views[view, 1, 1] * y + views[view, 2, 1] * w - corner) / side)
                k = math.floor((views[view, 0, 2] * x + views[view, 1, 2] * y + views[view, 2, 2] * w - corner) / side)
                if 0 <= i < count and 0 <= j < count and 0 <= k < count:
                    marked[i, j, k] = True


@njit(nogil=True, cache=True)
def fuse_blocks(
    start: int,
    stop: int,
    blocks: Int64[np.ndarray, "m 3"],
    corner: float,
    voxel: float,
    offset: float,
    thickness: float,
    front: float,
    behind: float,
    free_share: float,
    free_distance: float,
    two_sheets: bool,
    views: Float64[np.ndarray, "c 3 4"],
    focals: Float64[np.ndarray, "c 4"],
    depths: Float32[np.ndarray, "c h w"],
    normals: Int8[np.ndarray, "c h w 4"],
    values: Float32[np.ndarray, "m 64"],
) -> None:
    """Fill the signed distances of blocks start..stop: positive outside, at most `front`, at least -`behind`.

    The maps count up to these distances from what they show."""
    count, height, width = depths.shape
    seen = np.empty((count, 5))  # distance, weight and normal of what each view sees about one voxel
    for block in range(start, stop):
        for place in range(VOXELS):
            i, j, k = place // (BLOCK * BLOCK), place // BLOCK % BLOCK, place % BLOCK
            x = corner + voxel * (blocks[block, 0] * BLOCK + i + 0.5)
            y = corner + voxel * (blocks[block, 1] * BLOCK + j + 0.5)
            z = corner + voxel * (blocks[block, 2] * BLOCK + k + 0.5)
            found, free, best = 0, 0, -1
            best_score = 0.0
            for view in range(count):
                depth = views[view, 2, 0] * x + views[view, 2, 1] * y + views[view, 2, 2] * z + views[view, 2, 3]
                if depth <= 0.0:
                    continue
                across = views[view, 0, 0] * x + views[view, 0, 1] * y + views[view, 0, 2] * z + views[view, 0, 3]
                along = views[view, 1, 0] * x + views[view, 1, 1] * y + views[view, 1, 2] * z + views[view, 1, 3]
                u = focals[view, 0] * across / depth + focals[view, 2]
                v = focals[view, 1] * along / depth + focals[view, 3]
                if not (0.0 <= u < width and 0.0 <= v < height):
                    continue
                column, row = int(u), int(v)
                surface = float(depths[view, row, column])
                if surface <= 0.0:
                    free += 1
                    continue
                if surface - depth < -4.0 * behind:  # far behind: no need to look at the normal
                    continue
                if normals[view, row, column, 3] == 0:
                    continue
                nx = normals[view, row, column, 0] / UNITS
                ny = normals[view, row, column, 1] / UNITS
                nz = normals[view, row, column, 2] / UNITS
                # The pixel's own point and, from it, the distance to its tangent plane
                px = (column + 0.5 - focals[view, 2]) / focals[view, 0] * surface
                py = (row + 0.5 - focals[view, 3]) / focals[view, 1] * surface
                dx, dy, dz = across - px, along - py, depth - surface
                cx = views[view, 0, 0] * nx + views[view, 0, 1] * ny + views[view, 0, 2] * nz
                cy = views[view, 1, 0] * nx + views[view, 1, 1] * ny + views[view, 1, 2] * nz
                cz = views[view, 2, 0] * nx + views[view, 2, 1] * ny + views[view, 2, 2] * nz
                distance = cx * dx + cy * dy + cz * dz
                if distance > front:
                    free += 1
                    continue
                if distance < -behind:
                    continue
                cosine = (cx * px + cy * py + cz * surface) ** 2 / (px * px + py * py + surface * surface)
                seen[found, 0], seen[found, 1] = distance, cosine
                seen[found, 2], seen[found, 3], seen[found, 4] = nx, ny, nz
                score = cosine * (1.0 - abs(distance) / front)
                if score > best_score:
                    best, best_score = found, score
                found += 1
            if best < 0:
                values[block, place] = free_distance if free > 0 else -behind
                continue
            near_weight, far_weight, near, far = 0.0, 0.0, 0.0, 0.0
            for number in range(found):
                side = (
                    seen[number, 2] * seen[best, 2] + seen[number, 3] * seen[best, 3] + seen[number, 4] * seen[best, 4]
                )
                if not two_sheets or side >= SAME_SIDE:
                    near += seen[number, 1] * seen[number, 0]
                    near_weight += seen[number, 1]
                elif side < -SAME_SIDE:
                    far += seen[number, 1] * seen[number, 0]
                    far_weight += seen[number, 1]
            value, weight = near / near_weight + offset, near_weight
            if far_weight > 0.0:
                other, weight = far / far_weight + offset, near_weight + far_weight
                apart = -(value + other)  # the thickness of the part
                value = max(value, other)
                if -thickness < apart < thickness:
                    value -= 0.5 * (thickness - max(apart, 0.0))
            free_weight = free_share * free
            value = (value * weight + free_distance * free_weight) / (weight + free_weight)
            values[block, place] = min(max(value, -behind), front)
