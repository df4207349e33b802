"""Options that the verbs that read splats share."""

from __future__ import annotations

from typing import Any

from gatlas.config import ABSENT, option


def up_option(what: str = "splat") -> Any:
    """Return the option --up of a file that can hold nothing but a splat; `what` is its name in the help."""
    return option(
        None,
        metavar="AXIS",
        recorded=ABSENT,
        help=f"Vertical axis of the {what}'s file, such as z or y; default what its header says, or -y.",
    )


def drop_invalid_option(what: str = "Gaussians") -> Any:
    """Return the option --drop-invalid; `what` are the Gaussians in the help."""
    return option(
        False,
        affects_result=False,  # what was made without it has nothing that it leaves out
        help=f"Leave out {what} that are not finite or have no rotation.",
    )
