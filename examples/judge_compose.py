"""Whether a model knows what words mean: are samples of combinations that it never saw of the right shape and colour?

For each sample: is the object that is nearest in shape (chamfer distance of the centres) of the shape that the prompt
names, and the one that is nearest in mean colour of its colour? `gatlas score text --against` measures the same two
distances. Beside it the median distance of the Gaussians from the object's true surface, in its radii, and the PSNR of
pictures of the sample against those of the object's own fit. "reordered" are prompts such as "the vase is red" of
learned objects.

Run: python examples/judge_compose.py OBJECTS > prompts.txt, which prints what is to be asked for: all that was held
back, some of what was learned, and these in other words; then
python examples/judge_compose.py OBJECTS ATLASES SAMPLES [SHEET.png]
The folders OBJECTS and ATLASES have learned/ and held-back/, as examples/make_objects.py --set compose makes them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gatlas import io
from gatlas.atlas import decode
from gatlas.geometry.cameras import orbit
from gatlas.images.sheets import contact_sheet
from gatlas.meshes.closest import closest_points
from gatlas.meshes.edits import normalize_mesh
from gatlas.metrics import psnr
from gatlas.raster import rasterize
from gatlas.score import describe_object, retrieve
from gatlas.types import Gaussians

EVERY = 4  # of the learned captions that are asked for
PARTS = ("learned", "held-back")
SIDE, VIEWS = 128, 4  # of the pictures
LABEL = 16  # pixels under a picture of the sheet
WHITE = np.ones(3, dtype=np.float32)


class Judged(NamedTuple):
    """One sample."""

    group: str
    prompt: str
    shape: bool
    color: bool
    distance: float  # radii
    psnr: float  # dB


def read_captions(objects: Path) -> dict[str, dict[str, str]]:
    """The captions of the objects that are there, by part and name."""
    captions = {}
    for part in PARTS:
        known = json.loads((objects / part / "captions.json").read_text())
        captions[part] = {path.stem: known[path.stem] for path in sorted((objects / part).glob("*.glb"))}
    return captions


def prompts_of(captions: dict[str, dict[str, str]]) -> list[str]:
    """What a model is asked for."""
    some = dict(list(captions["learned"].items())[::EVERY])
    reordered = ["the {1} is {0}".format(*name.split("-")) for name in some]
    return [*captions["held-back"].values(), *some.values(), *reordered]


def named(prompt: str, names: list[str]) -> str:
    """The name COLOR-SHAPE whose two words a prompt has; a prompt without ends the judgement."""
    words = prompt.lower().split()
    found = [name for name in names if all(word in words for word in name.split("-"))]
    if len(found) != 1:
        sys.exit(f"{prompt!r} names no colour and shape of the set")
    return found[0]


def pictures(gaussians: Gaussians) -> np.ndarray:
    """Pictures from the sides [v h w 3]."""
    cameras = orbit(VIEWS, SIDE, SIDE, azimuth=25.0)
    return np.clip(rasterize(gaussians, cameras, background=WHITE, backend="cpu").colors, 0.0, 1.0)


def judge(
    objects: Path, atlases: Path, samples: dict[str, Gaussians], captions: dict[str, dict[str, str]]
) -> list[Judged]:
    """The judgement of each sample by its prompt."""
    part_of = {name: part for part in PARTS for name in captions[part]}
    names = list(part_of)
    fits = {name: decode(io.load_atlas(atlases / part / f"{name}.npz")) for name, part in part_of.items()}
    described = [describe_object(fits[name], name, None) for name in names]
    judged = []
    for prompt, gaussians in samples.items():
        name = named(prompt, names)
        part = part_of[name]
        color, shape = name.split("-")
        near_shape, near_color = retrieve(describe_object(gaussians, name, None), described).nearest()
        mesh = normalize_mesh(io.load_mesh(objects / part / f"{name}.glb"))
        visible = gaussians.means[gaussians.opacities > 0].astype(np.float64)
        judged.append(
            Judged(
                group=part if captions[part][name] == prompt else "reordered",
                prompt=prompt,
                shape=names[near_shape].split("-")[1] == shape,
                color=names[near_color].split("-")[0] == color,
                distance=float(np.median(closest_points(mesh, visible).distances)),
                psnr=float(psnr(pictures(gaussians), pictures(fits[name])).mean()),
            )
        )
    return judged


def table(judged: list[Judged]) -> list[str]:
    """A line for each group of prompts."""
    lines = ["prompts      n  shape  color  both  distance   PSNR"]
    for group in (*PARTS, "reordered"):
        some = [each for each in judged if each.group == group]
        if some:
            right = [
                sum(values) for values in zip(*((e.shape, e.color, e.shape and e.color) for e in some), strict=True)
            ]
            distance, decibels = (float(np.mean([getattr(e, name) for e in some])) for name in ("distance", "psnr"))
            lines.append(
                f"{group:10} {len(some):3} {right[0]:6} {right[1]:6} {right[2]:5}   {distance:.4f}  {decibels:5.2f} dB"
            )
    return lines


def sheet(judged: list[Judged], samples: dict[str, Gaussians]) -> Image.Image:
    """A picture of each sample over its prompt; wrong ones are marked."""
    font = ImageFont.load_default(11)
    cells = []
    for each in judged:
        cell = Image.new("RGB", (SIDE, SIDE + LABEL), "white")
        cell.paste(Image.fromarray((pictures(samples[each.prompt])[0] * 255 + 0.5).astype(np.uint8)), (0, 0))
        color = "#777777" if each.shape and each.color else "#cc0000"
        ImageDraw.Draw(cell).text((3, SIDE), each.prompt, fill=color, font=font)
        cells.append(np.asarray(cell, dtype=np.float32) / 255)
    return Image.fromarray((np.clip(contact_sheet(np.stack(cells)), 0, 1) * 255 + 0.5).astype(np.uint8))


def main(objects: Path, atlases: Path, samples_folder: Path, sheet_file: Path | None) -> None:
    captions = read_captions(objects)
    loaded = [io.load_atlas(path) for path in sorted(samples_folder.glob("*.npz"))]
    samples = {str(atlas.meta["sample"]["prompt"]): decode(atlas) for atlas in loaded}
    judged = judge(objects, atlases, samples, captions)
    print("\n".join(table(judged)))
    if sheet_file is not None:
        sheet(judged, samples).save(sheet_file)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print("\n".join(prompts_of(read_captions(Path(sys.argv[1])))))
        sys.exit()
    if len(sys.argv) not in (4, 5):
        sys.exit("Usage: python examples/judge_compose.py OBJECTS [ATLASES SAMPLES [SHEET.png]]")
    main(*map(Path, sys.argv[1:4]), Path(sys.argv[4]) if len(sys.argv) == 5 else None)
