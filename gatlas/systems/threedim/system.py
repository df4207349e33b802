"""One view of an object to views of other cameras (Watson et al. 2023, Novel View Synthesis with Diffusion Models)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from gatlas.diffusion.losses import target
from gatlas.diffusion.samplers import CONTINUOUS_SAMPLERS
from gatlas.diffusion.schedules import denoised
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import resized
from gatlas.metrics import psnr
from gatlas.systems import network_folder
from gatlas.systems.contract import SampleRequest, System
from gatlas.systems.threedim.conditioning import Pool, SamplerOptions, ViewSampler
from gatlas.systems.threedim.config import ThreeDimConfig
from gatlas.systems.threedim.declaration import NAME, TAKES
from gatlas.systems.threedim.pairs import Pairs, in_pixels, noise_pairs, pair_set, pairs_of
from gatlas.systems.threedim.pictures import check_intrinsics, check_photo, intrinsics_at, network_picture
from gatlas.types import Cameras, Views

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from gatlas.datasets.posed_views import PosedBatch, PosedSample, PosedViewSet
    from gatlas.models.xunet import XUNet
    from gatlas.systems.contract import Condition, SampleSpec, Sources

SHOWN, PREVIEW_STEPS = 6, 16  # objects of the pictures that a training writes, and their steps
MAX_PSNR = 60.0  # dB, of a view that is equal


class ThreeDimSystem(System):
    """A network that predicts the noise of one view of an object from another view, and the cameras of both."""

    name = NAME
    part = network_folder.PART
    takes = TAKES
    gives = Views

    def __init__(self, config: ThreeDimConfig, network: XUNet) -> None:
        """`network` is one of the config."""
        self.config = config
        self.network: XUNet = network
        self.model = ""  # what it was loaded from
        self.weights: str | None = None  # digest of those that were loaded
        self._shown: list[PosedSample] = []
        self._device = torch.device("cpu")
        self._dtype = torch.float32  # of the network's computation in `sample`; its weights stay float32

    def to(self, device: Any, dtype: Any = None) -> None:
        """Set the device and the precision of sampling."""
        self._device = torch.device(device)
        if dtype is not None:
            self._dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype

    def dataset(self, sources: Sources) -> PosedViewSet:
        """Return the objects of folders of views."""
        reason = f"{NAME} learns from views alone: name their folders as the INPUT"
        sources.refuse("captions", "views", reason=reason)
        sources.refuse("stats", reason=f"{NAME} needs no statistics")
        sources.refuse("lpips_weights", reason=f"the loss of {NAME} has no LPIPS")
        config = self.config
        objects = pair_set(sources.inputs, config.side, (config.near, config.far) if config.epipolar else None)
        shown = range(min(SHOWN, len(objects)))
        self._shown = [objects[i] for i in shown]  # refuses a set that cannot be used before any work
        return objects

    def loss(
        self, network: nn.Module, batch: PosedBatch, generator: torch.Generator, *, step: int, steps: int
    ) -> dict[str, Tensor]:
        """Return the mean squared error of what the network predicts."""
        pairs = self._pairs(batch)
        noise = noise_pairs(pairs.images, generator, self.config.cond_drop, power=self.config.noise_power)
        predicted = network(noise.images, noise.log_snr, pairs.poses, noise.conditional, generator)
        wanted = target(self.config.schedule, pairs.images[:, 1], noise.epsilon, noise.time)
        return {"loss": functional.mse_loss(predicted, wanted)}

    @torch.no_grad()
    def diagnose(self, network: nn.Module, batch: PosedBatch, generator: torch.Generator) -> dict[str, float]:
        """Return the mean PSNR (dB) of the denoised view at t = 1/2, and of the known view in its place."""
        pairs = self._pairs(batch)
        noise = noise_pairs(pairs.images, generator, 0.0, time=0.5)
        predicted = network(noise.images, noise.log_snr, pairs.poses, noise.conditional)
        found = denoised(self.config.schedule, noise.images[:, 1], predicted, noise.time).clamp(-1.0, 1.0)
        known, truth, found = (0.5 * each.movedim(1, -1) + 0.5 for each in (*pairs.images.unbind(1), found))
        return {
            "psnr": float(psnr(found, truth, limit=MAX_PSNR).mean()),
            "psnr_copy": float(psnr(known, truth, limit=MAX_PSNR).mean()),
        }

    def preview(self, network: nn.Module, generator: torch.Generator) -> Float[np.ndarray, "h w 3"] | None:
        """Return rows of pictures of a few objects: known views, sampled views of other cameras, and true ones."""
        if not self._shown:
            return None
        rows: list[list[np.ndarray]] = [[], [], []]
        side, options = self.config.side, SamplerOptions(PREVIEW_STEPS, 0.0, "ddim", "first")
        for number, sample in enumerate(self._shown):
            known, truth = (each[0].astype(np.float32) / 255 for each in (sample.context, sample.targets))
            Ks = [in_pixels(each, side) for each in (sample.context_intrinsics[0], sample.target_intrinsics[0])]
            cameras = Cameras(sample.target_viewmats, np.stack(Ks[1:]), side, side)
            pool = Pool([known], [sample.context_viewmats[0].astype(np.float64)], Ks[:1], lambda *_, n=number: n)
            sampler = ViewSampler(
                self._predict(network),
                cameras,
                options,
                schedule=self.config.schedule,
                relative=self.config.relative,
                device=self._device,
            )
            (made,) = (image for _, image in sampler.views([pool]))
            for row, image in zip(rows, (known, made, truth), strict=True):
                row.append(image)
        return np.concatenate([np.concatenate(row, axis=1) for row in rows])

    def _pairs(self, batch: PosedBatch) -> Pairs:
        return pairs_of(batch, relative=self.config.relative)

    def checkpoint_gradients(self) -> None:
        """Recompute the activations of each block in the backward pass."""
        self.network.enable_gradient_checkpointing()

    def check(self, request: SampleRequest) -> list[str]:
        """Return how much work a request is. One that cannot be met is a GatlasError."""
        options, cameras = self._sampler_options(request), request.cameras
        if cameras is None:
            raise GatlasError("no cameras of the views to make: give --orbit N, or --cameras FILE")
        for condition in request.conditions:
            self._check_condition(condition)
        if cameras.width != cameras.height:
            raise GatlasError(
                f"the cameras of the views are of {cameras.width} x {cameras.height} pixels, and the model's views are "
                "square"
            )
        for number, K in enumerate(cameras.Ks):
            check_intrinsics(f"camera {number} of the views", K, cameras.width, cameras.height)
        calls = options.steps * (1 if options.guidance == 0 else 2)
        return [f"{len(cameras)} views of {self.config.side} x {self.config.side}, {calls:,} network evaluations each"]

    def _check_condition(self, condition: Condition) -> None:
        if not condition.photos:
            raise GatlasError(f"{NAME} needs a photo of the object")
        for photo in condition.photos:
            check_photo(photo)
        if condition.relative and not self.config.relative:
            raise GatlasError(
                f"{condition.photos[0].name}: where it is taken from is not known, and {self.model or 'the model'} "
                "was trained on cameras in the objects' own frame: give --orbit-azimuths (0 is the front), "
                "--orbit-elevation and --radius without --relative, or a folder of views with a transforms.json"
            )

    def _sampler_options(self, request: SampleRequest) -> SamplerOptions:
        """Return the request's options with the defaults filled in. Those that cannot be met are a GatlasError."""
        config = self.config
        options = SamplerOptions(
            request.steps or config.sampler_steps,
            config.guidance if request.guidance is None else request.guidance,
            request.scheduler or config.sampler,
            request.condition_on,
        )
        if options.sampler not in CONTINUOUS_SAMPLERS:
            raise GatlasError(f"--scheduler {options.sampler}: {NAME} has {', '.join(CONTINUOUS_SAMPLERS)}")
        return options

    def output_cameras(self, request: SampleRequest) -> Cameras:
        """Return the request's cameras with pictures of the network's size."""
        return resized(super().output_cameras(request), self.config.side, self.config.side)

    def sample(self, request: SampleRequest, network: nn.Module | None = None) -> Iterator[Views]:
        """Yield the views of each sample one by one, `request.batch` samples at once."""
        self.check(request)
        cameras, samples = self.output_cameras(request), request.samples
        sampler = ViewSampler(
            self._predict(self.network if network is None else network),
            cameras,
            self._sampler_options(request),
            schedule=self.config.schedule,
            relative=self.config.relative,
            device=self._device,
        )
        for first in range(0, len(samples), request.batch):
            pools = [self._pool(request, sample, cameras) for sample in samples[first : first + request.batch]]
            for number, image in sampler.views(pools):
                yield Views(image[None], cameras[number])

    def _pool(self, request: SampleRequest, sample: SampleSpec, cameras: Cameras) -> Pool:
        """Return the photos of a sample and the views that a stopped run has made of it."""
        side, photos = self.config.side, sample.condition.photos
        pool = Pool(
            [network_picture(photo, side) for photo in photos],
            [np.asarray(photo.viewmat, dtype=np.float64) for photo in photos],
            [intrinsics_at(photo.K, photo.image.shape[1], photo.image.shape[0], side) for photo in photos],
            lambda number, what: sample.seed(request.seed, number, what),
        )
        begun = request.begun.get(sample.name)
        for image in () if begun is None else begun.images:
            pool.add(np.asarray(image[..., :3], dtype=np.float32), cameras)
        return pool

    def _predict(self, network: nn.Module) -> Any:
        def predict(images: Tensor, log_snr: Tensor, poses: Tensor, conditional: Tensor) -> Tensor:
            with torch.no_grad(), self._precision():
                epsilon: Tensor = network(images, log_snr, poses, conditional)
            if not bool(epsilon.isfinite().all()):
                raise GatlasError("the network gives values that are not finite: with --dtype fp32 it may not")
            return epsilon

        return predict

    def record(self, request: SampleRequest, sample: SampleSpec) -> dict[str, Any]:
        """Return how a sample is made."""
        options, dtype = self._sampler_options(request), str(self._dtype).removeprefix("torch.")
        made = {"steps": options.steps, "guidance": options.guidance, "scheduler": options.sampler, "dtype": dtype}
        made["background"] = "white"  # what reads the views need not guess it
        return {**super().record(request, sample), **made, "model": self.model, "weights": self.weights}

    def save_frozen(self, folder: str) -> None:
        """Write gatlas.json."""
        network_folder.save_description(folder, NAME, self.config.to_json())

    def save_network(self, folder: str, weights: Mapping[str, Tensor]) -> None:
        """Write the network with the given weights."""
        network_folder.save_weights(folder, weights)

    def _precision(self) -> AbstractContextManager[object]:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)


SYSTEM = ThreeDimSystem
