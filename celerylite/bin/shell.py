"""`celerylite shell`: an interactive Python that knows the app and its tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click
from click import Context

from celerylite.bin.base import CeleryCommand, CeleryOption, handle_preload_options

shell_option = functools.partial(click.option, cls=CeleryOption, help_group="Shell Options")


@click.command(cls=CeleryCommand)
@shell_option("-I", "--ipython", "choice", flag_value="ipython", help="Use IPython.")
@shell_option("-B", "--bpython", "choice", flag_value="bpython", help="Use bpython.")
@shell_option("--ptpython", "choice", flag_value="ptpython", help="Use ptpython.")
@shell_option("--python", "choice", flag_value="python", help="Use Python's own shell.")
@shell_option("-T", "--without-tasks", is_flag=True, help="Leave the tasks out.")
@shell_option("--eventlet", is_flag=True, help="Not part of this release.")
@shell_option("--gevent", is_flag=True, help="Not part of this release.")
@click.pass_context
@handle_preload_options
def shell(ctx: Context, choice: str | None, without_tasks: bool, eventlet: bool, gevent: bool) -> None:
    """Start a Python shell that knows the app.

    There are `app` (also as `celery`), `Task`, `chain`, `chord`, `chunks`, `group`, `signature`, `subtask`, `xmap`,
    `xstarmap`, and all tasks by their short names. The best shell that is installed is taken.
    """
    if eventlet or gevent:
        raise click.UsageError("--eventlet and --gevent are not part of this release.")
    app = ctx.obj.app
    app.loader.import_default_modules()
    app.set_current()
    names = namespace(app, tasks=not without_tasks)
    if choice is not None:
        try:
            SHELLS[choice](names)
        except ModuleNotFoundError as exc:
            if exc.name != MODULES.get(choice):
                raise
            raise click.ClickException(f"{MODULES[choice]} is not installed: pip install {choice}") from exc
        return
    for start in SHELLS.values():
        try:
            return start(names)
        except ModuleNotFoundError as exc:
            if exc.name not in MODULES.values():
                raise


def namespace(app: Any, tasks: bool = True) -> dict[str, Any]:
    """The names that the shell starts with; those of the library win over tasks of the same name."""
    from celerylite import canvas  # only this command needs it

    found: dict[str, Any] = {}
    if tasks:
        found.update({task.__name__: task for name, task in app.tasks.items() if not name.startswith("celery.")})
    found.update(
        app=app, celery=app, Task=app.Task,
        chain=canvas.chain, chord=canvas.chord, chunks=canvas.chunks, group=canvas.group, signature=canvas.signature,
        subtask=canvas.subtask, xmap=canvas.xmap, xstarmap=canvas.xstarmap,
    )  # fmt: skip
    return found


def _ipython(names: dict[str, Any]) -> None:
    from IPython import start_ipython

    start_ipython(argv=[], user_ns=names)


def _bpython(names: dict[str, Any]) -> None:
    import bpython

    bpython.embed(names)


def _ptpython(names: dict[str, Any]) -> None:
    from ptpython.repl import embed

    embed(names, names)


def _python(names: dict[str, Any]) -> None:
    import code  # only here, as above

    try:
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    except ImportError:
        pass  # a Python without readline
    code.interact(local=names)


#: In the order in which they are tried; the last one is always there.
SHELLS: dict[str, Callable[[dict[str, Any]], None]] = {
    "ipython": _ipython,
    "bpython": _bpython,
    "ptpython": _ptpython,
    "python": _python,
}
MODULES = {"ipython": "IPython", "bpython": "bpython", "ptpython": "ptpython"}
