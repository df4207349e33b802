"""Masks that a program of the user's, or a network in a file, makes of photos."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import outputs, streams
from gatlas.io.images import decode_image, encode_png, read_header
from gatlas.io.photos.mask_folder import SUFFIX, masks_in, relative_name, require_all
from gatlas.io.sets.scratch import temporary_folder
from gatlas.io.visible import visible

if TYPE_CHECKING:
    from jaxtyping import Float

    Maker = Callable[[Path], Float[np.ndarray, "h w"]]

INPUT, OUTPUT = "{input}", "{output}"  # in a command: paths of the photo and of the picture to write
LONGEST = 300  # characters of a program's message


@contextmanager
def photo_masks(
    pictures: Sequence[Path],
    root: str | Path,
    *,
    folder: str | None = None,
    command: str | None = None,
    matting: str | None = None,
    on_photo: Callable[[], None] = lambda: None,
) -> Iterator[dict[Path, Path]]:
    """Yield the mask of each picture, by its path; masks without a folder of their own last as long as the block.

    They are those in `folder`, of which none may be missing; with a `command` or a `matting` network (at most one),
    missing ones are made of the pictures, and kept in `folder`, where one is named. `root` is the folder of the photos.
    """
    if command is None and matting is None:
        if folder is None:
            yield {}
            return
        found = masks_in(folder, pictures, root)
        require_all(found, pictures, folder)
        yield found
        return
    maker = _command_maker(command) if command is not None else _matting_maker(str(matting))
    scratch: Any = temporary_folder() if folder is None else nullcontext(Path(folder))
    with scratch as place:
        with streams.os_errors(place):
            place.mkdir(exist_ok=True, parents=True)
        found = masks_in(place, pictures, root)
        for picture in pictures:
            if picture not in found:
                found[picture] = _kept(place, relative_name(picture, root), maker(picture))
                on_photo()
        yield found


def _kept(place: Path, name: Path, mask: Float[np.ndarray, "h w"]) -> Path:
    path = place / name.parent / f"{name.name}{SUFFIX}"
    with streams.os_errors(path):
        path.parent.mkdir(exist_ok=True, parents=True)
    outputs.write(path, [encode_png(np.repeat(mask[..., None], 3, axis=2))], force=True)
    return path


def check_command(command: str) -> list[str]:
    """Return the words of a command; a GatlasError where it does not name its input and its output."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise GatlasError(f"--mask-command {command}: {str(error).lower()}") from None
    joined = "\0".join(words[1:])
    if not words or INPUT not in joined or OUTPUT not in joined:
        raise GatlasError(
            f"--mask-command {command}: must name a program with {INPUT}, the photo, and {OUTPUT}, the picture to "
            f"write: 'rembg i {INPUT} {OUTPUT}'"
        )
    return words


def _command_maker(command: str) -> Maker:
    """Return the function that runs a program, without a shell, and returns the mask that it wrote.

    A picture with transparency is a cut-out, whose alpha is the mask; of another the brightness is.
    """
    words = check_command(command)

    def make(picture: Path) -> Float[np.ndarray, "h w"]:
        with temporary_folder() as folder:
            output = folder / "mask.png"
            replaced = {INPUT: str(picture.resolve()), OUTPUT: str(output)}
            _run([_filled(word, replaced) for word in words], picture)
            if not output.is_file():
                raise GatlasError(f"{picture}: {words[0]} ended well and wrote nothing to {OUTPUT}")
            try:
                made = decode_image(streams.read(output))
            except GatlasError as error:
                fault = str(error).removeprefix(f"{output}: ")
                raise GatlasError(f"{picture}: what {words[0]} wrote is no mask: {fault}") from None
        mask: Float[np.ndarray, "h w"] = made[..., 3] if made.shape[2] == 4 else made.mean(axis=-1)
        _check_size(picture, mask, words[0])
        return mask

    return make


def _filled(word: str, replaced: Mapping[str, str]) -> str:
    for name, value in replaced.items():
        word = word.replace(name, value)
    return word


def _run(words: list[str], picture: Path) -> None:
    with tempfile.TemporaryFile() as errors:
        try:
            ended = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, check=False
            )
        except FileNotFoundError:
            raise GatlasError(f"--mask-command: there is no program {words[0]!r}") from None
        except OSError as error:
            raise GatlasError(f"--mask-command: {words[0]} cannot be run: {error.strerror}") from None
        if ended.returncode == 0:
            return
        errors.seek(max(0, errors.seek(0, 2) - (1 << 16)))
        lines = [line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
    how = f"status {ended.returncode}" if ended.returncode > 0 else f"signal {-ended.returncode}"
    said = f": {visible(lines[-1])[:LONGEST]}" if lines else ""
    raise GatlasError(f"{picture}: {words[0]} failed with {how}{said}")


def _matting_maker(model: str) -> Maker:
    from gatlas.io.models.onnx_matting import MattingModel

    network = MattingModel(model)

    def make(picture: Path) -> Float[np.ndarray, "h w"]:
        return network.mask(decode_image(streams.read(picture), upright=True)[..., :3])

    return make


def _check_size(picture: Path, mask: Float[np.ndarray, "h w"], program: str) -> None:
    header = read_header(picture)
    size = mask.shape[1], mask.shape[0]
    if size not in (header.size, header.turned_size):
        raise GatlasError(
            f"{picture}: the mask that {program} made has {size[0]} x {size[1]} pixels, the photo "
            f"{header.width} x {header.height}"
        )
