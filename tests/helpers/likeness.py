"""How like pictures of an object over a plain background are."""

import numpy as np


def likeness(picture, wanted):
    """The PSNR over the box of what the wanted picture shows, dB; its corner has the background."""
    shown = np.abs(wanted - wanted[0, 0]).max(axis=-1) > 1e-3
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return -10 * np.log10(((picture[box] - wanted[box]) ** 2).mean())
