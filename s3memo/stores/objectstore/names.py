"""Names as obstore takes them: parts between slashes, of which it lists whole folders."""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def folder(whole: str) -> str | None:
    """Return the folder in which all lies that begins with `whole`, or None for the top."""
    return whole[: whole.rfind("/") + 1] or None


def is_refused(part: str) -> bool:
    """Return whether obstore refuses a part of a name, or drops it without a word."""
    return part in {"", ".", ".."} or _CONTROLS.search(part) is not None


def offset(whole: str, after: str) -> str:
    """Return a name that obstore takes, not beyond `after` nor beyond what begins with `whole`, and near the later one.

    obstore lists folders only; `~` sorts after every character of our names.
    """
    stem = whole[whole.rfind("/") + 1 :]
    if after < whole and stem:
        before = chr(ord(stem[-1]) - 1) + "~" if "!" < stem[-1] <= "~" else ""
        after = max(after, whole[:-1] + before)
    for position, part in enumerate(parts := after.split("/")):
        if is_refused(part):
            return "/".join(parts[:position])
    return after
