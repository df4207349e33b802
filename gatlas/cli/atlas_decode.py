"""gatlas atlas-decode"""

from __future__ import annotations

from gatlas.cli.options import Force, Input, Output


def atlas_decode(atlas: Input = "-", output: Output = "-", force: Force = False) -> None:
    """Turn an atlas back into a splat PLY, without its padding: the exact inverse of atlas-encode.

    Example: gatlas atlas-decode obj.npz -o obj.ply
    """
    from gatlas import io
    from gatlas.atlas import decode
    from gatlas.cli.terminal import about

    io.check_output(output, force=force, suffix=".ply", what="Gaussians")
    loaded = io.load_atlas(atlas)
    with about(atlas):
        gaussians = decode(loaded)
    io.save_gaussians(output, gaussians, force=force)
