"""gatlas with little work to do: the program that the documentation's commands run when they are tested.

    python tests/helpers/small_gatlas.py VERB WORDS...

Options that make a verb small are put behind those of the command, so that they win.
"""

import os
import sys

SMALL = {
    "fit": "--count 64 --iterations 2 --views 4 --resolution 32 --lambda-lpips 0 --force",
    "prune": "--count 32 --views 4 --resolution 32 --force",
    "atlas-encode": "--size 8 --force",
    "atlas-decode": "--force",
    "normalize-stats": "--force",
    "render": "--force",
    "mesh": "--views 8 --resolution 64 --grid 32 --triangles 200 --texture 32 --force",
    "train": "--steps 2 --batch 2 --workers 0 --set schedule_steps=2 --set widths=32,32",
    "sample": "--steps 2 --force",
    "pose-pnp": "--force",
    "score": "--force",
    "score consistency": "--splits 1 --iterations 2 -n 64 --resolution 32 --force",
    "convert": "--force",
    "info": "",
    "man": "",
}


def small(words):
    """The words of a command line with those that make it small; what does no work stays as it is."""
    if "--dry-run" in words:
        return list(words)
    levels = ["--lod", "32,64"] if "--lod" in words else []
    options = SMALL.get(" ".join(words[:2]), SMALL[words[0]])
    return [*words, *levels, *options.split()]


if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "gatlas", *small(sys.argv[1:])])
