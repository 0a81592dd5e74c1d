"""`s3memo gc` deletes what nobody needs any more, `s3memo clear` all results of a function."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer

from s3memo.cli.place import Url, check_name, no_such, open_cache, part_of
from s3memo.cli.plain import plain
from s3memo.cli.screen import JsonDocument, Watch, Yes, confirm, print_json, say, screen, size, table, watching
from s3memo.collect import Collected
from s3memo.collect import gc as carry_out
from s3memo.errors import NotFoundError, SettingsError
from s3memo.events import Recorder, logger
from s3memo.freshness import Policy
from s3memo.garbage import Doomed, Kept, Reason, Standing
from s3memo.stores.base import Store
from s3memo.terms import Terms
from s3memo.versions import MEMO_ROOT, original

_WHY: dict[Reason | Standing, str] = {
    "expired": "expired over the grace ago",
    "superseded": "superseded over the grace ago",
    "buried": "made void by an invalidation",
    "old": "older than --older-than",
    "tag": "of a --tag",
    "lease": "a lease that lapsed long ago",
    "trial": "left by a trial of the store that was killed",
    "newest": "what readers get",
    "keep": "among the newest to keep",
    "grace": "outdated for less than the grace",
    "cover": "hides an older one that stays",
    "marker": "says what the store can do",
    "foreign": "not written by s3memo",
}
_TOMBSTONE = {True: "a tombstone with nothing to bury", False: "a tombstone that may have to bury"}


def gc(
    *,
    url: Url = None,
    grace: Annotated[str, typer.Option(help="How long expired and superseded results stay: 90s, 15m, 6h, 7d.")] = "7d",
    keep: Annotated[
        int, typer.Option(help="How many results of each call stay: the highest keep= of your functions.")
    ] = 1,
    keep_states: Annotated[
        int, typer.Option(help="How many versions of each state stay: the highest keep= of your states.")
    ] = 10,
    tags: Annotated[
        list[str] | None,
        typer.Option(
            "--tag", metavar="FUNCTION:TAG", help="Delete all results of a function's former code; repeatable."
        ),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Also delete results older than this, expired or not: 26w.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing; list each object that would go or stay, and why.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON, one document per line: with --dry-run each object, and the totals last."
        ),
    ] = False,
) -> None:
    """Delete garbage: expired and superseded results, and tombstones and leases that are no longer needed.

    Works from names alone, one LIST per thousand objects, and is safe beside running jobs. Never deletes a state's newest
    version, nor anything that s3memo did not write. You can interrupt it at any time; the next run continues.

    Example: s3memo gc --dry-run --url s3://bucket/prefix

    Example: s3memo gc --grace 2d --tag jobs.simulate:2dvlbs96ati64794075dveg36rao5i7i
    """
    logger.addHandler(logging.NullHandler())  # failures are reported below
    with open_cache(url) as cache, watching("objects seen", streams=dry_run) as watch:
        found = carry_out(
            cache,
            grace=grace,
            keep=keep,
            keep_states=keep_states,
            tags=[_find_tag(cache.store, text) for text in tags or ()],
            older_than=older_than,
            dry_run=dry_run,
            report=_reporter(watch, dry_run=dry_run, as_json=as_json),
        )
    if as_json:
        print_json(_summary(found, dry_run=dry_run))
    else:
        _show(found, dry_run=dry_run)
    for failure in found.failures:
        say(f"s3memo: {failure}")
    if found.failures:
        say("s3memo: not everything could be deleted; run it again, and it goes on where this ended")
        raise typer.Exit(1)


def clear(
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="The function, named as ls names it.")],
    *,
    url: Url = None,
    tag: Annotated[str | None, typer.Option(help="Delete only the results of the code with this tag.")] = None,
    yes: Yes = False,
    as_json: JsonDocument = False,
) -> None:
    """Delete all results of a function. Calls that are running now may still store theirs.

    Example: s3memo clear jobs.simulate --tag 2dvlbs96ati64794075dveg36rao5i7i
    """
    check_name(function)
    with open_cache(url) as cache:
        cache.check_writable("clear")
        prefix = _find_prefix(cache.store, function, tag)
        of_tag = "" if tag is None else f" with the tag {tag!r}"
        confirm(f"Delete all results of {function!r}{of_tag} in {cache.store.url}?", yes=yes)
        deleted = cache.clear(prefix, lambda _: True, Terms(Recorder(function, cache.hooks), Policy(), 1, "raise"))
    if as_json:
        print_json({"function": function, "tag": tag, "deleted": deleted})
    else:
        say(f"{deleted:,} object{'s' * (deleted != 1)} deleted.")


def _find_prefix(store: Store, function: str, tag: str | None) -> str:
    """Return the prefix of a function's results. Raises NotFoundError if there are none."""
    part = part_of(store, MEMO_ROOT, function)
    if part is None:
        raise no_such("function", function, store, MEMO_ROOT)
    prefix = f"{MEMO_ROOT}{part}/"
    if tag is None:
        return prefix
    part = part_of(store, prefix, tag)
    if part is None:
        raise no_such("tag", tag, store, prefix)
    return f"{prefix}{part}/"


