"""`celerylite inspect`, `control` and `status`: ask workers, and tell them what to do.

Which commands there are, and their arguments, stands in the panel that the workers use (`worker.panel`), to which a
project adds its own.
"""

from __future__ import annotations

import difflib
import functools
import inspect as signatures
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click
from click import Context
from click.shell_completion import CompletionItem

from celerylite.app import revoking
from celerylite.app.control import flatten_reply
from celerylite.bin import output
from celerylite.bin.base import (
    COMMA_SEPARATED_LIST,
    EX_UNAVAILABLE,
    CeleryCommand,
    CeleryOption,
    CLIContext,
    handle_preload_options,
)
from celerylite.bin.completion import complete_workers
from celerylite.exceptions import CeleryCommandException

F = TypeVar("F", bound=Callable[..., Any])

remote_option = functools.partial(click.option, cls=CeleryOption, help_group="Remote Control Options")

#: Commands that are kept on the broker, for workers that start later.
KEPT = ("revoke", "terminate", "revoke_by_stamped_headers")
#: A server that cannot be reached is told of at once: who has typed this may try again himself.
AT_ONCE = {"max_retries": 1, "interval_start": 0}
#: Answers to these are lists of dicts: what a table shows of them on a terminal, heading and path.
COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "active": (("id", "id"), ("task", "name"), ("args", "args"), ("kwargs", "kwargs"), ("pid", "worker_pid")),
    "reserved": (("id", "id"), ("task", "name"), ("args", "args"), ("kwargs", "kwargs")),
    "scheduled": (("eta", "eta"), ("id", "request.id"), ("task", "request.name"), ("args", "request.args")),
    "active_queues": (
        ("queue", "name"), ("exchange", "exchange.name"), ("type", "exchange.type"), ("routing key", "routing_key"),
    ),
}  # fmt: skip


class RemoteCommand(CeleryCommand):
    """A command whose help lists the commands of the panel."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse; `--help` behind one of the panel's commands is about that one."""
        ctx.meta["celerylite.remote"] = next((word for word in args if not word.startswith("-")), None)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Context, formatter: click.HelpFormatter) -> None:
        """The usual help and the list of commands, or what there is to know of one."""
        found = _commands(ctx, self.name or "")
        name = ctx.meta.get("celerylite.remote")
        if name not in found:
            super().format_help(ctx, formatter)
            with formatter.section(f"{(self.name or '').capitalize()} Commands"):
                formatter.write_dl([(_usage(name, info), info.help or "") for name, info in found.items()])
            return
        formatter.write_usage(ctx.command_path, f"[OPTIONS] {_usage(name, found[name])}")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(_explanation(name))
        self.format_options(ctx, formatter)


def remote_options(command: F) -> F:
    """Decorator: `--timeout`, `--destination` and `--json`."""
    for option in (
        output.json_option("Remote Control Options"),
        remote_option(
            "-d",
            "--destination",
            type=COMMA_SEPARATED_LIST,
            shell_complete=complete_workers,
            help="Ask these workers only, a comma separated list.",
        ),
        remote_option("-t", "--timeout", type=float, help="Seconds to wait for replies; 1 for most commands."),
    ):
        command = option(command)
    return command


def _list_commands(ctx: Context, param: click.Parameter, value: bool) -> None:
    """`--list`: the commands and their arguments, without the options."""
    if not value:
        return
    kind = ctx.command.name or ""
    formatter = ctx.make_formatter()
    with formatter.section(f"{kind.capitalize()} Commands"):
        formatter.write_dl([(_usage(name, info), info.help or "") for name, info in _commands(ctx, kind).items()])
    ctx.obj.echo(formatter.getvalue().rstrip("\n"))
    ctx.exit()


def _complete_commands(ctx: Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in _commands(ctx, ctx.command.name or "") if name.startswith(incomplete)]


def list_option(command: F) -> F:
    """Decorator: `--list`."""
    return click.option(
        "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_commands, help="List the commands."
    )(command)


