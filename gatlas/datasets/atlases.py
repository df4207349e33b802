"""Sets of atlases to train on: files, folders and tar shards, with captions and pictures of the objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from gatlas.atlas import decode
from gatlas.atlas.fitted import check_fitted, fitted_fields
from gatlas.atlas.spaces import STORED_FRAME
from gatlas.atlas.statistics import SHARD, shared_meta, stack, unstack
from gatlas.datasets.captions import match_captions
from gatlas.datasets.object_pictures import random_picture_of_folder, random_picture_of_gaussians
from gatlas.errors import GatlasError
from gatlas.io.atlases.npz import decode_atlas
from gatlas.io.photos.transforms import has_index, read_views
from gatlas.io.sets.captions import captions_beside, captions_in_shards, load_captions
from gatlas.io.sets.inputs import list_columns, read_item
from gatlas.io.streams import is_folder
from gatlas.types import Origin, Views

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.io.sets.items import Item, ItemColumns
    from gatlas.types import Atlas, AtlasStats

CACHE_BYTES = 1 << 28  # of planes, in each process: a small set is read once


class RandomViews(NamedTuple):
    """A choice of an object's pictures, another one in each epoch."""

    number: int
    side: int  # pixels that their longer side is reduced to


class AtlasSample(NamedTuple):
    """One atlas."""

    key: str
    planes: Float[np.ndarray, "h h 14"]  # raw, in the order offset, color, opacity, scale, rotation
    captions: tuple[str, ...]  # none: it is learned without text
    folder: str | None  # of its pictures, with a transforms.json
    to_world: Float[np.ndarray, "4 4"]  # from the unit ball to the frame of the views
    views: Views | None = None  # of this epoch, from `folder`: RGBA, cameras around the unit ball
    picture: Float[np.ndarray, "s s 3"] | None = None  # of this epoch, on white


class AtlasBatch(NamedTuple):
    """Several samples."""

    keys: list[str]
    planes: Float[Tensor, "b h h 14"]
    captions: list[tuple[str, ...]]
    views: list[Views | None]
    pictures: Float[Tensor, "b s s 3"] | None = None


class AtlasSet(torch.utils.data.Dataset[AtlasSample]):
    """Atlases of one layout, read when they are needed."""

    def __init__(
        self,
        items: Sequence[Item],
        layout: AtlasStats,
        captions: Iterable[tuple[str, ...]] | None = None,
        views: Mapping[int, str] | None = None,
        notes: Sequence[str] = (),
        random_views: RandomViews | None = None,
        picture_side: int = 0,
    ) -> None:
        """Take items whose atlases must agree with `layout`, with the `captions` of each.

        `views` are folders of pictures by the places of the items, from which `draw` reads the `random_views`. With a
        `picture_side` it also gives a picture of the object from a random side, of its folder or of its Gaussians.
        """
        if not items:
            raise ValueError("there must be at least one item")
        check_fitted(layout.meta, "the statistics")
        self._items = items
        self._size = int(layout.mean.shape[0])
        self._layout = {**layout.meta, "size": self._size}
        # One caption is kept as its text alone, which takes less memory.
        self._captions = None if captions is None else [each[0] if len(each) == 1 else each for each in captions]
        self._views = views or {}
        self._random_views = random_views
        self._picture_side = picture_side
        self._notes = list(notes)
        self._cache: dict[int, AtlasSample] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> AtlasSample:
        """Return the atlas of an item. One that is damaged or of another layout is a GatlasError that names it."""
        if index in self._cache:
            return self._cache[index]
        item = self._items[index]
        atlas = decode_atlas(read_item(item))
        self._check(item.name, atlas)
        sample = AtlasSample(
            item.key,
            np.ascontiguousarray(stack(atlas), dtype=np.float32),
            self.captions_of(index),
            self._views.get(index),
            to_world(atlas, item.name),
        )
        if (len(self._cache) + 1) * sample.planes.nbytes <= CACHE_BYTES:
            self._cache[index] = sample
        return sample

    def draw(self, index: int, *, seed: int, step: int | None = None) -> AtlasSample:
        """Return the atlas of an item with the pictures that follow from `seed`."""
        sample = self[index]
        if sample.folder is not None and self._random_views is not None:
            rng = np.random.default_rng(seed)
            sample = sample._replace(views=read_random_views(sample.folder, sample.to_world, self._random_views, rng))
        if self._picture_side:
            sample = sample._replace(picture=self._picture(sample, np.random.default_rng([seed, 1])))
        return sample

    def _picture(self, sample: AtlasSample, rng: np.random.Generator) -> Float[np.ndarray, "s s 3"]:
        if sample.folder is not None:
            return random_picture_of_folder(sample.folder, self._picture_side, rng)
        atlas = unstack(sample.planes, self._layout)  # without its own place: upright, in the unit ball
        if not (atlas.opacity > 0).any():
            return np.ones((self._picture_side, self._picture_side, 3), dtype=np.float32)
        origin = Origin(name=sample.key, normalized=True, **fitted_fields(self._layout))
        return random_picture_of_gaussians(replace(decode(atlas), origin=origin), self._picture_side, rng)

    def captions_of(self, index: int) -> tuple[str, ...]:
        """Return the captions of an item; none where the set has none."""
        found = self._captions[index] if self._captions is not None else ()
        return (found,) if isinstance(found, str) else found

    def collate(self, items: list[AtlasSample]) -> AtlasBatch:
        """Return one batch."""
        pictured = all(item.picture is not None for item in items)
        return AtlasBatch(
            [item.key for item in items],
            torch.from_numpy(np.stack([item.planes for item in items])),
            [item.captions for item in items],
            [item.views for item in items],
            torch.from_numpy(np.stack([cast(np.ndarray, item.picture) for item in items])) if pictured else None,
        )

    def note(self, lines: Iterable[str]) -> None:
        """Add to the report."""
        self._notes += lines

    def report(self) -> list[str]:
        """Return what was left out of the set and why, and what else the user should know of it, one message each."""
        return list(self._notes)

    def identity(self) -> Mapping[str, Iterable[Any]]:
        """Return the keys, the captions and which atlases have pictures. No atlas is read."""
        return {
            "atlases": (self._items[i].key for i in range(len(self))),
            "captions": (self.captions_of(i) for i in range(len(self))),
            "views": (i in self._views for i in range(len(self))),
        }

    def _check(self, name: str, atlas: Atlas) -> None:
        if atlas.size != self._size:
            raise GatlasError(
                f"{name}: the atlas is {atlas.size} x {atlas.size}, the statistics are {self._size} x {self._size}: "
                f"encode it with --size {self._size}, or make statistics of these atlases with gatlas normalize-stats"
            )
        meta = shared_meta(atlas, name)
        for field in {**meta, "antialiased": None}:
            found, wanted = meta.get(field), self._layout.get(field)
            if found != wanted and field != "pixel_sizes":  # those of the statistics are of all
                fault = "are others than" if field == "spaces" else f"is {found!r}, not {wanted!r} like"
                noun = {"spaces": "value spaces", "gatlas_atlas": "format", "antialiased": "mark 'antialiased'"}.get(
                    field, field
                )
                raise GatlasError(
                    f"{name}: its {noun} {fault} those of the statistics: make statistics of these atlases with gatlas "
                    "normalize-stats"
                )


