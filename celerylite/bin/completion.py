"""`celerylite completion`: scripts that complete commands, options and names in bash, zsh and fish.

Names of tasks and queues are those that the app knows; nothing is asked over the network, except for the names of
workers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click import Context
from click.shell_completion import CompletionItem, get_completion_class

from celerylite.bin import loading
from celerylite.bin.base import CeleryCommand

#: Seconds that workers have to answer while somebody waits with a finger on the tab key.
ANSWER = 0.3


@click.command(cls=CeleryCommand)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: Context, shell: str) -> None:
    """Print the script that completes celerylite's command line in a SHELL.

    \b
    Examples:
      eval "$(celerylite completion bash)"        # in ~/.bashrc; zsh alike in ~/.zshrc
      celerylite completion fish > ~/.config/fish/completions/celerylite.fish
    """
    root = ctx.find_root()
    program = Path(root.info_name or "celerylite").name
    if " " in program or not program:
        program = "celerylite"  # started as python -m celerylite
    cls = get_completion_class(shell)
    assert cls is not None
    variable = f"_{program}_COMPLETE".replace("-", "_").upper()
    click.echo(cls(root.command, {}, program, variable).source())


def complete_tasks(ctx: Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of tasks of the app that `-A` names."""
    app = _app_of(ctx)
    if app is None:
        return []
    app.loader.import_default_modules()
    return _items((name for name in app.tasks if not name.startswith("celery.")), incomplete)


def complete_queues(ctx: Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of queues of the app, also within a list with commas."""
    app = _app_of(ctx)
    return [] if app is None else _listed(app.amqp.queues, incomplete)


def complete_workers(ctx: Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of workers that answer in time, also within a list with commas."""
    app = _app_of(ctx)
    if app is None:
        return []
    try:
        replies = app.control.ping(timeout=ANSWER)
    except Exception:  # a border: without a broker there is nothing to complete, and nobody to tell
        return []
    return _listed((name for reply in replies for name in reply), incomplete)


def _app_of(ctx: Context) -> Any:
    name = ctx.find_root().params.get("app")
    if not isinstance(name, str) or not name:
        return None
    try:
        return loading.load_app(name)
    except click.ClickException:
        return None  # the command itself will say what is wrong


def _items(names: Any, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def _listed(names: Any, incomplete: str) -> list[CompletionItem]:
    done, comma, last = incomplete.rpartition(",")
    taken = done.split(",")
    left = (name for name in sorted(names) if name.startswith(last) and name not in taken)
    return [CompletionItem(f"{done}{comma}{name}") for name in left]
