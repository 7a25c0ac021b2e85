"""`celerylite result`: print what a task returned."""

from __future__ import annotations

import difflib
import functools

import click
from click import Context

from celerylite import states
from celerylite.backends.base import DisabledBackend
from celerylite.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from celerylite.exceptions import ImproperlyConfigured

result_option = functools.partial(click.option, cls=CeleryOption, help_group="Result Options")


@click.command(cls=CeleryCommand)
@click.argument("task_id")
@result_option("-t", "--task", help="Name of the task (if its backend is a custom one).")
@result_option("--traceback", is_flag=True, help="Show traceback instead.")
@click.pass_context
@handle_preload_options
def result(ctx: Context, task_id: str, task: str | None, traceback: bool) -> None:
    """Wait for the task TASK_ID and print its return value.

    Of a task that failed the traceback is printed on standard error, and the exit code is 1.
    """
    app = ctx.obj.app
    app.loader.import_default_modules()
    if task and task not in app.tasks:
        close = difflib.get_close_matches(task, app.tasks)
        raise click.UsageError(f"There is no task {task!r}." + (f" Did you mean {close[0]}?" if close else ""))
    answer = app.tasks[task].AsyncResult(task_id) if task else app.AsyncResult(task_id)
    if isinstance(app.backend, DisabledBackend):
        raise ImproperlyConfigured("There is no result backend: set result_backend, or give --result-backend.")
    if traceback:
        ctx.obj.echo(str(answer.traceback))
        return
    value = answer.get(propagate=False)
    if answer.state in states.PROPAGATE_STATES:
        ctx.obj.error(str(answer.traceback or repr(value)).rstrip())
        ctx.exit(1)
    ctx.obj.echo(str(value))
