"""Masks of the photos of `gatlas fit`: given ones, and those that a program or a network makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gatlas.cli.terminal import counting_bar
from gatlas.io.photos.made_masks import check_command, photo_masks
from gatlas.io.photos.scenes import has_unposed_photos, photo_paths
from gatlas.io.photos.unposed_photos import unposed_paths
from gatlas.io.streams import is_folder

if TYPE_CHECKING:
    from gatlas.fit import FitOptions


@contextmanager
def fit_masks(source: str, options: FitOptions) -> Iterator[Mapping[Path, Path]]:
    """Yield the masks of the photos of a folder by their paths; {} where none are asked for."""
    if options.masks is options.mask_command is options.matting is None:
        yield {}
        return
    if options.mask_command is not None:
        check_command(options.mask_command)
    unposed = options.model_dir is None and is_folder(source) and has_unposed_photos(source)
    pictures = unposed_paths(source) if unposed else photo_paths(source, model_dir=options.model_dir)
    root = source if Path(source).is_dir() else Path(source).parent
    with (
        counting_bar("masks", len(pictures)) as on_photo,
        photo_masks(
            pictures,
            root,
            folder=options.masks,
            command=options.mask_command,
            matting=options.matting,
            on_photo=on_photo,
        ) as masks,
    ):
        yield masks
