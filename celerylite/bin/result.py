"""`celerylite result`: print what a task returned."""

from __future__ import annotations

import functools

import click
from click import Context

from celerylite.bin.base import CeleryCommand, CeleryOption, handle_preload_options

result_option = functools.partial(click.option, cls=CeleryOption, help_group="Result Options")


@click.command(cls=CeleryCommand)
@click.argument("task_id")
@result_option("-t", "--task", help="Name of the task (if its backend is a custom one).")
@result_option("--traceback", is_flag=True, help="Show traceback instead.")
@click.pass_context
@handle_preload_options
def result(ctx: Context, task_id: str, task: str | None, traceback: bool) -> None:
    """Wait for the task TASK_ID and print its return value."""
    app = ctx.obj.app
    answer = app.tasks[task].AsyncResult(task_id) if task else app.AsyncResult(task_id)
    value = answer.traceback if traceback else answer.get()
    ctx.obj.echo(str(value))
