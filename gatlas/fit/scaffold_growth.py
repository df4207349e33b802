"""Growth and pruning of the anchors of a scaffold: Lu et al. 2024, sec. 3.3."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from gatlas.fit.scaffold_model import OFFSETS, PER_ANCHOR
from gatlas.geometry.rotations import quats_to_matrices

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from gatlas.fit.scaffold_model import Decoded, Scaffold
    from gatlas.types import Cameras

LEVELS = 3  # voxel sizes: 1, 1/2 and 1/4 of the anchors' median spacing
GRADIENT = 2e-4  # at the coarsest level, twice as much at each finer one; see `screen_gradients`
SEEN = 0.4  # share of the steps since the last growth that a slot must have shown in
LEAST_OPACITY = 0.005  # summed over an anchor's slots, mean over the steps
SHRINK = 1.6  # a split Gaussian's scales are divided by it (Kerbl et al. 2023)


@dataclass
class GrowthStatistics:
    """Statistics of a scaffold since the last growth."""

    gradients: Float[Tensor, "a k"]  # sum of screen gradients
    shown: Float[Tensor, "a k"]  # steps in which the slot showed
    opacities: Float[Tensor, " a"]  # sum over slots and steps
    steps: int = 0

    @classmethod
    def none(cls, anchors: int, device: str = "cpu") -> GrowthStatistics:
        """Before the first step."""
        gradients = torch.zeros(anchors, OFFSETS, device=device)
        return cls(gradients, torch.zeros_like(gradients), torch.zeros(anchors, device=device))

    @torch.no_grad()
    def add(self, decoded: Decoded, camera: Cameras) -> None:
        """Count a step, after its backward pass; the decoded means must have kept their gradient."""
        means = decoded.gaussians.means
        if means.grad is None:
            raise ValueError("the decoded means must have a gradient: call means.retain_grad() before backward()")
        gradients = screen_gradients(means.detach(), means.grad, camera)
        self.gradients.view(-1)[decoded.slots] += gradients
        self.shown.view(-1)[decoded.slots] += 1
        self.opacities += decoded.opacities.detach().sum(dim=1)
        self.steps += 1


def screen_gradients(
    means: Float[Tensor, "n 3"], v_means: Float[Tensor, "n 3"], camera: Cameras
) -> Float[Tensor, " n"]:
    """Length of the loss's gradient to the projected means, in pictures' half widths (Kerbl et al. 2023), one camera.

    The rasterizer gives the gradient to the mean in the world. A step of one pixel sideways is depth / focal in the
    world, so the gradient to the pixel is that times depth / focal; the rest of the gradient, along the ray, is small.
    """
    view = torch.as_tensor(camera.viewmats[0], dtype=means.dtype, device=means.device)
    depths = means @ view[2, :3] + view[2, 3]
    half_width = 0.5 * max(camera.width, camera.height)
    return v_means.norm(dim=1) * depths.clamp(min=0.0) * (half_width / float(camera.Ks[0, 0, 0]))


@torch.no_grad()
def grow(
    scaffold: Scaffold, adam: torch.optim.Adam, evidence: GrowthStatistics, spacing: float, rng: np.random.Generator
) -> int:
    """Add an anchor to each empty voxel in which a slot's mean gradient is above the level's threshold.

    `spacing` is the coarsest voxel's side, world units. A new anchor has the feature of the one whose slot asked for it
    most, and of that one's slots those that asked in this voxel: their Gaussians are split between the two, so that
    the picture hardly changes. Gives the number of new anchors.
    """
    decoded = scaffold.decode()
    gaussians, slots = decoded.gaussians, decoded.slots
    device = slots.device
    strengths = (evidence.gradients / evidence.shown.clamp(min=1)).view(-1)[slots].cpu().numpy()
    often = evidence.shown.view(-1)[slots].cpu().numpy() > SEEN * evidence.steps
    means, owners = gaussians.means.cpu().numpy(), (slots // OFFSETS).cpu().numpy()
    before = len(scaffold)
    for level in range(LEVELS):
        side = spacing / 2**level
        lucky = rng.random(len(means)) > 0.5 ** (level + 1)  # not all at once, or one place would take the whole cap
        asking = np.flatnonzero(often & lucky & (strengths >= GRADIENT * 2**level))
        asking = asking[np.argsort(-strengths[asking], kind="stable")]
        voxels, first, members = np.unique(
            np.floor(means[asking] / side).astype(np.int64), axis=0, return_index=True, return_inverse=True
        )
        members = members.reshape(-1)  # numpy 2.0 gave it another shape
        parents = owners[asking[first]]
        empty = ~_isin_rows(voxels, np.floor(scaffold.anchors.cpu().numpy() / side).astype(np.int64))
        split = empty[members] & (owners[asking] == parents[members])
        if not split.any():
            continue
        numbers = np.cumsum(empty) - 1  # of the new anchors
        children = torch.from_numpy(numbers[members[split]]).to(device)
        sources = torch.from_numpy(asking[split]).to(device)
        anchors = torch.from_numpy(((voxels[empty] + 0.5) * side).astype(np.float32)).to(device)
        index = torch.from_numpy(parents[empty]).to(device)
        extent = math.log(0.5 * side)
        scalings = scaffold.rows["scalings"][index].clone()
        scalings[:, :3] = extent
        scalings[:, 3:] -= math.log(SHRINK)
        turns = quats_to_matrices(gaussians.quats[sources])
        draws = torch.from_numpy(rng.standard_normal((len(sources), 3)).astype(np.float32)).to(device)
        steps = draws * gaussians.scales[sources]
        places = gaussians.means[sources] + torch.einsum("nij,nj->ni", turns, steps)
        child_slots = (children, slots[sources] % OFFSETS)
        offsets = torch.zeros(len(anchors), OFFSETS, 3, device=device)
        offsets[child_slots] = (places - anchors[children]) / (0.5 * side)
        alive = torch.zeros(len(anchors), OFFSETS, dtype=torch.bool, device=device)
        alive[child_slots] = True
        rows = {"features": scaffold.rows["features"][index], "offsets": offsets, "scalings": scalings}
        _append(scaffold, adam, anchors, alive, rows)
    return len(scaffold) - before


def drop_transparent(scaffold: Scaffold, adam: torch.optim.Adam, evidence: GrowthStatistics) -> None:
    """Drop the anchors whose slots were transparent together; those added since the evidence began are kept."""
    keep = np.ones(len(scaffold), dtype=bool)
    keep[: len(evidence.opacities)] = (evidence.opacities >= LEAST_OPACITY * evidence.steps).cpu().numpy()
    keep_anchors(scaffold, adam, keep)


@torch.no_grad()
def keep_anchors(scaffold: Scaffold, adam: torch.optim.Adam, keep: Bool[np.ndarray, " a"]) -> None:
    """Drop the other anchors, and what Adam knows of them."""
    mask = torch.from_numpy(keep).to(scaffold.alive.device)
    scaffold.anchors, scaffold.alive = scaffold.anchors[mask], scaffold.alive[mask]
    _replace_rows(scaffold, adam, {name: scaffold.rows[name][mask] for name in PER_ANCHOR}, lambda moment: moment[mask])


def _append(
    scaffold: Scaffold,
    adam: torch.optim.Adam,
    anchors: Float[Tensor, "b 3"],
    alive: Bool[Tensor, "b k"],
    added: dict[str, Tensor],
) -> None:
    scaffold.anchors = torch.cat([scaffold.anchors, anchors])
    scaffold.alive = torch.cat([scaffold.alive, alive])
    rows = {name: torch.cat([scaffold.rows[name], added[name]]) for name in PER_ANCHOR}
    _replace_rows(
        scaffold, adam, rows, lambda moment: torch.cat([moment, moment.new_zeros(len(anchors), *moment.shape[1:])])
    )


def _replace_rows(scaffold, adam, rows, change_moment):  # type: ignore[no-untyped-def]
    """Put new tensors in the place of the per-anchor parameters, and change Adam's moments alike."""
    for group in adam.param_groups:
        if group["name"] not in PER_ANCHOR:
            continue
        (old,) = group["params"]
        new = rows[group["name"]].detach().clone().requires_grad_()
        state = adam.state.pop(old, None)
        if state is not None:
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = change_moment(state[moment])
            adam.state[new] = state
        group["params"] = [new]
        scaffold.rows[group["name"]] = new


def _isin_rows(rows: Int[np.ndarray, "n 3"], others: Int[np.ndarray, "m 3"]) -> Bool[np.ndarray, " n"]:
    known = set(map(tuple, others.tolist()))
    return np.array([tuple(row) in known for row in rows.tolist()], dtype=bool)
