"""`celerylite beat`: every option of Celery's, turned into one `app.Beat`."""

from __future__ import annotations

import functools
import os
from typing import Any

import click
from click import Context

from celerylite import platforms
from celerylite.bin.base import (
    LOG_LEVEL,
    CeleryDaemonCommand,
    CeleryOption,
    CLIContext,
    handle_preload_options,
    log_format_option,
)
from celerylite.utils.nodenames import host_format

beat_option = functools.partial(click.option, cls=CeleryOption, help_group="Beat Options")


@click.command(cls=CeleryDaemonCommand, context_settings={"allow_extra_args": True})
@beat_option("--detach", is_flag=True, default=False, help="Run in the background.")
@beat_option(
    "-s",
    "--schedule",
    help="The file with the times of the last runs; celerybeat-schedule by default.",
)
@beat_option("-S", "--scheduler", help="The scheduler's class.")
@beat_option("--max-interval", type=float, help="The longest that beat sleeps, in seconds.")
@beat_option(
    "--enable-remote-control/--no-enable-remote-control",
    default=None,
    help="Answer `inspect ping`; overrides the setting beat_enable_remote_control.",
)
@beat_option("-n", "--hostname", help="The node name for remote control; celerybeat@%h by default.")
@beat_option(
    "-l",
    "--loglevel",
    default="WARNING",
    type=LOG_LEVEL,
    metavar="[DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL]",
    help="Log level; WARNING by default.",
)
@log_format_option("Beat Options")
@click.pass_context
@handle_preload_options
def beat(
    ctx: Context,
    detach: bool,
    logfile: str | None,
    pidfile: str | None,
    uid: str | None,
    gid: str | None,
    umask: Any,
    executable: str | None,
    schedule: str | None,
    scheduler: str | None,
    enable_remote_control: bool | None,
    hostname: str | None,
    **options: Any,
) -> None:
    """Start beat, which sends the tasks of the schedule.

    Any number of beats may run at a time: each tick is sent once.

    \b
    Examples:
      celerylite -A proj beat -l INFO
      celerylite -A proj beat -s /var/run/celery/beat-schedule --detach
      celerylite -A proj beat -S django
    """
    context: CLIContext = ctx.obj
    if ctx.args:
        try:
            context.app.config_from_cmdline(ctx.args)
        except (KeyError, ValueError) as exc:
            raise click.UsageError(f"{exc}\nSettings stand last, each as name=value.") from exc
    running = functools.partial(
        context.app.Beat,
        logfile=logfile,
        pidfile=pidfile,
        schedule=schedule,
        scheduler=scheduler,
        remote_control=enable_remote_control,
        hostname=host_format(hostname) if hostname else None,
        no_color=context.no_color,
        quiet=context.quiet,
        **options,
    )
    try:
        if not detach:
            platforms.maybe_drop_privileges(uid=uid, gid=gid)
            if umask is not None:
                os.umask(umask if isinstance(umask, int) else int(umask, 8))
            return running().run()
        with platforms.detached(logfile, pidfile, uid, gid, umask, context.directory):
            running().run()
    except KeyError as exc:  # no such user or group
        raise click.UsageError(str(exc.args[0])) from exc
    except platforms.LockFailed as exc:
        raise click.ClickException(f"Beat cannot start: {exc}") from exc
