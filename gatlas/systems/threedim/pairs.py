"""Training pairs: two views of one object in random order, and the noise that the network learns to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.datasets.posed_views import PosedViewSet, SamplingConfig, posed_view_set
from gatlas.datasets.view_policy import ChosenViews, OrbitViews
from gatlas.diffusion.schedules import CosineLogSnr, add_noise
from gatlas.systems.contract import Photo
from gatlas.systems.threedim.pictures import encode_pairs, network_picture

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, UInt8
    from torch import Tensor

    from gatlas.datasets.posed_views import PosedBatch
    from gatlas.datasets.view_policy import PosedScene

MAX_FOV = 150.0  # degrees, of pictures that are used
SQUARE = 0.01  # share by which the two focal lengths, in sides of the picture, may differ


class Pairs(NamedTuple):
    """Pairs of views of b objects: one that is known, and one to be made."""

    images: Float[Tensor, "b 2 3 s s"]  # [-1, 1]
    poses: Float[Tensor, "b 2 144 s s"]  # see `encode_pairs`


class NoisyPairs(NamedTuple):
    """The input of the network, and the noise that its prediction follows from."""

    images: Float[Tensor, "b 2 3 s s"]  # the known view, or noise in its place, and the noisy view
    time: Float[Tensor, " b"]  # float64
    log_snr: Float[Tensor, " b"]
    conditional: Bool[Tensor, " b"]
    epsilon: Float[Tensor, "b 3 s s"]


@dataclass(frozen=True)
class RandomPair(OrbitViews):
    """Two different views of an object at random, in the world of its cameras.

    With `apart_steps` the second is at first the first one itself, for a quarter of them; then their axes are within an
    angle that grows to 180 degrees. What is in the same place of the known view is learned first.
    """

    context: int = 1
    targets: int = 1
    spacing: float | None = None
    apart_steps: int = 0

    def choose(self, scene: PosedScene, rng: np.random.Generator, step: int | None) -> ChosenViews:
        """Return a known view and a view to be made."""
        if step is None or step >= self.apart_steps:
            return super().choose(scene, rng, step)
        known = int(rng.integers(len(scene)))
        angle = 180.0 * max(0.0, (4 * step / self.apart_steps - 1) / 3)
        axes = np.asarray(scene.viewmats, dtype=np.float64)[:, 2, :3]
        near = axes @ axes[known] >= np.cos(np.radians(angle))
        near[known] = True
        return ChosenViews([known], [int(rng.choice(np.flatnonzero(near)))])

    def fault(self, scene: PosedScene) -> str | None:
        """Return a fault where the pictures are not square, by their focal lengths, which pixels share."""
        ratios = scene.Ks[:, 0, 0] / scene.Ks[:, 1, 1]
        if np.abs(np.log(ratios)).max() > SQUARE:
            return "has pictures that are not square"
        return super().fault(scene)


class PairSet(PosedViewSet):
    """Objects by their views, with pictures as `sample` sees them."""

    def _cut(
        self, picture: Float[np.ndarray, "h w d"], K: Float[np.ndarray, "3 3"]
    ) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "3 3"]]:
        cut = network_picture(Photo("", picture, K), self.sampling.width)
        return np.rint(cut * 255).astype(np.uint8), K.astype(np.float32)


def pair_set(inputs: Sequence[str], side: int, apart_steps: int = 0) -> PosedViewSet:
    """Return the objects that the inputs name, with the pairs of `RandomPair`.

    For the inputs see `gatlas.datasets.posed_views.posed_view_set`.
    """
    policy = RandomPair(apart_steps=apart_steps)
    return posed_view_set(inputs, SamplingConfig(side, side, policy, flip=0.0, max_fov=MAX_FOV), PairSet)


def pairs_of(batch: PosedBatch, *, relative: bool) -> Pairs:
    """Return the pairs of a batch; for `relative` see `encode_pairs`."""
    pictures = torch.cat([batch.context[:, :1], batch.targets[:, :1]], dim=1)
    viewmats = torch.cat([batch.context_viewmats[:, :1], batch.target_viewmats[:, :1]], dim=1).double()
    Ks = torch.cat([batch.context_intrinsics[:, :1], batch.target_intrinsics[:, :1]], dim=1).double()
    side = pictures.shape[2]
    Ks = Ks * torch.tensor([[side], [side], [1.0]], dtype=Ks.dtype, device=Ks.device)
    poses = encode_pairs(viewmats, Ks, side, relative=relative)
    return Pairs(pictures.movedim(-1, 2).float() / 127.5 - 1, poses)


def noise_pairs(
    images: Float[Tensor, "b 2 3 s s"],
    generator: torch.Generator,
    cond_drop: float,
    *,
    power: float = 1.0,
    time: float | None = None,
) -> NoisyPairs:
    """Return pairs whose second view is noisy, at one `time`, or at a random one in [0, 1], whose `power` is uniform.

    In a share of `cond_drop` the known view is replaced by noise, and the row is not conditional.
    """
    known, view = images.unbind(1)
    count, device = len(images), images.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=generator.device).to(device)

    def noise() -> Tensor:
        return torch.randn(view.shape, generator=generator, device=generator.device).to(device)

    schedule = CosineLogSnr()
    t = (
        draw(count).double() ** (1 / power)
        if time is None
        else torch.full((count,), time, dtype=torch.float64, device=device)
    )
    epsilon, conditional = noise(), draw(count) >= cond_drop
    known = torch.where(conditional[:, None, None, None], known, noise())
    noisy = add_noise(schedule, view, epsilon, t)
    return NoisyPairs(torch.stack([known, noisy], dim=1), t, schedule.log_snr(t).float(), conditional, epsilon)


def in_pixels(K: Float[np.ndarray, "3 3"], side: int) -> Float64[np.ndarray, "3 3"]:
    """Return intrinsics in pixels of those whose rows are divided by the width and the height."""
    return np.asarray(K, dtype=np.float64) * np.array([[side], [side], [1.0]])
