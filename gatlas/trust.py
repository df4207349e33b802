"""Folders that only this user can write into: what is kept in a cache is run, or used unseen."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path


def foreign_writer(folder: str | Path, *, contents: bool = True) -> str | None:
    """Return why others can change what is in a folder, as "FOLDER belongs to ...", or None where they cannot.

    The folder and, with `contents`, all that is in it must belong to this user or to root, and be writable by no one
    else; a group that is called like the user is the user. No folder above it may be one in which anyone can rename.
    """
    if not hasattr(os, "geteuid"):
        return None
    real = os.path.realpath(folder)
    for above in Path(real).parents:
        with suppress(OSError):
            mode = above.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                return f"{above} is writable by everyone"
    return _fault(real, contents)


def _fault(path: str, contents: bool) -> str | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None  # not there
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to {_user(status.st_uid)}"
    if stat.S_ISLNK(status.st_mode):
        return None
    if status.st_mode & stat.S_IWOTH:
        return f"{path} is writable by everyone"
    if status.st_mode & stat.S_IWGRP and not is_own_group(status.st_gid):
        return f"{path} is writable by its group"
    if contents and stat.S_ISDIR(status.st_mode):
        try:
            names = sorted(os.listdir(path))
        except OSError:
            return None  # nothing of it is read
        return next((fault for name in names if (fault := _fault(os.path.join(path, name), True))), None)
    return None


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


@cache
def is_own_group(number: int) -> bool:
    """Return True for a group that is called like this user, or root's."""
    import grp

    try:
        return number == 0 or grp.getgrgid(number).gr_name == _user(os.geteuid())
    except KeyError:
        return False