def _find_tag(store: Store, text: str) -> tuple[str, str]:
    """Split "function:tag", where both may contain colons, at the colon for which there are results."""
    pairs = [(text[:place], text[place + 1 :]) for place in range(1, len(text) - 1) if text[place] == ":"]
    if not pairs:
        raise SettingsError(f"--tag {text!r}: give the function and its tag, as in --tag jobs.simulate:v1")
    for function, tag in pairs:
        folder = part_of(store, MEMO_ROOT, function)
        part = None if folder is None else part_of(store, f"{MEMO_ROOT}{folder}/", tag)
        if folder is not None and part is not None:
            return original(folder) or folder, original(part) or part
    try:
        _find_prefix(store, *pairs[-1])
    except NotFoundError as error:  # for example, in a second run
        say(f"s3memo: --tag {text}: {error}")
    return pairs[-1]


def _reporter(watch: Watch, *, dry_run: bool, as_json: bool) -> Callable[[Doomed | Kept], None]:
    """Return what reports each object."""
    width = screen().width

    def report(each: Doomed | Kept) -> None:
        watch.tick()
        if not dry_run:
            return
        if as_json:
            goes = isinstance(each, Doomed)
            print_json({"object": each.object_key, "size": each.size, "goes": goes, "reason": each.reason})
            return
        line = f"{'goes' if isinstance(each, Doomed) else 'stays':<5} {size(each.size):>9}  {_why(each)}"
        object_key = plain(each.object_key)
        typer.echo(line + (": " if len(line) + 2 + len(object_key) <= width else ":\n  ") + object_key)

    return report


def _why(each: Doomed | Kept) -> str:
    return _TOMBSTONE[isinstance(each, Doomed)] if each.reason == "tombstone" else _WHY[each.reason]


def _summary(found: Collected, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "objects": found.objects,
        "bytes": found.bytes,
        "reasons": {
            reason: {"objects": count, "bytes": found.sizes[reason]} for reason, count in found.reasons.items()
        },
        "kept": dict(found.kept),
        "failures": [str(failure) for failure in found.failures],
    }


def _show(found: Collected, *, dry_run: bool) -> None:
    rows: list[tuple[str, str, str]] = [
        (reason, f"{count:,}", size(found.sizes[reason])) for reason, count in sorted(found.reasons.items())
    ]
    rows.append(("would go" if dry_run else "deleted", f"{found.objects:,}", size(found.bytes)))
    rows += [(f"stays: {reason}", f"{count:,}", "") for reason, count in sorted(found.kept.items())]
    screen().print(table({"": False, "objects": True, "size": True}, rows))
