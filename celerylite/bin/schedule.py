"""`celerylite schedule`: see and change, while beats run, what is sent periodically."""

from __future__ import annotations

import difflib
import functools
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click import Context

from celerylite.bin import output
from celerylite.bin.base import (
    ISO8601,
    JSON_ARRAY,
    JSON_OBJECT,
    CeleryCommand,
    CeleryOption,
    handle_preload_options,
)
from celerylite.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celerylite.beat.entries import Entries, EntryView

F = TypeVar("F", bound=Callable[..., Any])

option = functools.partial(click.option, cls=CeleryOption, help_group="Options")
entry_option = functools.partial(click.option, cls=CeleryOption, help_group="Entry Options")

HEADINGS = ("NAME", "SCHEDULE", "TASK", "STATE", "LAST RUN", "NEXT RUN", "RUNS", "LAST TASK")

json_option = output.json_option()

#: What an entry may have beside its task and schedule; `add` and `change` share them.
ENTRY_OPTIONS = (
    entry_option("-a", "--args", type=JSON_ARRAY, help="Positional arguments of the task, a JSON array."),
    entry_option("-k", "--kwargs", type=JSON_OBJECT, help="Keyword arguments of the task, a JSON object."),
    entry_option("-o", "--options", type=JSON_OBJECT, help="Options of apply_async, a JSON object."),
    entry_option("--queue", help="Name of the queue."),
    entry_option("--start", type=ISO8601, help="Nothing is sent before this time."),
    entry_option("--end", type=ISO8601, help="Nothing is sent after this time."),
    entry_option(
        "--missed",
        type=click.Choice(("skip", "once", "all")),
        help="What becomes of times at which no beat was there: send none, one (the default) or all of them.",
    ),
    entry_option("--missed-limit", type=click.IntRange(min=1), help="With --missed all: the latest so many."),
    entry_option("--jitter", type=click.FloatRange(min=0), help="Delay each time by up to so many seconds."),
)


def entry_options(command: F) -> F:
    """Decorator: gives the command the options of an entry."""
    for add_option in reversed(ENTRY_OPTIONS):
        command = add_option(command)
    return command


@click.group()
def schedule() -> None:
    """The periodic tasks: list, add, change, enable, disable, remove, run-now, next.

    What is changed here is kept by the broker, beside the code's own entries, and running beats see it within
    a second.
    """


@schedule.command("list", cls=CeleryCommand)
@json_option
@click.pass_context
@handle_preload_options
def list_entries(ctx: Context, as_json: bool) -> None:
    """List the entries: when they ran last, when they run next, how often they ran."""
    with _explained(ctx) as entries:
        found = entries.list()
    if as_json:
        output.say_json(ctx.obj, [_fields(view) for view in found])
    elif found:
        output.say_table(ctx.obj, HEADINGS, [_row(view) for view in found], numbers=(6,))
    else:
        ctx.obj.echo("There are no periodic tasks.")


@schedule.command("add", cls=CeleryCommand)
@click.argument("name")
@click.argument("task")
@click.argument("when")
@entry_options
@entry_option("--disabled", is_flag=True, help="Add it without sending it yet.")
@option("--replace", is_flag=True, help="If there is such an entry, make it this one.")
@json_option
@click.pass_context
@handle_preload_options
def add(
    ctx: Context, name: str, task: str, when: str, disabled: bool, replace: bool, as_json: bool, **given: Any
) -> None:
    """Add an entry that sends the task TASK at the times WHEN.

    WHEN is a number of seconds, or a line: '*/5 * * * *', '@hourly', '@every 1h30m',
    'CRON_TZ=Europe/Berlin 0 9 * * *'.
    """
    fields = _given(given)
    with _explained(ctx) as entries:
        if not replace and any(view.name == name for view in entries.list()):
            raise click.UsageError(f"There is an entry {name!r} already; change it, or give --replace.")
        view = entries.add(name, task, _schedule(when), enabled=not disabled, **fields)
    _report(ctx, view, as_json, "Added")


@schedule.command("change", cls=CeleryCommand)
@click.argument("name")
@entry_option("--task", help="Send this task.")
@entry_option("--when", help="Send it at these times, as for `add`.")
@entry_options
@json_option
@click.pass_context
@handle_preload_options
def change(ctx: Context, name: str, when: str | None, as_json: bool, **given: Any) -> None:
    """Change an entry, also one of the code: the change then goes over the code until `remove` takes it back."""
    if when is None and all(value is None for value in given.values()):
        raise click.UsageError("Say what to change; `celerylite schedule change --help` shows the options.")
    with _explained(ctx) as entries:
        fields = _given(given, entries.get(name).options)
        if when is not None:
            fields["schedule"] = _schedule(when)
        view = entries.change(name, **fields)
    _report(ctx, view, as_json, "Changed")


@schedule.command("enable", cls=CeleryCommand)
@click.argument("names", nargs=-1, required=True)
@click.pass_context
@handle_preload_options
def enable(ctx: Context, names: tuple[str, ...]) -> None:
    """Send entries again. Times that passed meanwhile are not made up for."""
    _for_each(ctx, names, lambda entries, name: entries.enable(name), "Enabled")