def _complete(ctx: Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the panel's commands."""
    names = _commands(ctx, ctx.command.name or "", "ping")
    return [CompletionItem(name, help=names[name].help) for name in names if name.startswith(incomplete)]


SETTINGS = {"ignore_unknown_options": True}  # a worker's command may have options of its own, and negative numbers


@click.command(cls=RemoteCommand, context_settings=SETTINGS)
@click.argument("command", shell_complete=_complete_commands)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@remote_options
@list_option
@click.pass_context
@handle_preload_options
def inspect(
    ctx: Context,
    command: str,
    arguments: tuple[str, ...],
    timeout: float | None,
    destination: list[str] | None,
    as_json: bool,
) -> None:
    """Ask workers something.

    \b
    Examples:
      celerylite -A proj inspect active
      celerylite -A proj inspect ping -d celery@host1,celery@host2 -t 5
      celerylite -A proj inspect stats --json
    """
    replies = _ask(ctx, "inspect", command, arguments, timeout, destination, as_json)
    if as_json:
        output.say_json(ctx.obj, _by_node(replies))
    elif not ctx.obj.quiet:
        _say_count(ctx.obj, replies)


@click.command(cls=RemoteCommand, context_settings=SETTINGS)
@click.argument("command", shell_complete=_complete_commands)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@remote_options
@list_option
@click.pass_context
@handle_preload_options
def control(
    ctx: Context,
    command: str,
    arguments: tuple[str, ...],
    timeout: float | None,
    destination: list[str] | None,
    as_json: bool,
) -> None:
    """Tell workers to do something.

    \b
    Examples:
      celerylite -A proj control rate_limit proj.tasks.send 10/m
      celerylite -A proj control add_consumer images -d celery@host1
      celerylite -A proj control revoke ID --terminate --signal=SIGKILL
    """
    replies = _ask(ctx, "control", command, arguments, timeout, destination, as_json)
    if as_json:
        output.say_json(ctx.obj, replies)


@click.command(cls=CeleryCommand)
@remote_options
@click.pass_context
@handle_preload_options
def status(ctx: Context, timeout: float | None, destination: list[str] | None, as_json: bool) -> None:
    """Show which workers are online. The exit code is 69 if there are none."""
    context: CLIContext = ctx.obj
    say = None if as_json else functools.partial(_say_reply, context, "", body=False)
    replies = _broadcast(context, "ping", {}, timeout or 1.0, destination, say)
    if as_json:
        output.say_json(context, _by_node(replies))
    else:
        _say_count(context, replies)


# -- the request


def _ask(
    ctx: Context,
    kind: str,
    command: str,
    words: Sequence[str],
    timeout: float | None,
    destination: list[str] | None,
    as_json: bool,
) -> list[dict[str, Any]]:
    """Send a command of the panel; its answers are shown as they come, unless they are to be JSON."""
    found = _commands(ctx, kind, command)
    if command not in found:
        raise click.UsageError(_unknown(ctx, kind, command), ctx)
    arguments = _arguments(ctx, command, found[command], words)
    say = None if as_json else functools.partial(_say_reply, ctx.obj, command)
    return _broadcast(ctx.obj, command, arguments, timeout or found[command].default_timeout, destination, say)


def _broadcast(
    context: CLIContext,
    command: str,
    arguments: dict[str, Any],
    timeout: float,
    destination: list[str] | None,
    say: Callable[[dict[str, Any]], None] | None,
) -> list[dict[str, Any]]:
    control = context.app.control
    control.mailbox.patience = timeout  # who gave a time-out wants to be back by then
    method, arguments = _sending(control, command, arguments)
    with context.app.connection_for_write(transport_options=AT_ONCE) as connection:
        replies = method(
            **arguments, reply=True, timeout=timeout, destination=destination, callback=say, connection=connection
        )
    if not replies and command == "shutdown":
        context.echo("The request was sent. Workers that shut down do not reply.")
    elif not replies:
        text = f"No nodes replied within time constraint ({timeout:g} s). Is a worker running? -t waits longer."
        if command in KEPT and destination is None and revoking.book_of(context.app) is not None:
            text += "\nThe revoke is kept: workers that start later will know of it."
        raise CeleryCommandException(text, EX_UNAVAILABLE)
    with warnings.catch_warnings(record=True) as twice:
        warnings.simplefilter("always")
        flatten_reply(replies)
    for warning in twice:
        context.error(f"{context.style('WARNING', fg='yellow')}: {warning.message}")
    return list(replies)


def _sending(control: Any, command: str, arguments: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """How to send it. Revokes go the way that also keeps them on the broker, for workers that start later."""
    if command in ("revoke", "terminate"):
        return getattr(control, command), arguments
    if command == "revoke_by_stamped_headers":
        return control.revoke_by_stamped_headers, {**arguments, "headers": _stamps(arguments.get("headers") or ())}
    return control.broadcast, {"command": command, "arguments": arguments}


def _stamps(words: Sequence[str]) -> dict[str, list[str]]:
    stamps: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise click.UsageError(f"A stamp is given as name=value, not as {word!r}.")
        stamps.setdefault(name, []).append(value)
    return stamps


# -- the panel


def _commands(ctx: Context, kind: str, wanted: str | None = None) -> dict[str, Any]:
    """What is known of the commands of a kind, by name.

    The project's own are registered by modules that a worker imports: all of them are imported here too, unless the
    one that is wanted is there without.
    """
    from celerylite.worker.control import Panel  # lazy: `status` needs no panel

    if wanted not in Panel.meta and ctx.obj is not None:
        ctx.obj.app.loader.import_default_modules()
    return {name: info for name, info in sorted(Panel.meta.items()) if info.type == kind and info.visible}


def _unknown(ctx: Context, kind: str, command: str) -> str:
    other = "control" if kind == "inspect" else "inspect"
    if command in _commands(ctx, other, command):
        return f"{command} is a command of `celerylite {other}`, not of `{kind}`."
    names = _commands(ctx, kind, command)
    text = f"Command {command} not recognized. Available {kind} commands: {', '.join(names)}"
    close = difflib.get_close_matches(command, names, n=3)
    return f"{text}\n\nDid you mean {' or '.join(close)}?" if close else text


def _usage(name: str, info: Any) -> str:
    return f"{name} {info.signature}" if info.signature else name


def _explanation(name: str) -> str:
    """All of the command's docstring."""
    from celerylite.worker.control import Panel  # lazy, as above

    return signatures.getdoc(Panel.data[name]) or Panel.meta[name].help or ""


def _arguments(ctx: Context, command: str, info: Any, words: Sequence[str]) -> dict[str, Any]:
    """The words of the command line as arguments of the command; `--name=value` and `--name` give one by name."""
    known = _parameters(command)
    named: dict[str, Any] = {}
    plain: list[str] = []
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            plain.append(word)
        elif name.replace("-", "_") in known:
            named[name.replace("-", "_")] = value if equals else True
        else:
            raise click.NoSuchOption(f"--{name}", possibilities=[f"--{one}" for one in known], ctx=ctx)
    given = dict(_positional(ctx, command, info, plain))
    missing = [name for name, required in known.items() if required and name not in given and name not in named]
    if missing:
        raise click.UsageError(f"Command {command!r} takes arguments: {_takes(info, known)}", ctx)
    return {**given, **named}


def _parameters(command: str) -> dict[str, bool]:
    """The arguments of a command, and whether they are required."""
    from celerylite.worker.control import Panel  # lazy, as above

    parameters = list(signatures.signature(Panel.data[command]).parameters.values())[1:]  # without `state`
    ordinary = (signatures.Parameter.POSITIONAL_OR_KEYWORD, signatures.Parameter.KEYWORD_ONLY)
    return {one.name: one.default is one.empty for one in parameters if one.kind in ordinary}


def _takes(info: Any, known: dict[str, bool]) -> str:
    return info.signature or " ".join(f"--{name}=VALUE" for name in known) or "none"


def _positional(ctx: Context, command: str, info: Any, words: list[str]) -> Iterator[tuple[str, Any]]:
    fixed = list(info.args or ())
    if len(words) > len(fixed) and not info.variadic:
        raise click.UsageError(f"Command {command!r} takes arguments: {_takes(info, _parameters(command))}", ctx)
    for (name, convert), word in zip(fixed, words, strict=False):
        try:
            yield name, convert(word) if convert else word
        except (TypeError, ValueError) as exc:
            kind = getattr(convert, "__name__", str(convert))
            raise click.UsageError(f"Command {command!r}: {name} is of type {kind}, not {word!r}.", ctx) from exc
    if info.variadic:
        yield info.variadic, words[len(fixed) :]


# -- the answers


def _say_reply(context: CLIContext, command: str, reply: dict[str, Any], body: bool = True) -> None:
    """One worker's answer, as it comes."""
    for name, answer in reply.items():
        failed = isinstance(answer, dict) and "error" in answer
        context.say_chat("->", f" {name}: {context.ERROR if failed else context.OK}")
        if not body and not failed:
            continue
        rows = answer if isinstance(answer, list) and command in COLUMNS else None
        if rows and output.for_people() and all(isinstance(row, dict) for row in rows):
            output.say_table(context, [heading for heading, _ in COLUMNS[command]], _cells(command, rows))
        else:
            context.echo(_indented(_text(context, answer)))


def _cells(command: str, rows: list[dict[str, Any]]) -> Iterator[list[Any]]:
    for row in rows:
        cells = []
        for _, path in COLUMNS[command]:
            value: Any = row
            for part in path.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            cells.append(value)
        yield cells


def _text(context: CLIContext, answer: Any) -> str:
    if isinstance(answer, dict) and set(answer) & {"ok", "error"}:
        text = _text(context, answer.get("error", answer.get("ok")))
        return "\n".join(f"    {line}" for line in text.splitlines())
    if isinstance(answer, dict):
        return json.dumps(answer, indent=4, sort_keys=True, default=repr)
    return context.pretty(answer)[1]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def _by_node(replies: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: answer for reply in replies for name, answer in reply.items()}


def _say_count(context: CLIContext, replies: list[dict[str, Any]]) -> None:
    count = len(replies)
    context.echo(f"\n{count} {'node' if count == 1 else 'nodes'} online.")
