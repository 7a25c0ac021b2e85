"""What the commands share: the object that click passes to them, option groups in `--help`, value types.

Commands of other packages (entry point group `celery.commands`) build on these names too.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import numbers
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pprint import pformat
from typing import TYPE_CHECKING, Any, TypeVar, overload

import click
from click import Context, ParamType

if TYPE_CHECKING:
    from celerylite.app.base import Celery

F = TypeVar("F", bound=Callable[..., Any])

#: sysexits.h: the service is not there (no worker replied, no server answered).
EX_UNAVAILABLE = 69


class CLIContext:
    """What `ctx.obj` is in every command: the app, and how to print."""

    def __init__(
        self,
        app: Celery,
        no_color: bool,
        workdir: str | None,
        quiet: bool = False,
        argv: Sequence[str] = (),
        app_name: str | None = None,
        directory: str | None = None,
    ) -> None:
        self.app = app
        self.no_color = no_color
        self.workdir = workdir
        self.quiet = quiet
        #: The words of the command line, to run it again in a detached process.
        self.argv = list(argv)
        #: How the app was named on the command line or in `APP`; None for the default app or an app object.
        self.app_name = app_name
        #: Where the command was started, before --workdir.
        self.directory = directory

    @functools.cached_property
    def OK(self) -> str:
        """The word for success."""
        return self.style("OK", fg="green", bold=True)

    @functools.cached_property
    def ERROR(self) -> str:
        """The word for failure."""
        return self.style("ERROR", fg="red", bold=True)

    def style(self, message: str, **kwargs: Any) -> str:
        """Colour a text, unless colours are off."""
        return message if self.no_color else click.style(message, **kwargs)

    def secho(self, message: str | None = None, **kwargs: Any) -> None:
        """Print with colours, unless they are off."""
        if self.no_color:
            kwargs["color"] = False
        click.secho(message, **kwargs)

    def echo(self, message: str | None = None, **kwargs: Any) -> None:
        """Print a line, or an empty one."""
        if self.no_color:
            kwargs["color"] = False
        click.echo(message or "", **kwargs)

    def error(self, message: str | None = None, **kwargs: Any) -> None:
        """Print to stderr."""
        kwargs["err"] = True
        self.echo(message, **kwargs)

    def pretty(self, value: Any) -> tuple[str, str]:
        """A status word and a readable text for what a worker or a task returned."""
        if isinstance(value, dict) and ("ok" in value or "error" in value):
            return self.pretty_dict_ok_error(value)
        if isinstance(value, (list, tuple)):
            return self.OK, self.pretty_list(value)
        if isinstance(value, str):
            return self.OK, value
        return self.OK, pformat(value)

    def pretty_list(self, value: Sequence[Any]) -> str:
        """One line for each item."""
        if not value:
            return "- empty -"
        return "\n".join(f"{self.style('*', fg='white')} {item}" for item in value)

    def pretty_dict_ok_error(self, value: dict[str, Any]) -> tuple[str, str]:
        """The form in which workers reply to remote control."""
        if "ok" in value:
            return self.OK, self.pretty(value["ok"])[1]
        return self.ERROR, self.pretty(value["error"])[1]

    def say_chat(self, direction: str, title: str, body: str = "", show_body: bool = False) -> None:
        """Print one line of a conversation with workers; nothing when quiet."""
        if direction == "<-" and self.quiet:
            return
        arrow = "" if self.quiet else f"{self.style(direction, fg='white', bold=True)} "
        self.echo(f"{arrow}{title}")
        if body and show_body:
            self.echo(body)


@overload
def handle_preload_options(function: F) -> F: ...


@overload
def handle_preload_options(function: None = None) -> Callable[[F], F]: ...


def handle_preload_options(function: F | None = None) -> F | Callable[[F], F]:
    """Decorator: sends `user_preload_options` with the options that the app added everywhere.

    The function gets those that it names among its arguments.
    """
    if function is None:
        return handle_preload_options
    command = function

    accepted = inspect.signature(command).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        from celerylite import signals  # only commands that run need it

        app = click.get_current_context().obj.app
        names = [option.name for option in app.user_options.get("preload", ()) if option.name in kwargs]
        options = {name: kwargs[name] for name in names}
        for name in names:
            if takes_any or name not in accepted:
                del kwargs[name]
        signals.user_preload_options.send(sender=command, app=app, options=options)
        return command(*args, **kwargs)

    run.handles_preload_options = True  # type: ignore[attr-defined]
    return run


def add_user_options(app: Celery, command: click.Command) -> None:
    """Give a command the options that the app asks for in `app.user_options`, once: its own, and those for all."""
    if isinstance(command, click.Group):
        for member in command.commands.values():
            add_user_options(app, member)
        return
    for kind in ("preload", str(command.name)):
        for option in app.user_options.get(kind, ()):
            if option not in command.params:
                command.params.append(option)
    if command.callback is not None and not hasattr(command.callback, "handles_preload_options"):
        command.callback = handle_preload_options(command.callback)


class CeleryOption(click.Option):
    """An option that names its heading in `--help`, and may have the app's value as its default."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.help_group: str | None = kwargs.pop("help_group", None)
        #: An attribute of `ctx.obj`, whose value is the default.
        self.default_value_from_context: str | None = kwargs.pop("default_value_from_context", None)
        super().__init__(*args, **kwargs)

    def get_default(self, ctx: Context, *args: Any, **kwargs: Any) -> Any:
        """The value when the option is not given."""
        if self.default_value_from_context and ctx.obj is not None:
            return getattr(ctx.obj, self.default_value_from_context)
        return super().get_default(ctx, *args, **kwargs)


