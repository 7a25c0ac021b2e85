"""`celerylite call`: send one task by name."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Any

import click
from click import Context

from celerylite.bin.base import (
    ISO8601,
    ISO8601_OR_FLOAT,
    JSON_ARRAY,
    JSON_OBJECT,
    CeleryCommand,
    CeleryOption,
    handle_preload_options,
)
from celerylite.bin.completion import complete_queues, complete_tasks

calling_option = functools.partial(click.option, cls=CeleryOption, help_group="Calling Options")
routing_option = functools.partial(click.option, cls=CeleryOption, help_group="Routing Options")


@click.command(cls=CeleryCommand)
@click.argument("name", shell_complete=complete_tasks)
@calling_option("-a", "--args", type=JSON_ARRAY, default="[]", help="Positional arguments.")
@calling_option("-k", "--kwargs", type=JSON_OBJECT, default="{}", help="Keyword arguments.")
@calling_option("--eta", type=ISO8601, help="When to run it.")
@calling_option("--countdown", type=float, help="Run it in so many seconds.")
@calling_option(
    "--expires",
    type=ISO8601_OR_FLOAT,
    help="Do not run it after this time, or so many seconds from now.",
)
@calling_option("--serializer", help="How arguments are serialized; the setting task_serializer by default.")
@routing_option("--queue", shell_complete=complete_queues, help="Name of the queue.")
@routing_option("--exchange", help="Name of the exchange.")
@routing_option("--routing-key", help="Routing key.")
@click.pass_context
@handle_preload_options
def call(
    ctx: Context,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    eta: datetime | None,
    countdown: float | None,
    expires: datetime | float | None,
    serializer: str | None,
    queue: str | None,
    exchange: str | None,
    routing_key: str | None,
) -> None:
    """Send the task NAME and print its id."""
    sent = ctx.obj.app.send_task(
        name,
        args=args,
        kwargs=kwargs,
        countdown=countdown,
        eta=eta,
        expires=expires,
        serializer=serializer,
        queue=queue,
        exchange=exchange,
        routing_key=routing_key,
    )
    ctx.obj.echo(sent.id)
