"""gatlas score poses"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import io
from gatlas.batch.options import STEM
from gatlas.cli.score_batch import give_scores
from gatlas.cli.score_output import check_score_outputs
from gatlas.cli.terminal import about, message
from gatlas.errors import GatlasError
from gatlas.io.photos.named_poses import match_poses, read_named_poses
from gatlas.score.documents import make_document
from gatlas.score.poses import score_poses

if TYPE_CHECKING:
    from gatlas.score.options import PosesOptions


def run(inputs: list[str] | None, output: str, options: PosesOptions, *, force: bool, given: frozenset[str]) -> None:
    """Score the cameras of scenes; with several, one that fails is reported and the others are scored."""
    out = output if "output" in given else None
    check_score_outputs(out, options.plot, force=force)
    names = inputs or ["-"]
    if names.count("-") + (options.truth == "-") > 1:
        raise GatlasError("found and true cameras cannot both come from standard input: name one of them")
    objects: list[dict[str, Any]] = []
    failed = 0
    for name in names:
        try:
            objects.append(_score(name, options))
        except GatlasError as error:
            if len(names) == 1:
                raise
            message(str(error))
            failed += 1
    objects.sort(key=lambda each: str(each["name"]))
    document = make_document("poses", options, objects) if objects else None
    give_scores(document, failed, len(names), out, options.plot, force=force)


def _score(name: str, options: PosesOptions) -> dict[str, Any]:
    stem = _scene_name(name)
    if STEM in options.truth and name == "-":
        raise GatlasError(f"standard input has no name for {STEM} in --truth")
    found, truth = read_named_poses(name), read_named_poses(options.truth.replace(STEM, stem))
    matched = match_poses(found, truth)
    left_out = [photo for photo, number in zip(truth.photos, matched.of_truth, strict=True) if number is None]
    if left_out and not options.every:
        message(f"{found.name}: {len(left_out)} of {len(truth.photos)} photos of the truth are not in it: left out")
    viewmats, true, photos = found.viewmats, truth.viewmats[matched.of_found], list(found.photos)
    if options.every:
        lacking = [i for i, number in enumerate(matched.of_truth) if number is None]
        viewmats = np.concatenate([viewmats, np.full((len(lacking), 4, 4), np.nan)])
        true = np.concatenate([true, truth.viewmats[lacking]])
        photos += [truth.photos[i] for i in lacking]
    with about(found.name):
        score = score_poses(viewmats, true, photos, options)
    return {"name": stem, "path": found.name, "truth": truth.name, **score.to_json()}


def _scene_name(name: str) -> str:
    """Return the name of a scene: of its file, or of the folder of a transforms.json."""
    if name == "-":
        return "object"
    path = Path(name)
    if io.is_folder(name) or path.name.startswith("transforms"):
        return (path if io.is_folder(name) else path.parent).resolve().name
    return path.stem
