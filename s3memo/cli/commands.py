"""The commands of `s3memo`, one module for each subject."""

from __future__ import annotations

from typing import Annotated

import typer

from s3memo._about import __version__
from s3memo.cli.collect import clear, gc
from s3memo.cli.demo import demo
from s3memo.cli.doctor import doctor
from s3memo.cli.lifecycle import lifecycle
from s3memo.cli.listing import du, ls
from s3memo.cli.policy import policy
from s3memo.cli.report import report
from s3memo.cli.show import history, show
from s3memo.cli.states import state

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")


def _show_version(wanted: bool) -> None:  # noqa: FBT001  typer passes it so
    if wanted:
        typer.echo(f"s3memo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Inspect, check and clean the results that s3memo keeps, in S3 or on this machine."""


for command in (demo, ls, show, history, du, report, gc, clear, doctor, policy, lifecycle):
    app.command()(command)
app.add_typer(state, name="state")