def to_world(atlas: Atlas, name: str) -> Float[np.ndarray, "4 4"]:
    """Return the similarity from the unit ball to the coordinates that `gatlas.atlas.decoding` gives."""
    record = atlas.meta.get("normalization", {"center": [0.0, 0.0, 0.0], "scale": 1.0})
    matrix = np.eye(4)
    try:
        matrix[:3, :3] *= float(record["scale"])
        matrix[:3, 3] = record["center"]
    except (KeyError, TypeError, ValueError) as error:
        raise GatlasError(f"{name}: damaged: its meta has a broken 'normalization': {record!r}") from error
    if atlas.meta.get("frame") == STORED_FRAME:  # half a turn about z
        matrix[:2] *= -1.0
    return matrix


def read_random_views(
    folder: str, to_world: Float[np.ndarray, "4 4"], chosen: RandomViews, rng: np.random.Generator
) -> Views:
    """Return random pictures (RGBA) of a folder with a transforms.json; all where there are fewer.

    `to_world` leads from the unit ball to the frame of the cameras. Pictures without transparency have no silhouette:
    they are a GatlasError.
    """
    some = read_views(
        folder,
        side=chosen.side,
        pick=lambda count: np.sort(rng.permutation(count)[: chosen.number]).tolist(),
        one_size=True,
    )
    views = cast(Views, some)
    if views.channels != 4:
        raise GatlasError(
            f"{folder}: the pictures have no transparency, which the mask loss compares: render them with gatlas "
            "render, or add masks"
        )
    cameras = replace(views.cameras, viewmats=unit_ball_views(views.cameras.viewmats, to_world))
    return Views(np.asarray(views.images), cameras)


def unit_ball_views(
    viewmats: Float[np.ndarray, "c 4 4"], to_world: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "c 4 4"]:
    """Return cameras of a world as those of the unit ball that a similarity places in it: pictures stay the same."""
    moved = viewmats.astype(np.float64) @ to_world
    moved[:, :3] /= np.cbrt(np.linalg.det(to_world[:3, :3]))  # a picture does not change with the unit of length
    return moved.astype(np.float32)


