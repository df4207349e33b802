"""Training pairs: two views of one object in random order, and the noise that the network learns to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.datasets.posed_views import PosedViewSet, SamplingConfig, posed_view_set
from gatlas.datasets.view_policy import OrbitViews
from gatlas.diffusion.schedules import CosineLogSnr, add_noise
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.optical_axes import meeting_point
from gatlas.systems.contract import Photo
from gatlas.systems.threedim.pictures import encode_pairs, network_picture

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, UInt8
    from torch import Tensor

    from gatlas.datasets.posed_views import PosedBatch
    from gatlas.datasets.view_policy import PosedScene

MAX_FOV = 150.0  # degrees, of pictures that are used
SPREAD = 0.01  # of the axes of an object's cameras, at which they show the point where they meet: see `meeting_point`
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
    """Two different views of an object at random, in the world of its cameras."""

    context: int = 1
    targets: int = 1
    spacing: float | None = None
    distances: tuple[float, float] | None = None  # from a camera, within which its object must lie

    def fault(self, scene: PosedScene) -> str | None:
        """Return a fault where the pictures are not square, by their focal lengths, which pixels share."""
        ratios = scene.Ks[:, 0, 0] / scene.Ks[:, 1, 1]
        if np.abs(np.log(ratios)).max() > SQUARE:
            return "has pictures that are not square"
        if self.distances is not None:
            low, high = self.distances
            least, most = _distances(scene.viewmats)
            if least < low or most > high:
                return (
                    f"has cameras that look at a point {least:.3g} to {most:.3g} from them, and the points along a ray "
                    f"where the network looks are {low:g} to {high:g} from a camera: --set near=... --set far=..."
                )
        return super().fault(scene)


class PairSet(PosedViewSet):
    """Objects by their views, with pictures as `sample` sees them."""

    def _cut(
        self, picture: Float[np.ndarray, "h w d"], K: Float[np.ndarray, "3 3"]
    ) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "3 3"]]:
        cut = network_picture(Photo("", picture, K), self.sampling.width)
        return np.rint(cut * 255).astype(np.uint8), K.astype(np.float32)


def pair_set(inputs: Sequence[str], side: int, distances: tuple[float, float] | None = None) -> PosedViewSet:
    """Return the objects that the inputs name, with the pairs of `RandomPair`.

    Objects whose cameras look at a point outside of `distances` are left out. For the inputs see
    `gatlas.datasets.posed_views.posed_view_set`.
    """
    policy = RandomPair(distances=distances)
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


def _distances(viewmats: Float[np.ndarray, "n 4 4"]) -> tuple[float, float]:
    """Return the least and the greatest distance of cameras from the point that they look at.

    Cameras that look in one direction show no such point: theirs is the origin of the world.
    """
    center = meeting_point(viewmats, SPREAD)
    lengths = np.linalg.norm(camera_centers(viewmats) - (0.0 if center is None else center), axis=-1)
    return float(lengths.min()), float(lengths.max())


def in_pixels(K: Float[np.ndarray, "3 3"], side: int) -> Float64[np.ndarray, "3 3"]:
    """Return intrinsics in pixels of those whose rows are divided by the width and the height."""
    return np.asarray(K, dtype=np.float64) * np.array([[side], [side], [1.0]])
