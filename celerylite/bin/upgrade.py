"""`celerylite upgrade settings`: gives settings in a Python file their new names."""

from __future__ import annotations

import ast
import functools
import io
import os
import re
import shutil
import tempfile
import tokenize
from pathlib import Path

import click
from click import Context

from celerylite.app.defaults import _TO_NEW_KEY
from celerylite.bin.base import CeleryCommand, CeleryOption

upgrade_option = functools.partial(click.option, cls=CeleryOption, help_group="Upgrading Options")


@click.group()
def upgrade() -> None:
    """Bring a project up to date."""


@upgrade.command(cls=CeleryCommand)
@click.argument("filename", type=click.Path(exists=True, dir_okay=False))
@upgrade_option("--django", is_flag=True, help="The file holds Django's settings: CELERY_ and upper case.")
@upgrade_option("--compat", is_flag=True, help="The same: names that old and new releases understand.")
@upgrade_option("--no-backup", is_flag=True, help="Do not leave the old file behind as FILENAME.orig.")
@click.pass_context
def settings(ctx: Context, filename: str, django: bool, compat: bool, no_backup: bool) -> None:
    """Give the settings of Celery 3 in FILENAME the names of Celery 4 and later.

    Names are changed, and texts that are such a name (`conf["CELERYD_CONCURRENCY"]`); comments are not.
    """
    path = Path(filename)
    ctx.obj.secho(f"processing {filename}...", fg="green", err=True)
    with path.open("rb") as file:
        encoding, _ = tokenize.detect_encoding(file.readline)
    with path.open(encoding=encoding, newline="") as file:
        old = file.read()
    try:
        new = renamed(old, django or compat)
    except (tokenize.TokenError, SyntaxError) as exc:
        raise click.ClickException(f"{filename} is not Python: {exc}") from exc
    if new == old:
        ctx.obj.secho("Does not seem to require any changes :-)", fg="green")
        return
    if not no_backup:
        ctx.obj.secho(f"writing backup to {filename}.orig...", fg="green", err=True)
        shutil.copy2(path, f"{filename}.orig")
    replace(path, new.encode(encoding))
    ctx.obj.secho("Changes to your setting have been made!", fg="green")


def renamed(source: str, prefixed: bool = False) -> str:
    """The source with new names, all else as it was; `prefixed`: as Django has them."""
    lines = source.splitlines(keepends=True)
    changes: list[tuple[int, int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source, newline="").readline):
        new = _renamed_token(token, prefixed)
        if new != token.string:
            row, start = token.start
            changes.append((row - 1, start, token.end[1], new))
    for row, start, end, text in reversed(changes):
        lines[row] = lines[row][:start] + text + lines[row][end:]
    return "".join(lines)


def _renamed_token(token: tokenize.TokenInfo, prefixed: bool) -> str:
    """A name, a text that is a name, or the names in the braces of an f-string (one token before Python 3.12)."""
    text = token.string
    if token.type == tokenize.NAME:
        return new_name(text, prefixed) or text
    if token.type != tokenize.STRING or token.start[0] != token.end[0]:
        return text
    if "f" in text.partition(text[-1])[0].lower():

        def rename(braces: re.Match[str]) -> str:
            return re.sub(r"\w+", lambda word: new_name(word[0], prefixed) or word[0], braces[0])

        return re.sub(r"\{[^{}]*\}", rename, text)
    name = _text(text)
    new = new_name(name, prefixed)
    return text.replace(name, new) if new else text


def new_name(old: str, prefixed: bool) -> str | None:
    """The new name of a setting; None for what is no old name of any."""
    new = _TO_NEW_KEY.get(old)
    if new is None:
        return None
    return f"CELERY_{new.upper()}" if prefixed else new


def _text(literal: str) -> str:
    """What a literal says; '' for those that are no plain text."""
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return ""
    return value if isinstance(value, str) else ""


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another one in one step: whoever reads sees the old one or the new one."""
    path = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
