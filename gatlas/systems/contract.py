"""What every system is to the one training loop and to the one sampler.

A system is a network with the loss that it is trained on and the procedure that it is sampled with. `train` and
`sample` know nothing else about it.
"""

from __future__ import annotations

import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float
    from torch import Tensor, nn

    from gatlas.types import Atlas, Gaussians, Views


class Draw(NamedTuple):
    """One sample that is asked for: its noise depends on the request's seed, the prompt and the number only."""

    prompt: str
    number: int = 0  # among the samples of this prompt

    @property
    def name(self) -> str:
        """A file name without suffix that no other draw has."""
        if not self.prompt:
            return f"no-text-{self.number}"
        words = re.sub(r"[^a-z0-9]+", "-", self.prompt.lower()).strip("-")
        if words.replace("-", " ") != self.prompt or len(words) > 60 or words == "no-text":
            words = f"{words[:60].rstrip('-')}-{zlib.crc32(self.prompt.encode()):08x}".lstrip("-")
        return f"{words}-{self.number}"


class Photo(NamedTuple):
    """One photo that a scene is made from."""

    name: str  # of its file, without suffix
    image: Float[np.ndarray, "h w d"]  # RGB or straight RGBA, sRGB-encoded, [0, 1]
    K: Float[np.ndarray, "3 3"]  # pixels; the center of the first pixel is (0.5, 0.5)
    viewmat: Float[np.ndarray, "4 4"] | None = None  # world -> camera, OpenCV; None: not known


@dataclass(frozen=True)
class SampleRequest:
    """What is asked of a trained system: draws of what it makes from text, or one scene of some photos."""

    draws: tuple[Draw, ...] = ()
    seed: int = 0
    steps: int = 20
    guidance: float | None = None  # None: the model's own default
    scheduler: str = "dpm++"
    batch: int = 8  # samples at once; to rounding, no sample depends on it
    photos: tuple[Photo, ...] = ()  # in order: the first one's camera is the world


class Preset(NamedTuple):
    """A named starting point: a config of the system and what it changes in the training options."""

    config: Any
    training: Mapping[str, Any] = {}  # of `gatlas.train.TrainOptions`
    with_base: bool = False  # it fine-tunes a pretrained model: the default preset is the first that fits --base
    help: str = ""  # for the manual


@dataclass(frozen=True)
class Sources:
    """The training data that a user named. A system refuses what it does not use: see `refuse`."""

    inputs: tuple[str, ...]
    captions: str | None = None  # a file of captions
    views: str | None = None  # a folder with pictures of each object
    stats: str | None = None  # statistics of atlases; those that the system was created with, or a GatlasError
    lpips_weights: str | None = None  # file or folder of LPIPS's weights; None: where torch keeps its weights

    def refuse(self, *fields: str, reason: str) -> None:
        """Raise a GatlasError that names the option and the reason where one of the fields is given."""
        for field in fields:
            if getattr(self, field) is not None:
                raise GatlasError(f"--{field.replace('_', '-')}: {reason}")


class SampleSet(Protocol):
    """A map-style set of training samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def draw(self, index: int, *, seed: int, step: int | None = None) -> Any:
        """Return a sample as it is in one of its epochs; what is random in it follows from the three values alone.

        `step` is the optimizer step that it is for, from 0; None: as at the end of the training.
        """
        return self[index]

    def collate(self, items: list[Any]) -> Any:
        """Return one batch of the items."""

    def report(self) -> list[str]:
        """Return what the user should know about the set, one message each: what was left out and why."""
        return []

    def identity(self) -> Mapping[str, Iterable[Any]]:
        """Return what makes the set this one, under names for messages: JSON-able values in the order of the samples.

        A run is resumed with a set of the same values only. No sample is read for them.
        """


class System(ABC):
    """A network, the loss that it is trained on and the procedure that it is sampled with.

    A subclass gives the members without a default and the abstract methods; the others may stay as they are.
    """

    name: str  # in the registry
    part: str  # sub-folder of the trained network in a model folder
    network: nn.Module  # what is optimized; its forward is what is called in parallel
    config: Any  # frozen dataclass of JSON-able fields

    @abstractmethod
    def dataset(self, sources: Sources) -> SampleSet:
        """Return the training samples. What cannot be used, or is not used by this system, is a GatlasError."""

    @abstractmethod
    def loss(
        self, network: nn.Module, batch: Any, generator: torch.Generator, *, step: int, steps: int
    ) -> dict[str, Tensor]:
        """Return the named terms of the loss; "loss" is the weighted sum that is minimized."""

    def lr_scale(self, name: str) -> float:
        """Return the factor of the learning rate of a weight of the network, by its name."""
        return 1.0

    def diagnose(self, network: nn.Module, batch: Any, generator: torch.Generator) -> dict[str, float]:
        """Return numbers for the log that the loss does not show."""
        return {}

    def preview(self, network: nn.Module, generator: torch.Generator) -> Float[np.ndarray, "h w 3"] | None:
        """Return a picture of a few samples in [0, 1]; None where there is nothing to show."""
        return None

    @abstractmethod
    def sample(self, request: SampleRequest, network: nn.Module | None = None) -> Iterator[Atlas | Gaussians | Views]:
        """Yield the samples, in the order of the request's draws."""

    @abstractmethod
    def save_frozen(self, folder: str) -> None:
        """Write all but the trained network into an existing folder."""

    @abstractmethod
    def save_network(self, folder: str, weights: Mapping[str, Tensor]) -> None:
        """Write the trained network with the given weights into an existing folder."""

    def to(self, device: Any, dtype: Any = None) -> None:  # noqa: B027  (a system may have nothing to move)
        """Move what is not the network to a device."""

    def check(self, request: SampleRequest) -> list[str]:
        """Return what the user should know of a request, one message each. One that cannot be met is a GatlasError."""
        return []

    def record(self, request: SampleRequest, draw: Draw) -> dict[str, Any]:
        """Return how the sample of a draw is made, as JSON-able values."""
        return {}
