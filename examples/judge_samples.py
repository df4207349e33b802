"""Whether each sample looks like what its prompt says: is its own object, of all that were trained on, the nearest one?

Shape: chamfer distance between the centres of the Gaussians. Colour: distance between the mean colours; both as
`gatlas score text --against OBJECTS` measures them. Prints a table, makes a contact sheet "prompt, object, sample", and
exits with 1 where a sample is nearer to another object.
Run: python examples/judge_samples.py OBJECTS CAPTIONS.json SAMPLES SHEET.png (two folders of atlases)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gatlas import io
from gatlas.atlas import decode
from gatlas.geometry.cameras import orbit
from gatlas.raster import rasterize
from gatlas.score import describe_object, retrieve
from gatlas.types import Gaussians

SIDE = 200  # pixels of a picture
CAPTION, LABEL = 32, 18  # pixels above and below the pictures
MARGIN = 12
COLUMNS = 2  # of the sheet: pairs of object and sample


def load_samples(folder: Path, captions: dict[str, str]) -> dict[str, Gaussians]:
    """The sample of each object's caption, by the object's name; a caption without one ends the judgement."""
    by_prompt = {}
    for path in sorted(folder.glob("*.npz")):
        atlas = io.load_atlas(path)
        prompt = atlas.meta.get("sample", {}).get("prompt")
        by_prompt.setdefault(prompt, decode(atlas))
    if missing := [caption for caption in captions.values() if caption not in by_prompt]:
        sys.exit(f"{folder}: there is no sample of {missing[0]!r}")
    return {name: by_prompt[caption] for name, caption in captions.items()}


def judge(objects: dict[str, Gaussians], samples: dict[str, Gaussians]) -> tuple[np.ndarray, np.ndarray]:
    """Distances of each sample (row) from each object (column), in the order of `objects`: shape and colour [n n]."""
    described = [describe_object(gaussians, name, None) for name, gaussians in objects.items()]
    rows = [retrieve(describe_object(samples[name], name, None), described) for name in objects]
    return np.array([row.shape for row in rows]), np.array([row.color for row in rows])


def table(names: list[str], shape: np.ndarray, color: np.ndarray) -> list[str]:
    """A line for each sample: its distance from its own object and from the nearest other one, for shape and colour."""
    width = max(map(len, names))
    lines = [f"{'sample':{width}}  shape: own   nearest other        colour: own  nearest other"]
    for row, name in enumerate(names):
        parts = []
        for distances in (shape[row], color[row]):
            others = np.where(np.arange(len(names)) == row, np.inf, distances)
            nearest = int(others.argmin())
            mark = " " if distances[row] < others[nearest] else "<"
            parts.append(f"{distances[row]:6.3f}  {others[nearest]:6.3f} {names[nearest]:{width}} {mark}")
        lines.append(f"{name:{width}}      {parts[0]}         {parts[1]}".rstrip())
    return lines


def picture(gaussians: Gaussians) -> Image.Image:
    """The Gaussians over white, from the front and a little from the right."""
    cameras = orbit(1, SIDE, SIDE, azimuth=25.0)
    colors = rasterize(gaussians, cameras, background=np.ones(3, dtype=np.float32), backend="cpu").colors[0]
    return Image.fromarray((np.clip(colors, 0.0, 1.0) * 255 + 0.5).astype(np.uint8))


def contact_sheet(
    captions: dict[str, str], objects: dict[str, Gaussians], samples: dict[str, Gaussians]
) -> Image.Image:
    """Each prompt above its object, as it was trained on, and its sample."""
    cell_width, cell_height = 2 * SIDE + 3 * MARGIN, SIDE + CAPTION + LABEL + MARGIN
    rows = -(-len(captions) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * cell_width, rows * cell_height), "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(17), ImageFont.load_default(11)
    for place, (name, caption) in enumerate(captions.items()):
        left, top = place % COLUMNS * cell_width + MARGIN, place // COLUMNS * cell_height + MARGIN
        draw.text((left, top), f"“{caption}”", fill="black", font=large)
        for column, (label, gaussians) in enumerate((("trained on", objects[name]), ("sampled", samples[name]))):
            x, y = left + column * (SIDE + MARGIN), top + CAPTION
            sheet.paste(picture(gaussians), (x, y))
            draw.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), outline="#cccccc")
            draw.text((x, y + SIDE + 2), label, fill="#777777", font=small)
    return sheet


def main(objects_folder: Path, captions_file: Path, samples_folder: Path, sheet_file: Path) -> int:
    captions: dict[str, str] = json.loads(captions_file.read_text())
    objects = {name: decode(io.load_atlas(objects_folder / f"{name}.npz")) for name in captions}
    samples = load_samples(samples_folder, captions)
    shape, color = judge(objects, samples)
    print("\n".join(table(list(captions), shape, color)))
    right = [int((distances.argmin(axis=1) == np.arange(len(captions))).sum()) for distances in (shape, color)]
    count = len(captions)
    print(f"{right[0]} of {count} samples have the nearest shape, {right[1]} of {count} the nearest colour")
    contact_sheet(captions, objects, samples).save(sheet_file)
    return 0 if right == [count, count] else 1


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("Usage: python examples/judge_samples.py OBJECTS CAPTIONS.json SAMPLES SHEET.png")
    sys.exit(main(*map(Path, sys.argv[1:])))
