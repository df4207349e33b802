"""How well cameras are refined: python tests/benchmarks/bench_refine.py MESH SPLAT [MESH SPLAT ...] [--queries 30]

The photos are renders of the meshes at 256 x 256, the splats `gatlas fit MESH -n 16384 --resolution 256 -o SPLAT`.
What `--cases bundle` prints is in docs/figures.md; ok is within 0.5 degrees and 1 %. Errors are
the camera's turn in degrees and how far its centre is off in percent of its distance.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from gatlas import io
from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.geometry.rotations import so3_exp, so3_log
from gatlas.images.composite import composite
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.pose.bundle import refine_bundle
from gatlas.pose.refine_published import refine_published
from gatlas.pose.refinement import RefineOptions, refine
from gatlas.types import Cameras, Views


def query_cameras(count, rng, side=256):
    """Any azimuth, elevation to 60 degrees, roll to 20, distance 2.6 and 20 % more or less, aimed 0.1 off."""
    azimuths, rolls = rng.uniform(0, 2 * np.pi, count), np.radians(rng.uniform(-20, 20, count))
    elevations, distances = np.radians(rng.uniform(-60, 60, count)), 2.6 * rng.uniform(0.8, 1.2, count)
    level = np.cos(elevations)
    directions = np.stack([level * np.sin(azimuths), np.sin(elevations), level * np.cos(azimuths)], axis=-1)
    rolled = np.tile(np.eye(4), (count, 1, 1))
    rolled[:, :3, :3] = so3_exp(rolls[:, None] * [[0.0, 0.0, 1.0]])
    viewmats = rolled @ look_at(distances[:, None] * directions, rng.uniform(-0.1, 0.1, (count, 3)))
    return Cameras(viewmats, np.tile(intrinsics(side, side), (count, 1, 1)), side, side)


def direction(rng):
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def perturbed(viewmat, degrees, percent, rng):
    """The camera turned about its centre, which is moved by that share of its distance."""
    moved = viewmat.copy()
    eye = -viewmat[:3, :3].T @ viewmat[:3, 3]
    eye = eye + direction(rng) * np.linalg.norm(eye) * percent / 100
    moved[:3, :3] = so3_exp(direction(rng) * np.radians(degrees)) @ viewmat[:3, :3]
    moved[:3, 3] = -moved[:3, :3] @ eye
    return moved


def orbited(viewmat, degrees, percent, rng):
    """The object turned about its centre and moved by that share of the distance."""
    moved = viewmat.copy()
    moved[:3, :3] = viewmat[:3, :3] @ so3_exp(direction(rng) * np.radians(degrees))
    moved[:3, 3] += direction(rng) * np.linalg.norm(viewmat[:3, 3]) * percent / 100
    return moved


def errors(viewmat, truth):
    if not np.isfinite(viewmat).all():
        return 180.0, 100.0
    turn = np.degrees(np.linalg.norm(so3_log(viewmat[:3, :3] @ truth[:3, :3].T)))
    eye, true_eye = (-each[:3, :3].T @ each[:3, 3] for each in (viewmat, truth))
    return turn, 100 * np.linalg.norm(eye - true_eye) / np.linalg.norm(true_eye)


def clutter(side, rng):
    """Coloured blobs of several sizes."""
    y, x = np.mgrid[:side, :side]
    picture = np.full((side, side, 3), 0.5, dtype=np.float32)
    for _ in range(150):
        center, radius = rng.uniform(0, side, 2), rng.uniform(3, side / 6)
        picture[(y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2] = rng.random(3)
    return picture


def report(name, case, found, truths, seconds, failures):
    turns, shifts = np.array([errors(*pair) for pair in zip(found, truths, strict=True)]).T
    ok = (turns < 0.5) & (shifts < 1)
    print(
        f"{name[:14]:14} {case:30} {100 * ok.mean():5.1f} {np.median(turns):7.3f} {np.median(shifts):6.3f} "
        f"{turns.max():7.2f} {shifts.max():6.2f} {failures:4d} {seconds / len(turns):6.2f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", default="", help="only those that hold this text")
    arguments = parser.parse_args()
    near, far = (lambda v: perturbed(v, 1.4, 0.9, rng)), (lambda v: orbited(v, 10.0, 10.0, rng))
    cases = {
        "1.4 deg, white": (near, "white", {}),
        "1.4 deg, mask": (near, "mask", {}),
        "1.4 deg, clutter, no mask": (near, "clutter", {}),
        "1.4 deg, white, dark + tint": (near, "dark", {}),
        "1.4 deg, focal 3 % off": (near, "zoomed", {"focal": True}),
        "1.4 deg, no Adam": (near, "white", {"steps": 0}),
        "10 deg, white": (far, "white", {}),
        "10 deg, mask": (far, "mask", {}),
        "10 deg, clutter, no mask": (far, "clutter", {}),
        "1.4 deg, bundle": (near, "bundle", {}),
        "10 deg, bundle": (far, "bundle", {}),
        "1.4 deg, published recipe": (near, "published", {}),
    }
    print(f"{'mesh':14} {'start':30} {'ok %':>5} {'deg':>7} {'%':>6} {'worst':>7} {'%':>6} fail {'s CPU':>6}")
    for mesh_path, splat_path in zip(arguments.files[::2], arguments.files[1::2], strict=True):
        gaussians, mesh = io.load_gaussians(splat_path), normalize_mesh(io.load_mesh(mesh_path))
        cameras = query_cameras(arguments.queries, np.random.default_rng(arguments.seed))
        photos = render_mesh(mesh, cameras, supersample=4).images
        for case, (start, kind, more) in cases.items():
            if arguments.cases not in case:
                continue
            rng = np.random.default_rng(arguments.seed + 1)
            starts = np.stack([start(viewmat) for viewmat in cameras.viewmats])
            pictures = photos if kind in ("mask", "bundle") else composite(photos, 1.0)
            if kind == "clutter":
                pictures = np.stack([composite(photo, clutter(256, rng)) for photo in photos])
            if kind == "dark":
                pictures = pictures * np.array([0.75, 0.7, 0.6], dtype=np.float32)
            options = RefineOptions(**more)
            Ks = cameras.Ks * ([[1.03], [1.03], [1.0]] if kind == "zoomed" else 1.0)
            Ks[:, :2, 2] = 128
            began = time.process_time()
            if kind == "bundle":
                views = Views(pictures, replace(cameras, viewmats=starts))
                results = refine_bundle(gaussians, views, options=options).photos
            elif kind == "published":
                pairs = zip(pictures, starts, cameras.Ks, strict=True)
                results = [refine_published(gaussians, *each, background=(1.0, 1.0, 1.0)) for each in pairs]
            else:
                results = [refine(gaussians, *each, options=options) for each in zip(pictures, starts, Ks, strict=True)]
            seconds = time.process_time() - began
            failures = sum(bool(each.failure) for each in results)
            report(mesh.origin.name, case, [each.viewmat for each in results], cameras.viewmats, seconds, failures)


if __name__ == "__main__":
    main()
