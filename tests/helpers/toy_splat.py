"""All that somebody writes who adds a splat format: a module with a decoder and an encoder, and a line of the table.

The format: b"TOY1", then 14 float32 per Gaussian in the object's own frame: mean, quaternion (wxyz), scale, opacity and
color.
"""

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.registry import Format
from gatlas.io.sniff import begins
from gatlas.types import Gaussians, Origin

MAGIC = b"TOY1"


def decode_toy(blob, *, as_stored=False):
    if (len(blob.data) - len(MAGIC)) % 56:
        raise GatlasError(f"{blob.name}: truncated: not a whole number of Gaussians of 56 bytes")
    rows = np.frombuffer(blob.data, "<f4", offset=len(MAGIC)).reshape(-1, 14)
    means, quats, scales, opacities, sh = np.split(rows, [3, 7, 10, 11], axis=1)
    return Gaussians(means, quats, scales, opacities[:, 0], sh[:, None], Origin(name=blob.stem))


def encode_toy(gaussians):
    g = gaussians
    rows = np.concatenate([g.means, g.quats, g.scales, g.opacities[:, None], g.sh[:, 0]], axis=1)
    return MAGIC + rows.astype("<f4").tobytes()


TOY = Format(
    "splat", "toy", "a toy splat", (".toy",), begins(MAGIC),
    decode="tests.helpers.toy_splat:decode_toy", encode="tests.helpers.toy_splat:encode_toy",
)  # fmt: skip
