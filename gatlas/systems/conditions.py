"""The conditions of a request: the prompts and photos that a user names, for what a system takes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.config import Options, Report, ignore, option_fields, parse_settings
from gatlas.errors import GatlasError
from gatlas.systems.contract import ANY_NUMBER, Condition, Photo, Picture
from gatlas.systems.options import SampleOptions

if TYPE_CHECKING:
    from gatlas.systems.contract import Takes


def check_options(
    system: str, takes: Takes, options: SampleOptions, photos: Sequence[str], given: Collection[str]
) -> None:
    """Raise a GatlasError where a photo or an option, of those that are `given`, is not for the system."""
    advice = f"{options.model} is a model of {system}, which {_description(takes, options.model)}"
    for field in option_fields(SampleOptions).values():
        group = field.info.group
        if field.name in given and group is not None and not any(getattr(takes, name) for name in group.split()):
            raise GatlasError(f"{field.flag}: {advice}")
    if options.mask is not None and options.keep is None and takes.orbit is None:
        raise GatlasError("--mask: marks cells of the atlas of --keep: name that atlas")
    if photos and not takes.photos:
        raise GatlasError(f"{photos[0]}: {advice}")
    if not photos and takes.photos and not takes.text and takes.orbit is None:
        raise GatlasError(f"there is no photo: {advice}")


def read_settings(system: str, takes: Takes, config: type[Options], options: SampleOptions) -> dict[str, Any]:
    """Return the values of `options.settings`. A key that sampling may not change is a GatlasError."""
    (settings,) = parse_settings(options.settings, config)
    if other := [key for key in settings if key not in takes.keys]:
        raise GatlasError(
            f"--set {other[0]}: sampling may change {', '.join(takes.keys)} of {system}, and no other key"
        )
    return settings


def _description(takes: Takes, model: str) -> str:
    """Return the end of a message: what a system samples from, and a command line that does."""
    if not takes.photos and takes.picture:
        return "samples from text or a picture: give --prompt TEXT or --image FILE and no other photos"
    if not takes.photos:
        return "samples from text: give --prompt TEXT and no photos"
    what = "text or photos" if takes.text else "photos"
    words = "VIEWS/" if takes.posed else " ".join(["a.png", "b.png"][: takes.photos.start]) + " --fov DEGREES"
    return f"samples from {what}: gatlas sample --model {model} {words} -o OUTPUT"


def read_conditions(
    system: str, takes: Takes, options: SampleOptions, photos: Sequence[str], report: Report = ignore
) -> tuple[Condition, ...]:
    """Return a condition for each prompt of the options, and for the photos or each folder of photos.

    Duplicate prompts count once. Each picture of an object is a condition, or one with each prompt. The condition of a
    folder has the folder's name; for a system that takes photos with cameras it is a folder of views. One that takes
    views of objects reads a tar of them from standard input where no photo is named. What cannot be used is a
    GatlasError.
    """
    lines = io.load_lines(options.prompts) if options.prompts is not None else []
    given = [text.strip() for text in [*options.prompt, *lines]]
    prompts = list(dict.fromkeys(given))
    if len(prompts) < len(given):
        report(f"{len(given) - len(prompts)} duplicate prompts are ignored; -n N makes more samples of each")
    conditions = _with_pictures([Condition(prompt=text) for text in prompts], options.image)
    if takes.orbit is not None and (photos or not conditions):
        from gatlas.systems.object_photos import read_objects

        objects = read_objects(options, photos or ["-"], takes.orbit, report)
        for each in objects:
            _check_count(system, takes, each.name, len(each.photos))
        return tuple(conditions + objects)
    folders = [name for name in photos if io.is_folder(name) or name.lower().endswith(".json")]
    if folders and len(folders) < len(photos):
        raise GatlasError(f"{folders[0]}: name photos of one scene, or folders of photos, not both")
    if folders:
        conditions += [_read_folder(system, takes, options, folder) for folder in folders]
    elif photos:
        conditions.append(_read_photos(system, takes, options, photos))
    return tuple(conditions)


def _with_pictures(conditions: list[Condition], names: Sequence[str]) -> list[Condition]:
    """Return the conditions with each picture of the names, or those of the pictures alone where there is none."""
    if not names:
        return conditions
    pictures = [Picture(name, io.load_image(name)) for name in dict.fromkeys(names)]
    return [
        each._replace(name=Path(picture.name).stem if picture.name != "-" else "picture", picture=picture)
        for picture in pictures
        for each in conditions or [Condition()]
    ]


def _read_folder(system: str, takes: Takes, options: SampleOptions, folder: str) -> Condition:
    from gatlas.io.photos.transforms import has_index
    from gatlas.io.registry import suffixes
    from gatlas.io.streams import os_errors

    root = folder if io.is_folder(folder) else os.path.dirname(folder)
    name = os.path.basename(os.path.abspath(root))
    if takes.posed:
        if options.fov is not None or options.intrinsics is not None:
            raise GatlasError(f"{folder}: its transforms.json has the intrinsics: leave out --fov and --intrinsics")
        views = io.load_views(folder)
        _check_count(system, takes, folder, len(views))
        cameras = views.cameras
        every = enumerate(zip(views.images, cameras.Ks, cameras.viewmats, strict=True))
        return Condition(name, photos=tuple(Photo(f"{folder}: view {i}", *each) for i, each in every))
    if folder != root or has_index(folder):
        raise GatlasError(f"{folder}: has cameras, and {system} takes photos without: name the photos themselves")
    with os_errors(folder):
        files = sorted(str(path) for path in Path(folder).iterdir() if path.suffix.lower() in suffixes("image"))
    return _read_photos(system, takes, options, files, folder)._replace(name=name)


def _read_photos(
    system: str, takes: Takes, options: SampleOptions, files: Sequence[str], folder: str = ""
) -> Condition:
    from gatlas.io.photos.photo_loader import read_photos

    _check_count(system, takes, folder or files[0], len(files))
    found = read_photos(files, fov=options.fov, source=options.intrinsics)
    return Condition(found[0].stem, photos=tuple(Photo(each.path, each.image, each.K) for each in found))


def _check_count(system: str, takes: Takes, name: str, count: int) -> None:
    least, most = takes.photos.start, takes.photos.stop - 1
    if count not in takes.photos:
        wanted = (
            f"{least} or more" if takes.photos.stop == ANY_NUMBER else f"{least} to {most}" if most > least else least
        )
        raise GatlasError(f"{name}: {system} needs {wanted} photos of a scene, got {count}")
