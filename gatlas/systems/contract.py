"""What every system is to the one training loop and to the one sampler.

A system is a network with the loss that it is trained on and the procedure that it is sampled with. `train` and
`sample` know nothing else about it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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
    K: Float[np.ndarray, "3 3"]  # pixels; the centre of the first pixel is (0.5, 0.5)


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


class SceneSet(Protocol):
    """A map-style set of training samples.

    One whose samples are drawn at random has `draw(index, *, seed, step)` too, and the loop asks for that instead: the
    sample follows from the three alone, and every turn of a sample has another seed.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def collate(self, items: list[Any]) -> Any:
        """One batch of the items."""

    def report(self) -> list[str]:
        """What the user should know about the set, a line each: what was left out and why."""

    def identity(self) -> Mapping[str, Iterable[Any]]:
        """What makes the set this one, under names for messages: JSON-able values in the order of the samples.

        A run goes on with a set of the same values only. No sample is read for them.
        """


class System(Protocol):
    """A network, its loss and its sampler.

    It may have `lr_scale(name) -> float` too: the factor of the learning rate of a weight of the network.
    """

    name: str
    part: str  # sub-folder of the trained network in a model folder
    network: nn.Module  # what is optimised; its forward is what is called in parallel
    config: Any  # frozen dataclass of JSON-able fields

    def dataset(self, inputs: Sequence[str], *, captions: str | None = None, views: str | None = None) -> SceneSet:
        """The training samples of files, folders and shards. What cannot be used is a GatlasError."""

    def loss(
        self, network: nn.Module, batch: Any, generator: torch.Generator, *, step: int, steps: int
    ) -> dict[str, Tensor]:
        """Named terms of the loss; "loss" is the weighted sum that is minimised."""

    def diagnose(self, network: nn.Module, batch: Any, generator: torch.Generator) -> dict[str, float]:
        """Numbers for the log that the loss does not show."""

    def preview(self, network: nn.Module, generator: torch.Generator) -> Float[np.ndarray, "h w 3"] | None:
        """A picture of a few samples in [0, 1]; None where there is nothing to show."""

    def sample(self, request: SampleRequest, network: nn.Module | None = None) -> Iterator[Atlas | Gaussians | Views]:
        """The samples, in the order of the request's draws."""

    def save_frozen(self, folder: str) -> None:
        """Write all but the trained network into an existing folder."""

    def save_network(self, folder: str, weights: Mapping[str, Tensor]) -> None:
        """Write the trained network with the given weights into an existing folder."""

    def to(self, device: Any, dtype: Any = None) -> None:
        """Move what is not the network."""


class TextSystem(System, Protocol):
    """A system that samples from prompts."""

    def check(self, request: SampleRequest) -> list[str]:
        """What the user should know of a request, a line each. One that cannot be met is a GatlasError."""

    def record(self, request: SampleRequest, draw: Draw) -> dict[str, Any]:
        """How the sample of a draw is made, as JSON-able values; its atlas's meta keeps it as "sample"."""
