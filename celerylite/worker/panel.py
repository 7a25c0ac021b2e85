"""The register of remote control commands, and the decorators by which a project adds its own.

Small, because the command line reads it too; the commands that every worker has are in `worker/control.py`.
"""

from __future__ import annotations

from collections import UserDict, namedtuple
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

__all__ = ("Panel", "control_command", "inspect_command")

Command = Callable[..., Any]

#: What the command line knows of a command; Celery's name and fields.
controller_info_t = namedtuple(  # noqa: PYI024 (a tuple of these fields, as in Celery)
    "controller_info_t", ["alias", "type", "visible", "default_timeout", "help", "signature", "args", "variadic"]
)


class Panel(UserDict):
    """All commands by name, and what is known of them (`Panel.meta`)."""

    data: ClassVar[dict[str, Command]] = {}  # type: ignore[misc]
    meta: ClassVar[dict[str, controller_info_t]] = {}

    @classmethod
    def register(cls, *args: Any, **kwargs: Any) -> Any:
        """Add a command: `@Panel.register`, or `@Panel.register(name=…, type="inspect", …)`."""
        if args:
            return cls._register()(*args)
        return cls._register(**kwargs)

    @classmethod
    def _register(
        cls,
        name: str | None = None,
        alias: str | None = None,
        type: str = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: Sequence[tuple[str, Callable[[Any], Any]]] | None = None,
        variadic: str | None = None,
    ) -> Callable[[Command], Command]:
        def add(command: Command) -> Command:
            key = name or command.__name__
            about = help or (command.__doc__ or "").strip().split("\n")[0]
            cls.data[key] = command
            cls.meta[key] = controller_info_t(
                alias, type, visible, default_timeout, about, signature, args, variadic
            )  # fmt: skip
            if alias:
                cls.data[alias] = command
            return command

        return add


def control_command(**kwargs: Any) -> Callable[[Command], Command]:
    """Add a command that changes something in the worker: `celerylite control NAME`.

    The function is called in the worker's control process with the worker's state and the arguments of the request;
    what it returns is the answer, an exception becomes `{"error": …}`. Keywords: `name` (that of the function),
    `alias`, `args` (names and types of positional arguments on the command line), `variadic` (the one that takes the
    rest), `signature` (how they are shown), `help` (the docstring's first line), `default_timeout` (1.0 s), `visible`
    (True).
    """
    return Panel.register(type="control", **kwargs)


def inspect_command(**kwargs: Any) -> Callable[[Command], Command]:
    """Add a command that only looks: `celerylite inspect NAME`. Keywords as for `control_command`."""
    return Panel.register(type="inspect", **kwargs)
