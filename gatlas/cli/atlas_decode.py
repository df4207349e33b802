"""gatlas atlas-decode"""

from __future__ import annotations

from gatlas.cli.options import Force, Input, Output


def atlas_decode(atlas: Input = "-", output: Output = "-", force: Force = False) -> None:
    """Turn an atlas back into a splat PLY, without its padding: the exact inverse of atlas-encode.

    Example: gatlas atlas-decode obj.npz -o obj.ply
    """
    from gatlas import io
    from gatlas.atlas import decode

    io.check_output(output, force=force)
    io.save_gaussians(output, decode(io.load_atlas(atlas)), force=force)
