"""How commands print what they have found: JSON for programs, a table for people.

Tables are drawn by rich where it is installed (the extra `cli`) and somebody looks at a terminal; else they are plain
aligned text, which can be cut and searched.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from celerylite.bin.base import CeleryOption, CLIContext

F = TypeVar("F", bound=Callable[..., Any])


def json_option(help_group: str = "Options") -> Callable[[F], F]:
    """`-j`, `--json`, as the parameter `as_json`."""
    return click.option(
        "-j", "--json", "as_json", cls=CeleryOption, help_group=help_group, is_flag=True, help="Print JSON."
    )


def say_json(context: CLIContext, value: Any) -> None:
    """One line of JSON; what JSON cannot say is said as text."""
    context.echo(json.dumps(value, default=str))


def say_table(
    context: CLIContext, headings: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Iterable[int] = ()
) -> None:
    """A table; `numbers` are the columns (from 0) that are set to the right. None is shown as a dash."""
    texts = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    right = set(numbers)
    if for_people() and _has_rich():
        _draw(context, headings, texts, right)
    else:
        context.echo(plain_table([list(headings), *texts], right))


def plain_table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Columns that stand below each other, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    to_right = set(right)
    lines = (
        "  ".join(
            text.rjust(width) if number in to_right else text.ljust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def for_people() -> bool:
    """Whether somebody looks at the output: standard output is a terminal."""
    return sys.stdout.isatty()


@functools.cache
def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


def _draw(context: CLIContext, headings: Sequence[str], rows: list[list[str]], right: set[int]) -> None:
    from rich import box  # an optional dependency
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: what stands in brackets is no markup
    Console(no_color=context.no_color, highlight=False).print(table)
