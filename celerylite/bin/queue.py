"""`celerylite queue`: what waits, what is delayed, in the hands of workers or set aside; and the way back to Celery."""

from __future__ import annotations

import functools
from dataclasses import asdict

import click
from click import Context

from celerylite.bin import output
from celerylite.bin.base import COMMA_SEPARATED_LIST, CeleryCommand, CeleryOption, handle_preload_options
from celerylite.bin.completion import complete_queues

queue_option = functools.partial(click.option, cls=CeleryOption, help_group="Options")
#: Column: what it says.
COLUMNS = {"waiting": "waiting", "delayed": "delayed", "held": "in flight", "dead": "dead"}


@click.group(invoke_without_command=True)
@queue_option(
    "-Q",
    "--queues",
    type=COMMA_SEPARATED_LIST,
    shell_complete=complete_queues,
    help="Comma separated list of queues; all that are known.",
)
@output.json_option()
@click.pass_context
@handle_preload_options
def queue(ctx: Context, queues: list[str] | None, as_json: bool) -> None:
    """Show how many messages are where.

    Waiting: to be taken by a worker. Delayed: not due yet. In flight: taken by a worker and not acknowledged.
    Dead: set aside (see `celerylite dead`). A dash stands for what this kind of broker cannot tell.
    """
    if ctx.invoked_subcommand is not None:
        return
    app = ctx.obj.app
    found = app.broker.queue_stats(queues or sorted(app.amqp.queues))
    if queues:
        found = [stats for stats in found if stats.queue in queues]
    if as_json:
        output.say_json(ctx.obj, [asdict(stats) for stats in found])
        return
    rows = [(stats.queue, *(getattr(stats, name) for name in COLUMNS)) for stats in found]
    output.say_table(ctx.obj, ("queue", *COLUMNS.values()), rows, numbers=range(1, len(COLUMNS) + 1))


@queue.command("release-delayed", cls=CeleryCommand)
@queue_option("-f", "--force", is_flag=True, help="Even while celerylite workers live, which delay them again.")
@click.pass_context
@handle_preload_options
def release_delayed(ctx: Context, force: bool) -> None:
    """Put delayed messages into their queues, where Celery's workers want them.

    For a roll-back to Celery, after celerylite's workers have been stopped. Nothing runs before its time: a Celery
    worker holds such a message until it is due.
    """
    broker = ctx.obj.app.broker
    live = broker.live_consumers()
    if live and not force:
        raise click.ClickException(
            f"{live} task process(es) of celerylite live on this broker and would delay the messages again: "
            "stop these workers first, or wait worker_lease (15) seconds if they were killed. --force does it anyway."
        )
    try:
        count = broker.release_delayed()
    except NotImplementedError as exc:
        raise click.ClickException(f"{str(exc)[:1].upper()}{str(exc)[1:]}.") from exc
    ctx.obj.echo(f"Put {count} delayed message{'' if count == 1 else 's'} into the queues.")
