"""`s3memo report`: what a store holds, as a page for people or as JSON for scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from s3memo.cli.inventory import ROOT
from s3memo.cli.output import replacing
from s3memo.cli.place import UrlArgument, nothing_in, open_cache
from s3memo.cli.screen import JsonDocument, print_json, say, size, watching
from s3memo.cli.summary import Summary
from s3memo.cli.tally import tally
from s3memo.errors import SettingsError
from s3memo.stores.base import Store


def report(
    url: UrlArgument = None,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write, or - for stdout. Replaces an older report, but no other file.",
        ),
    ] = None,
    as_json: JsonDocument = False,
) -> None:
    """Write a page that shows what a store holds: by function, over time, by age and size, and what gc would delete.

    The page is one file that opens in any browser and needs no network. Sends one LIST per thousand objects,
    and reads none.

    Example: s3memo report s3://bucket/prefix -o report.html

    Example: s3memo report --json s3://bucket/prefix
    """
    if output is None and not as_json:
        raise SettingsError("where to? Give -o report.html, -o - for stdout, or --json")
    if output == "-" and as_json:
        raise SettingsError("-o - and --json both write to stdout: give -o a file, or one of them")
    from s3memo.cli.page import MARK, render  # noqa: PLC0415  only this command needs jinja2

    with open_cache(url) as cache, _page(output, MARK) as page:
        summary = summarize(cache.store)
        if page is not None:
            page.write(render(summary).encode("utf-8", "backslashreplace"))
    if as_json:
        print_json(summary.as_json())
    if summary.hint:
        say(summary.hint)
    if output not in {None, "-"}:
        say(f"Wrote {output}: {summary.objects:,} objects of {size(summary.bytes)} in {summary.url}")


def summarize(store: Store) -> Summary:
    """List a store and summarize it."""
    now = store.time()
    with watching("objects listed") as watch:
        found = tally(store.url, watch(store.list(ROOT)), now)
    if found.objects == found.others["foreign"].objects:
        return replace(found, hint=nothing_in(store))
    return found


@contextmanager
def _page(output: str | None, mark: str) -> Iterator[BinaryIO | None]:
    """Yield the file to write the page to, None if no page is wanted."""
    if output is None:
        yield None
    elif output == "-":
        if sys.stdout is None:
            raise SettingsError("-o - writes to stdout, which is closed: name a file with -o")
        yield sys.stdout.buffer
    else:
        with replacing(Path(output), mark=mark) as page:
            yield page
