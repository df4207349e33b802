"""Zips that store their members uncompressed: NPZ and SOG. The same members give the same bytes.

The only code that writes a zip; the standard library's own shortcuts stamp the time of day into it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import IO

Write = Callable[[IO[bytes]], object]


def stored_zip(members: Mapping[str, bytes | Write]) -> bytes:
    """Return a zip of members by name: their bytes, or a function that writes them into a file."""
    payload = io.BytesIO()
    with zipfile.ZipFile(payload, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, on every system
            member.external_attr = 0o644 << 16
            with archive.open(member, "w") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
    return payload.getvalue()
