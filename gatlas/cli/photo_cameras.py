"""Photos without cameras among the inputs of a verb, which get a COLMAP model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatlas import io
from gatlas.cli.terminal import counting_bar, message
from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gatlas.fit.options import FitOptions


def model_of_photos(
    source: str, options: FitOptions, masks: Mapping[Path, Path], *, sequential: bool, force: bool
) -> str | None:
    """Return the folder of the model of a folder of photos: the one that is named or was found; None: its own.

    `masks` are those of the photos, by their paths; `sequential` says that the photos are frames of a video. Options
    that are for photos without cameras are a GatlasError where the folder has cameras.
    """
    from gatlas.io.photos.scenes import has_unposed_photos

    given = {
        "--camera-model": options.camera_model,
        "--fov": options.fov,
        "--principal-point": options.principal_point,
        "--cameras-out": options.cameras_out,
    }
    if options.model_dir is not None or not io.is_folder(source) or not has_unposed_photos(source):
        for name, value in given.items():
            if value is not None:
                raise GatlasError(f"{name} is for photos without cameras: {options.model_dir or source} has them")
        return options.model_dir
    from gatlas.sfm import SfmOptions, recover_cameras

    found = recover_cameras(
        source,
        SfmOptions(
            camera_model=options.camera_model or "simple-radial",
            fov=options.fov,
            principal_point=options.principal_point,
            sequential=sequential,
            seed=options.seed,
        ),
        out=options.cameras_out,
        masks=masks,
        force=force,
        report=message,
        bar=counting_bar,
    )
    return str(found.folder)
