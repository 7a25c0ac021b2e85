"""`celerylite dead`: look at the messages that were set aside because no worker could run them."""

from __future__ import annotations

import functools
from datetime import datetime, timezone
from typing import Any

import click
from click import Context

from celerylite.bin import output
from celerylite.bin.base import CeleryCommand, CeleryOption, handle_preload_options

dead_option = functools.partial(click.option, cls=CeleryOption, help_group="Options")
#: Set-aside messages are searched by id among the newest so many.
SEARCHED = 100_000


@click.group()
def dead() -> None:
    """Messages that were set aside: list, show, retry, purge.

    A worker sets a message aside when its task is unknown, when it cannot be read, or when it was delivered
    to dying workers too often (the setting worker_delivery_limit).
    """


@dead.command("list", cls=CeleryCommand)
@dead_option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    help="At most so many, newest first; 50 by default.",
)
@output.json_option()
@click.pass_context
@handle_preload_options
def list_dead(ctx: Context, limit: int, as_json: bool) -> None:
    """List the messages, newest first."""
    letters = ctx.obj.app.broker.dead(limit)
    if as_json:
        output.say_json(ctx.obj, [_fields(letter) for letter in letters])
        return
    if not letters:
        ctx.obj.echo("No message is set aside.")
        return
    for letter in letters:
        task = f"{letter.task_name or '?'}[{letter.task_id or '?'}]"
        ctx.obj.echo(_printable(f"{letter.id}  {_time(letter)}  {letter.queue}  {task}  {letter.reason}"))


@dead.command("show", cls=CeleryCommand)
@click.argument("message_id")
@click.pass_context
@handle_preload_options
def show(ctx: Context, message_id: str) -> None:
    """Show one message in full; MESSAGE_ID is its id as listed, or the id of its task."""
    letter = _find(ctx, message_id)
    fields = {
        "id": letter.id,
        "time": _time(letter),
        "reason": letter.reason,
        "queue": letter.queue,
        "worker": letter.worker,
        "task": letter.task_name,
        "task id": letter.task_id,
    }
    for name, value in fields.items():
        ctx.obj.echo(_printable(f"{name + ':':<9}{'?' if value is None else value}"))
    ctx.obj.echo(f"message:\n{_printable(letter.raw.decode('utf-8', 'backslashreplace'))}")


@dead.command("retry", cls=CeleryCommand)
@click.argument("message_ids", nargs=-1)
@dead_option("--all", "all_of_them", is_flag=True, help="Every message that is set aside.")
@click.pass_context
@handle_preload_options
def retry(ctx: Context, message_ids: tuple[str, ...], all_of_them: bool) -> None:
    """Put messages back in their queues, unchanged."""
    if bool(message_ids) == all_of_them:
        raise click.UsageError("Name the messages, or give --all.")
    ids = None if all_of_them else [_find(ctx, message_id).id for message_id in message_ids]
    count = ctx.obj.app.broker.retry_dead(ids)
    ctx.obj.echo(f"Put {_messages(count)} back.")


@dead.command("purge", cls=CeleryCommand)
@dead_option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_context
@handle_preload_options
def purge(ctx: Context, force: bool) -> None:
    """Delete all messages that were set aside. There is no undo."""
    if not force:
        click.confirm("Delete all messages that were set aside?", abort=True)
    ctx.obj.echo(f"Deleted {_messages(ctx.obj.app.broker.purge_dead())}.")


def _fields(letter: Any) -> dict[str, Any]:
    """What JSON says of a message; its body is for `show`."""
    names = ("id", "reason", "queue", "worker", "task_name", "task_id")
    return {"time": _time(letter), **{name: getattr(letter, name) for name in names}}


def _find(ctx: Context, message_id: str) -> Any:
    for letter in ctx.obj.app.broker.dead(SEARCHED):
        if message_id in (letter.id, letter.task_id):
            return letter
    raise click.UsageError(
        f"No message {message_id!r} is set aside; `celerylite dead list` shows those that are."
    )


def _printable(text: str) -> str:
    """Such messages may hold anything: nothing in them shall steer the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _time(letter: Any) -> str:
    return datetime.fromtimestamp(letter.time, timezone.utc).isoformat(sep=" ", timespec="seconds")


def _messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"
