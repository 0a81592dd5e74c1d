"""`s3memo state`: lists, reads and rolls back what jobs keep between their runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, NamedTuple

import typer

from s3memo.cli import preview
from s3memo.cli.inventory import since
from s3memo.cli.place import Url, check_name, name_of, no_such, open_cache
from s3memo.cli.plain import plain
from s3memo.cli.screen import (
    JsonDocument,
    JsonLines,
    Yes,
    confirm,
    moment,
    print_json,
    say,
    screen,
    size,
    span,
    table,
    watching,
)
from s3memo.errors import NotFoundError
from s3memo.garbage import by_prefix
from s3memo.sequences import STATE_ROOT, Chain, StateVersion, is_chain_prefix
from s3memo.state import ServiceState
from s3memo.stores.base import ObjectInfo, Store
from s3memo.versions import unescape

state = typer.Typer(
    no_args_is_help=True,
    help="List, read and roll back what jobs keep between runs: ServiceState.",
    rich_markup_mode="markdown",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The state's name.")]
_NOTHING: Any = object()
_ALL = 10**9


class _Listed(NamedTuple):
    name: str
    newest: StateVersion
    versions: int


@state.command("ls")
def list_states(*, url: Url = None, as_json: JsonLines = False) -> None:
    """List the states: the newest version's number, how many versions there are, and when the newest was written.

    Example: s3memo state ls --url s3://bucket/prefix
    """
    with open_cache(url) as cache, watching("objects listed", streams=True) as watch:
        latest, count = cache.store.time().latest, 0
        line = "{:>8} {:>8} {:>9} {:>7}  {}".format
        for count, found in enumerate(_states(watch(cache.store.list(STATE_ROOT))), start=1):
            newest = found.newest
            if as_json:
                print_json({"name": found.name, **_as_json(newest, latest), "versions": found.versions})
                continue
            if count == 1:
                typer.echo(line("version", "versions", "size", "age", "name"))
            held = "cleared" if newest.cleared else size(newest.size)
            age = span(since(newest.last_modified, latest))
            typer.echo(line(newest.number, found.versions, held, age, plain(found.name)))
        if not count:
            say(f"There is no state in {cache.store.url}")


@state.command("get")
def get(name: Name, *, url: Url = None, as_json: JsonDocument = False) -> None:
    """Print a state's value, shortened; with --json all of it, if JSON can express it.

    Nothing in it is run, so a value of classes of yours is not shown.

    Example: s3memo state get import-cursor
    """
    check_name(name)
    with open_cache(url) as cache:
        found = ServiceState(name_of(cache.store, STATE_ROOT, name), cache)
        value = found.get(_NOTHING)
        if value is _NOTHING:
            _check_known(cache.store, name, found.history())
            raise NotFoundError(f"the state {name!r} was cleared; s3memo state history {name} lists older versions")
        if as_json:
            print_json({"name": name, **preview.as_json(value)})
        else:
            screen().print(plain(preview.preview(value)), soft_wrap=True)


@state.command("history")
def list_versions(name: Name, *, url: Url = None, as_json: JsonDocument = False) -> None:
    """List a state's versions, newest first.

    Example: s3memo state history import-cursor
    """
    check_name(name)
    with open_cache(url) as cache:
        versions = ServiceState(name_of(cache.store, STATE_ROOT, name), cache).history()
        _check_known(cache.store, name, versions)
        latest = cache.store.time().latest
    if as_json:
        print_json({"name": name, "versions": [_as_json(version, latest) for version in versions]})
        return
    rows = [
        (
            f"{version.number}",
            moment(version.written_at),
            span(since(version.last_modified, latest)),
            "cleared" if version.cleared else size(version.size),
        )
        for version in versions
    ]
    screen().print(table({"version": False, "written": True, "age": True, "size": True}, rows))


@state.command("rollback")
def rollback(
    name: Name,
    number: Annotated[int, typer.Argument(metavar="N", help="The version's number, as history shows it.", min=1)],
    *,
    url: Url = None,
    yes: Yes = False,
    as_json: JsonDocument = False,
) -> None:
    """Write the value of an older version again, as the newest. No version is lost.

    Example: s3memo state rollback import-cursor 41
    """
    check_name(name)
    with open_cache(url) as cache:
        cache.check_writable("state rollback")
        name = name_of(cache.store, STATE_ROOT, name)
        found = ServiceState(name, cache, keep=_ALL)  # pruning is left to the job
        versions = found.history()
        _check_known(cache.store, name, versions)
        if number not in {version.number for version in versions}:
            listed = ", ".join(str(version.number) for version in versions)
            raise NotFoundError(f"the state {name!r} has no version {number}; there are: {listed}")
        confirm(f"Write version {number} of {name!r} again, over version {versions[0].number}?", yes=yes)
        written = found.rollback(number)
    if as_json:
        print_json({"name": name, "version": written, "value_of": number})
    else:
        say(f"Version {written} of {name!r} is what version {number} was.")


def _states(infos: Iterable[ObjectInfo]) -> Iterator[_Listed]:
    for prefix, group in by_prefix(infos):
        chain = Chain.of(group, prefix)
        if chain.newest and is_chain_prefix(prefix):
            yield _Listed(unescape(prefix.removeprefix(STATE_ROOT)[:-1]), chain.newest, len(chain.versions))


def _as_json(version: StateVersion, latest: float) -> dict[str, Any]:
    return {
        "version": version.number,
        "written": version.written_at.isoformat(),
        "age": round(since(version.last_modified, latest), 3),
        "size": version.size,
        "cleared": version.cleared,
    }


def _check_known(store: Store, name: str, versions: list[StateVersion]) -> None:
    """Raise NotFoundError if a state never had a version."""
    if not versions:
        raise no_such("state", name, store, STATE_ROOT)
