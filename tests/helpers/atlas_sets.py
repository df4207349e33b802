"""Small sets of atlases for tests: balls whose radius and colour follow from their name; one of random values."""

import numpy as np

from gatlas import io
from gatlas.atlas import EncodeOptions, encode
from gatlas.atlas.spaces import SPACES
from gatlas.atlas.statistics import Accumulator
from gatlas.geometry.sh import rgb_to_dc
from gatlas.transport import SPHERE_NAME
from gatlas.types import Atlas, Gaussians, Origin

BALLS = {"red": ((1, 0, 0), 0.9), "green": ((0, 1, 0), 0.6), "blue": ((0, 0, 1), 0.3)}


def ball(name, count=60, normalized=True):
    color, radius = BALLS[name]
    rng = np.random.default_rng(len(name))
    means = rng.normal(size=(count, 3))
    means *= radius / np.linalg.norm(means, axis=1, keepdims=True)
    return Gaussians(
        means=means.astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        scales=np.full((count, 3), 0.1, np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh=rgb_to_dc(np.tile(color, (count, 1)))[:, None].astype(np.float32),
        origin=Origin(name, normalized=normalized),
    )


def random_atlas(seed=0, size=8, **meta):
    """Random values inside the value spaces; `meta` adds to what the atlas says of itself."""
    rng = np.random.default_rng(seed)
    plane = (size, size)
    quats = rng.normal(size=(*plane, 4))
    quats /= np.linalg.norm(quats, axis=-1, keepdims=True)
    return Atlas(
        offset=rng.normal(0, 0.2, (*plane, 3)).astype(np.float32),
        color=rng.random((*plane, 3), dtype=np.float32),
        opacity=rng.uniform(0.1, 0.9, (*plane, 1)).astype(np.float32),
        scale=rng.uniform(-8, -2, (*plane, 3)).astype(np.float32),
        rotation=np.where(quats[..., :1] < 0, -quats, quats).astype(np.float32),
        meta={
            "gatlas_atlas": 1,
            "size": size,
            "sphere": SPHERE_NAME,
            "projection": "equirect",
            "spaces": dict(SPACES),
            **meta,
        },
    )


def write_set(folder, size=8, names=tuple(BALLS), projection="equirect"):
    """NPZ files of the balls; returns their statistics."""
    folder.mkdir(parents=True, exist_ok=True)
    measured = Accumulator()
    for name in names:
        atlas = encode(ball(name), EncodeOptions(size=size, projection=projection))
        io.save_atlas(folder / f"{name}.npz", atlas)
        measured.add(atlas, name)
    return measured.stats()


def write_captions(path, names=tuple(BALLS)):
    path.write_text("".join(f"{name},a {name} ball\n" for name in names))
    return str(path)
