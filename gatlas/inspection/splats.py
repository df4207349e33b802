"""A splat, read in parts where it is large."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.scene_unit import in_unit_ball
from gatlas.geometry.sh import degree_of
from gatlas.inspection.findings import Inspection

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

INVISIBLE = 1 / 255  # opacity below which nothing is drawn
MOST_INVISIBLE = 0.1  # share of Gaussians that need not be mentioned
FAR = 5.0  # times the radius of most from their middle: a floater
MOST = 0.95  # share of Gaussians that make up the object
_SAMPLE = 500_000  # Gaussians that medians and percentiles are of, at most
_PERCENTILES = (5, 50, 95)
_FAULT = re.compile(r"([\d,]+) with (.*?)(?=, [\d,]+ with |$)")
_DROPPED = re.compile(r"dropped ([\d,]+) of its ([\d,]+) Gaussians: (.*)")


class _Tally:
    """Sums over the parts so far: bounds and counts of all Gaussians, and a sample of them."""

    def __init__(self, total: int) -> None:
        self.step = max(1, -(-total // _SAMPLE))
        self.count, self.invisible, self.dropped = 0, 0, 0
        self.low, self.high = np.full(3, np.inf), np.full(3, -np.inf)
        self.samples: list[Float[np.ndarray, "n 7"]] = []  # x y z opacity least middle largest
        self.faults: dict[str, int] = {}

    def add(self, part: Gaussians) -> None:
        points = part.means.astype(np.float64)
        if part.origin.recentered:
            points = points + part.origin.center
        self.count += len(part)
        self.invisible += int(np.count_nonzero(part.opacities < INVISIBLE))
        self.low, self.high = np.minimum(self.low, points.min(axis=0)), np.maximum(self.high, points.max(axis=0))
        chosen = slice(None, None, self.step)
        scales = np.sort(part.scales[chosen], axis=1)
        self.samples.append(np.concatenate([points[chosen], part.opacities[chosen, None], scales], axis=1))

    def note(self, message: str, found: Inspection) -> None:
        match = _DROPPED.search(message)
        if match is None:
            if message not in found.notes:
                found.notes.append(message)
            return
        for number, fault in _FAULT.findall(match[3]):
            self.faults[fault] = self.faults.get(fault, 0) + int(number.replace(",", ""))


def inspect_splat(found: Inspection, parts: Iterable[io.Blob], total: int, file: str) -> None:
    """Add the facts and faults of a splat whose parts are read one after another; `file` is its name in commands."""
    tally = _Tally(total)
    first: Gaussians | None = None
    for blob in parts:
        part = io.load_gaussians(blob, drop_invalid=True, report=lambda message: tally.note(message, found))
        first = part if first is None else first
        tally.add(part)
    if first is None:
        raise GatlasError(f"{found.name}: it holds no Gaussians")
    sample = np.concatenate(tally.samples)
    invalid = sum(tally.faults.values())
    found.facts |= {"Gaussians": tally.count + invalid, "SH degree": degree_of(first.sh.shape[1])}
    found.facts["bounds"] = {"from": tally.low.tolist(), "to": tally.high.tolist()}
    found.facts |= _origin_facts(first)
    for name, column in (("opacity", 3), ("largest scale", 6)):
        found.facts[name] = _percentiles(sample[:, column])
    found.facts["anisotropy"] = _percentiles(sample[:, 6] / sample[:, 4])
    found.facts["invisible"] = round(tally.invisible / tally.count, 4)
    _find_invalid(found, tally.faults, tally.count + invalid, file)
    if tally.invisible == tally.count:
        found.find("no Gaussian is visible: all opacities are below 1/255", "fit it again")
    elif tally.invisible > MOST_INVISIBLE * tally.count:
        remedy = f"gatlas prune {file} --min-opacity 0.004 -n {tally.count - tally.invisible} -o OUTPUT.ply"
        found.find(f"{tally.invisible / tally.count:.0%} of the Gaussians are invisible (opacity below 1/255)", remedy)
    _find_floaters(found, sample, file)
    if first.origin.normalized and not in_unit_ball(first):
        found.find(
            "its header says that it is in the unit ball, and it is not: another program moved or scaled it",
            f"gatlas convert {file} --scale 1.000001 -o OUTPUT.ply leaves the old frame",
        )


def _percentiles(values: Float[np.ndarray, " n"]) -> dict[str, float]:
    return {f"{share}%": float(value) for share, value in zip(_PERCENTILES, np.percentile(values, _PERCENTILES),
                                                              strict=True)}  # fmt: skip


def _origin_facts(gaussians: Gaussians) -> dict[str, Any]:
    """Name, units and the rest of the origin, where it says something."""
    origin = gaussians.origin
    facts: dict[str, Any] = {"name": origin.name} if origin.name else {}
    if origin.normalized:
        facts["units"] = "the unit ball of its source"
        facts["source"] = {"center": list(origin.center), "scale": origin.scale}
    else:
        facts["units"] = "its own"
        if origin.recentered:
            facts["relative to"] = list(origin.center)
    if origin.pixel_sizes is not None:
        facts["pixels"] = list(origin.pixel_sizes)
    if origin.antialiased:
        facts["mode"] = "antialiased"
    if origin.levels:
        facts["levels of detail"] = list(origin.levels)
    if origin.grid is not None:
        facts["grid"] = list(origin.grid)
    return facts


def _find_invalid(found: Inspection, faults: dict[str, int], count: int, file: str) -> None:
    if faults:
        parts = ", ".join(f"{number:,} with {fault}" for fault, number in faults.items())
        fault = f"{sum(faults.values()):,} of its {count:,} Gaussians cannot be shown: {parts}"
        found.find(fault, f"gatlas convert {file} --drop-invalid -o OUTPUT.ply")


def _find_floaters(found: Inspection, sample: Float[np.ndarray, "n 7"], file: str) -> None:
    """Find visible Gaussians that are far from the rest."""
    seen = sample[sample[:, 3] >= INVISIBLE]
    if len(seen) < 20:
        return
    middle = np.median(seen[:, :3], axis=0)
    distances = np.linalg.norm(seen[:, :3] - middle, axis=1)
    radius = FAR * float(np.quantile(distances, MOST))
    share = float(np.mean(distances > radius))
    found.facts["floaters"] = round(share, 6)
    if share > 0:
        x, y, z = middle
        remedy = f"gatlas convert {file} --crop sphere:{x:.4g},{y:.4g},{z:.4g},{radius:.4g} -o OUTPUT.ply"
        found.find(f"{max(share, 1e-6):.2%} of the visible Gaussians are floaters, far from the rest", remedy)


def file_in_commands(name: str) -> str:
    """Return a file's name as a shell takes it."""
    return shlex.quote(name)
