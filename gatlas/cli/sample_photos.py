"""gatlas sample from photos, and the conversion of a model; what the options of `gatlas sample` go together with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.systems.contract import Photo

TEXT_ONLY = ("prompt", "prompts", "count", "steps", "guidance", "scheduler", "batch", "seed")
PHOTO_ONLY = ("fov", "intrinsics", "views")
LEAST_PHOTOS = 2


class Wish(NamedTuple):
    """What the command line says of a scene from photos."""

    model: str
    photos: tuple[str, ...]
    fov: float | None
    intrinsics: str | None
    output: str
    views: str | None
    force: bool


def task(given: set[str]) -> str:
    """ "text", "photos" or "convert", from the names of the options that were given. A mixture is a GatlasError."""
    if "convert" in given:
        mixed = [name for name in ("photos", *TEXT_ONLY, *PHOTO_ONLY, "output") if name in given]
        if mixed:
            raise GatlasError(f"--convert only writes the model: leave out {_shown(mixed[0])}")
        return "convert"
    for option in ("photos", *PHOTO_ONLY):
        for other in TEXT_ONLY:
            if {option, other} <= given:
                what = _shown(option)
                raise GatlasError(f"{_shown(other)} is for models of text, {what} for models of photos: leave one out")
    if "photos" in given:
        return "photos"
    for name in PHOTO_ONLY:
        if name in given:
            raise GatlasError(f"{_shown(name)}: there is no photo: name two or more")
    return "text"


def require_input(model: str, wanted: str) -> None:
    """A GatlasError where the model's system makes its samples from something else."""
    from gatlas.systems import system_module, system_of

    name = system_of(model)
    takes = getattr(system_module(name), "INPUT", "text")
    if takes == wanted:
        return
    if takes == "photos":
        raise GatlasError(
            f"{model}: a model of {name}, which makes a scene from photos: gatlas sample --model {model} a.png b.png "
            "--fov DEGREES -o scene.ply"
        )
    raise GatlasError(f"{model}: a model of {name}, which samples from text: give --prompt TEXT and no photos")


def sample_photos(wish: Wish, device: str, dtype: Callable[[str], str]) -> None:
    """Write the splat of the photos and, where they are asked for, the photos as the model saw them."""
    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.io.photos.photo_loader import read_photos
    from gatlas.raster.devices import choose_device
    from gatlas.systems import load_system
    from gatlas.systems.contract import Photo, SampleRequest

    io.check_output(wish.output, force=wish.force, noun="splat")
    if wish.views is not None:
        io.check_output(wish.views, force=wish.force, folder=True)
    if len(wish.photos) < LEAST_PHOTOS:
        raise GatlasError(f"{wish.photos[0]}: one photo makes no scene: name two or more of it")
    require_input(wish.model, "photos")
    loaded = read_photos(wish.photos, fov=wish.fov, source=wish.intrinsics)
    photos = tuple(Photo(each.stem, each.image, each.K) for each in loaded)
    chosen = choose_device(device, gsplat=False)
    system: Any = load_system(wish.model, device=chosen, dtype=dtype(chosen))
    (gaussians,) = system.sample(SampleRequest(photos=photos))
    _tell_cut(photos, system.config.width, system.config.height)
    io.save_gaussians(wish.output, gaussians, force=wish.force)
    if wish.views is None:
        return
    located = system.locate(gaussians, photos)
    for view in located.lost:
        say(f"{wish.photos[view]}: its camera was not found, and {wish.views} leaves it out")
    io.save_views(wish.views, located.views, force=wish.force)


def _tell_cut(photos: tuple[Photo, ...], width: int, height: int) -> None:
    """Say of how much of the photos there is no Gaussian, where it is much."""
    from gatlas.cli.terminal import say

    rows, columns = photos[0].image.shape[:2]
    shape, wanted = columns / rows, width / height
    kept = min(shape, wanted) / max(shape, wanted)
    if kept < 0.95:
        say(f"the model takes {width} x {height}: the middle {kept:.0%} of {columns} x {rows} photos is used")


def convert(model: str, folder: str, force: bool) -> None:
    """Write a model as a folder of safetensors."""
    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.io.streams import filling_folder
    from gatlas.systems import load_system

    io.check_output(folder, force=force, folder=True)
    require_input(model, "photos")
    system: Any = load_system(model)
    with filling_folder(folder, force=force) as target:
        system.save(str(target))
    say(f"{folder}: a model folder of {system.name}")


def _shown(name: str) -> str:
    return "the photos" if name == "photos" else "--" + name.replace("_", "-")
