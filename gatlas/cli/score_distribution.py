"""gatlas score distribution"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import io
from gatlas.cli.score_objects import list_objects, load_object
from gatlas.cli.score_output import check_score_outputs, give_document
from gatlas.cli.terminal import counting_bar, message
from gatlas.datasets.captions import match_captions
from gatlas.errors import GatlasError
from gatlas.io.models.score_networks import NO_CLIP, NO_INCEPTION
from gatlas.metrics.feature_sets import frechet_distance, kernel_distance
from gatlas.score.distribution import score_distribution
from gatlas.score.documents import make_document
from gatlas.score.scored_object import ScoredObject, cameras_json, describe_object, pictures_around

if TYPE_CHECKING:
    from gatlas.score.embedders import ClipEmbedder, InceptionEmbedder
    from gatlas.score.options import DistributionOptions

    Embedders = dict[str, InceptionEmbedder | ClipEmbedder | None]
    Features = dict[str, np.ndarray]  # of all pictures of a set, by embedder


def run(
    inputs: list[str] | None, output: str, options: DistributionOptions, *, force: bool, given: frozenset[str]
) -> None:
    """Score a set of generated objects."""
    out = output if "output" in given else None
    check_score_outputs(out, options.plot, force=force)
    if not inputs or "-" in (*inputs, *options.reference):
        raise GatlasError("both sets are read by name: name files, folders, patterns or tar shards")
    items, others = list_objects(inputs), list_objects(options.reference)
    networks = _load_networks(options)
    prompts = _prompts(items, options)
    with counting_bar("score", 2 * (len(items) + len(others)) + len(items)) as on_step:
        generated, features = _read_set(items, prompts, networks, options, on_step)
        reference, true_features = _read_set(others, {}, networks, options, on_step)
        found = score_distribution(generated, reference, distance=options.distance, on_row=on_step)
    pooled: dict[str, Any] = _distances(features, true_features, options)
    pooled |= {name: getattr(found, name) for name in ("coverage", "mmd", "one_nna", "diversity")}
    pooled |= {"generated": len(items), "reference": len(others)}
    document = make_document(
        "distribution",
        options,
        found.objects,
        pooled=pooled,
        cameras=cameras_json(options.views, options.resolution),
        weights={name: None if network is None else network.weights for name, network in networks.items()},
    )
    give_document(document, out, options.plot, force=force)


def _load_networks(options: DistributionOptions) -> Embedders:
    """Return the networks that were named; what is not measured without the others is said."""
    found: Embedders = {"inception": None, "clip": None}
    if options.inception is None:
        message(f"FID and KID are not measured: {NO_INCEPTION}")
    if options.clip is None:
        message(f"CLIP-FID is not measured: {NO_CLIP}")
    if options.inception is not None:
        from gatlas.score.embedders import InceptionEmbedder

        found["inception"] = InceptionEmbedder(options.inception)
    if options.clip is not None:
        from gatlas.score.embedders import ClipEmbedder

        found["clip"] = ClipEmbedder(options.clip)
    return found


def _prompts(items: Sequence[io.Item], options: DistributionOptions) -> dict[str, str]:
    """Return the caption of each object that has one, by its name."""
    if options.prompts is None:
        return {}
    from gatlas.io.sets.captions import load_captions

    matched = match_captions(load_captions(options.prompts), [item.key for item in items])
    return {key: captions[0] for key, captions in matched.captions.items()}


def _read_set(
    items: Sequence[io.Item],
    prompts: dict[str, str],
    networks: Embedders,
    options: DistributionOptions,
    on_step: Any,
) -> tuple[list[ScoredObject], Features]:
    """Return what is compared of the objects, and the features of their pictures: one object at a time."""
    objects, features = [], {name: list[np.ndarray]() for name, each in networks.items() if each is not None}
    for item in items:
        loaded = load_object(io.read_item(item), item.key, drop_invalid=options.drop_invalid)
        prompt = prompts.get(item.key, loaded.prompt)
        objects.append(describe_object(loaded.gaussians, item.key, prompt, points=options.points, seed=options.seed))
        if features:
            images = pictures_around(loaded.gaussians, options.views, options.resolution)
            for name, network in networks.items():
                if network is not None:
                    features[name].append(network(images))
        on_step()
    return objects, {name: np.concatenate(each) for name, each in features.items()}


def _distances(features: Features, others: Features, options: DistributionOptions) -> dict[str, float | None]:
    found: dict[str, float | None] = {"fid": None, "kid": None, "clip_fid": None}
    if any(len(each) < 2 for each in (*features.values(), *others.values())):
        raise GatlasError("FID and KID need two pictures of each set or more: give more --views")
    if "inception" in features:
        one, other = features["inception"], others["inception"]
        found["fid"] = frechet_distance(one, other)
        found["kid"] = kernel_distance(one, other, np.random.default_rng(options.seed))
    if "clip" in features:
        found["clip_fid"] = frechet_distance(features["clip"], others["clip"])
    return found
