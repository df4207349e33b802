"""Sets of objects to learn from: views that the network sees, augmented, and views that renders are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas.datasets.posed_views import PosedSample, PosedViewSet, SamplingConfig, SceneRef, posed_view_set
from gatlas.datasets.view_policy import ChosenViews, OrbitViews
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import intrinsics
from gatlas.images.composite import composite
from gatlas.systems.lgm.augmentation import distort, jitter
from gatlas.systems.lgm.frame import object_frame
from gatlas.systems.lgm.pictures import WHITE, cut_to
from gatlas.systems.object_photos import OPAQUE

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from gatlas.datasets.view_policy import PosedScene
    from gatlas.systems.lgm.config import LgmSystemConfig

MAX_FOV = 150.0  # degrees, of pictures that are used


@dataclass(frozen=True)
class ObjectOrbit(OrbitViews):
    """Views around an object in the network's frame; the first targets are the context views themselves."""

    distance: float = 1.5  # of the first camera, network's units

    def fault(self, scene: PosedScene) -> str | None:
        """Return a fault where there are too few views, or where they are not of one object."""
        if (found := super().fault(scene)) is not None:
            return found
        # A single view must show by itself where the object is.
        groups = [scene.viewmats] if self.context > 1 else list(scene.viewmats[:, None])
        try:
            for viewmats in groups:
                object_frame(viewmats, self.distance)
        except GatlasError as error:
            return str(error)
        return None

    def choose(self, scene: PosedScene, rng: np.random.Generator, step: int | None) -> ChosenViews:
        """Return views of an orbit, and the same ones with others."""
        context, targets = super().choose(scene, rng, step)
        try:
            object_frame(scene.viewmats[context], self.distance)
        except GatlasError as error:
            raise GatlasError(f"{scene.name}: {error}") from None
        return ChosenViews(context, [*context, *targets])

    def in_frame(self, viewmats: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "n 4 4"]:
        """Return the cameras in the frame that follows from the context's."""
        return object_frame(viewmats[: self.context], self.distance).viewmats(viewmats).astype(np.float32)


class ObjectSet(PosedViewSet):
    """Objects by their views, with pictures as `sample` sees them; the context's may not quite fit together."""

    def __init__(
        self,
        scenes: Sequence[SceneRef],
        sampling: SamplingConfig,
        notes: Sequence[str] = (),
        *,
        config: LgmSystemConfig,
        lpips: bool,
        note: str | None = None,
    ) -> None:
        """For `lpips` and `note` see `object_set`; a resumed run must have the same term."""
        super().__init__(scenes, sampling, notes if note is None else [*notes, note])
        self._config, self._lpips = config, lpips

    def draw(self, index: int, *, seed: int, step: int | None = None) -> PosedSample:
        """Return a sample; its context views but the first are distorted, and their cameras moved, by chance."""
        sample = super().draw(index, seed=seed, step=step)
        if not sample.targets[..., 3].any():
            raise GatlasError(
                f"{self._place(index)}: its pictures show nothing within the network's field of view of "
                f"{self._config.view_fov:g} degrees: correct its cameras or pictures, or leave it out"
            )
        config, rng = self._config, np.random.default_rng([seed, 1])
        pictures, viewmats = self._reduced(sample.targets[: config.views]), sample.context_viewmats
        distorts, jitters = rng.random(2) < (config.grid_distortion, config.camera_jitter)
        if distorts and len(pictures) > 1:
            pictures = np.concatenate([pictures[:1], _distorted(pictures[1:], rng)])
        if jitters and len(viewmats) > 1:
            viewmats = np.concatenate([viewmats[:1], jitter(viewmats[1:], rng)])
        return sample._replace(context=pictures, context_viewmats=viewmats)

    def _check(self, index: int, number: int, picture: Float[np.ndarray, "h w d"]) -> None:
        """Refuse a picture whose background would be part of the object, and one that shows nothing."""
        if picture.shape[-1] == 3 or picture[..., 3].min() >= OPAQUE:
            raise GatlasError(
                f"{self._place(index)}: its picture {number} is opaque, so that its background would be part of the "
                "object: write pictures with transparency, as render -o FOLDER/ does, or name a mask_path in each frame"
            )
        if picture[..., 3].max() <= 0:
            raise GatlasError(
                f"{self._place(index)}: its picture {number} shows nothing: all of it is transparent, or its mask is "
                "black: take it out of the transforms.json"
            )

    def _place(self, index: int) -> str:
        """Return the folder, or the tar and the object in it, that a scene was read from."""
        scene = self._scenes[index]
        return str(scene.path) if scene.number is None else f"{scene.path}: {scene.key}"

    def identity(self) -> Mapping[str, Iterable[Any]]:
        """Return the keys of the objects, the numbers of their views, and whether the loss has LPIPS."""
        return {**super().identity(), "weights of LPIPS": [self._lpips]}

    def _reduced(self, pictures: UInt8[np.ndarray, "v h w 4"]) -> UInt8[np.ndarray, "v s s 4"]:
        """Return pictures of the render's size at the network's."""
        side, factor = self._config.side, self._config.render_scale
        if factor == 1:
            return pictures
        cells = pictures.reshape(len(pictures), side, factor, side, factor, 4)
        return np.rint(cells.mean(axis=(2, 4))).astype(np.uint8)

    def _cut(
        self, picture: Float[np.ndarray, "h w d"], K: Float[np.ndarray, "3 3"]
    ) -> tuple[UInt8[np.ndarray, "s s 4"], Float[np.ndarray, "3 3"]]:
        """Return RGB over white with alpha, of the network's field of view, and its intrinsics."""
        side = self._config.render_side
        height, width = picture.shape[:2]
        wanted = intrinsics(side, side, self._config.view_fov)
        cut = cut_to(picture, K * [[width], [height], [1.0]], wanted, side)
        colored = np.concatenate([composite(cut, WHITE), cut[..., 3:]], axis=-1)
        return np.rint(colored * 255).astype(np.uint8), (wanted / [[side], [side], [1.0]]).astype(np.float32)


def object_set(
    inputs: Sequence[str], config: LgmSystemConfig, *, lpips: bool = False, note: str | None = None
) -> PosedViewSet:
    """Return the objects that the inputs name; see `gatlas.datasets.posed_views.posed_view_set`.

    `lpips` says that the loss has this term; `note` is a further message of the set's report.
    """
    policy = ObjectOrbit(config.views, config.targets, config.spacing, config.max_elevation, config.distance)
    sampling = SamplingConfig(config.render_side, config.render_side, policy, flip=config.flip, max_fov=MAX_FOV)
    return posed_view_set(inputs, sampling, partial(ObjectSet, config=config, lpips=lpips, note=note))


def _distorted(pictures: UInt8[np.ndarray, "v s s 4"], rng: np.random.Generator) -> UInt8[np.ndarray, "v s s 4"]:
    """Return distorted pictures; outside of them all is white and empty."""
    nothing = torch.tensor([255.0, 255.0, 255.0, 0.0])[:, None, None]
    values = torch.from_numpy(pictures).movedim(-1, 1).float()
    return (distort(values - nothing, rng) + nothing).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()
