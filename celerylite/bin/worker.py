"""`celerylite worker`: every option of Celery's, turned into one `app.Worker`.

What a worker does with them is in `celerylite.worker`; one that is not given is None: the setting decides.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from typing import Any, NoReturn

import click
from click import Context, ParamType

from celerylite import platforms
from celerylite.bin import loading
from celerylite.bin.base import (
    COMMA_SEPARATED_LIST,
    LOG_LEVEL,
    CeleryDaemonCommand,
    CeleryOption,
    CLIContext,
    handle_preload_options,
    log_format_option,
)
from celerylite.bin.completion import complete_queues
from celerylite.utils.nodenames import default_nodename, host_format, node_format

#: Names of pools that Celery knows, and those that work here.
POOLS = ("prefork", "eventlet", "gevent", "solo", "processes", "threads", "custom")
AVAILABLE_POOLS = {"prefork": "prefork", "processes": "prefork", "threads": "threads", "solo": "solo"}

#: Tells the process that `--detach` starts that it is in the background already.
DETACHED = "CELERYLITE_DETACHED"

#: Where Linux says how much CPU the control group may use.
CGROUP_V2 = "/sys/fs/cgroup/cpu.max"
CGROUP_V1 = "/sys/fs/cgroup/cpu"


class WorkersPool(click.Choice[str]):
    """The name of a pool."""

    name = "pool"

    def __init__(self) -> None:
        super().__init__(POOLS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> str:
        """Check that the pool is there; `processes` is another name for prefork."""
        name = super().convert(value, param, ctx)
        if name not in AVAILABLE_POOLS:
            self.fail(
                f"the pool {name!r} is not part of this release; there are prefork, threads and solo.",
                param,
                ctx,
            )
        return AVAILABLE_POOLS[name]


class Hostname(click.types.StringParamType):
    """A node name in which %h, %n and %d are expanded."""

    name = "hostname"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> str:
        """Expand."""
        return host_format(default_nodename(value))


class Autoscale(ParamType):
    """`max,min`, or `max` alone."""

    name = "<max workers>, <min workers>"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> tuple[int, int]:
        """The larger number first."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"expected one or two whole numbers as in 10,3, got {value!r}", param, ctx)
        if len(numbers) > 2:
            self.fail(f"expected at most two numbers, got {value!r}", param, ctx)
        return max(numbers), min(numbers) if len(numbers) == 2 else 0


class Concurrency(ParamType):
    """A number, or `auto`."""

    name = "concurrency"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> int:
        """`auto` as a number; 0 means the default."""
        if value == "auto":
            return available_cpus()
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < 0:
            self.fail(f"must be a non-negative integer or 'auto', got {value!r}", param, ctx)
        return number


