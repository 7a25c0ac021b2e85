"""The group `celerylite`: the global options, which app they mean, and the commands.

`-A` and the other global options may stand before the command or after it.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import Context

import celerylite
from celerylite import alias, exceptions
from celerylite.bin import loading
from celerylite.bin.base import EX_UNAVAILABLE, CeleryCommand, CeleryOption, CLIContext, add_user_options

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from celerylite.app.base import Celery

#: Our commands, each with its module and the name there. They are imported when they are used, for the start of a
#: command line is felt.
COMMANDS = {
    "beat": ("beat", "beat"),
    "call": ("call", "call"),
    "completion": ("completion", "completion"),
    "control": ("control", "control"),
    "dead": ("dead", "dead"),
    "demo": ("demo", "demo"),
    "events": ("events", "events"),
    "graph": ("graph", "graph"),
    "inspect": ("control", "inspect"),
    "list": ("list", "list_"),
    "logtool": ("logtool", "logtool"),
    "migrate": ("migrate", "migrate"),
    "multi": ("multi", "multi"),
    "purge": ("purge", "purge"),
    "queue": ("queue", "queue"),
    "report": ("report", "report"),
    "result": ("result", "result"),
    "schedule": ("schedule", "schedule"),
    "shell": ("shell", "shell"),
    "status": ("control", "status"),
    "top": ("events", "top"),
    "upgrade": ("upgrade", "upgrade"),
    "worker": ("worker", "worker"),
}
#: Commands of Celery that this release does not have.
NOT_YET = ("amqp",)
#: Global options that are settings travel in the environment, for detached processes need them too.
ENVIRONMENT = {
    "broker": "CELERY_BROKER_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
    "loader": "CELERY_LOADER",
    "config": "CELERY_CONFIG_MODULE",
}


class CeleryGroup(click.Group):
    """A group that takes its options after the command too, suggests commands, and words common errors."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse, after moving global options that follow the command to the front."""
        ctx.meta["celerylite.argv"] = list(args)
        if "--as-celery" in args or alias.wanted_by_environment():
            _become_celery()  # before commands of other packages are loaded, which import celery
        _, rest, _ = self.make_parser(ctx).parse_args(list(args)) if args else ({}, [], [])
        if rest:
            head = args[: len(args) - len(rest)]
            lifted, rest = self._lift(ctx, rest)
            args = [*head, *lifted, *rest]
        return super().parse_args(ctx, args)

    def _lift(self, ctx: Context, words: list[str]) -> tuple[list[str], list[str]]:
        """Split `command word …` into the global options among the words, and the command with the others."""
        command = self.get_command(ctx, words[0])
        if not isinstance(command, CeleryCommand) and not isinstance(command, click.Group):
            return [], words
        own = {name for param in command.get_params(ctx) for name in param.opts}
        options = {
            name: param
            for param in self.params
            if isinstance(param, click.Option) and param.name not in ("version", "help")
            for name in param.opts
            if name not in own
        }
        lifted: list[str] = []
        rest = [words[0]]
        words = words[1:]
        while words:
            word = words.pop(0)
            if word == "--":
                return lifted, [*rest, word, *words]
            name = _option_name(word, options)
            if name is None:
                rest.append(word)
                continue
            lifted.append(word)
            if word == name and not options[name].is_flag and words:
                lifted.append(words.pop(0))
        return lifted, rest

    def list_commands(self, ctx: Context) -> list[str]:
        """The names of our commands and of those of other packages."""
        return sorted({*super().list_commands(ctx), *COMMANDS, *_plugins()})

    def get_command(self, ctx: Context, cmd_name: str) -> click.Command | None:
        """Our command, else that of another package; it is imported only now."""
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in COMMANDS:
            module, attribute = COMMANDS[cmd_name]
            command = getattr(importlib.import_module(f"celerylite.bin.{module}"), attribute)
        elif command is None and cmd_name in _plugins():
            command = _load_plugin(_plugins()[cmd_name])
        if command is not None:
            self.add_command(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is not None or name.startswith("-"):
            return super().resolve_command(ctx, args)
        message = f"No such command {name!r}."
        if name in NOT_YET:
            ctx.fail(
                f"{message[:-1]} yet: this release of celerylite has {', '.join(self.list_commands(ctx))}."
            )
        close = difflib.get_close_matches(name, self.list_commands(ctx))
        if close:
            message += "\n\nDid you mean one of these?\n" + "\n".join(f"    {match}" for match in close)
        ctx.fail(message)

    def invoke(self, ctx: Context) -> Any:
        """Run the command; errors of servers and settings end it with a sentence in place of a traceback."""
        try:
            return super().invoke(ctx)
        except exceptions.ImproperlyConfigured as exc:
            raise click.ClickException(f"{exc}{_hint_without_app(ctx)}") from exc
        except exceptions.OperationalError as exc:
            text = f"Cannot reach the server: {exc}{_hint_without_app(ctx)}"
            raise exceptions.CeleryCommandException(text, EX_UNAVAILABLE) from exc


def _option_name(word: str, options: Iterable[str]) -> str | None:
    """Which of the options a word of the command line is: `-A`, `-Aproj`, `--app`, `--app=proj`."""
    if word in options:
        return word
    if word.startswith("--"):
        name, equals, _ = word.partition("=")
        return name if equals and name in options else None
    # Only -A: of the one-letter options it alone is commonly written together with its value.
    return "-A" if word.startswith("-A") and "-A" in options else None


def _hint_without_app(ctx: Context) -> str:
    given = isinstance(ctx.obj, CLIContext) and not loading.is_nobodys(ctx.obj.app_name, ctx.obj.app)
    return "" if given else f"\n{loading.no_app_given()}"


global_option = functools.partial(click.option, cls=CeleryOption, help_group="Global Options")


def _print_version(ctx: Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    click.echo(celerylite.VERSION_BANNER)
    ctx.exit()


@click.group(name="celery", cls=CeleryGroup, invoke_without_command=True)
@global_option(
    "-A", "--app", envvar="APP", type=click.UNPROCESSED, help="The app: proj, proj.celery or proj:app"
)
@global_option("-b", "--broker", envvar="BROKER_URL", help="URL of the broker")
@global_option("--result-backend", envvar="RESULT_BACKEND", help="URL of the result backend")
@global_option("--loader", envvar="LOADER", help="Dotted name of a loader class")
@global_option("--config", envvar="CONFIG_MODULE", help="Module that holds the settings")
@global_option(
    "--workdir",
    type=click.Path(exists=True, file_okay=False),
    help="Directory to change to before anything else",
)
@global_option("-C", "--no-color", envvar="NO_COLOR", is_flag=True, help="No colours")
@global_option("-q", "--quiet", is_flag=True, help="Say less")
@global_option("--as-celery", is_flag=True, help="Let `import celery` mean celerylite in this process")
@global_option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version",
)
@global_option("--skip-checks", envvar="SKIP_CHECKS", is_flag=True, help="Skip Django's system checks")
@click.pass_context
def celery(
    ctx: Context,
    app: Any,
    workdir: str | None,
    no_color: bool,
    quiet: bool,
    as_celery: bool,
    skip_checks: bool,
    **settings: str | None,
) -> None:
    """celerylite, a distributed task queue.

    Global options may stand before or after the command.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        return
    directory = os.getcwd()
    _prepare_process(workdir, skip_checks, settings)
    name = app if isinstance(app, str) else None
    found = _choose_app(app, ctx.obj)
    argv = ctx.meta.get("celerylite.argv", ())
    ctx.obj = CLIContext(found, no_color, workdir, quiet, argv=argv, app_name=name, directory=directory)
    if isinstance(ctx.command, click.Group):
        command = ctx.command.get_command(ctx, ctx.invoked_subcommand)
        if command is not None:
            add_user_options(found, command)


def _become_celery() -> None:
    """From here on `import celery` gives celerylite, here and in the processes that this one starts."""
    os.environ[alias.ENVIRONMENT_VARIABLE] = "1"
    try:
        alias.install_as_celery()
    except ImportError as exc:
        raise click.UsageError(str(exc)) from exc


def _prepare_process(workdir: str | None, skip_checks: bool, settings: dict[str, str | None]) -> None:
    """Everything that must be so before the app's module is imported."""
    if workdir:
        os.chdir(Path(workdir).expanduser())
    if skip_checks:
        os.environ["CELERY_SKIP_CHECKS"] = "true"
    for name, value in settings.items():
        if value:
            os.environ[ENVIRONMENT[name]] = value
    if settings.get("loader"):
        loading.check_loader(str(settings["loader"]))


def _choose_app(app: Any, given: Any) -> Celery:
    """What `-A` names, else the app whose `start` or `worker_main` was called, else the current one."""
    if isinstance(app, str) and app:
        return loading.load_app(app)
    if isinstance(given, CLIContext):
        return given.app
    for candidate in (app, given):
        if loading.is_app(candidate):
            return candidate
    from celerylite._state import get_current_app

    return get_current_app()


@functools.cache
def _plugins() -> dict[str, EntryPoint]:
    """Commands that other packages offer under the entry point group `celery.commands`."""
    from importlib.metadata import entry_points  # lazy: 30 ms that our own commands do not need

    return {point.name: point for point in entry_points(group="celery.commands")}


def _load_plugin(point: EntryPoint) -> click.Command:
    """Its command; where the package cannot be imported, one that says so: the others shall go on working."""
    try:
        command: click.Command = point.load()
        return command
    except ImportError as exc:
        message = f"The command {point.name!r} of another package cannot be loaded: {exc}"

    def fail(**_: Any) -> None:
        raise click.ClickException(message)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(
        point.name, callback=fail, short_help="(cannot be loaded)", context_settings=settings
    )


def main() -> int:
    """Run the command line of this process."""
    if os.getcwd() not in sys.path:
        # Projects are found in the directory where the command is run, as with `python -m`.
        sys.path.insert(0, os.getcwd())
    return celery(auto_envvar_prefix="CELERY", prog_name=_program_name()) or 0


def _program_name() -> str:
    name = Path(sys.argv[0]).name
    return "python -m celerylite" if name == "__main__.py" else name
