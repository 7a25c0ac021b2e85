"""`celerylite logtool`: what the logs of workers say of their tasks. Celery's logs and ours, text and JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click
from click import Context

from celerylite.bin.base import CeleryCommand, CeleryOption
from celerylite.bin.log_audit import ERRORS, Audit, Entry, entries

files_argument = click.argument("files", nargs=-1, type=click.File("r", encoding="utf-8", errors="replace"))


@click.group()
def logtool() -> None:
    """Read the logs of workers: FILES, or standard input if there are none."""


def _read(files: tuple[TextIO, ...]) -> Iterator[Entry]:
    for file in files or (sys.stdin,):
        yield from entries(file)


@logtool.command(cls=CeleryCommand)
@files_argument
@click.option("-j", "--json", "as_json", cls=CeleryOption, is_flag=True, help="Print JSON.")
@click.pass_context
def stats(ctx: Context, files: tuple[TextIO, ...], as_json: bool) -> None:
    """How many tasks were received, and what became of them."""
    audit = Audit()
    for entry in _read(files):
        audit.add(entry)
    report = audit.report()
    if as_json:
        ctx.obj.echo(json.dumps(report, indent=2))
        return
    _print_counts(ctx, "Tasks", report["tasks"])
    _print_counts(ctx, "By name", report["names"])


def _print_counts(ctx: Context, title: str, counts: dict[str, Any]) -> None:
    width = max(map(len, counts), default=0)
    ctx.obj.echo(ctx.obj.style(title, bold=True))
    for name, count in counts.items():
        ctx.obj.echo(f"  {name:<{width}}  {count:>8}")


@logtool.command(cls=CeleryCommand)
@files_argument
@click.pass_context
def traces(ctx: Context, files: tuple[TextIO, ...]) -> None:
    """Entries with a traceback, whole."""
    for entry in _read(files):
        if entry.has_traceback:
            ctx.obj.echo(entry.text)


@logtool.command(cls=CeleryCommand)
@files_argument
@click.pass_context
def errors(ctx: Context, files: tuple[TextIO, ...]) -> None:
    """The first line of each task that failed, ran out of time or was lost."""
    for entry in _read(files):
        if entry.event in ERRORS:
            ctx.obj.echo(entry.text.partition("\n")[0])


@logtool.command(cls=CeleryCommand)
@files_argument
@click.pass_context
def incomplete(ctx: Context, files: tuple[TextIO, ...]) -> None:
    """Tasks that were received and have not ended: they run, or were lost."""
    audit = Audit()
    for entry in _read(files):
        audit.add(entry)
    for entry in audit.open.values():
        ctx.obj.echo(entry.text)


@logtool.command(cls=CeleryCommand)
@files_argument
@click.pass_context
def debug(ctx: Context, files: tuple[TextIO, ...]) -> None:
    """All that is not about one task."""
    for entry in _read(files):
        if entry.event is None:
            ctx.obj.echo(entry.text)
