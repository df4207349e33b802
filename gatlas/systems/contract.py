"""The contract between a system and the rest of gatlas: what it is trained on, sampled from, and gives.

A system is a network with the loss that it is trained on and the procedure that it is sampled with. `train` and
`sample` know nothing else about it. A system is a module, named in the registry, with

    TAKES: Takes                   what a sample is made from
    PRESETS: Mapping[str, Preset]  named starting points of a training
    TRAINING: str                  a paragraph about its training data, for the help of `gatlas train`
    SYSTEM: type[System]           the class
    create(config, *, base, stats, seed) -> System      a system to train
    load(model, *, device, dtype, settings) -> System   a trained system; `dtype` may be a name in torch, `settings`
                                                        replace values of the model's config
    recognizes(path) -> bool                            True for a published file (not a folder) that `load` reads

The first three and `recognizes` import no torch: the help and the manual read them.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Bool, Float
    from torch import Tensor, nn

    from gatlas.types import Atlas, Cameras, Gaussians, Views

ANY_NUMBER = 1_000_000  # end of a range of photos without an upper limit


class Photo(NamedTuple):
    """A photo that a sample is made from."""

    name: str  # for messages
    image: Float[np.ndarray, "h w d"]  # RGB or straight RGBA, sRGB-encoded, [0, 1]
    K: Float[np.ndarray, "3 3"]  # pixels; the center of the first pixel is (0.5, 0.5)
    viewmat: Float[np.ndarray, "4 4"] | None = None  # world -> camera, OpenCV; None: not known


class Picture(NamedTuple):
    """A picture of an object, from a side that nothing is known of."""

    name: str  # for messages
    image: Float[np.ndarray, "h w d"]  # RGB or straight RGBA, sRGB-encoded, [0, 1]


class Condition(NamedTuple):
    """One thing to make: from a text ("" is no text), a picture or both, or from photos in order."""

    name: str = ""  # of its files; of a text alone it follows from the text
    prompt: str | None = None
    photos: tuple[Photo, ...] = ()
    relative: bool = False  # where its cameras stand in the object's own frame is not known
    picture: Picture | None = None

    @property
    def key(self) -> str:
        """The text, else the name: what the random draws of its samples follow from."""
        return self.name if self.prompt is None else self.prompt


class Edit(NamedTuple):
    """An atlas that samples are made from: a variation of it, or, with cells to keep, its completion."""

    name: str  # for messages
    atlas: Atlas
    # Share of the noise that it is given: 0 changes nothing, with 1 nothing is left of the cells that are made anew.
    strength: float = 1.0
    anew: Bool[np.ndarray, "h h"] | None = None  # the cells to make, the others are kept as they are; None: all cells
    repeats: int = 2  # of each step, with new noise: what is made fits what is kept better (Lugmayr et al. 2022)


class SampleSpec(NamedTuple):
    """One sample that is asked for: its random draws follow from the request's seed, the condition and the number."""

    condition: Condition
    number: int = 0  # among the samples of this condition

    @property
    def name(self) -> str:
        """A file name without suffix that no other sample of the request has."""
        if self.condition.prompt is None:
            return f"{self.condition.name}-{self.number}" if self.number else self.condition.name
        prompt, before = self.condition.prompt, f"{self.condition.name}-" if self.condition.name else ""
        if not prompt:
            return f"{before}no-text-{self.number}"
        words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")
        if words.replace("-", " ") != prompt or len(words) > 60 or words == "no-text":
            words = f"{words[:60].rstrip('-')}-{zlib.crc32(prompt.encode()):08x}".lstrip("-")
        return f"{before}{words}-{self.number}"

    def seed(self, request_seed: int, *parts: Any) -> int:
        """Return a seed of 63 bits for this sample, or with further `parts` (JSON-able) for a part of it."""
        key = json.dumps([request_seed, self.condition.key, self.number, *parts])
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class SampleRequest:
    """A request to a trained system: `count` samples of each condition."""

    conditions: tuple[Condition, ...]
    cameras: Cameras | None = None  # of the views that are asked for, in the world of the photos' cameras
    count: int = 1
    seed: int = 0
    steps: int | None = None  # of the sampler; None, also below: the model's own default
    guidance: float | None = None
    scheduler: str | None = None
    batch: int = 8  # samples at once; to rounding, no sample depends on it
    edit: Edit | None = None  # what the samples are made from, beside their conditions
    condition_on: str = "pool"  # of each view: "pool", the photos and the views before it, or "first", the first photo
    skip: frozenset[str] = frozenset()  # names of samples that are not to be made
    begun: Mapping[str, Views] = field(default_factory=dict)  # name -> the first views of a sample, from a stopped run

    @property
    def samples(self) -> tuple[SampleSpec, ...]:
        """The samples that are asked for, condition by condition."""
        each = (SampleSpec(condition, number) for condition in self.conditions for number in range(self.count))
        return tuple(sample for sample in each if sample.name not in self.skip)


