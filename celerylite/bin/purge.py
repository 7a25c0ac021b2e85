"""`celerylite purge`: delete the tasks that wait."""

from __future__ import annotations

import functools

import click
from click import Context

from celerylite.bin.base import COMMA_SEPARATED_LIST, CeleryCommand, CeleryOption, handle_preload_options
from celerylite.bin.completion import complete_queues

purging_option = functools.partial(click.option, cls=CeleryOption, help_group="Purging Options")


@click.command(cls=CeleryCommand)
@purging_option("-f", "--force", is_flag=True, help="Do not ask.")
@purging_option(
    "-Q",
    "--queues",
    type=COMMA_SEPARATED_LIST,
    shell_complete=complete_queues,
    help="Comma separated list of queues to purge.",
)
@purging_option(
    "-X",
    "--exclude-queues",
    type=COMMA_SEPARATED_LIST,
    shell_complete=complete_queues,
    help="Comma separated list of queues not to purge.",
)
@click.pass_context
@handle_preload_options
def purge(ctx: Context, force: bool, queues: list[str] | None, exclude_queues: list[str] | None) -> None:
    """Erase all messages from all known task queues. There is no undo."""
    app = ctx.obj.app
    names = sorted(set(queues or app.amqp.queues) - set(exclude_queues or ()))
    noun = "queue" if len(names) == 1 else "queues"
    if not names:
        ctx.obj.echo("No queue is left to purge.")  # Celery says nothing, and its exit code is 0
        return
    if not force:
        ctx.obj.echo(
            f"{ctx.obj.style('WARNING', fg='red')}: "
            f"This will remove all tasks from {noun}: {', '.join(names)}.\n"
            "         There is no undo for this operation!\n\n(to skip this prompt use the -f option)"
        )
        click.confirm("Are you sure you want to delete all tasks?", abort=True)
    count = app.broker.purge(names)
    if count:
        messages = "message" if count == 1 else "messages"
        ctx.obj.echo(f"Purged {count} {messages} from {len(names)} known task {noun}.")
    else:
        ctx.obj.echo(f"No messages purged from {len(names)} {noun}.")