@schedule.command("disable", cls=CeleryCommand)
@click.argument("names", nargs=-1, required=True)
@click.pass_context
@handle_preload_options
def disable(ctx: Context, names: tuple[str, ...]) -> None:
    """Send entries no more, until they are enabled again."""
    _for_each(ctx, names, lambda entries, name: entries.disable(name), "Disabled")


@schedule.command("remove", cls=CeleryCommand)
@click.argument("names", nargs=-1, required=True)
@click.pass_context
@handle_preload_options
def remove(ctx: Context, names: tuple[str, ...]) -> None:
    """Remove entries that were added at run time, and take back what was changed in those of the code."""
    _for_each(ctx, names, lambda entries, name: entries.remove(name), "Removed")


@schedule.command("run-now", cls=CeleryCommand)
@click.argument("name")
@click.pass_context
@handle_preload_options
def run_now(ctx: Context, name: str) -> None:
    """Send an entry's task at once, beside its schedule, and print the task's id."""
    with _explained(ctx) as entries:
        ctx.obj.echo(entries.run_now(name).id)


@schedule.command("next", cls=CeleryCommand)
@click.argument("names", nargs=-1)
@option("-n", "--count", type=click.IntRange(min=1), default=5, help="So many times; 5 by default.")
@json_option
@click.pass_context
@handle_preload_options
def next_times(ctx: Context, names: tuple[str, ...], count: int, as_json: bool) -> None:
    """Show when entries are sent next, all of them unless some are named."""
    times = []
    with _explained(ctx) as entries:
        for name in names or [view.name for view in entries.list()]:
            times.append([(moment, name) for moment in entries.next(name, count)])
    coming = list(heapq.merge(*times))[:count]
    if as_json:
        output.say_json(ctx.obj, [{"time": moment.isoformat(), "name": name} for moment, name in coming])
        return
    for moment, name in coming:
        ctx.obj.echo(f"{_time(moment)}  {name}")
    if not coming:
        ctx.obj.echo("Nothing is sent any more.")


# -- parts


@contextmanager
def _explained(ctx: Context) -> Iterator[Entries]:
    """The app's entries; what they raise becomes a sentence with the fix."""
    from celerylite.beat.entries import UnknownEntry  # lazy, as all of beat: 30 ms that the other commands do not need

    _warn_of_other_schedulers(ctx)
    entries = ctx.obj.app.schedule_entries
    try:
        yield entries
    except UnknownEntry as error:
        raise click.UsageError(_unknown(entries, str(error.args[0]))) from error
    except ImproperlyConfigured as error:
        raise click.ClickException(_sentence(error)) from error
    except (ValueError, TypeError) as error:
        raise click.UsageError(_sentence(error)) from error


def _warn_of_other_schedulers(ctx: Context) -> None:
    """Schedulers of other packages keep their schedule elsewhere: what is shown and changed here is not theirs."""
    from celerylite.beat import Service, SharedScheduler  # lazy, as above

    name = ctx.obj.app.conf.beat_scheduler
    try:
        found = Service(ctx.obj.app, scheduler_cls=name).scheduler_class()
    except ImportError:
        return  # beat itself will say so
    if not issubclass(found, SharedScheduler):
        ctx.obj.error(f"The setting beat_scheduler is {name!r}, which does not read the entries that are kept here.")


def _unknown(entries: Entries, name: str) -> str:
    close = difflib.get_close_matches(name, [view.name for view in entries.list()], n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "`celerylite schedule list` shows those there are."
    return f"There is no entry {name!r}. {hint}"


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _for_each(ctx: Context, names: tuple[str, ...], act: Callable[[Entries, str], Any], done: str) -> None:
    for name in names:
        with _explained(ctx) as entries:
            act(entries, name)
        ctx.obj.echo(f"{done} {name}.")


def _given(values: dict[str, Any], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """The fields that were given on the command line; --queue goes with the options that there are already."""
    fields = {name: value for name, value in values.items() if value is not None}
    queue = fields.pop("queue", None)
    if queue is not None:
        fields["options"] = {**fields.get("options", options or {}), "queue": queue}
    return fields


def _schedule(when: str) -> str | float:
    try:
        return float(when)
    except ValueError:
        return when


def _report(ctx: Context, view: EntryView, as_json: bool, done: str) -> None:
    if as_json:
        output.say_json(ctx.obj, _fields(view))
    else:
        coming = "not sent" if view.next_run_at is None else f"next {_time(view.next_run_at)}"
        ctx.obj.echo(f"{done} {view.name}: {view.task}, {_when(view)}, {coming}.")


def _fields(view: EntryView) -> dict[str, Any]:
    """What JSON says of an entry."""
    fields = dict(vars(view))
    moments = {name: value.isoformat() for name, value in fields.items() if isinstance(value, datetime)}
    return {**fields, **moments, "schedule": _when(view)}


def _when(view: EntryView) -> str:
    """The schedule as one would write it; classes of others as they show themselves."""
    from celerylite.schedules import to_line  # lazy, as above

    try:
        return to_line(view.schedule)
    except TypeError:
        return repr(view.schedule)


def _row(view: EntryView) -> tuple[str, ...]:
    state = view.source if view.enabled else f"{view.source}, disabled"
    moments = (_time(view.last_run_at), _time(view.next_run_at))
    return (view.name, _when(view), view.task, state, *moments, str(view.total_run_count), view.last_task_id or "-")


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else moment.isoformat(sep=" ", timespec="seconds")
