"""`celerylite demo`: a worker on a temporary SQLite file, real tasks; all gone afterwards, also after Ctrl-C."""

from __future__ import annotations

import os
import platform
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import click
from click import Context

from celerylite.bin.base import CeleryCommand, CeleryOption, CLIContext
from celerylite.utils.running_worker import WorkerFailed, running_worker

BULK = 1000
TIMEOUT = 30.0


@click.command(cls=CeleryCommand)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(min=1),
    default=2,
    cls=CeleryOption,
    help_group="Options",
    help="Task processes of the worker; 2 by default.",
)
@click.pass_context
def demo(ctx: Context, concurrency: int) -> None:
    """Show celerylite at work: needs nothing, leaves nothing behind.

    Starts a worker on a temporary SQLite file, sends tasks, shows their results, a retry and a delayed task.
    """
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    say = ctx.obj
    try:
        _show(say, concurrency)
    except WorkerFailed as exc:
        raise click.ClickException(str(exc)) from exc
    except KeyboardInterrupt:
        say.echo("\nStopped; the worker and its file are gone.")
        ctx.exit(130)


def _stop(signum: int, frame: object) -> NoReturn:
    """End as by Ctrl-C, so that everything is cleaned up."""
    raise KeyboardInterrupt


def _show(say: CLIContext, concurrency: int) -> None:
    with tempfile.TemporaryDirectory(prefix="celerylite-demo-") as directory:
        url = f"sqlite:///{directory}/demo.db"
        os.environ["CELERY_BROKER_URL"] = os.environ["CELERY_RESULT_BACKEND"] = url
        say.echo(f"Broker and results: {url}")
        started = time.perf_counter()
        options = ("-n", f"demo@{platform.node()}", "-c", str(concurrency))
        with running_worker("celerylite.bin.demo_app", *options, log=Path(directory) / "worker.log"):
            noun = "process" if concurrency == 1 else "processes"
            say.echo(f"A worker with {concurrency} task {noun} is ready after {_ms(started)}.\n")
            _run_tasks(say)
            started = time.perf_counter()
        say.echo(f"\nThe worker stopped in {_ms(started)}. Nothing is left behind.")


def _run_tasks(say: CLIContext) -> None:
    from celerylite.bin import demo_app  # its settings come from the environment set above

    try:
        _call(say, demo_app)
        _bulk(say, demo_app)
        _retry(say, demo_app)
        _countdown(say, demo_app)
        _failure(say, demo_app)
    finally:
        demo_app.app.close()


def _call(say: CLIContext, tasks: Any) -> None:
    tasks.add.delay(0, 0).get(timeout=TIMEOUT)  # opens the connections, which is not what is shown
    started = time.perf_counter()
    value = tasks.add.delay(2, 3).get(timeout=TIMEOUT)
    _line(say, "add.delay(2, 3).get()", f"{value}", _ms(started))


def _bulk(say: CLIContext, tasks: Any) -> None:
    started = time.perf_counter()
    results = tasks.app.send_tasks((tasks.add, (number, number)) for number in range(BULK))
    sent = _ms(started)
    total = sum(result.get(timeout=TIMEOUT) for result in results)
    _line(say, f"app.send_tasks(…{BULK} calls…)", f"sum {total}", f"{_ms(started)} (sending {sent})")


def _retry(say: CLIContext, tasks: Any) -> None:
    started = time.perf_counter()
    value = tasks.flaky.delay().get(timeout=TIMEOUT)
    _line(say, "flaky.delay(): fails twice, retried", value, _ms(started))


def _countdown(say: CLIContext, tasks: Any) -> None:
    started = time.time()
    ran = tasks.clock.apply_async(countdown=1).get(timeout=TIMEOUT)
    _line(say, "clock.apply_async(countdown=1)", "ran", f"{ran - started:.3f} s after the call")


def _failure(say: CLIContext, tasks: Any) -> None:
    started = time.perf_counter()
    try:
        tasks.broken.delay().get(timeout=TIMEOUT)
    except ValueError as exc:
        _line(say, "broken.delay().get()", f"ValueError: {exc}", _ms(started))


def _line(say: CLIContext, call: str, value: str, timing: str) -> None:
    say.echo(f"  {call:<36} {value:<42} {timing}")


def _ms(started: float) -> str:
    return f"{(time.perf_counter() - started) * 1000:.1f} ms"
