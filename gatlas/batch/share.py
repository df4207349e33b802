"""The tasks of one shard out of a set of any size: what is checked of all objects is checked on their names alone.

Where the names cannot prove that no result meets an input or another result, every task is made and looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from gatlas import io
from gatlas.batch import places
from gatlas.batch.listing import make_tasks
from gatlas.batch.options import STEM
from gatlas.batch.shards import take_shard
from gatlas.config import output_fields
from gatlas.io.sets.items import ItemColumns, real_folder
from gatlas.io.sets.shards import CAPTIONS

if TYPE_CHECKING:
    from gatlas.batch.manifest import Line
    from gatlas.batch.work import BatchWork, Task

Share = tuple[int, int]  # index and number of shards
ALL: Share = (0, 1)


def streamed_share(work: BatchWork, items: ItemColumns, share: Share) -> list[Task]:
    """Return the tasks of a share whose results go to a stream."""
    if _are_unique(map(io.shard_key, items.keys), len(items)):
        return make_tasks(work, take_shard(items, *share), None)
    tasks = make_tasks(work, items, None)
    places.refuse_equal_names(tasks)
    return take_shard(tasks, *share)


def tar_share(
    work: BatchWork, items: ItemColumns, share: Share, tar: re.Pattern[str], sources: Sequence[str]
) -> list[Task]:
    """Return the tasks of a share whose results go to a tar; `tar` are the real paths of the tars of any share."""
    places.without_members([], tar, sources)
    if any(tar.fullmatch(os.path.realpath(shard)) for shard in items.shards):
        tasks = places.without_members(make_tasks(work, items, None), tar, sources)
        places.refuse_equal_names(tasks)
        return take_shard(tasks, *share)
    return streamed_share(work, items, share)


def folder_share(
    work: BatchWork,
    items: ItemColumns,
    share: Share,
    template: str,
    known: Callable[[Iterable[str]], Mapping[str, Line]],
) -> list[Task]:
    """Return the tasks of a share whose results have the path `template`; `known` gives manifest lines of keys."""
    apart = (
        _are_unique(items.keys, len(items)) and not may_meet(items, template) and _captions_apart(items, work, template)
    )
    if apart:
        return make_tasks(work, take_shard(items, *share), template)
    tasks = make_tasks(work, items, template)
    makers = places.makers(tasks)
    # The list was made first: the line of a result that is in it stands in a manifest by now.
    tasks = places.without_products(tasks, known(makers) if makers else {}, work.name)
    places.refuse_captions(tasks, lambda task: work.outputs(task.key).values())
    places.refuse_equal_names(tasks)
    places.refuse_overwriting(tasks)
    return take_shard(tasks, *share)


def _are_unique(keys: Iterable[str], count: int) -> bool:
    return len(set(keys)) == count


def may_meet(items: ItemColumns, template: str) -> bool:
    """Return True unless no result can be an input, nor a folder that holds an input or another result."""
    tail = template[template.rindex(STEM) + len(STEM) :].rstrip("/")
    targets = _result_folders(items.keys, template)
    if targets & items.folders and (not tail or _may_end_with(items, tail)):
        return True
    if any(real_folder(os.path.dirname(os.path.realpath(link))) in targets for link in items.links):
        return True
    above: set[str] = set()
    for folder in targets | items.folders:
        while folder not in above:
            above.add(folder)
            folder = os.path.dirname(folder)
    return any(folder.endswith(tail) and os.path.dirname(folder) in targets for folder in above)


def _may_end_with(items: ItemColumns, tail: str) -> bool:
    """Return True where the name of a file or shard among the items may end with `tail`."""
    dot = tail.rfind(".")
    if dot < 0 or items.has_others or any(str(shard).endswith(tail) for shard in items.shards):
        return True
    endings = set(items.endings)
    if all("." in ending and not ending.endswith(tail[dot:]) for ending in endings):
        return False
    return any((key + ending).endswith(tail) for key, ending in zip(items.keys, items.endings, strict=True))


def _result_folders(keys: Iterable[str], template: str) -> set[str]:
    """Return the real paths of the folders that results go to."""
    path = os.path.abspath(template)
    folder, name = os.path.split(path)
    if STEM in folder or name.count(STEM) > 1:
        return {real_folder(os.path.dirname(os.path.abspath(template.replace(STEM, key)))) for key in keys}
    below = {key[: key.rfind("/") + 1] for key in keys}
    return {
        real_folder(os.path.dirname(os.path.abspath(f"{folder}/{name.replace(STEM, each + 'x')}"))) for each in below
    }


def _captions_apart(items: ItemColumns, work: BatchWork, template: str) -> bool:
    """Return True where no caption beside a member can go to the place of a result or of another output."""
    templates = [template, *(getattr(work.options, name) for name in output_fields(work.options))]
    tails = (each[each.rindex(STEM) + len(STEM) :].rstrip("/") if STEM in each else each for each in templates)
    return not items.shards or all("." in tail and PurePath(f"x{tail}").suffix not in CAPTIONS for tail in tails)
