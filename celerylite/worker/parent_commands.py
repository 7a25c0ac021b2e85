"""What the control process may ask the parent for: more or fewer task processes, new ones, the end of a task or of the
worker. See `Node.ask_parent`, whose questions arrive here.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerylite.worker.board import Board
    from celerylite.worker.parent import Parent

logger = logging.getLogger("celery.worker")

THREADS_CANNOT_END = (
    "the threads pool cannot terminate tasks, because Python cannot end a thread: give tasks a time limit, "
    "or run them with -P prefork"
)


class Commands:
    """Answers for one parent; nothing here waits."""

    def __init__(
        self, parent: Parent, reload: Callable[[Any, bool], None], shutdown: Callable[..., None]
    ) -> None:
        self.parent = parent
        self.reload = reload
        self.shutdown = shutdown
        self._known: dict[str, Callable[..., Any]] = {
            "pool_grow": self._grow,
            "pool_shrink": self._shrink,
            "pool_restart": self._restart,
            "shutdown": self._shutdown,
            "terminate": self._terminate,
            "pass_on": self._pass_on,
        }

    def answer(self, ask: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question: its number, and a value or an error."""
        number, kind = ask.pop("number"), ask.pop("kind")
        command = self._known.get(kind)
        if command is None:
            return {"number": number, "error": f"the worker's main process does not know how to {kind}"}
        try:
            return {"number": number, "value": command(**ask)}
        except ValueError as exc:
            return {"number": number, "error": str(exc)}
        except Exception as exc:  # a border: reloading runs the user's modules
            logger.exception("%s failed", kind, extra={"action": "command_failed"})
            return {"number": number, "error": f"{kind} failed: {exc!r}"}

    def _pass_on(self, directive: dict[str, Any]) -> None:
        self.parent.pass_on(directive, self.parent.control)

    def _grow(self, n: int = 1) -> int:
        return self._resize(int(n))

    def _shrink(self, n: int = 1) -> int:
        return self._resize(-int(n))

    def _resize(self, more: int) -> int:
        """Returns the new size of the pool."""
        crew, board = self.parent.crew, self.parent.board
        if self.parent.options.pool == "threads":
            size = resized_threads(board, more, board.slots // crew.places)
            self.parent.pass_on({"directive": "concurrency", "slots": size})
            return size
        if more >= 0:
            crew.grow(more)
        else:
            crew.shrink(-more)
        board.set_size(crew.wanted)
        return crew.wanted

    def _restart(self, modules: list[str] | None = None, reload: bool = False) -> None:
        self.reload(modules, reload)
        self.parent.crew.replace_all()

    def _shutdown(self, exitcode: int | None = None) -> None:
        self.shutdown(exitcode=exitcode)

    def _terminate(self, id: str | list[str], signal: str | int | None = None) -> list[str]:
        """Returns the ids of the tasks that ran."""
        if self.parent.options.pool == "threads":
            raise ValueError(THREADS_CANNOT_END)
        ids = [id] if isinstance(id, str) else id
        return self.parent.watch.terminate(self.parent.crew.members.values(), ids, signal_number(signal))


def resized_threads(board: Board, more: int, most: int) -> int:
    """Note and return the new number of threads; raises `ValueError` where that is none, or more than the board has
    place for.
    """
    size = board.size()
    if size + more < 1:
        raise ValueError(f"the worker has {size} thread(s), and keeps at least one")
    if size + more > most:
        raise ValueError(f"this worker has place for {most} threads, and has {size}: start it with a larger -c")
    board.set_size(size + more)
    return size + more


def signal_number(name: str | int | None) -> int:
    """The number of a signal that is given as a number, or by its name with or without SIG; SIGTERM without one."""
    if name is None:
        return signal.SIGTERM
    try:
        if isinstance(name, int) or name.isdigit():
            return signal.Signals(int(name))
        short = name.upper().removeprefix("SIG")
        return signal.Signals[f"SIG{short}"]
    except (KeyError, ValueError):
        raise ValueError(f"there is no signal {name!r}") from None
