"""`celerylite events`: a live view of the cluster, its events as text (`--dump`), or pictures of it (`--camera`)."""

from __future__ import annotations

import functools
import os
import signal
import sys
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
)

dump_option = functools.partial(click.option, cls=CeleryOption, help_group="Dumper")
snapshot_option = functools.partial(click.option, cls=CeleryOption, help_group="Snapshot")


@click.command(cls=CeleryDaemonCommand)
@dump_option("-d", "--dump", is_flag=True, default=False, help="Print events as they come.")
@snapshot_option("-c", "--camera", help="Take pictures with this class, such as proj.cameras:Camera.")
@snapshot_option("--detach", is_flag=True, default=False, help="Run the camera in the background.")
@snapshot_option(
    "-F", "--frequency", "--freq", type=float, default=1.0, help="Seconds between two pictures; 1 by default."
)
@snapshot_option("-r", "--maxrate", "--max-rate", help="The most pictures in a while, such as 10/m.")
@snapshot_option(
    "-l",
    "--loglevel",
    default="WARNING",
    type=LOG_LEVEL,
    metavar="[DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL]",
    help="Log level; WARNING by default.",
)
@click.pass_context
@handle_preload_options
def events(
    ctx: Context,
    dump: bool,
    camera: str | None,
    detach: bool,
    frequency: float,
    maxrate: str | None,
    loglevel: Any,
    **options: Any,
) -> None:
    """Watch the cluster: its workers and tasks, live in the terminal.

    Workers must send events (worker -E, or celerylite control enable_events).

    \b
    Examples:
      celerylite -A proj events
      celerylite -A proj events --dump
      celerylite -A proj events -c proj.cameras:Camera --freq=2.0 --pidfile=/run/camera.pid --detach
    """
    context: CLIContext = ctx.obj
    if dump:
        from celerylite.events.dumper import evdump  # lazy, as below: kombu takes 0.1 s, and `--help` needs none of it

        evdump(context.app, sys.stdout)
    elif camera:
        _take_pictures(context, camera, detach, options, freq=frequency, maxrate=maxrate, loglevel=loglevel)
    else:
        _show(context)


@click.command()
@click.pass_context
@handle_preload_options
def top(ctx: Context) -> None:
    """The live view of `events`, under the name that other systems have made familiar."""
    _show(ctx.obj)


def _show(context: CLIContext) -> None:
    if not sys.stdout.isatty():
        raise click.UsageError("The live view needs a terminal; --dump prints events anywhere.")
    from celerylite.events.cursesmon import evtop

    evtop(context.app)


def _take_pictures(context: CLIContext, camera: str, detach: bool, options: dict[str, Any], **taking: Any) -> None:
    from celerylite.events.snapshot import evcam

    where = {name: options[name] for name in ("logfile", "pidfile")}

    def run() -> None:
        # So that the last picture is taken, and the pid file goes.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        evcam(camera, app=context.app, **where, **taking)

    try:
        if not detach:
            platforms.maybe_drop_privileges(uid=options["uid"], gid=options["gid"])
            if options["umask"] is not None:
                os.umask(int(str(options["umask"]), 8))
            return run()
        with platforms.detached(
            uid=options["uid"], gid=options["gid"], umask=options["umask"], workdir=context.directory, **where
        ):
            run()
    except KeyboardInterrupt:
        pass  # how people end it
    except KeyError as exc:  # no such user or group
        raise click.UsageError(str(exc.args[0])) from exc
    except (ImportError, AttributeError) as exc:
        raise click.UsageError(f"--camera {camera}: {exc}") from exc
    except platforms.LockFailed as exc:
        raise click.ClickException(f"The camera cannot start: {exc}") from exc
