"""Views of an object to Gaussians in one pass (Tang et al. 2024, LGM: Large Multi-View Gaussian Model for
High-Resolution 3D Content Creation)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas.errors import GatlasError
from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.sheets import contact_sheet
from gatlas.metrics import psnr
from gatlas.models.lgm import activate
from gatlas.systems import network_folder
from gatlas.systems.contract import Located, SampleRequest, System
from gatlas.systems.lgm.config import LgmSystemConfig
from gatlas.systems.lgm.declaration import NAME, TAKES
from gatlas.systems.lgm.frame import object_frame, uncertain
from gatlas.systems.lgm.object_set import object_set
from gatlas.systems.lgm.pictures import ObjectViews, badly_shown, network_views
from gatlas.systems.lgm.view_loss import LPIPS_SIDE, MAX_PSNR, lpips_distance, posed_inputs, render_objects
from gatlas.types import Gaussians, Origin, Views

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from gatlas.datasets.posed_views import PosedBatch, PosedViewSet
    from gatlas.metrics.lpips import Lpips
    from gatlas.models.lgm import LGM, ViewGaussians
    from gatlas.systems.contract import Photo, SampleSpec, Sources

MIN_OPACITY = 0.005  # Gaussians below it are left out of a splat
MIN_SCALE = 1e-9  # files store the logarithm
MAX_TILT = 30.0  # degrees between the vertical of the views and the y axis, beyond which a message says so

MAX_ROLL = 0.05  # y of the horizontal axes of cameras that stand upright about y


class LgmSystem(System):
    """A network that predicts a Gaussian for each pixel of a few views of an object."""

    name = NAME
    part = network_folder.PART
    takes = TAKES
    gives = Gaussians
    locates = True
    renders = True

    def __init__(self, config: LgmSystemConfig, network: LGM) -> None:
        """`network` is one of the config."""
        self.config = config
        self.network: LGM = network
        self.model = ""  # what it was loaded from
        self.notes: list[str] = []  # what the user should know of that
        self.weights: str | None = None  # digest of those that were loaded
        self._device = torch.device("cpu")
        self._dtype = torch.float32  # of the network's computation in `sample`; its weights stay float32
        self.lpips: Lpips | None = None
        self._shown: PosedBatch | None = None

    def to(self, device: Any, dtype: Any = None) -> None:
        """Move LPIPS, and set the device and the precision of sampling."""
        self._device = torch.device(device)
        if dtype is not None:
            self._dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        if self.lpips is not None:
            self.lpips.to(self._device)

    def dataset(self, sources: Sources) -> PosedViewSet:
        """Return the objects of folders of views, and load LPIPS where it has a weight."""
        reason = f"{NAME} learns from views alone: name their folders as the INPUT"
        sources.refuse("captions", "views", reason=reason)
        sources.refuse("stats", reason=f"{NAME} needs no statistics")
        note = self._load_lpips(sources.lpips_weights) if self.config.lpips > 0 else None
        objects = object_set(sources.inputs, self.config, lpips=self.lpips is not None, note=note)
        self._shown = objects.collate([objects[0]])  # refuses a set that cannot be used before any work
        return objects

    def _load_lpips(self, path: str | None) -> str | None:
        """Load LPIPS; a message where it is left out, for there are no weights and none were named."""
        from gatlas.metrics.lpips import load_lpips

        side = min(self.config.render_side, LPIPS_SIDE)
        try:
            self.lpips = load_lpips(path, side=side, without="--set lpips=0").to(self._device)
        except GatlasError as error:
            if path is not None or self.config.mse == 0:
                raise
            return f"trained without LPIPS: {error}"
        return None

    def loss(
        self, network: nn.Module, batch: PosedBatch, generator: torch.Generator, *, step: int, steps: int
    ) -> dict[str, Tensor]:
        """Return "mse" and "alpha" of all target views and, from its step on, "lpips"."""
        config = self.config
        raw = network(self.inputs(batch))
        rendered, truth = self._render(raw, batch), batch.targets.float() / 255
        squares = (rendered - truth).square()
        terms = {"mse": squares[..., :3].mean(), "alpha": squares[..., 3].mean()}
        total = config.mse * terms["mse"] + config.alpha * terms["alpha"]
        if self.lpips is not None and step >= config.lpips_from:
            terms["lpips"] = lpips_distance(self.lpips, rendered[..., :3], truth[..., :3])
            total = total + config.lpips * terms["lpips"]
        return {"loss": total, **{name: term.detach() for name, term in terms.items()}}

    def _render(self, raw: Tensor, batch: PosedBatch) -> Tensor:
        gaussians = activate(raw, legacy_rot=self.config.legacy_rot)
        return render_objects(gaussians, batch.target_viewmats, batch.target_intrinsics, self.config.render_side)

    @torch.no_grad()
    def diagnose(self, network: nn.Module, batch: PosedBatch, generator: torch.Generator) -> dict[str, float]:
        """Return the mean PSNR (dB) of the views that the network saw, of the others and of their mean colors, and the
        mean opacity and scale."""
        raw = network(self.inputs(batch))
        gaussians = activate(raw, legacy_rot=self.config.legacy_rot)
        truth, rendered = (batch.targets.float() / 255)[..., :3], self._render(raw, batch)[..., :3].clamp(0.0, 1.0)
        others, views = truth[:, self.config.views :], self.config.views
        flat = others.mean(dim=(-3, -2), keepdim=True).expand_as(others)
        return {
            "psnr_seen": float(psnr(rendered[:, :views], truth[:, :views], limit=MAX_PSNR).mean()),
            "psnr": float(psnr(rendered[:, views:], others, limit=MAX_PSNR).mean()),
            "psnr_mean_color": float(psnr(flat, others, limit=MAX_PSNR).mean()),
            "opacity": float(gaussians.opacities.mean()),
            "scale": float(gaussians.scales.median()),
        }

    @torch.no_grad()
    def preview(self, network: nn.Module, generator: torch.Generator) -> Float[np.ndarray, "h w 3"] | None:
        """Return rows of images of the first object: the views that the network saw first, renders and true views."""
        if self._shown is None:
            return None
        batch = type(self._shown)(self._shown.keys, *(array.to(self._device) for array in self._shown[1:]))
        raw = network(self.inputs(batch))
        rendered, truth = self._render(raw, batch)[0, ..., :3].clamp(0.0, 1.0), batch.targets[0, ..., :3].float() / 255
        return contact_sheet(torch.cat([rendered, truth]).cpu().numpy())

    def checkpoint_gradients(self) -> None:
        """Recompute the activations of each block in the backward pass."""
        self.network.enable_gradient_checkpointing()

    def check(self, request: SampleRequest) -> list[str]:
        """Return what the user should know of a request, one message each."""
        messages = list(self.notes)
        for condition in request.conditions:
            count = len(condition.photos)
            if count != self.config.views:
                views = "1 view" if count == 1 else f"{count} views"
                messages.append(
                    f"{condition.name}: {views}, beyond what the weights were trained on ({self.config.views} views)"
                )
            messages += self._faults(condition.photos)
            messages += _tilted(condition.name, condition.photos)
        return list(dict.fromkeys(messages))

    def _faults(self, photos: Sequence[Photo]) -> list[str]:
        """Return what may be wrong with the views of one object; what must be is a GatlasError."""
        viewmats = [photo.viewmat for photo in photos if photo.viewmat is not None]
        if len(viewmats) < len(photos):
            return []
        stacked, names = np.stack(viewmats), [photo.name for photo in photos]
        object_frame(stacked, self.config.distance, names)
        return [*uncertain(stacked, self.config.view_fov, names), *badly_shown(photos, self.config)]

    def sample(self, request: SampleRequest, network: nn.Module | None = None) -> Iterator[Gaussians]:
        """Yield one splat per condition, in the world of its photos' cameras."""
        network = self.network if network is None else network
        for sample in request.samples:
            photos = sample.condition.photos
            if len(photos) not in TAKES.photos or any(photo.viewmat is None for photo in photos):
                raise GatlasError(f"{NAME} needs views of an object with their cameras")
            views = network_views(photos, self.config)
            with torch.no_grad(), self._precision():
                raw = network(self.inputs_of(views))
            gaussians = activate(raw, legacy_rot=self.config.legacy_rot)
            if not all(bool(array.isfinite().all()) for array in gaussians):
                raise GatlasError("the network gives values that are not finite: with --dtype fp32 it may not")
            yield views.frame.to_world(_visible(gaussians, sample.name))

    def record(self, request: SampleRequest, sample: SampleSpec) -> dict[str, Any]:
        """Return how a sample is made."""
        dtype = str(self._dtype).removeprefix("torch.")
        return {**super().record(request, sample), "dtype": dtype, "model": self.model, "weights": self.weights}

    def locate(self, gaussians: Gaussians, photos: Sequence[Photo]) -> Located:
        """Return the photos as the network saw them, with their cameras, in the world of the splat of `sample`."""
        views = network_views(photos, self.config)
        return Located(Views(views.images, views.cameras), ())

    def save_frozen(self, folder: str) -> None:
        """Write gatlas.json."""
        network_folder.save_description(folder, NAME, self.config.to_json())

    def save_network(self, folder: str, weights: Mapping[str, Tensor]) -> None:
        """Write the network with the given weights."""
        network_folder.save_weights(folder, weights)

    def inputs(self, batch: PosedBatch) -> Tensor:
        """Return the network's input for a batch of objects."""
        pictures = batch.context.float() / 255
        return posed_inputs(pictures, batch.context_viewmats, batch.context_intrinsics, self.config)

    def inputs_of(self, views: ObjectViews) -> Tensor:
        """Return the network's input for the views of one object."""
        cameras, side = views.cameras, self.config.side
        pictures = np.concatenate([views.images, views.alphas[..., None]], axis=-1)
        arrays = pictures, views.frame.viewmats(cameras.viewmats), cameras.Ks / np.array([[side], [side], [1.0]])
        colored, viewmats, Ks = (torch.from_numpy(array.astype(np.float32))[None].to(self._device) for array in arrays)
        return posed_inputs(colored, viewmats, Ks, self.config)

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)


