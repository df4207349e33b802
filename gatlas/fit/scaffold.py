"""The paper's own fit: a scaffold of anchors that grows, ranked by visibility down to a cap, and baked in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from gatlas.errors import GatlasError
from gatlas.fit.losses import SCAFFOLD_WEIGHTS, LossWeights, foreground_window, picture_loss
from gatlas.fit.mesh import Fit, fitted_to, for_training, measure
from gatlas.fit.scaffold_growth import GrowthStatistics, drop_transparent, grow, keep_anchors
from gatlas.fit.scaffold_model import OFFSETS, build_scaffold
from gatlas.fit.scaffold_ranking import average_ranks, highest_ranked, random_camera_visibility
from gatlas.fit.scaffold_start import gather_anchors
from gatlas.fit.schedule import TrainingViews, cosine_decay, one_torch_thread, over_random_color
from gatlas.fit.start import surface_gaussians
from gatlas.geometry.cameras import fibonacci_views
from gatlas.images.pyramid import halve
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.metrics.psnr import decibels
from gatlas.raster import rasterize

if TYPE_CHECKING:
    from gatlas.fit.optimize import OnStep
    from gatlas.fit.options import FitOptions
    from gatlas.fit.scaffold_model import Decoded, Scaffold
    from gatlas.metrics.lpips import Lpips
    from gatlas.types import AnyCameras, AnyViews, Gaussians, Mesh, Origin

CAP = 36_864  # tau of Xiang et al. 2025: 192^2
START_SHARE = 0.85  # of the limit: the growth has the rest
GROW_EVERY = 100  # steps
GROW_UNTIL = 0.55  # of the steps

# Adam's learning rates; offsets are in units of their anchor's extent, scalings are logs.
LEARNING_RATES = {
    "features": 2.5e-2,
    "offsets": 3e-2,
    "scalings": 3e-2,
    "opacity": 4e-3,
    "color": 4e-3,
    "scale": 4e-3,
    "rotation": 4e-3,
}


def fit_scaffold(
    mesh: Mesh,
    options: FitOptions,
    *,
    cap: int = CAP,
    weights: LossWeights = SCAFFOLD_WEIGHTS,
    lpips: Lpips | None = None,
    device: str = "cpu",
    on_step: OnStep | None = None,
    on_loss: OnStep | None = None,
) -> Fit:
    """Fit a scaffold to a mesh and bake it: at most min(`options.count`, `cap`) Gaussians.

    Views, held-out views and normalization are those of `gatlas.fit.fit_mesh`. The same options and seed give the same
    bytes on one CPU.
    """
    rng = np.random.default_rng(options.seed)
    mesh = normalize_mesh(mesh)
    iterations, count, side = budget = options.budget
    limit = min(options.mesh_count, cap)
    look: dict[str, Any] = {"supersample": options.supersample, "shading": options.shading}
    views = render_mesh(mesh, fibonacci_views(count, side, side), **look)
    start = surface_gaussians(mesh, views, max(1, round(START_SHARE * limit)), rng, options.shading)
    coarse = (halve(views), budget.coarse_iterations) if budget.coarse_iterations else None
    gaussians = optimize_scaffold(
        for_training(start, options.antialiased),
        views,
        iterations,
        rng,
        limit=limit,
        coarse=coarse,
        weights=weights,
        lpips=lpips,
        device=device,
        on_step=on_step,
        on_loss=on_loss,
    )
    gaussians = fitted_to(gaussians, views.cameras)
    held_out = render_mesh(mesh, fibonacci_views(options.held_out, side, side, phase=0.5), **look)
    return Fit(gaussians, views, *measure(gaussians, held_out), mesh=mesh)


def optimize_scaffold(
    gaussians: Gaussians,
    views: AnyViews,
    iterations: int,
    rng: np.random.Generator,
    *,
    limit: int = CAP,
    coarse: tuple[AnyViews, int] | None = None,
    weights: LossWeights = SCAFFOLD_WEIGHTS,
    lpips: Lpips | None = None,
    device: str = "cpu",
    on_step: OnStep | None = None,
    on_loss: OnStep | None = None,
) -> Gaussians:
    """At most `limit` Gaussians (numpy) after `iterations` steps on a scaffold that begins as the given ones.

    One RGBA view a step, both pictures over the same random background. With `coarse`, the first so many of the steps
    take other, usually smaller, pictures. The scene must have about radius 1. Gaussians that begin beyond the limit are
    pruned at once. Loss: `gatlas.fit.losses.picture_loss` and the weighted mean product of a Gaussian's scales.
    `device` is "cpu" or "cuda"; `lpips` must be there.
    """
    training = TrainingViews(views, coarse, iterations)
    mode: Literal["classic", "antialiased"] = "antialiased" if gaussians.origin.antialiased else "classic"
    if limit < 1:
        raise ValueError(f"limit must be >= 1, got {limit}")
    with one_torch_thread():
        scaffold = build_scaffold(gather_anchors(gaussians), device)
        groups = [
            {"params": tensors, "lr": LEARNING_RATES[name], "name": name} for name, tensors in scaffold.parameters()
        ]
        adam = torch.optim.Adam(groups, eps=1e-15, fused=True)
        decay = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: cosine_decay(step, iterations))
        spacing = float(2 * scaffold.rows["scalings"].detach()[:, 0].exp().median())
        _prune(scaffold, adam, views.cameras, limit, rng, gaussians.origin)
        evidence = GrowthStatistics.none(len(scaffold), device)
        for step, index in enumerate(map(int, training.order(rng)), start=1):
            pictures = training.at(step - 1)
            view = pictures[index]
            target, background = over_random_color(view, rng, device)
            decoded = _require_visible(scaffold.decode())
            decoded.gaussians.means.retain_grad()
            image = rasterize(decoded.gaussians, view.cameras, background=background, rasterize_mode=mode).colors
            window = None if lpips is None else foreground_window(view.images[0, ..., 3], rng)
            loss, mse = picture_loss(image, target, weights, lpips, window)
            loss = loss + weights.scales * decoded.gaussians.scales.prod(dim=1).mean()
            adam.zero_grad(set_to_none=True)
            loss.backward()
            evidence.add(decoded, view.cameras)
            adam.step()
            decay.step()
            if step % GROW_EVERY == 0 and step <= GROW_UNTIL * iterations:
                grow(scaffold, adam, evidence, spacing, rng)
                drop_transparent(scaffold, adam, evidence)
                _prune(scaffold, adam, pictures.cameras, limit, rng, gaussians.origin)
                evidence = GrowthStatistics.none(len(scaffold), device)
            if on_step is not None:
                on_step(step, decibels(float(mse), limit=120.0))
            if on_loss is not None:
                on_loss(step, float(loss.detach()))
        _require_visible(scaffold.decode())
        # Slots that were hidden at the last growth may show by now.
        _prune(scaffold, adam, views.cameras, limit, rng, gaussians.origin)
        return scaffold.bake(gaussians.origin)


def _require_visible(decoded: Decoded) -> Decoded:
    """A scaffold of which nothing shows has no gradient either: it would never come back."""
    if len(decoded.slots) == 0:
        raise GatlasError("the scaffold has faded away: the views show no object where the Gaussians begin")
    return decoded


def _prune(
    scaffold: Scaffold,
    adam: torch.optim.Adam,
    cameras: AnyCameras,
    limit: int,
    rng: np.random.Generator,
    origin: Origin,
) -> None:
    """Leave the `limit` Gaussians that rank highest by visibility, and the anchors that have a slot alive."""
    slots = scaffold.decode().slots.cpu().numpy()
    if len(slots) > limit:
        visibilities = random_camera_visibility(scaffold.bake(origin), cameras, rng)
        keep = highest_ranked(average_ranks(visibilities, slots // OFFSETS), limit)
        alive = np.zeros(scaffold.alive.numel(), dtype=bool)
        alive[slots[keep]] = True
        scaffold.alive = torch.from_numpy(alive.reshape(scaffold.alive.shape)).to(scaffold.alive.device)
    keep_anchors(scaffold, adam, scaffold.alive.any(dim=1).cpu().numpy())
