"""`s3memo demo`: an expensive analysis of many files, cached file by file."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.filesize import decimal
from rich.table import Table

from s3memo import settings
from s3memo.cli import analysis
from s3memo.cli.findings import Findings
from s3memo.cli.place import location_of
from s3memo.cli.screen import facts, screen
from s3memo.decorator import Cache
from s3memo.errors import SettingsError
from s3memo.events import CacheInfo
from s3memo.functions import CachedFunction
from s3memo.settings import Location

_INSTALLED = {"site-packages", "dist-packages"}
_NOT_REMEMBERED = (OSError, MemoryError, RecursionError)  # they depend on this machine, now

Analyze: TypeAlias = CachedFunction[[bytes], dict[str, Any]]


def demo(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            help="Where results are kept: s3://bucket/prefix, file:///directory. "
            "Default: S3MEMO_URL, else your cache directory."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Analyze the .py files below this directory instead.", exists=True, file_okay=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Analyze at most this many files.", min=1)] = None,
) -> None:
    """Analyze the source of Python's standard library, and cache the results.

    Run it twice: the second run computes nothing.

    Example: s3memo demo --url s3://bucket/prefix
    """
    started = time.perf_counter()
    root = source or Path(sysconfig.get_path("stdlib"))
    files = find_files(root)[:limit]
    if not files:
        raise SettingsError(f"there are no .py files below {root}: name another directory with --source")
    out = screen()
    location = find_location(url)
    out.print(f"Analyzing {len(files):,} Python files below {root}")
    out.print(f"Results are kept in {location}")

    with Cache(str(location)) as cache:
        next(cache.store.list("v1/", limit=1), None)  # fail before the work if the store refuses
        analyze = cache.cached(depends=analysis.PARTS)(analysis.analyze)
        findings = Findings()
        names = [file.relative_to(root).as_posix() for file in files]
        with suppress(KeyboardInterrupt):
            work(names, read(files), analyze, findings)
    info = analyze.cache_info()

    findings.show(out)
    out.print(account(info, time.perf_counter() - started, location), "")
    # Unwrapped: a command broken over two lines cannot be copied.
    out.print(advice(info, findings.files, len(files), command=_as_typed()), soft_wrap=True)
    if findings.files < len(files):
        raise typer.Exit(130)


def find_location(url: str | None) -> Location:
    """Return where results are kept. Raises SettingsError."""
    if settings.is_disabled():
        raise SettingsError("S3MEMO_DISABLED is set, so nothing would be remembered: unset it for the demo")
    return location_of(url)


def find_files(root: Path) -> list[Path]:
    """Return the .py files below a directory in a fixed order, without installed packages."""
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - _INSTALLED)  # os.walk descends into what is left here
        files += (Path(folder, name) for name in sorted(names) if name.endswith(".py"))
    return files


def read(files: list[Path]) -> list[bytes | OSError]:
    """Return each file's content, or the error that kept it from being read."""
    return [_content(file) for file in files]


def _content(file: Path) -> bytes | OSError:
    try:
        return file.read_bytes()
    except OSError as error:
        return error


def work(names: list[str], contents: list[bytes | OSError], analyze: Analyze, findings: Findings) -> None:
    """Analyze the files on all processors, add the results to `findings`, and show the progress."""
    sources = [content for content in contents if isinstance(content, bytes)]
    with (
        _processes() as executor,
        analyze.map(sources, executor=executor, progress=True, return_exceptions=True) as results,
    ):
        for name, content in zip(names, contents, strict=True):
            findings.add(name, _found(next(results) if isinstance(content, bytes) else content))


def _found(result: Mapping[str, Any] | BaseException) -> Mapping[str, Any]:
    if isinstance(result, _NOT_REMEMBERED):
        return {"problem": f"{type(result).__name__}: {result}"}
    if isinstance(result, BaseException):
        raise result
    return result


@contextmanager
def _processes() -> Iterator[Executor]:
    """Yield an executor whose processes start with the first work, and leave interrupts to this process."""
    executor = ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_ignore_interrupts)
    # Spawned processes import the main module, and some installers' scripts would run on import.
    script = sys.modules["__main__"]
    spec, script.__spec__ = script.__spec__, find_spec("s3memo.cli.app")
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
        script.__spec__ = spec


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def account(info: CacheInfo, seconds: float, location: Location) -> Table:
    """Return a table of where the results came from, what that cost, and what it saved."""
    requests = ", ".join(f"{number:,} {kind}" for kind, number in info.requests.items()) or "none"
    price = f", about ${info.cost:.4f} at list prices" if location.scheme == "s3" else ""
    return facts(
        {
            "computed": f"{info.misses:,}",
            "from memory": f"{info.memory_hits:,}",
            "from the store": f"{info.store_hits:,}",
            "requests": requests + price,
            "bytes": f"{decimal(info.bytes_read)} read, {decimal(info.bytes_written)} written",
            "errors": f"{info.errors:,}" if info.errors else "",
            "seconds": f"{seconds:.1f} spent, {info.seconds_saved:.1f} saved",
        },
        title="\nWhat s3memo did",
    )


def advice(info: CacheInfo, done: int, total: int, *, command: str) -> str:
    """Return a hint on what to do next."""
    if done < total:
        return f"Stopped after {done:,} of {total:,} files. To go on from there: {command}"
    if info.errors:
        return "Not everything could be remembered: the warnings above say why."
    if info.bytes_written:
        return f"Run it again, and nothing is computed: {command}"
    if info.misses:
        return "Nothing was stored, for S3MEMO_READ_ONLY is set."
    return "Nothing was computed. Edit a file, and it alone will be."


def _as_typed() -> str:
    """Return the command line to copy; the script's name alone only if the shell would find it."""
    program, *arguments = sys.argv
    if program.endswith(".py") or not Path(program).exists():
        return shlex.join(["python", "-m", "s3memo.cli.app", *arguments])
    found = shutil.which(Path(program).name)
    is_on_path = found is not None and Path(found).samefile(program)
    return shlex.join([Path(program).name if is_on_path else program, *arguments])
