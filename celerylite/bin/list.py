"""`celerylite list bindings`: which routing keys lead to which queues."""

from __future__ import annotations

from typing import Any

import click
from click import Context

from celerylite.bin import output
from celerylite.bin.base import CeleryCommand, handle_preload_options


@click.group(name="list")
def list_() -> None:
    """What the broker has: bindings."""


@list_.command(cls=CeleryCommand)
@output.json_option()
@click.pass_context
@handle_preload_options
def bindings(ctx: Context, as_json: bool) -> None:
    """List the bindings of queues to exchanges. On RabbitMQ this needs the management plugin."""
    app = ctx.obj.app
    with app.connection() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.default_channel).declare()
        found = _bindings(connection)
    if as_json:
        output.say_json(ctx.obj, found)
        return
    rows = [(one["destination"], one["source"], one["routing_key"]) for one in found]
    output.say_table(ctx.obj, ("Queue", "Exchange", "Routing Key"), rows)


def _bindings(connection: Any) -> list[dict[str, Any]]:
    try:
        return [*connection.manager.get_bindings()]
    except NotImplementedError as exc:
        raise click.UsageError("Your transport cannot list bindings.") from exc
    except ImportError as exc:  # RabbitMQ's manager is a package of its own
        raise click.ClickException(f"{exc}: RabbitMQ's bindings are read by pip install pyrabbit.") from exc
    except Exception as exc:  # a border: a connection, by a package with errors of its own
        hint = "RabbitMQ must run its management plugin: rabbitmq-plugins enable rabbitmq_management"
        raise click.ClickException(f"The broker does not tell its bindings: {exc}. {hint}") from exc
