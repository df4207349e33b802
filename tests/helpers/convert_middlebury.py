"""Middlebury multi-view rings (NAME_par.txt beside its photos) to a folder with a transforms.json.

    python tests/convert_middlebury.py templeRing temple/
    python tests/convert_middlebury.py dinoSparseRing dino/ --mask 0.12

Each line of the file is `name k11 … k33 r11 … r33 t1 t2 t3`, the projection being K [R t]. The photos stand on black;
`--mask T` cuts the object out: a pixel whose brightest channel is above T belongs to it, as does what such pixels
enclose; only the largest piece is kept.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np

from gatlas import io
from gatlas.types import Cameras, Views

CLOSING = 5  # pixels: dark gaps up to this width belong to the object


def read_ring(folder: Path) -> tuple[Views, int]:
    """The photos that are there, with their cameras, and how many the parameter file lists."""
    (index,) = folder.glob("*_par.txt")
    lines = index.read_text().split("\n")
    rows = [line.split() for line in lines[1:] if line.strip()]
    if len(rows) != int(lines[0]):
        raise SystemExit(f"{index}: it promises {lines[0]} photos and has {len(rows)}")
    present = [row for row in rows if (folder / row[0]).is_file()]
    if not present:
        raise SystemExit(f"{folder}: none of the {len(rows)} photos is there")
    numbers = np.array([row[1:] for row in present], dtype=np.float64)  # [n 21]
    viewmats = np.tile(np.eye(4), (len(present), 1, 1))
    viewmats[:, :3, :3] = numbers[:, 9:18].reshape(-1, 3, 3)
    viewmats[:, :3, 3] = numbers[:, 18:]
    Ks = numbers[:, :9].reshape(-1, 3, 3)
    Ks[:, :2, 2] += 0.5  # there the centre of the first pixel is (0, 0)
    images = np.stack([io.load_image(folder / row[0])[..., :3] for row in present])
    height, width = images.shape[1:3]
    return Views(images, Cameras(viewmats, Ks, width, height)), len(rows)


def cut_out(image: np.ndarray, threshold: float) -> np.ndarray:
    """The photo [h w 3] with an alpha [h w 4] that is 1 on the object and 0 on the dark background."""
    from scipy import ndimage

    bright = image.max(axis=-1) > threshold
    disc = np.hypot(*np.mgrid[-CLOSING : CLOSING + 1, -CLOSING : CLOSING + 1]) <= CLOSING
    padded = np.pad(bright, CLOSING)
    closed = ndimage.binary_closing(padded, disc)[CLOSING:-CLOSING, CLOSING:-CLOSING] | bright
    pieces, count = ndimage.label(closed)
    if count:
        sizes = ndimage.sum_labels(closed, pieces, np.arange(1, count + 1))
        closed = pieces == 1 + int(np.argmax(sizes))
    return np.concatenate([image, closed[..., None].astype(np.float32)], axis=-1)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ring", type=Path, help="folder with the photos and NAME_par.txt")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--mask", type=float, metavar="T", help="cut out what is brighter than T (0 to 1)")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    options = parser.parse_args(arguments)
    views, listed = read_ring(options.ring)
    if len(views) < listed:
        warnings.warn(f"{options.ring}: {listed - len(views)} of {listed} photos are missing", stacklevel=1)
    if options.mask is not None:
        views = Views(np.stack([cut_out(image, options.mask) for image in views.images]), views.cameras)
    io.save_views(options.output, views, force=options.force)


if __name__ == "__main__":
    main(sys.argv[1:])