class Orbit(NamedTuple):
    """Cameras around an object that look at it, as `gatlas.geometry.cameras.orbit` places them."""

    azimuths: tuple[float, ...]  # degrees, of the photos in order
    radius: float  # distance from the object
    fov: float  # degrees, across the shorter side
    assumed: bool = True  # photos of which nothing is said are taken from it; else their cameras are relative


class Takes(NamedTuple):
    """Inputs that a system samples from. Options of other inputs are refused."""

    text: bool = False  # a prompt
    picture: bool = False  # a picture of an object without its camera
    photos: range = range(0)  # numbers of photos of one condition that it can use
    posed: bool = False  # the photos may have cameras
    target_cameras: bool = False  # cameras of the views that it gives
    relative: bool = False  # the photo's camera may be known only in relation to those of the views
    pool: bool = False  # a view may be conditioned on the views before it
    edit: bool = False  # an atlas that it varies or completes
    noise: bool = False  # random numbers: the options of a sampler, a seed and several samples of a condition
    keys: tuple[str, ...] = ()  # of the config, which `sample --set` may change
    # The photos show one object without its background. Those without cameras are of an orbit: what it is by default.
    orbit: Orbit | None = None
    weights: str = ""  # where its published weights are, for a message


class Located(NamedTuple):
    """Photos as a network saw them, with the cameras that were found for them."""

    views: Views
    lost: tuple[int, ...]  # numbers of the photos whose camera was not found, which `views` leaves out


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
        for name in fields:
            if getattr(self, name) is not None:
                raise GatlasError(f"--{name.replace('_', '-')}: {reason}")


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
    takes: Takes  # the TAKES of its module
    gives: type[Atlas] | type[Gaussians] | type[Views]
    locates = False  # it has `locate`
    renders = False  # its loss renders Gaussians, for which a GPU needs gsplat
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

    def begin_training(self) -> list[str]:
        """Make the network ready for training, once, before its weights are read; return what the user should know."""
        return []

    def lr_scale(self, name: str) -> float:
        """Return the factor of the learning rate of a weight of the network, by its name."""
        return 1.0

    def checkpoint_gradients(self) -> None:
        """Have the network recompute activations in the backward pass, for less memory; a GatlasError by default."""
        raise GatlasError("gradient_checkpointing: this system's network does not have it")

    @classmethod
    def outline(cls, config: Any, *, base: str | None, stats: Any, pretrained: bool) -> System:
        """Return a system whose memory can be counted: its networks may have no values. A GatlasError by default.

        With `pretrained` it fine-tunes a model: `base`, or what is usual where that is None. Without `stats`, of which
        the size of its samples follows, that is the config's, or what is usual.
        """
        raise GatlasError(
            f"--dry-run: the memory of {cls.name} cannot be counted: train a few steps, whose log.jsonl has memory_gib"
        )

    tokens = 0  # of a sample: what the network makes one by one, such as the cells of an atlas

    def frozen(self) -> Sequence[nn.Module]:
        """Return the networks that are on the device beside the one that is trained."""
        return ()

    def trial_loss(self, network: nn.Module, count: int) -> Tensor:
        """Return the loss of `count` samples without values; only for systems with an `outline`."""
        raise NotImplementedError

    def diagnose(self, network: nn.Module, batch: Any, generator: torch.Generator) -> dict[str, float]:
        """Return numbers for the log that the loss does not show."""
        return {}

    def preview(self, network: nn.Module, generator: torch.Generator) -> Float[np.ndarray, "h w 3"] | None:
        """Return a picture of a few samples in [0, 1]; None where there is nothing to show."""
        return None

    @abstractmethod
    def sample(self, request: SampleRequest, network: nn.Module | None = None) -> Iterator[Atlas | Gaussians | Views]:
        """Yield the samples of the request in order, by `network` instead of the system's own where one is given.

        A sample depends on its own spec and on the request's options alone, not on the other samples. Views of the
        request's cameras may come in several pieces, in the order of the cameras; those that `request.begun` holds are
        then left out.
        """

    def output_cameras(self, request: SampleRequest) -> Cameras:
        """Return the request's cameras as those of the views that are given: with the system's own size of pictures."""
        if request.cameras is None:
            raise ValueError("the request must have cameras")
        return request.cameras

    def default_conditions(self) -> tuple[Condition, ...]:
        """Return what is sampled where a user names nothing; () where something must be named."""
        return ()

    def check(self, request: SampleRequest) -> list[str]:
        """Return what the user should know of a request, one message each. One that cannot be met is a GatlasError."""
        return []

    def record(self, request: SampleRequest, sample: SampleSpec) -> dict[str, Any]:
        """Return how a sample is made, as JSON-able values: samples of another record are not kept by a second run.

        Atlases hold it as "sample" in their meta, views in their transforms.json.
        """
        condition, record = sample.condition, dict[str, Any](number=sample.number)
        if condition.prompt is not None:
            record["prompt"] = condition.prompt
        if condition.photos:
            record["photos"] = digest_of(array for photo in condition.photos for array in photo[1:])
        if request.cameras is not None:
            record["cameras"] = digest_of([request.cameras.viewmats, request.cameras.Ks])
        if self.takes.noise:
            record |= {name: getattr(request, name) for name in ("seed", "steps", "guidance", "scheduler")}
        if self.takes.pool:
            record["condition_on"] = request.condition_on
        return record | {key: getattr(self.config, key) for key in self.takes.keys}

    def locate(self, gaussians: Gaussians, photos: Sequence[Photo]) -> Located:
        """Return the cameras of the photos that `gaussians` was sampled from; only where `locates` is true."""
        raise NotImplementedError

    @abstractmethod
    def save_frozen(self, folder: str) -> None:
        """Write all but the trained network into an existing folder."""

    @abstractmethod
    def save_network(self, folder: str, weights: Mapping[str, Tensor]) -> None:
        """Write the trained network with the given weights into an existing folder."""

    def to(self, device: Any, dtype: Any = None) -> None:  # noqa: B027  (a system may have nothing to move)
        """Move what is not the network to a device."""

    def save(self, folder: str) -> None:
        """Write the whole model into an existing folder."""
        from gatlas.io.streams import make_folder

        make_folder(f"{folder}/{self.part}")
        self.save_network(f"{folder}/{self.part}", self.network.state_dict())
        self.save_frozen(folder)


def digest_of(arrays: Iterable[np.ndarray | None]) -> str:
    """Return a digest (SHA-256, hex) of the values of some arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"none" if array is None else f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def digest_of_weights(network: nn.Module) -> str:
    """Return a digest of up to 4,096 weights of each tensor: a step of training changes nearly all of them."""
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        flat = weight.detach().flatten()
        some = flat[:: -(-flat.numel() // 4096)].contiguous().cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + some.tobytes())
    return digest.hexdigest()