def available_cpus() -> int:
    """How many CPUs this process may use, by its affinity mask and the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cpus()
    return max(1, min(count, int(quota))) if quota else count


def _cgroup_cpus() -> float | None:
    """The quota in CPUs, from control groups v2 or v1; None without one."""
    try:
        with open(CGROUP_V2) as file:
            quota, period = file.read().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass  # no v2 here; look for v1
    try:
        with open(f"{CGROUP_V1}/cpu.cfs_quota_us") as file:
            quota_us = int(file.read())
        with open(f"{CGROUP_V1}/cpu.cfs_period_us") as file:
            period_us = int(file.read())
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


worker_option = functools.partial(click.option, cls=CeleryOption, help_group="Worker Options")
pool_option = functools.partial(click.option, cls=CeleryOption, help_group="Pool Options")
queue_option = functools.partial(click.option, cls=CeleryOption, help_group="Queue Options")
feature_option = functools.partial(click.option, cls=CeleryOption, help_group="Features")
beat_option = functools.partial(click.option, cls=CeleryOption, help_group="Embedded Beat Options")


@click.command(cls=CeleryDaemonCommand, context_settings={"allow_extra_args": True})
@worker_option(
    "-n",
    "--hostname",
    type=Hostname(),
    metavar="HOSTNAME",
    help="The worker's name. %h is the host name with its domain, %n without, %d the domain alone.",
)
@worker_option("-D", "--detach", is_flag=True, default=False, help="Run in the background.")
@worker_option("-S", "--statedb", type=click.Path(), help="A file that keeps what was revoked, over restarts.")
@worker_option(
    "-l",
    "--loglevel",
    default="WARNING",
    type=LOG_LEVEL,
    metavar="[DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL]",
    help="Log level; WARNING by default.",
)
@log_format_option("Worker Options")
@worker_option(
    "-O",
    "--optimization",
    default="default",
    type=click.Choice(("default", "fair")),
    help="Accepted; fetching is always fair.",
)
@worker_option(
    "--prefetch-multiplier",
    type=int,
    metavar="<prefetch multiplier>",
    help="At most so many messages for each slot.",
)
@worker_option(
    "--disable-prefetch", is_flag=True, default=None, help="Fetch a task only when a slot is free."
)
@pool_option(
    "-c",
    "--concurrency",
    type=Concurrency(),
    metavar="<concurrency>",
    help="Tasks at a time; the number of CPUs by default. 'auto' also looks at the CPU quota and affinity.",
)
@pool_option("-P", "--pool", type=WorkersPool(), help="What runs the tasks; prefork by default.")
@pool_option(
    "-E",
    "--task-events",
    "--events",
    is_flag=True,
    default=None,
    help="Send events about tasks, for monitors such as Flower.",
)
@pool_option("--time-limit", type=float, help="Seconds after which a task is killed.")
@pool_option(
    "--soft-time-limit",
    type=float,
    help="Seconds after which SoftTimeLimitExceeded is raised in a task.",
)
@pool_option("--max-tasks-per-child", type=int, help="Replace a task process after so many tasks.")
@pool_option(
    "--pool-start-method",
    type=click.Choice(("fork", "spawn")),
    help="Accepted; task processes are forked.",
)
@pool_option(
    "--max-memory-per-child",
    type=int,
    help="Replace a task process that has grown beyond so many KiB, after its task.",
)
@queue_option("--purge", "--discard", is_flag=True, help="Delete all waiting tasks first.")
@queue_option(
    "--queues", "-Q", type=COMMA_SEPARATED_LIST, shell_complete=complete_queues, help="Consume from these queues."
)
@queue_option(
    "--exclude-queues",
    "-X",
    type=COMMA_SEPARATED_LIST,
    shell_complete=complete_queues,
    help="Consume from all but these queues.",
)
@queue_option("--include", "-I", type=COMMA_SEPARATED_LIST, help="Import these modules too.")
@feature_option("--without-gossip", is_flag=True, help="Take part in no elections.")
@feature_option("--without-mingle", is_flag=True, help="Accepted; there is no mingling.")
@feature_option("--without-heartbeat", is_flag=True, help="Send no heartbeats to monitors.")
@feature_option(
    "--heartbeat-interval", type=int, help="Seconds between heartbeats; by default 2, 10 while nobody listens."
)
@feature_option(
    "--autoscale",
    type=Autoscale(),
    metavar="<MAX WORKERS>, <MIN WORKERS>",
    help="As many task processes as the load wants, between these limits: --autoscale=10,3.",
)
@feature_option(
    "--health-port",
    metavar="[HOST:]PORT",
    help="Answer /live and /ready over HTTP, on all interfaces if no host is given.",
)
@feature_option(
    "--heartbeat-file",
    type=click.Path(dir_okay=False),
    help="Touch this file every second while the worker is alive.",
)
@beat_option(
    "-B",
    "--beat",
    is_flag=True,
    help="Run beat, the scheduler of periodic tasks, beside the task processes.",
)
@beat_option("-s", "--schedule-filename", "--schedule", help="The scheduler's file.")
@beat_option("--scheduler", help="The scheduler's class.")
@click.pass_context
@handle_preload_options
def worker(
    ctx: Context,
    hostname: str | None,
    detach: bool,
    pool: str | None,
    loglevel: int,
    logfile: str | None,
    pidfile: str | None,
    uid: str | None,
    gid: str | None,
    umask: str | None,
    executable: str | None,
    statedb: str | None,
    heartbeat_file: str | None,
    **options: Any,
) -> None:
    """Start a worker.

    \b
    Examples:
      celerylite -A proj worker -l INFO
      celerylite -A proj worker -l INFO -Q hipri,lopri
      celerylite -A proj worker --concurrency=4
      celerylite -A proj worker -P threads -c 20
    """
    context: CLIContext = ctx.obj
    _set_app_arguments(context, ctx.args)
    if loading.is_nobodys(context.app_name, context.app) and not context.quiet:
        if not (context.app.conf.imports or context.app.conf.include or options["include"]):
            context.error(f"{loading.no_app_given()} Without it, only Celery's own tasks are known.")
    nodename = hostname or host_format(default_nodename(None))
    if detach and not os.environ.pop(DETACHED, None):
        _detach(context, nodename, logfile, pidfile, uid, gid, umask, executable)
    if not detach:  # else both were done on the way to the background
        _drop_privileges(uid, gid)
        if umask is not None:
            os.umask(umask if isinstance(umask, int) else int(umask, 8))
    running = context.app.Worker(
        hostname=nodename,
        pool=pool,
        loglevel=loglevel,
        logfile=logfile,
        pidfile=_path(pidfile, nodename),
        statedb=_path(statedb, nodename),
        heartbeat_file=_path(heartbeat_file, nodename),
        no_color=context.no_color,
        quiet=context.quiet,
        **options,
    )
    running.start()
    ctx.exit(running.exitcode or 0)


def _drop_privileges(uid: str | None, gid: str | None) -> None:
    try:
        platforms.maybe_drop_privileges(uid=uid, gid=gid)
    except KeyError as exc:  # no such user or group
        raise click.UsageError(str(exc.args[0])) from exc


def _path(template: str | None, nodename: str) -> str | None:
    """The path with %h, %n and %d filled in."""
    try:
        return node_format(template, nodename) if template else None
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def _absolute(template: str | None, nodename: str) -> str | None:
    """The same as an absolute path, in a directory that is there: in the background nobody sees an error."""
    path = _path(template, nodename)
    if path and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise click.UsageError(f"{path}: its directory does not exist.")
    return path and os.path.abspath(path)


def _set_app_arguments(context: CLIContext, extra: list[str]) -> None:
    """`name=value` words after the options are settings, as in `-- worker.prefetch_multiplier=1`."""
    if not extra:
        return
    try:
        context.app.config_from_cmdline(extra, namespace="worker")
    except (KeyError, ValueError) as exc:
        message = f"Unable to parse extra configuration from command line.\nReason: {exc}"
        raise click.UsageError(
            f"{message}\nSettings stand last, each as name=value: worker.concurrency=10"
        ) from exc


def _detach(
    context: CLIContext,
    nodename: str,
    logfile: str | None,
    pidfile: str | None,
    uid: str | None,
    gid: str | None,
    umask: str | None,
    executable: str | None,
) -> NoReturn:
    """Go to the background, and run the same command line again there in a fresh interpreter."""
    python = shutil.which(executable or sys.executable)
    if python is None:
        raise click.UsageError(f"--executable: {executable} is not a program.")
    app = [] if context.app_name or not context.app.main else ["-A", context.app.main]
    os.environ[DETACHED] = "1"
    try:
        with platforms.detached(
            logfile=_absolute(logfile, nodename),
            pidfile=_absolute(pidfile, nodename),
            uid=uid,
            gid=gid,
            umask=umask,
            # Where this command line was started, for it is read again, and --workdir in it may be relative.
            workdir=context.directory,
        ):
            os.execv(python, [python, "-m", "celerylite", *app, *context.argv])
    except (OSError, platforms.LockFailed) as exc:
        raise click.ClickException(f"The worker cannot go to the background: {exc}") from exc
    except KeyError as exc:  # no such user or group
        raise click.UsageError(str(exc.args[0])) from exc
