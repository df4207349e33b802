"""Photos without poses to a scene (Ye et al. 2024, No Pose, No Problem: Surprisingly Simple 3D Gaussian Splats from
Sparse Unposed Images)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas.datasets.posed_views import PosedViewSet, posed_view_set
from gatlas.errors import GatlasError
from gatlas.images.sheets import contact_sheet
from gatlas.metrics import psnr
from gatlas.systems.contract import SampleRequest, System
from gatlas.systems.noposplat import checkpoint as published
from gatlas.systems.noposplat.config import SceneConfig
from gatlas.systems.noposplat.declaration import NAME, TAKES
from gatlas.systems.noposplat.scene_loss import MAX_PSNR, mean_color_psnr, ray_distance, render_targets
from gatlas.systems.noposplat.splat import crop_photos, locate_photos, to_gaussians
from gatlas.types import Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from gatlas.datasets.posed_views import PosedBatch
    from gatlas.metrics.lpips import Lpips
    from gatlas.systems.contract import Located, Photo, SampleSpec, Sources
    from gatlas.systems.noposplat.network import NoPoSplat, PixelGaussians

UNUSED = ("mask_token", "refinenet4.resConfUnit1.")  # weights that the published files have and no layer reads
FRESH_PARTS = ("gaussian_param_head", "backbone.intrinsic_encoder")  # trained with the whole learning rate


class NoPoSplatSystem(System):
    """A network that predicts a Gaussian for each pixel of a few photos, all in the first photo's camera."""

    name = NAME
    part = published.PART
    takes = TAKES
    gives = Gaussians
    locates = True
    renders = True

    def __init__(self, config: SceneConfig, network: NoPoSplat) -> None:
        """`network` is one of the config."""
        self.config = config
        self.network: NoPoSplat = network
        for name, weight in network.named_parameters():
            if any(part in name for part in UNUSED):
                weight.requires_grad_(False)  # DDP fails where a trained weight gets no gradient
        self.model = ""  # what it was loaded from
        self.weights: str | None = None  # digest of those that were loaded
        self._device = torch.device("cpu")
        self._dtype = torch.float32  # of the backbone's computation in `sample`; its weights stay float32
        self.lpips: Lpips | None = None
        self._shown: PosedBatch | None = None

    def to(self, device: Any, dtype: Any = None) -> None:
        """Move LPIPS, and set the precision of sampling."""
        self._device = torch.device(device)
        if dtype is not None:
            self._dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        if self.lpips is not None:
            self.lpips.to(self._device)

    def dataset(self, sources: Sources) -> PosedViewSet:
        """Return the scenes of folders, and load LPIPS where it has a weight."""
        reason = f"{NAME} learns from photos alone: name their folders as the INPUT"
        sources.refuse("captions", "views", reason=reason)
        sources.refuse("stats", reason=f"{NAME} needs no statistics")
        scenes = posed_view_set(sources.inputs, self.config.sampling)
        self._shown = scenes.collate([scenes[0]])  # refuses a set that cannot be used before any work
        if self.config.lpips > 0:
            from gatlas.metrics.lpips import load_lpips

            side = min(self.config.width, self.config.height)
            self.lpips = load_lpips(sources.lpips_weights, side=side, without="--set lpips=0").to(self._device)
        return scenes

    def lr_scale(self, name: str) -> float:
        """Return 1 for the Gaussian heads and the intrinsics, `backbone_lr` for the rest."""
        return 1.0 if name.startswith(FRESH_PARTS) else self.config.backbone_lr

    def checkpoint_gradients(self) -> None:
        """Recompute the backbone's activations in the backward pass."""
        self.network.enable_gradient_checkpointing()

    def loss(
        self, network: nn.Module, batch: PosedBatch, generator: torch.Generator, *, step: int, steps: int
    ) -> dict[str, Tensor]:
        """Return "mse" and "lpips" of the target views, and "ray" while it has a weight; see `ray_distance`."""
        config = self.config
        pixels: PixelGaussians = network(_pictures(batch.context, "bvchw"), batch.context_intrinsics, generator)
        rendered = self._render(pixels, batch)
        truth = _pictures(batch.targets)
        terms = {"mse": torch.nn.functional.mse_loss(rendered, truth)}
        total = config.mse * terms["mse"]
        if self.lpips is not None:
            terms["lpips"] = self.lpips(rendered.flatten(0, 1).clamp(0.0, 1.0), truth.flatten(0, 1)).mean()
            total = total + config.lpips * terms["lpips"]
        if (share := config.ray_share(step)) > 0:
            terms["ray"] = ray_distance(pixels.means, batch.context_viewmats, batch.context_intrinsics)
            total = total + share * terms["ray"]
        return {"loss": total, **{name: term.detach() for name, term in terms.items()}}

    def _render(self, pixels: PixelGaussians, batch: PosedBatch) -> Float[Tensor, "b t h w 3"]:
        size = self.config.width, self.config.height
        return render_targets(pixels, batch.target_viewmats, batch.target_intrinsics, *size)

    @torch.no_grad()
    def diagnose(self, network: nn.Module, batch: PosedBatch, generator: torch.Generator) -> dict[str, float]:
        """Return the mean PSNR (dB) of the target views and of their mean colors, mean opacity and median depth."""
        pixels = network(_pictures(batch.context, "bvchw"), batch.context_intrinsics)
        truth = _pictures(batch.targets)
        return {
            "psnr": float(psnr(self._render(pixels, batch).clamp(0.0, 1.0), truth, limit=MAX_PSNR).mean()),
            "psnr_mean_color": float(mean_color_psnr(truth).mean()),
            "opacity": float(pixels.opacities.mean()),
            "depth": float(pixels.means[..., 2].median()),
        }

    @torch.no_grad()
    def preview(self, network: nn.Module, generator: torch.Generator) -> Float[np.ndarray, "h w 3"] | None:
        """Return rows of images of the first scene: context views, rendered targets and true targets."""
        if self._shown is None:
            return None
        batch = type(self._shown)(self._shown.keys, *(array.to(self._device) for array in self._shown[1:]))
        pixels = network(_pictures(batch.context, "bvchw"), batch.context_intrinsics)
        rows = [
            _pictures(batch.context)[0],
            self._render(pixels, batch)[0].clamp(0.0, 1.0),
            _pictures(batch.targets)[0],
        ]
        return contact_sheet(torch.cat(rows).cpu().numpy())

    def check(self, request: SampleRequest) -> list[str]:
        """Return what the user should know of a request, one message each."""
        messages = []
        for condition in request.conditions:
            rows, columns = condition.photos[0].image.shape[:2]
            shape, wanted = columns / rows, self.config.width / self.config.height
            kept = min(shape, wanted) / max(shape, wanted)
            if kept < 0.95:
                messages.append(
                    f"the model takes {self.config.width} x {self.config.height}: the middle {kept:.0%} of {columns} x "
                    f"{rows} photos is used"
                )
        return list(dict.fromkeys(messages))

    def sample(self, request: SampleRequest, network: nn.Module | None = None) -> Iterator[Gaussians]:
        """Yield one splat per condition; see `gatlas.systems.noposplat.splat` for its frame."""
        network = self.network if network is None else network
        for sample in request.samples:
            photos = sample.condition.photos
            if len(photos) not in TAKES.photos:
                raise GatlasError(f"{NAME} needs two photos of a scene or more, got {len(photos)}")
            pictures, Ks = crop_photos(photos, self.config.width, self.config.height)
            images = torch.from_numpy(pictures).movedim(-1, 1)[None].to(self._device)
            with torch.no_grad(), self._precision():
                pixels = network(images, torch.from_numpy(Ks)[None].to(self._device))
            if not all(bool(array.isfinite().all()) for array in pixels):
                raise GatlasError("the network gives values that are not finite: with --dtype fp32 it may not")
            yield to_gaussians(pixels, sample.name)

    def record(self, request: SampleRequest, sample: SampleSpec) -> dict[str, Any]:
        """Return how a sample is made."""
        dtype = str(self._dtype).removeprefix("torch.")
        return {**super().record(request, sample), "dtype": dtype, "model": self.model, "weights": self.weights}

    def locate(self, gaussians: Gaussians, photos: Sequence[Photo]) -> Located:
        """Return the photos as the network saw them, with the cameras that follow from the splat of `sample`."""
        return locate_photos(gaussians, *crop_photos(photos, self.config.width, self.config.height))

    def save_frozen(self, folder: str) -> None:
        """Write gatlas.json."""
        published.save_description(folder, self.config.to_json())

    def save_network(self, folder: str, weights: Mapping[str, Tensor]) -> None:
        """Write the network with the given weights."""
        published.save_weights(folder, weights)

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)


def _pictures(stored: Tensor, order: str = "bvhwc") -> Float[Tensor, "b v *picture"]:
    """Return 8-bit images as floats in [0, 1]; "bvchw" puts the channels before the rows."""
    pictures = stored.float() / 255
    return pictures.movedim(-1, -3) if order == "bvchw" else pictures


SYSTEM = NoPoSplatSystem
