"""An audit hook: what the interpreter does while foreign bytes are parsed."""

from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_WATCHED = (
    *("import", "open", "exec", "compile", "pickle.find_class", "subprocess.", "socket.", "ctypes.", "shutil."),
    *(
        f"os.{call}"
        for call in ("system", "exec", "posix_spawn", "fork", "remove", "rename", "mkdir", "chmod", "putenv")
    ),
)


def _directory(package: str) -> str:
    spec = find_spec(package)
    return str(Path(spec.origin).parent) if spec and spec.origin else package


_ZONE_PACKAGE = _directory("tzdata")
_ZONES = (*zoneinfo.TZPATH, "tzdata", _ZONE_PACKAGE, _directory("pytz"))
_OWN = "s3memo.codec."  # its rooms for libraries, which are asked for by a number of a closed list
_seen: list[str] | None = None


@contextmanager
def nothing_happens() -> Iterator[None]:
    """Fail if the block imports, opens, compiles, runs or connects to anything but the time zones' own files."""
    global _seen  # noqa: PLW0603  there is one audit hook, for good, and it must know when to listen
    _seen = []
    try:
        yield
        assert not _seen, f"parsing made Python {_seen}"
    finally:
        _seen = None


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is None or not event.startswith(_WATCHED):
        return
    what = str(arguments[0]) if arguments else ""
    if not what.startswith((*_ZONES, _OWN)) and not (event == "exec" and f'file "{_ZONE_PACKAGE}' in what):
        _seen.append(f"{event} {what}")


sys.addaudithook(_listen)
