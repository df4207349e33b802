"""Folders of small meshes for tests of batches: boxes, and a file that is no mesh."""

import numpy as np

FACES = ("1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4")


def write_boxes(folder, count):
    """`box00.obj` and so on, each of another height and depth, and `bad.obj`; returns the folder."""
    folder.mkdir()
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    for number in range(count):
        points = corners * [1, 1 + number / 5, 2 - number / 8]
        text = [f"v {x} {y} {z}" for x, y, z in points] + [f"f {face}" for face in FACES]
        (folder / f"box{number:02d}.obj").write_text("\n".join(text) + "\n")
    (folder / "bad.obj").write_text("v 0 0 0\n")
    return folder


def write_box_captions(path, count):
    """A CSV of `uid,caption`; returns its path."""
    path.write_text("".join(f"box{number:02d},box of {number}\n" for number in range(count)))
    return path
