"""Twins in plain torch of the CUDA kernels that gsplat's `rasterization` calls, to stand behind its own Python code.

They take what the kernels take (and check it as `CHECK_INPUT` does), compute what gsplat 1.5.3's `csrc` computes, and
leave what the kernels leave unset: NaN. Projection is gsplat's own `_torch_impl`, the rest is written from the kernels.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from gatlas.raster import cuda
from tests.helpers.pretended_cuda import OnDevice

ALPHA_THRESHOLD = 1 / 255
EXTENT = 3.33  # standard deviations
PINHOLE = object()


def checked(*tensors: Tensor | None, dtype: torch.dtype = torch.float32) -> list[Any]:
    """The values of tensors that a kernel reads: on the device, contiguous, of its type."""
    for tensor in tensors:
        if tensor is None:
            continue
        if not isinstance(tensor, OnDevice):
            raise RuntimeError("must be a CUDA tensor")  # the words of CHECK_CUDA and CHECK_CONTIGUOUS
        if not tensor.is_contiguous():
            raise RuntimeError("must be contiguous")
        if tensor.dtype != dtype:
            raise RuntimeError(f"expected scalar type {dtype} but found {tensor.dtype}")
    return [None if tensor is None else tensor.held for tensor in tensors]


def of_output(gradient: Tensor) -> Tensor:
    """The gradient of an output; autograd fills in zeros where nothing used it, and takes the device for the CPU."""
    return gradient if isinstance(gradient, OnDevice) or gradient.any() else OnDevice(gradient)


def projected(inputs: list[Tensor], width: int, height: int, eps2d: float) -> tuple[Tensor, ...]:
    """Means, depths, covariances, conics and compensations of all Gaussians in all pictures."""
    from gsplat.cuda import _torch_impl

    means, quats, scales, viewmats, Ks = inputs
    covars, _ = _torch_impl._quat_scale_to_covar_preci(quats, scales, True, False)
    means_c, covars_c = _torch_impl._world_to_cam(means, covars, viewmats)
    means2d, covars2d = _torch_impl._persp_proj(means_c, covars_c, Ks, width, height)
    original = covars2d.det()
    covars2d = covars2d + eps2d * torch.eye(2, dtype=means.dtype)
    xx, xy, yy = covars2d[..., 0, 0], covars2d[..., 0, 1], covars2d[..., 1, 1]
    determinants = xx * yy - xy * xy
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinants[..., None]
    compensations = (original / determinants).clamp(min=0.0).sqrt()
    return means2d, means_c[..., 2], covars2d, conics, compensations


def projection_ewa_3dgs_fused_fwd(
    means, covars, quats, scales, opacities, viewmats, Ks,
    width, height, eps2d, near_plane, far_plane, radius_clip, calc_compensations, camera_model,
):  # fmt: skip
    assert covars is None
    assert camera_model is PINHOLE
    *inputs, opacities = checked(means, quats, scales, viewmats, Ks, opacities)
    means2d, depths, covars2d, conics, compensations = projected(inputs, width, height, eps2d)
    seen = opacities[..., None, :] * (compensations if calc_compensations else torch.ones_like(depths))
    extents = (2 * torch.log(seen / ALPHA_THRESHOLD)).clamp(min=0.0).sqrt().clamp(max=EXTENT)
    radii = torch.ceil(extents[..., None] * covars2d.diagonal(dim1=-2, dim2=-1).sqrt())
    kept = (depths >= near_plane) & (depths <= far_plane) & (covars2d.det() > 0) & (seen >= ALPHA_THRESHOLD)
    kept &= (radii > radius_clip).any(dim=-1)
    kept &= ((means2d + radii > 0) & (means2d - radii < torch.tensor([width, height]))).all(dim=-1)
    unset = math.nan
    outputs = (
        torch.where(kept[..., None], radii, 0.0).int(),
        torch.where(kept[..., None], means2d, unset),
        torch.where(kept, depths, unset),
        torch.where(kept[..., None], conics, unset),
    )
    return *map(OnDevice, outputs), OnDevice(torch.where(kept, compensations, 0.0)) if calc_compensations else None


def projection_ewa_3dgs_fused_bwd(
    means, covars, quats, scales, viewmats, Ks, width, height, eps2d, camera_model,
    radii, conics, compensations, v_means2d, v_depths, v_conics, v_compensations, viewmats_requires_grad,
):  # fmt: skip
    assert covars is None
    assert camera_model is PINHOLE
    (radii,) = checked(radii, dtype=torch.int32)
    checked(conics, compensations)
    inputs = [tensor.clone().requires_grad_() for tensor in checked(means, quats, scales, viewmats, Ks)]
    gradients = checked(v_means2d, of_output(v_depths), v_conics, v_compensations)
    *objects, cameras, count = radii.shape[:-1]
    # A warp of 32 adds up what belongs to one number of a Gaussian, or of a camera, and never looks at the object.
    assert math.prod(objects) == 1 or (count >= 32 and not viewmats_requires_grad)
    kept = (radii > 0).all(dim=-1).reshape(-1, cameras, count)
    gradients = [gradient if gradient is None else gradient.flatten(0, len(objects)) for gradient in gradients]
    total = torch.zeros(())
    with torch.enable_grad():
        flat = [tensor.flatten(0, len(objects) - 1) if objects else tensor[None] for tensor in inputs]
        for i, j in np.ndindex(*kept.shape[:2]):
            seen = kept[i, j]  # what was left out may have no finite projection
            parts = [tensor[i, seen] for tensor in flat[:3]] + [tensor[i, j : j + 1] for tensor in flat[3:]]
            means2d, depths, _, conics, compensations = projected(parts, width, height, eps2d)
            for output, gradient in zip((means2d, depths, conics, compensations), gradients, strict=True):
                if gradient is not None:
                    total = total + (output[0] * gradient[i * cameras + j, seen]).sum()
        v_means, v_quats, v_scales, v_viewmats = torch.autograd.grad(total, inputs[:4])
    v_viewmats = OnDevice(v_viewmats) if viewmats_requires_grad else None
    return OnDevice(v_means), None, OnDevice(v_quats), OnDevice(v_scales), v_viewmats


def intersect_tile(
    means2d, radii, depths, image_ids, gaussian_ids, n_images, tile_size, tile_width, tile_height, sort, segmented
):
    assert (image_ids, gaussian_ids, sort, segmented) == (None, None, True, False)
    means2d, depths = (tensor.numpy() for tensor in checked(means2d, depths))
    radii = checked(radii, dtype=torch.int32)[0].numpy()
    count = means2d.shape[-2]
    bits = math.floor(math.log2(tile_width * tile_height)) + 1
    numbers = np.zeros(depths.shape, dtype=np.int32)
    ids, flat = [], []
    for index, (mean, radius) in enumerate(zip(means2d.reshape(-1, 2), radii.reshape(-1, 2), strict=True)):
        if (radius <= 0).any():
            continue
        size = [tile_width, tile_height]
        first = np.clip(np.floor((mean - radius) / tile_size), 0, size).astype(int)
        last = np.clip(np.ceil((mean + radius) / tile_size), 0, size).astype(int)
        numbers.reshape(-1)[index] = np.prod(last - first)
        depth = int(depths.reshape(-1)[index].view(np.uint32))
        for row in range(first[1], last[1]):
            for column in range(first[0], last[0]):
                ids.append(((index // count) << (32 + bits)) | ((row * tile_width + column) << 32) | depth)
                flat.append(index)
    order = np.argsort(np.array(ids, dtype=np.int64), kind="stable")
    arrays = numbers, np.array(ids, dtype=np.int64)[order], np.array(flat, dtype=np.int32)[order]
    return tuple(OnDevice(torch.from_numpy(array)) for array in arrays)


def intersect_offset(isect_ids, n_images, tile_width, tile_height):
    (ids,) = checked(isect_ids, dtype=torch.int64)
    tiles = tile_width * tile_height
    bits = math.floor(math.log2(tiles)) + 1
    places = (ids >> (32 + bits)) * tiles + ((ids >> 32) & ((1 << bits) - 1))
    offsets = torch.searchsorted(places, torch.arange(n_images * tiles))
    return OnDevice(offsets.int().reshape(n_images, tile_height, tile_width))


def rasterize_to_pixels_3dgs_fwd(
    means2d, conics, colors, opacities, backgrounds, masks, width, height, tile_size, tile_offsets, flatten_ids
):
    assert masks is None
    fields = checked(means2d, conics, colors, opacities, backgrounds)
    offsets, flat = checked(tile_offsets, flatten_ids, dtype=torch.int32)
    images, number = offsets.shape[:-2], math.prod(offsets.shape[:-2])
    pictures = torch.full((number, height, width, colors.shape[-1]), math.nan)
    alphas = torch.full((number, height, width, 1), math.nan)
    last_ids = torch.zeros((number, height, width), dtype=torch.int32)
    for tile in tiles(offsets, len(flat), width, height, tile_size):
        picture, alpha, last, *_ = blended_tile(fields, flat, tile)
        at = (tile.image, tile.rows, tile.columns)
        pictures[at], alphas[at], last_ids[at] = picture, alpha, last
    return tuple(OnDevice(each.reshape(*images, *each.shape[1:])) for each in (pictures, alphas, last_ids))


def rasterize_to_pixels_3dgs_bwd(
    means2d, conics, colors, opacities, backgrounds, masks, width, height, tile_size, tile_offsets, flatten_ids,
    render_alphas, last_ids, v_render_colors, v_render_alphas, absgrad,
):  # fmt: skip
    assert masks is None
    fields = checked(means2d, conics, colors, opacities, backgrounds)
    offsets, flat, _ = checked(tile_offsets, flatten_ids, last_ids, dtype=torch.int32)
    v_colors, v_alphas, _ = checked(of_output(v_render_colors), of_output(v_render_alphas), render_alphas)
    v_colors, v_alphas = (each.flatten(0, -4) for each in (v_colors, v_alphas))
    leaves = [field.clone().requires_grad_() for field in fields[:4]]
    gradients = [torch.zeros_like(leaf) for leaf in leaves]
    absolute = torch.zeros_like(fields[0])
    for tile in tiles(offsets, len(flat), width, height, tile_size):
        with torch.enable_grad():
            picture, alpha, _, deltas, _ = blended_tile([*leaves, fields[4]], flat, tile)
            at = (tile.image, tile.rows, tile.columns)
            total = (picture * v_colors[at]).sum() + (alpha * v_alphas[at]).sum()
            if not total.requires_grad:
                continue
            *found, v_deltas = torch.autograd.grad(total, [*leaves, deltas])
        for gradient, one in zip(gradients, found, strict=True):
            gradient += one.nan_to_num(0.0)
        absolute.reshape(-1, 2).index_add_(0, flat[tile.first : tile.last].long(), v_deltas.abs().sum(dim=0))
    return OnDevice(absolute) if absgrad else None, *map(OnDevice, gradients)


def rasterize_to_indices_3dgs(
    range_start, range_end, transmittances, means2d, conics, opacities,
    width, height, tile_size, tile_offsets, flatten_ids,
):  # fmt: skip
    (light,) = checked(transmittances)
    assert bool((light == 1).all())
    assert range_start == 0
    assert range_end >= len(flatten_ids)
    means2d, conics, opacities = checked(means2d, conics, opacities)
    fields = [means2d, conics, torch.zeros((*opacities.shape, 1)), opacities, None]
    offsets, flat = checked(tile_offsets, flatten_ids, dtype=torch.int32)
    found = []
    for tile in tiles(offsets, len(flat), width, height, tile_size):
        alpha = blended_tile(fields, flat, tile)[4]
        which = flat[tile.first : tile.last].long() % opacities.shape[-1]
        places = [(row, column) for row in range(*ends(tile.rows)) for column in range(*ends(tile.columns))]
        for (row, column), line in zip(places, alpha, strict=True):
            pixel = (tile.image * height + row) * width + column
            found += [(pixel, number) for number in which[line > 0].tolist()]
    found.sort(key=lambda pair: pair[0])  # by pixel, in each front to back
    pixels, ids = np.array(found, dtype=np.int64).reshape(-1, 2).T.copy()
    return OnDevice(torch.from_numpy(ids)), OnDevice(torch.from_numpy(pixels))


def ends(part: slice) -> tuple[int, int]:
    return part.start, part.stop


def tiles(offsets: Tensor, total: int, width: int, height: int, tile_size: int) -> Iterator[SimpleNamespace]:
    """The tiles of all pictures: where they are, and their range of the sorted list."""
    starts = [*offsets.reshape(-1).tolist(), total]
    rows, columns = offsets.shape[-2:]
    for number, (first, last) in enumerate(pairwise(starts)):
        image, tile = divmod(number, rows * columns)
        row, column = divmod(tile, columns)
        yield SimpleNamespace(
            image=image,
            rows=slice(row * tile_size, min((row + 1) * tile_size, height)),
            columns=slice(column * tile_size, min((column + 1) * tile_size, width)),
            first=first,
            last=last,
        )


def blended_tile(fields: list[Tensor], flat: Tensor, tile: SimpleNamespace) -> tuple[Tensor, ...]:
    """Colors, alphas and last Gaussian of a tile's pixels, the offsets that lead there [p m 2], and what is blended."""
    means2d, conics, colors, opacities, backgrounds = fields
    which = flat[tile.first : tile.last].long()
    lines, columns = (torch.arange(each.start, each.stop) for each in (tile.rows, tile.columns))
    y, x = torch.meshgrid(lines, columns, indexing="ij")
    shape = y.shape
    pixels = torch.stack([x, y], dim=-1).reshape(-1, 1, 2) + 0.5
    deltas = means2d.reshape(-1, 2)[which] - pixels
    dx, dy = deltas.unbind(-1)
    a, b, c = conics.reshape(-1, 3)[which].unbind(-1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacities.reshape(-1)[which] * torch.exp(-sigma)).clamp(max=0.999)
    alpha = torch.where((sigma >= 0) & (alpha >= ALPHA_THRESHOLD), alpha, 0.0)
    with torch.no_grad():
        going = torch.cumprod(1 - alpha, dim=1) > 1e-4
    alpha = torch.where(going, alpha, 0.0)
    left = torch.cumprod(torch.cat([torch.ones(len(alpha), 1), 1 - alpha], dim=1), dim=1)
    picture = (alpha * left[:, :-1]) @ colors.reshape(-1, colors.shape[-1])[which]
    if backgrounds is not None:
        picture = picture + left[:, -1:] * backgrounds.reshape(-1, colors.shape[-1])[tile.image]
    numbers = torch.arange(tile.first, tile.last, dtype=torch.int32)
    last = torch.where(alpha > 0, numbers, 0).amax(dim=1) if len(which) else torch.zeros(len(alpha), dtype=torch.int32)
    return picture.reshape(*shape, -1), (1 - left[:, -1]).reshape(*shape, 1), last.reshape(shape), deltas, alpha


KERNELS = (
    projection_ewa_3dgs_fused_fwd,
    projection_ewa_3dgs_fused_bwd,
    intersect_tile,
    intersect_offset,
    rasterize_to_pixels_3dgs_fwd,
    rasterize_to_pixels_3dgs_bwd,
    rasterize_to_indices_3dgs,
)


def unwatched(kernel: Any) -> Any:
    """The kernel without the pretended device's watch over operations: it has only plain tensors inside."""

    def call(*args: Any) -> Any:
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            return kernel(*args)

    return call


@contextlib.contextmanager
def gsplat_twins() -> Iterator[None]:
    """Inside, gsplat renders tensors of the pretended device with the twins."""
    kernels = {kernel.__name__: unwatched(kernel) for kernel in KERNELS}
    backend = SimpleNamespace(_C=SimpleNamespace(PINHOLE=PINHOLE, CameraModelType=None, **kernels))
    name = "gsplat.cuda._backend"
    before = sys.modules.get(name)
    sys.modules[name] = backend  # type: ignore[assignment]
    cuda.why_unusable.cache_clear()
    try:
        yield
    finally:
        cuda.why_unusable.cache_clear()
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
