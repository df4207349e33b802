"""Build gsplat's kernels before the first use of a GPU: python -m gatlas.cli.build_gsplat"""

from __future__ import annotations

import sys

from gatlas.cli.terminal import message


def main() -> int:
    """Build the kernels and try them on the GPU of this machine; return the exit status."""
    from gatlas.raster.cuda import why_unusable

    reason = why_unusable()
    message("gsplat runs on the GPU" if reason is None else f"gsplat does not run here: {reason}")
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main())
