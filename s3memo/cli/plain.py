"""Untrusted text, made safe for a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return text with everything escaped that could control a terminal, except newlines."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
    )
