"""Small files under the names that the documentation's commands read."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from gatlas import io
from gatlas.types import Cameras, Origin, Views
from tests.helpers.box_meshes import write_boxes
from tests.helpers.textured import SIDE, K, camera, ellipsoid, photo

ROOT = Path(__file__).parents[2]


def write_inputs(folder):
    """Fill an empty folder and return it; `folder/bin/gatlas` is the program that works little."""
    program = folder / "bin/gatlas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/helpers/small_gatlas.py" "$@"\n')
    program.chmod(0o755)
    shutil.copy(ROOT / "examples/rocket.glb", folder / "obj.glb")
    meshes = write_boxes(folder / "meshes", 2)
    (meshes / "box00.obj").rename(meshes / "chair.obj")
    (meshes / "box01.obj").rename(meshes / "ring.obj")
    (meshes / "bad.obj").unlink()
    (folder / "captions.csv").write_text("uid,caption\nchair,a chair\nring,a golden ring\nobj,a rocket\n")
    (folder / "prompts.txt").write_text("a red cube\na chair\n")
    _write_scene(folder)
    run = """
        gatlas fit obj.glb -o obj.ply
        gatlas atlas-encode obj.ply -o obj.npz
        gatlas fit meshes/ -o splats/
        gatlas atlas-encode splats/ -o atlases/
        gatlas normalize-stats atlases/ -o stats.npz
    """
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-euc", run], cwd=folder, env=environment, check=True, capture_output=True)
    return folder


def _write_scene(folder):
    """scene.ply, photos/ with its cameras, photo.png and matches.npz; and fitted.ply, the scene in its own units."""
    truths = [camera(30, 20, 2.4, 10), camera(150, -15, 2.7, -5)]
    gaussians = ellipsoid()
    io.save_gaussians(folder / "scene.ply", replace(gaussians, origin=Origin("scene", normalized=True)))
    io.save_gaussians(folder / "fitted.ply", replace(gaussians, origin=Origin("fitted", normalized=True)))
    images = np.stack([photo(gaussians, truth) for truth in truths])
    io.save_views(folder / "photos", Views(images, Cameras(np.stack(truths), np.stack([K] * 2), SIDE, SIDE)))
    shutil.copy(folder / "photos/images/000.png", folder / "photo.png")
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (60, 3))
    seen = (points @ truths[0][:3, :3].T + truths[0][:3, 3]) @ K.T
    np.savez(folder / "matches.npz", points=points, pixels=seen[:, :2] / seen[:, 2:])