def _visible(gaussians: ViewGaussians, name: str) -> Gaussians:
    """Return the first object's Gaussians of MIN_OPACITY or more (numpy), in the network's frame."""
    means, quats, scales, opacities, colors = (array[0].float().cpu().numpy() for array in gaussians)
    kept = opacities >= MIN_OPACITY
    if not kept.any():
        raise GatlasError(f"{name}: the network makes nothing visible of these views: all is empty")
    return Gaussians(
        means=means[kept],
        quats=quats[kept],
        scales=np.maximum(scales[kept], MIN_SCALE),
        opacities=opacities[kept],
        sh=rgb_to_dc(colors[kept])[:, None, :],
        origin=Origin(name),
    )


def _tilted(name: str, photos: Sequence[Photo]) -> list[str]:
    """Return a message where the photos' cameras do not stand upright about the y axis of their world."""
    ups = [-np.asarray(photo.viewmat)[1, :3] for photo in photos if photo.viewmat is not None]
    if not ups:
        return []
    up = np.mean(ups, axis=0)
    rights = [np.asarray(photo.viewmat)[0, 1] for photo in photos if photo.viewmat is not None]
    if up[1] > 0 and np.abs(rights).max() <= MAX_ROLL:  # they look down at an object that may stand upright about y
        return []
    length = float(np.linalg.norm(up))
    if length < 1e-6 or up[1] >= length * np.cos(np.radians(MAX_TILT)):
        return []
    nearest = int(np.abs(up).argmax())
    if abs(up[nearest]) < length * np.cos(np.radians(MAX_TILT)):
        direction = ", ".join(f"{each:.2f}" for each in np.round(up / length, 2) + 0.0)
        return [
            f"{name}: the cameras stand upright about ({direction}), not y: the splat keeps the axes of their "
            "world, so that viewers show it lying"
        ]
    axis = ("-" if up[nearest] < 0 else "") + "xyz"[nearest]
    return [
        f"{name}: the cameras stand upright about {axis}, not y: the splat keeps the axes of their world, so that "
        f"viewers show it lying; where gatlas reads it, --up={axis} stands it up"
    ]


SYSTEM = LgmSystem
