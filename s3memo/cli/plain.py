"""Text of whatever origin, as a terminal may be sent it."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return text without what would move a terminal's cursor, or worse."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
    )
