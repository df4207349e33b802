"""gatlas score text"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.batch.options import BatchOptions
from gatlas.cli.score_batch import run_measure
from gatlas.cli.score_objects import list_objects, load_object
from gatlas.cli.terminal import message
from gatlas.datasets.captions import match_captions
from gatlas.errors import GatlasError
from gatlas.io.models.score_networks import NO_CLIP
from gatlas.io.sets.captions import load_captions
from gatlas.score.documents import make_document
from gatlas.score.retrieval import retrieve
from gatlas.score.scored_object import ScoredObject, cameras_json, describe_object, pictures_around
from gatlas.score.text import score_text
from gatlas.score.vqa import NO_VQA, load_vqa

if TYPE_CHECKING:
    import numpy as np

    from gatlas.score.embedders import ClipEmbedder
    from gatlas.score.options import TextOptions


def run(
    inputs: list[str],
    output: str | None,
    options: TextOptions,
    batch: BatchOptions,
    *,
    force: bool,
    threads: int | None,
) -> None:
    """Score generated objects, each against its prompt."""
    from gatlas.cli.verbs import VERBS

    (spec,) = (part.batch for part in VERBS["score"].parts if part.name == "text")
    assert spec is not None
    for cached in (_load_clip, _load_objects):  # of another call in this process, in another folder
        cached.cache_clear()
    load_captions(options.prompts)
    if options.clip is None:
        message(f"CLIP score and R-precision are not measured: {NO_CLIP}")
    if options.vqa is None:
        message(f"VQA score is not measured: {NO_VQA}")
    else:
        load_vqa(options.vqa, options.vqa_model)
    if options.clip is options.vqa is options.against is None:
        message("nothing is measured but the number of Gaussians: --against OBJECTS needs no weights")
    run_measure("text", measure, spec, inputs, output, options, batch, force=force, threads=threads)


def measure(blob: io.Blob, name: str, options: TextOptions) -> dict[str, Any]:
    """Return the document of one object."""
    loaded = load_object(blob, name, drop_invalid=options.drop_invalid)
    prompt = loaded.prompt or _caption_of(name, options.prompts)
    clip, prompts, features = _load_clip(options.clip, options.prompts)
    held: dict[str, Any] = {"name": name, "path": blob.name, "prompt": prompt, "gaussians": len(loaded.gaussians)}
    held |= {"clip_score": None, "r_precision": None, "rank": None, "vqa_score": None}
    if options.clip is not None or options.vqa is not None:
        images = pictures_around(loaded.gaussians, options.views, options.resolution)
        if clip is not None:
            if prompt not in prompts:
                raise GatlasError(f"{blob.name}: its prompt {prompt!r:.200} is not among the captions of --prompts")
            found = score_text(clip(images), features, prompts.index(prompt))
            held |= {"clip_score": found.clip_score, "r_precision": found.retrieved, "rank": found.rank}
        if options.vqa is not None:
            held["vqa_score"] = load_vqa(options.vqa, options.vqa_model)(images, prompt)
    if options.against is not None:
        sample = describe_object(loaded.gaussians, name, prompt)
        held |= _retrieved(sample, *_load_objects(options.against, options.prompts, options.drop_invalid))
    weights = {"clip": None if clip is None else clip.weights, "vqa": options.vqa and options.vqa_model}
    return make_document(
        "text", options, [held], cameras=cameras_json(options.views, options.resolution), weights=weights
    )


def _caption_of(name: str, captions: str) -> str:
    """Return the first caption of a name."""
    found = match_captions(load_captions(captions), [name]).captions.get(name)
    if not found:
        raise GatlasError(f"{name}: it holds no prompt, and {captions} has no caption of it")
    return found[0]


def _retrieved(
    sample: ScoredObject, objects: tuple[ScoredObject, ...], captions: tuple[tuple[str, ...], ...]
) -> dict[str, Any]:
    """Return which objects are nearest, and 1 where the sample's prompt is a caption of theirs, else 0."""
    distances = retrieve(sample, objects)
    found: dict[str, Any] = {}
    for kind, nearest in zip(("shape", "color"), distances.nearest(), strict=True):
        other = objects[nearest]
        found[f"{kind}_right"] = float(sample.prompt in captions[nearest])
        found[f"nearest_{kind}"] = other.name
        found[f"{kind}_distance"] = float(getattr(distances, kind)[nearest])
    return found


@lru_cache(maxsize=1)
def _load_clip(folder: str | None, captions: str) -> tuple[ClipEmbedder | None, list[str], np.ndarray | Any]:
    """Return CLIP, all prompts, and their features; once in a process."""
    prompts = list(dict.fromkeys(text for texts in load_captions(captions).values() for text in texts))
    if folder is None:
        return None, prompts, None
    from gatlas.score.embedders import ClipEmbedder

    clip = ClipEmbedder(folder)
    return clip, prompts, clip.of_prompts(prompts)


@lru_cache(maxsize=1)
def _load_objects(
    name: str, captions: str, drop_invalid: bool
) -> tuple[tuple[ScoredObject, ...], tuple[tuple[str, ...], ...]]:
    """Return the objects that have captions, and these."""
    items = list_objects([name])
    matched = match_captions(load_captions(captions), [item.key for item in items]).captions
    objects = []
    for item in items:
        if item.key in matched:
            loaded = load_object(io.read_item(item), item.key, drop_invalid=drop_invalid)
            objects.append(describe_object(loaded.gaussians, item.key, matched[item.key][0]))
    if not objects:
        raise GatlasError(f"{name}: none of its objects has a caption in {captions}")
    return tuple(objects), tuple(matched[each.name] for each in objects)
