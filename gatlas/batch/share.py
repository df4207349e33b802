"""The tasks of one shard out of a set of any size: what is checked of all objects is checked on their names alone.

Results of other objects among the inputs are told by their names too. Where names cannot prove that nothing else meets,
every task is made and looked at.
"""

from __future__ import annotations

import operator
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING

from gatlas import io
from gatlas.batch import places
from gatlas.batch.listing import make_tasks
from gatlas.batch.manifest import last_successes
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
    """Return the tasks of a share whose results have the path `template`; `known` gives manifest lines of keys.

    What a task has `found` in the place of its result is still to be checked by `places.refuse_found`.
    """
    unique = _are_ascending(items.keys) or _are_unique(items.keys, len(items))
    if unique and _captions_apart(items, work, template):
        inner = {key[: key.rfind("/") + 1] for key in items.keys}
        if not _may_meet(items, inner, template):
            return make_tasks(work, take_shard(items, *share), template)
        makers = None if work.suffix == "/" else _makers_among(items, inner, template)
        if makers is not None:
            rest = take_shard([index for index, maker in enumerate(makers) if maker < 0], *share)
            tasks = dict(zip(rest, make_tasks(work, (items[index] for index in rest), template), strict=True))
            for index, maker in enumerate(makers):
                if maker in tasks:
                    tasks[maker] = tasks[maker]._replace(found=items[index].name)
            return list(tasks.values())
    every = make_tasks(work, items, template)
    made = places.makers(every)
    # The list was made first: the line of a result that is in it stands in a manifest by now.
    every = places.without_products(every, last_successes(known(made)) if made else {}, work.name)
    places.refuse_captions(every, lambda task: work.outputs(task.key).values())
    places.refuse_equal_names(every)
    places.refuse_overwriting(every)
    return take_shard(every, *share)


def _are_unique(keys: Iterable[str], count: int) -> bool:
    return len(set(keys)) == count


def _are_ascending(keys: Sequence[str]) -> bool:
    return all(map(operator.lt, keys, islice(keys, 1, None)))


def _makers_among(items: ItemColumns, inner: Set[str], template: str) -> Sequence[int] | None:
    """Return for each item the index of the one whose result has its name, or -1.

    None where this does not follow from the names: where there are links, tars, results of results or folders whose
    names a result may have, and where the items are not sorted by their keys or lie in several folders.
    """
    keys, base = items.keys, items.one_folder
    tail = template[template.rindex(STEM) + len(STEM) :]
    if base is None or items.links or not _are_ascending(keys) or template.count(STEM) > 1:
        return None
    base, head = (_real_head(each) for each in (f"{base}{STEM}", template))
    targets = {os.path.dirname(f"{head}{each}x") for each in inner}
    folders = {os.path.dirname(f"{base}{each}x") for each in inner}
    linked = any(real_folder(folder) != folder for folder in targets | folders)
    if linked or "." not in tail or "/" in tail or _may_nest(targets, folders, tail):
        return None
    makers = array("i", [-1]) * len(keys)
    cuts = {ending: _apart(tail, ending) for ending in set(items.endings)}
    for index, (key, ending) in enumerate(zip(keys, items.endings, strict=True)):
        cut, more = cuts[ending]
        if cut is not None and key.endswith(cut) and (path := base + key).startswith(head):
            name = path[len(head) : len(path) - len(cut)] + more
            maker = bisect_left(keys, name)
            if maker < len(keys) and keys[maker] == name:
                makers[index] = maker
    return None if any(maker >= 0 and makers[maker] >= 0 for maker in makers) else makers


def _apart(tail: str, ending: str) -> tuple[str | None, str]:
    """Return what a result's key as an input ends with, beyond its maker's, and what it lacks; None where it is none.

    The name of the result ends in `tail`, and that of the input after its key in `ending`.
    """
    if tail.endswith(ending):
        return tail[: len(tail) - len(ending)], ""
    return ("", ending[: len(ending) - len(tail)]) if ending.endswith(tail) else (None, "")


def _real_head(template: str) -> str:
    """Return what stands before {stem} in the path of a result, with the real path of its folder."""
    folder, name = os.path.split(os.path.abspath(f"{template[: template.index(STEM)]}x"))
    return os.path.join(real_folder(folder), name[:-1])


def _may_meet(items: ItemColumns, inner: Set[str], template: str) -> bool:
    """Return True unless no result can be an input, nor a folder that holds an input or another result.

    `inner` are the folders in the keys, "" or with a slash at their end.
    """
    tail = template[template.rindex(STEM) + len(STEM) :].rstrip("/")
    targets = _result_folders(items.keys, inner, template)
    if targets & items.folders and (not tail or _may_end_with(items, tail)):
        return True
    if any(real_folder(os.path.dirname(os.path.realpath(link))) in targets for link in items.links):
        return True
    return _may_nest(targets, items.folders, tail)


def _may_nest(targets: Set[str], folders: Set[str], tail: str) -> bool:
    """Return True where the folder of a result or an input may lie in what has the name of a result."""
    above: set[str] = set()
    for folder in targets | folders:
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


def _result_folders(keys: Iterable[str], inner: Set[str], template: str) -> set[str]:
    """Return the real paths of the folders that results go to."""
    path = os.path.abspath(template)
    folder, name = os.path.split(path)
    if STEM in folder or name.count(STEM) > 1:
        return {real_folder(os.path.dirname(os.path.abspath(template.replace(STEM, key)))) for key in keys}
    return {
        real_folder(os.path.dirname(os.path.abspath(f"{folder}/{name.replace(STEM, each + 'x')}"))) for each in inner
    }


def _captions_apart(items: ItemColumns, work: BatchWork, template: str) -> bool:
    """Return True where no caption beside a member can go to the place of a result or of another output."""
    templates = [template, *(getattr(work.options, name) for name in output_fields(work.options))]
    tails = (each[each.rindex(STEM) + len(STEM) :].rstrip("/") if STEM in each else each for each in templates)
    return not items.shards or all("." in tail and PurePath(f"x{tail}").suffix not in CAPTIONS for tail in tails)