def atlas_set(
    inputs: Sequence[str],
    layout: AtlasStats,
    *,
    captions: str | None = None,
    views: str | None = None,
    random_views: RandomViews | None = None,
    picture_side: int = 0,
) -> AtlasSet:
    """Return the atlases that the inputs name, of the layout of the statistics.

    `captions` is a file (see `gatlas.io.sets.captions`); without it, captions beside the atlases count, if at least
    half of these have one. An atlas that has none is left out, unless none has any: then all are learned without text.
    `views` is a folder with a folder DIR/<key> for each atlas, from which each epoch has other `random_views`, and with
    a `picture_side` another picture to show.
    What is left out is in the set's `report`. That nothing is left is a GatlasError.
    """
    if SHARD in layout.meta:
        raise GatlasError(
            f"the statistics are of shard {layout.meta[SHARD]} of a set alone: merge those of all shards with gatlas "
            "normalize-stats --merge"
        )
    gathered = list_columns(inputs)
    places: Sequence[int] = range(len(gathered))  # of those that are used
    notes: list[str] = []
    if captions is not None:
        texts = captions_in_shards(gathered)
        texts.update(_captions_of_file(captions, gathered, notes))
    else:
        texts = captions_beside(gathered)
        if 0 < 2 * len(texts) < len(gathered):
            first = gathered[next(iter(texts))].name
            raise GatlasError(
                f"only {len(texts)} of {len(gathered)} atlases have a caption beside them, {first} is "
                "the first: name a file of captions, --captions FILE, or remove these captions"
            )
    if texts:
        places = sorted(texts)
        without = [gathered.keys[i] for i in range(len(gathered)) if i not in texts]
        if without:
            notes.append(
                f"{len(without)} of {len(gathered)} atlases have no caption and are left out: {shortlist(without)}"
            )
    else:
        notes.append("there are no captions: the model learns without text")
    items = gathered if len(places) == len(gathered) else gathered.take(places)
    folders = None
    if views is not None:
        of_all = _view_folders(views, gathered, places, notes)
        folders = {new: of_all[old] for new, old in enumerate(places) if old in of_all}
    chosen = (texts[i] for i in places) if texts else None
    return AtlasSet(items, layout, chosen, folders, notes, random_views, picture_side)


def shortlist(names: Sequence[str], max_count: int = 5) -> str:
    """Return the first names, and the number of the others."""
    more = f" and {len(names) - max_count} more" if len(names) > max_count else ""
    return ", ".join(names[:max_count]) + more


def _captions_of_file(captions: str, items: ItemColumns, notes: list[str]) -> dict[int, tuple[str, ...]]:
    """Return the captions of a file; at least one must match, and none may be that of two items of one key."""
    by_key: dict[str, list[int]] = {}
    for place, key in enumerate(items.keys):
        by_key.setdefault(key, []).append(place)
    matched = match_captions(load_captions(captions), list(by_key))
    if matched.unmatched:
        count = len(matched.unmatched)
        ids = "1 id matches" if count == 1 else f"{count} ids match"
        notes.append(f"{captions}: {ids} no atlas: {shortlist(matched.unmatched)}")
    if matched.ambiguous:
        notes.append(
            f"{captions}: {len(matched.ambiguous)} ids match several atlases, or several ids one, and are not used: "
            f"{shortlist(matched.ambiguous)}"
        )
    if not matched.captions:
        unused = [*matched.unmatched, *matched.ambiguous]
        raise GatlasError(
            f"{captions}: no id matches an atlas: the ids are {shortlist(unused, 2)}, "
            f"the atlases are {shortlist(list(by_key), 2)}"
        )
    found: dict[int, tuple[str, ...]] = {}
    for key, texts in matched.captions.items():
        _require_one(f"{captions}: the caption of {key!r} could be that", items, by_key[key])
        found[by_key[key][0]] = texts
    return found


def _require_one(what: str, items: ItemColumns, places: Sequence[int]) -> None:
    """Raise a GatlasError where several items fit."""
    if len(places) > 1:
        first, second = (items[place].name for place in places[:2])
        raise GatlasError(f"{what} of {first} or of {second}, which share a name: give each its own")


def _view_folders(views: str, gathered: ItemColumns, places: Sequence[int], notes: list[str]) -> dict[int, str]:
    """Return the folder of pictures of each item: DIR/<key>, else DIR/<its last part> where that is no other's key.

    None may be that of two of all that were `gathered`; it is said how many of those in `places` have none.
    """
    if not is_folder(views):
        raise GatlasError(f"{views}: there is no such folder; it should hold a folder of pictures for each atlas")
    root = views.rstrip("/")
    keys = set(gathered.keys)
    owners: dict[str, list[int]] = {}
    for place, key in enumerate(gathered.keys):
        last = key.rpartition("/")[2]
        names = [key] if last in keys else [key, last]
        name = next((name for name in names if has_index(f"{root}/{name}")), None)
        if name is not None:
            owners.setdefault(f"{root}/{name}", []).append(place)
    found: dict[int, str] = {}
    for folder, each in owners.items():
        _require_one(f"{folder}: these pictures could be those", gathered, each)
        found[each[0]] = folder
    missing = [gathered.keys[place] for place in places if place not in found]
    if len(missing) == len(places):
        raise GatlasError(f"{views}: there is no {missing[0]}/transforms.json in it, nor one for any other atlas")
    if missing:
        notes.append(
            f"{views}: {len(missing)} of {len(places)} atlases have no pictures, so theirs are rendered from the "
            f"atlas: {shortlist(missing)}"
        )
    return found


def all_captions(examples: Any) -> list[str]:
    """Return the first caption of every item of an `AtlasSet`, each text once, in order."""
    first = (examples.captions_of(i) for i in range(len(examples)))
    return list(dict.fromkeys(texts[0] for texts in first if texts))
