"""Names as obstore supports them: parts between slashes; it lists whole folders only."""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def folder(whole: str) -> str | None:
    """Return the folder that contains everything that begins with `whole`, or None for the top."""
    return whole[: whole.rfind("/") + 1] or None


def is_refused(part: str) -> bool:
    """Whether obstore refuses a part of a name, or silently drops it."""
    return part in {"", ".", ".."} or _CONTROLS.search(part) is not None


def offset(whole: str, after: str) -> str:
    """Return the name after which obstore is to list the folder of `whole`: close before the later of `after` and `whole`.

    It is one that obstore takes. `~` sorts after every character of our names.
    """
    stem = whole[whole.rfind("/") + 1 :]
    if after < whole and stem:
        before = chr(ord(stem[-1]) - 1) + "~" if "!" < stem[-1] <= "~" else ""
        after = max(after, whole[:-1] + before)
    for position, part in enumerate(parts := after.split("/")):
        if is_refused(part):
            return "/".join(parts[:position])
    return after
