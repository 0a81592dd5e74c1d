"""`s3memo ls` and `s3memo du`: what a store holds, by names and sizes; no object is read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Annotated, Any

import typer

from s3memo.cli.inventory import ROOT, Holding, Kind, Living, Owner, add_up, living, survey
from s3memo.cli.place import Url, check_name, no_such, nothing_in, open_cache, part_of
from s3memo.cli.plain import plain
from s3memo.cli.screen import NARROW, JsonDocument, print_json, say, screen, size, span, table, watching
from s3memo.stores.base import Store
from s3memo.versions import MEMO_ROOT, RESULT_ROOTS

_OTHERS: dict[Kind, str] = {"state": "states", "lease": "leases", "probe": "probes", "foreign": "foreign"}


def ls(
    function: Annotated[
        str | None, typer.Argument(help="List the results of this function or mapping, as ls names it.")
    ] = None,
    *,
    url: Url = None,
    limit: Annotated[int | None, typer.Option(help="List at most this many results.", min=1)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; with FUNCTION, one per line as results are found.")
    ] = False,
) -> None:
    """List the functions and mappings with stored results, or the results of one.

    An entry is a call with a stored result; an expired one is older than the ttl it was written with. "holds" is the
    time that the entries took to compute. Sends one LIST per thousand objects, and reads none.

    Example: s3memo ls --url s3://bucket/prefix

    Example: s3memo ls jobs.simulate --limit 20
    """
    check_name(function or "")
    with open_cache(url) as cache:
        if function is not None:
            _list_results(cache.store, function, limit, as_json=as_json)
            return
        found, latest = _survey(cache.store)
        if as_json:
            print_json({"url": cache.store.url, **_summary(found, latest)})
        else:
            _show_summary(found, latest)


def du(
    *,
    url: Url = None,
    tags: Annotated[
        bool, typer.Option("--tags", help="List each tag of a function, one per version of its code.")
    ] = False,
    as_json: JsonDocument = False,
) -> None:
    """Show how many bytes and objects each function has, largest first.

    Example: s3memo du --tags --url s3://bucket/prefix
    """
    with open_cache(url) as cache:
        found, _ = _survey(cache.store)
        total = add_up(found.values())
        usage = sorted((found if tags else _by_name(found)).items(), key=lambda item: (-item[1].bytes, item[0]))
        if as_json:
            rows = [{**owner._asdict(), "objects": held.objects, "bytes": held.bytes} for owner, held in usage]
            print_json({"url": cache.store.url, "usage": rows, "objects": total.objects, "bytes": total.bytes})
            return
        lines = [(_named(owner), f"{held.objects:,}", size(held.bytes)) for owner, held in usage]
        lines.append(("total", f"{total.objects:,}", size(total.bytes)))
        screen().print(table({"": False, "objects": True, "size": True}, lines))


def _survey(store: Store) -> tuple[dict[Owner, Holding], float]:
    """Return what each owner has, and the store's time; tell the user if there is nothing."""
    latest = store.time().latest
    with watching("objects listed") as watch:
        found = survey(watch(store.list(ROOT)), latest=latest)
    if not found.keys() - {Owner("foreign")}:
        say(nothing_in(store))
    return dict(sorted(found.items())), latest


def _by_name(found: Mapping[Owner, Holding]) -> dict[Owner, Holding]:
    """Add up the tags of each function."""
    named: defaultdict[Owner, Holding] = defaultdict(Holding)
    for owner, holding in found.items():
        named[owner._replace(tag="")].add(holding)
    return named


def _named(owner: Owner) -> str:
    name = _OTHERS.get(owner.kind) or plain("/".join(filter(None, (owner.name, owner.tag))))
    return f"{name} (mapping)" if owner.kind == "mapping" else name


def _summary(found: Mapping[Owner, Holding], latest: float) -> dict[str, Any]:
    named, tags = _by_name(found), _tags(found)
    document: dict[str, Any] = {"functions": [], "mappings": []}
    for owner, holding in named.items():
        if owner.kind == "function":
            document["functions"].append({"name": owner.name, "tags": tags[owner.name], **holding.as_json(latest)})
        elif owner.kind == "mapping":
            document["mappings"].append({"name": owner.name, **holding.as_json(latest)})
    for kind in _OTHERS:
        holding = named.get(Owner(kind), Holding())
        document[kind] = {"objects": holding.objects, "bytes": holding.bytes}
    return document


def _tags(found: Iterable[Owner]) -> dict[str, list[str]]:
    """Return each function's tags."""
    tags: defaultdict[str, list[str]] = defaultdict(list)
    for owner in found:
        if owner.kind == "function":
            tags[owner.name].append(owner.tag)
    return tags


def _show_summary(found: Mapping[Owner, Holding], latest: float) -> None:
    out = screen()
    named = {owner: holding for owner, holding in _by_name(found).items() if owner.kind not in _OTHERS}
    if named:
        columns = ["tags", "entries", "expired", "objects", "size", "newest", "holds"]
        if out.width < NARROW:
            columns = [name for name in columns if name not in {"tags", "objects"}]
        rows, tags = [], _tags(found)
        for owner, holding in named.items():
            cells = _cells(holding, latest) | {"tags": f"{len(tags[owner.name])}" if owner.kind == "function" else ""}
            rows.append((_named(owner), *(cells[name] for name in columns)))
        out.print(table({"function": False} | dict.fromkeys(columns, True), rows))
    others = [
        f"{_OTHERS[owner.kind]} {held.objects:,} ({size(held.bytes)})"
        for owner, held in found.items()
        if owner.kind in _OTHERS
    ]
    if others:
        out.print(f"other objects: {', '.join(others)}")


def _cells(holding: Holding, latest: float) -> dict[str, str]:
    age = holding.newest_age(latest)
    return {
        "entries": f"{holding.entries:,}",
        "expired": f"{holding.expired:,}",
        "objects": f"{holding.objects:,}",
        "size": size(holding.bytes),
        "newest": "" if age is None else span(age),
        "holds": span(holding.seconds),
    }


def _list_results(store: Store, name: str, limit: int | None, *, as_json: bool) -> None:
    latest = store.time().latest
    found_at = [f"{root}{part}/" for root in RESULT_ROOTS if (part := part_of(store, root, name))]
    if not found_at:
        raise no_such("function", name, store, MEMO_ROOT)
    infos = chain.from_iterable(map(store.list, found_at))
    with watching("objects listed", streams=True) as watch:
        results = islice(living(watch(infos), latest=latest), limit)
        first = next(results, None)
        if first is None:
            say(f"{name!r} has no result in {store.url}: all were invalidated")
            return
        found = chain([first], results)
        for line in (json.dumps(result.as_json()) for result in found) if as_json else _lines(found):
            typer.echo(line)


def _lines(found: Iterator[Living]) -> Iterator[str]:
    """Yield a line for each result; a key that does not fit goes on a line of its own."""
    width, numbers = screen().width, "{:>7} {:>8} {:>9} {:>7}"
    yield numbers.format("age", "ttl left", "size", "took") + "  key"
    for result in found:
        key = plain(str(result))
        left = "" if result.left is None else "expired" if result.is_expired else span(result.left)
        line = numbers.format(span(result.age), left, size(result.size), span(result.version.elapsed / 1000))
        yield line + ("  " if len(line) + 2 + len(key) <= width else "\n  ") + key
