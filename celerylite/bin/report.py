"""`celerylite report`: versions and settings, for bug reports."""

from __future__ import annotations

import click
from click import Context

from celerylite.bin.base import CeleryCommand, handle_preload_options


@click.command(cls=CeleryCommand)
@click.pass_context
@handle_preload_options
def report(ctx: Context) -> None:
    """Show versions and settings, for bug reports. Passwords are masked."""
    app = ctx.obj.app
    app.loader.import_default_modules()
    ctx.obj.echo(app.bugreport())
