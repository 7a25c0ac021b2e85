"""`celerylite migrate`: waiting messages from one broker to another."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import click
from click import Context
from kombu.connection import Connection

from celerylite import transports
from celerylite.bin.base import CeleryCommand, CeleryOption, handle_preload_options

migrate_option = functools.partial(click.option, cls=CeleryOption, help_group="Migration Options")


@click.command(cls=CeleryCommand)
@click.argument("source")
@click.argument("destination")
@migrate_option("-n", "--limit", type=click.IntRange(min=1), help="At most so many messages.")
@migrate_option("-t", "--timeout", type=float, default=1.0, help="Seconds without a message that end it; 1 by default.")
@migrate_option("-a", "--ack-messages", is_flag=True, help="Take them from the source; else they stay there too.")
@migrate_option("-T", "--tasks", help="Comma separated list of task names; all by default.")
@migrate_option("-Q", "--queues", help="Comma separated queues, a or a:new_name; all that are known by default.")
@migrate_option("-F", "--forever", is_flag=True, help="Go on until interrupted.")
@click.pass_context
@handle_preload_options
def migrate(ctx: Context, source: str, destination: str, **options: Any) -> None:
    """Move the messages that wait at SOURCE to DESTINATION, both URLs of brokers.

    Stop the workers of SOURCE first: what they hold does not wait. Messages that celerylite has delayed there are put
    into their queues by `celerylite queue release-delayed`.
    """
    from celerylite.contrib.migrate import migrate_tasks  # lazy: no other command needs it

    app = ctx.obj.app

    def tell(state: Any, body: Mapping[str, Any], message: Any) -> None:
        ctx.obj.echo(f"Migrating task {state.count}/{state.strtotal}: {body['task']}[{body['id']}]")

    with _connection(app, source) as here, _connection(app, destination) as there:
        migrate_tasks(here, there, app=app, callback=tell, **options)


def _connection(app: Any, url: str) -> Connection:
    """With the app's options (TLS, `master_name` …) where it is the same kind of broker as the app's."""
    transports.register()
    url = transports.for_kombu(url)
    own = app.connection_for_write()
    same = Connection(url).transport_cls == own.transport_cls
    return app.connection_for_write(url) if same else Connection(url)
