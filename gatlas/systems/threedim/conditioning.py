"""Views of one object after another, each by a reverse diffusion that sees one known view at every step.

Watson et al. 2023, sec. 3: at each step the known view is drawn anew from a pool, the photos and the views that are
finished, so that one network for pairs makes views that agree (stochastic conditioning).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.diffusion.samplers import sample_continuous
from gatlas.systems.threedim.pictures import encode_pairs

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64
    from torch import Tensor

    from gatlas.diffusion.schedules import CosineLogSnr
    from gatlas.types import Cameras

    # Of pictures, log-SNR, rays and flags, as the network's forward: see `gatlas.models.xunet.XUNet`.
    Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class SamplerOptions(NamedTuple):
    """The sampler of a view and what its steps see."""

    steps: int
    guidance: float  # w: 0 is the prediction with the known view alone
    sampler: str  # of `gatlas.diffusion.samplers.CONTINUOUS_SAMPLERS`
    condition_on: str  # "pool" or "first"


@dataclass
class Pool:
    """The views of one object that are there: its photos, and then those of the cameras that are asked for."""

    images: list[Float32[np.ndarray, "s s 3"]]  # [0, 1]
    viewmats: list[Float64[np.ndarray, "4 4"]]
    Ks: list[Float64[np.ndarray, "3 3"]]  # of the network's size
    seed: Callable[[int, str], int]  # of the number of a view and the name of what is drawn
    number: int = 0  # of the next view
    made: list[Float32[np.ndarray, "s s 3"]] = field(default_factory=list)  # and not yielded

    def add(self, image: Float32[np.ndarray, "s s 3"], cameras: Cameras) -> None:
        """Add the next view of `cameras`."""
        self.images.append(image)
        self.viewmats.append(np.asarray(cameras.viewmats[self.number], dtype=np.float64))
        self.Ks.append(np.asarray(cameras.Ks[self.number], dtype=np.float64))
        self.number += 1

    def generator(self, what: str) -> torch.Generator:
        """Return a generator of the next view's own: its draws depend on nothing else that is made."""
        return torch.Generator().manual_seed(self.seed(self.number, what))


class ViewSampler:
    """Views of several objects at once by one network."""

    def __init__(
        self,
        predict: Predict,
        cameras: Cameras,
        options: SamplerOptions,
        *,
        schedule: CosineLogSnr,
        relative: bool,
        device: torch.device,
    ) -> None:
        """`cameras` are those of the views, with the network's size of pictures."""
        self._predict, self._cameras, self._options = predict, cameras, options
        self._schedule, self._relative, self._device = schedule, relative, device

    def views(self, pools: Sequence[Pool]) -> Iterator[tuple[int, Float32[np.ndarray, "s s 3"]]]:
        """Yield number and image of each view that the pools lack, pool by pool, each as soon as it is there."""
        count = len(self._cameras)
        for pool in pools:
            yield from self._taken(pool)
            while pool.number < count:
                self._advance([each for each in pools if each.number < count])
                yield from self._taken(pool)

    def _taken(self, pool: Pool) -> Iterator[tuple[int, Float32[np.ndarray, "s s 3"]]]:
        first = pool.number - len(pool.made)
        taken, pool.made = pool.made, []
        yield from enumerate(taken, first)

    def _advance(self, pools: Sequence[Pool]) -> None:
        """Add the next view to each of the pools."""
        side, options = self._cameras.width, self._options
        without = [pool.generator("without") for pool in pools]
        schedule = self._schedule

        def choose(i: int, generator: torch.Generator) -> int:
            known = len(pools[i].images) if options.condition_on == "pool" else 1
            return 0 if known == 1 else int(torch.randint(known, (), generator=generator))

        def denoise(x: Tensor, t: Tensor, conditional: Tensor, chosen: Sequence[int]) -> Tensor:
            rows = [(pools[i % len(pools)], choice) for i, choice in enumerate(chosen)]
            known = torch.stack([self._tensor(pool.images[choice]).movedim(-1, 0) * 2 - 1 for pool, choice in rows])
            if not bool(conditional.all()):
                noise = [torch.randn(3, side, side, generator=each) for each in without]
                known = torch.cat([known[: len(pools)], torch.stack(noise).to(self._device)])
            poses = self._rays(rows)
            return self._predict(torch.stack([known, x], dim=1), schedule.log_snr(t).float(), poses, conditional)

        x = sample_continuous(
            denoise,
            (3, side, side),
            schedule,
            [pool.generator("noise") for pool in pools],
            steps=options.steps,
            guidance=1.0 + options.guidance,
            sampler=options.sampler,
            limit=lambda x0: x0.clamp(-1.0, 1.0),
            choose=choose,
            device=self._device,
        )
        for pool, image in zip(pools, x.movedim(1, -1).cpu().numpy(), strict=True):
            image = as_stored(image)
            pool.add(image, self._cameras)
            pool.made.append(image)

    def _rays(self, rows: Sequence[tuple[Pool, int]]) -> Float[Tensor, "b 2 144 s s"]:
        """Return the encoded rays of a known view of each pool and of the pool's next camera."""
        cameras = self._cameras
        viewmats = [[pool.viewmats[choice], cameras.viewmats[pool.number]] for pool, choice in rows]
        Ks = [[pool.Ks[choice], cameras.Ks[pool.number]] for pool, choice in rows]
        pairs, intrinsics = (self._tensor(np.asarray(each, dtype=np.float64)) for each in (viewmats, Ks))
        return encode_pairs(pairs, intrinsics, cameras.width, relative=self._relative)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def as_stored(image: Float[np.ndarray, "s s 3"]) -> Float32[np.ndarray, "s s 3"]:
    """Return a picture in [-1, 1] as an 8-bit file holds it, in [0, 1]: a resumed run reads it back so."""
    return np.rint(np.clip(0.5 * image + 0.5, 0.0, 1.0) * 255).astype(np.float32) / np.float32(255)
