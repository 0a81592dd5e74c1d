"""An audit hook: what the interpreter does while foreign bytes are parsed."""

from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager

_WATCHED = (
    "import",
    "open",
    "exec",
    "compile",
    "pickle.find_class",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "shutil.",
)
_seen: list[str] | None = None


@contextmanager
def nothing_happens() -> Iterator[None]:
    """Fail if the block imports, opens, compiles, runs or connects to anything; time zones' own files are allowed."""
    global _seen  # noqa: PLW0603  there is one audit hook, for good, and it must know when to listen
    _seen, modules = [], len(sys.modules)
    try:
        yield
        assert not _seen, f"parsing made Python {_seen}"
        assert len(sys.modules) == modules, "parsing imported a module"
    finally:
        _seen = None


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is None or not event.startswith(_WATCHED):
        return
    where = str(arguments[0]) if arguments else ""
    if event == "open" and where.startswith(zoneinfo.TZPATH):
        return
    _seen.append(f"{event} {where}")


sys.addaudithook(_listen)