class DaemonOption(CeleryOption):
    """A daemonization option: not given, the setting `<command>_<option>` decides (`worker_pidfile`, …)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("help_group", "Daemonization Options")
        super().__init__(*args, **kwargs)

    def daemon_setting(self, ctx: Context) -> str:
        """The name of the setting."""
        return f"{ctx.command.name}_{self.name}"

    def get_default(self, ctx: Context, *args: Any, **kwargs: Any) -> Any:
        """The value of the setting."""
        app = getattr(ctx.obj, "app", None)
        if app is None:
            return super().get_default(ctx, *args, **kwargs)
        return app.conf.get(self.daemon_setting(ctx))


class CeleryCommand(click.Command):
    """A command whose options stand under headings."""

    def format_options(self, ctx: Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its heading."""
        groups: OrderedDict[str, list[tuple[str, str]]] = OrderedDict()
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            title = getattr(param, "help_group", None)
            groups.setdefault(str(title) if title else "Options", []).append(record)
        if "Options" in groups:
            groups.move_to_end("Options")
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def log_format_option(help_group: str) -> Callable[[F], F]:
    """`--log-format`. Not from CELERY_WORKER_LOG_FORMAT in the environment: there projects keep the setting of that
    name, which is a pattern.
    """
    return click.option(
        "--log-format",
        cls=CeleryOption,
        help_group=help_group,
        type=click.Choice(("text", "json")),
        envvar="CELERYLITE_LOG_FORMAT",
        allow_from_autoenv=False,
        help="json: one object a line. The setting worker_log_json decides if this is not given.",
    )


class CeleryDaemonCommand(CeleryCommand):
    """A command that can run in the background."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(
            (
                DaemonOption(("--logfile", "-f"), help="Log destination; defaults to stderr"),
                DaemonOption(("--pidfile",), help="PID file path; defaults to no PID file"),
                DaemonOption(("--uid",), help="Drops privileges to this user ID"),
                DaemonOption(("--gid",), help="Drops privileges to this group ID"),
                DaemonOption(("--umask",), help="Create files and directories with this umask"),
                DaemonOption(("--executable",), help="Override path to the Python executable"),
            )
        )


class CommaSeparatedList(ParamType):
    """`a,b,c` as a list of texts."""

    name = "comma separated list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> list[str]:
        """Split at commas."""
        return split_list(value)


def split_list(value: str | Iterable[str]) -> list[str]:
    """`a, b,` and `["a", "b"]` both give `["a", "b"]`."""
    parts = value.split(",") if isinstance(value, str) else value
    return [part for part in (str(part).strip() for part in parts) if part]


class JsonArray(ParamType):
    """A JSON array as a list."""

    name = "json array"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> list[Any]:
        """Parse and check."""
        parsed = _parse_json(self, value, param, ctx)
        if not isinstance(parsed, list):
            self.fail(f"{value!r} is not an array", param, ctx)
        return parsed


class JsonObject(ParamType):
    """A JSON object as a dict."""

    name = "json object"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> dict[str, Any]:
        """Parse and check."""
        parsed = _parse_json(self, value, param, ctx)
        if not isinstance(parsed, dict):
            self.fail(f"{value!r} is not an object", param, ctx)
        return parsed


def _parse_json(kind: ParamType, value: Any, param: click.Parameter | None, ctx: Context | None) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as exc:
        kind.fail(f"{value!r} is not JSON: {exc}", param, ctx)


class ISO8601DateTime(ParamType):
    """A date and time as in `2026-05-01T12:00:00+02:00`."""

    name = "iso-86091"

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> datetime:
        """Parse."""
        if isinstance(value, datetime):
            return value
        try:
            # Python 3.10 does not know the Z that stands for UTC.
            return datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            self.fail(f"{value!r} is not a date and time like 2026-05-01T12:00:00+02:00", param, ctx)


class ISO8601DateTimeOrFloat(ISO8601DateTime):
    """A date and time, or a number of seconds."""

    name = "iso-86091 or float"

    def convert(  # type: ignore[override]
        self, value: Any, param: click.Parameter | None, ctx: Context | None
    ) -> datetime | float:
        """Parse."""
        if isinstance(value, numbers.Real):
            return float(value)
        try:
            return float(value)
        except (TypeError, ValueError):
            return super().convert(value, param, ctx)


class LogLevel(click.Choice[str]):
    """A level's name, in any case, or its number."""

    def __init__(self) -> None:
        super().__init__(("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"), case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: Context | None) -> int:  # type: ignore[override]
        """The level's number."""
        if isinstance(value, numbers.Integral):
            return int(value)
        text = str(value)
        if text.isdigit():
            return int(text)
        number = logging.getLevelName(super().convert(text.upper(), param, ctx))
        return int(number)


JSON_ARRAY = JsonArray()
JSON_OBJECT = JsonObject()
ISO8601 = ISO8601DateTime()
ISO8601_OR_FLOAT = ISO8601DateTimeOrFloat()
LOG_LEVEL = LogLevel()
COMMA_SEPARATED_LIST = CommaSeparatedList()


def use_color(no_color: bool) -> bool:
    """Whether standard output takes colours."""
    return not no_color and sys.stdout.isatty()
