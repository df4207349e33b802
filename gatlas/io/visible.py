"""Text from files and file names as a terminal may show it: what would steer the terminal is spelled out."""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1; marks and overrides of the writing direction; line and paragraph separators.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str, *, tabs: bool = False) -> str:
    """Return a text in which control characters but newlines (and `tabs`) are escaped, as \\x1b, as in Python."""
    escaped = _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return escaped if tabs else escaped.replace("\t", "\\t")
