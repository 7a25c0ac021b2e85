"""`celerylite events` without options: tasks as they come and go, live in the terminal (curses)."""

from __future__ import annotations

import curses
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import celerylite
from celerylite import _state
from celerylite.utils.text import abbr, abbrtask

__all__ = ("CursesMonitor", "evtop")

BORDER = 4
STATE_WIDTH, TIME_WIDTH, UUID_WIDTH = 8, 8, 36
LEAST_WORKER, LEAST_TASK = 15, 16
#: Seconds between two looks at the keyboard, and between two pictures while nobody presses a key.
LOOK, PICTURE = 0.1, 0.5
#: Seconds to wait before a broken connection is tried again.
PAUSE = 2.0


class CursesMonitor:
    """The screen. `keymap` adds keys (a character -> a function without arguments) or replaces ours."""

    greet = f"celerylite events {celerylite.__celerylite_version__}"
    help = "j:down k:up i:info t:traceback r:result c:revoke l:rate limit q:quit"

    def __init__(self, state: Any, app: Any, keymap: dict[str, Callable[[], Any]] | None = None) -> None:
        self.state, self.app = state, app
        self.win: Any = None
        self.selected_task: str | None = None
        self.ended = threading.Event()
        #: What was said last: an answer of a worker, or that the connection is lost.
        self.notice = ""
        self.keymap: dict[str, Callable[[], Any]] = {
            "j": partial(self.move_selection, 1), "k": partial(self.move_selection, -1), "i": self.selection_info,
            "t": self.selection_traceback, "r": self.selection_result, "c": self.revoke_selection,
            "l": self.selection_rate_limit, "q": self.ended.set, **(keymap or {}),
        }  # fmt: skip
        self._keyalias = {curses.KEY_DOWN: "j", curses.KEY_UP: "k", curses.KEY_ENTER: "i", 10: "i", 13: "i"}

    # -- what is shown

    @property
    def workers(self) -> list[str]:
        """The names of the workers that are there."""
        return [worker.hostname for worker in self.state.alive_workers()]

    def tasks(self, limit: int) -> list[tuple[str, Any]]:
        """The newest tasks, newest first."""
        return list(self.state.tasks_by_time(limit=limit))

    def format_row(self, uuid: str, task: str, worker: str, timestamp: str, state: str, width: int) -> str:
        """One line of the table, as wide as the screen."""
        left = max(LEAST_WORKER + LEAST_TASK, width - BORDER - UUID_WIDTH - STATE_WIDTH - TIME_WIDTH - 4)
        for_worker = max(LEAST_WORKER, left // 3)
        cells = (
            abbr(uuid, UUID_WIDTH).ljust(UUID_WIDTH),
            abbr(worker, for_worker).ljust(for_worker),
            abbrtask(task, left - for_worker).ljust(left - for_worker),
            timestamp.ljust(TIME_WIDTH),
            abbr(state, STATE_WIDTH).ljust(STATE_WIDTH),
        )
        return " ".join(cells)[: max(0, width - BORDER)]

    def row(self, task: Any, width: int) -> str:
        """The line of a task."""
        when = time.strftime("%H:%M:%S", time.localtime(task.timestamp or task.received or time.time()))
        worker = task.worker.hostname if task.worker is not None else ""
        return self.format_row(task.uuid, task.name or "", worker, when, task.state, width)

    def status(self) -> list[str]:
        """The lines below the table."""
        state, workers = self.state, self.workers
        lines = [
            f"Workers online: {', '.join(workers) or 'none'}",
            f"Info: events: {state.event_count} tasks: {state.task_count} "
            f"workers: {len(workers)}/{len(state.workers)}",
            f"Keys: {self.help}",
        ]
        selected = self.state.tasks.get(self.selected_task)
        if selected is not None:
            fields = " ".join(f"{key}={value}" for key, value in selected.info().items())
            lines.insert(0, f"Selected: {selected.name or selected.uuid} {fields}")
        return [self.notice, *lines] if self.notice else lines

    def details(self, *names: str) -> list[str]:
        """What is known of these fields of the selected task (all of them without names), a line each."""
        task = self.state.tasks.get(self.selected_task)
        if task is None:
            return ["No task is selected: j and k move."]
        fields = task.info(names or None, extra=() if names else ("uuid", "state", "worker"))
        lines = [f"{task.name or ''}[{task.uuid}]", ""]
        for name, value in fields.items():
            lines += [f"{name}:", *(f"  {line}" for line in str(value).splitlines())]
        return lines if fields else [*lines, f"There is no {' or '.join(names)} (state {task.state})."]

    # -- keys

    def move_selection(self, direction: int = 1) -> None:
        """Select the next task, or the one before."""
        found = [uuid for uuid, _ in self.tasks(1000)]
        if not found:
            return
        at = found.index(self.selected_task) + direction if self.selected_task in found else 0
        self.selected_task = found[min(max(at, 0), len(found) - 1)]

    def selection_info(self) -> None:
        """Show all of the selected task."""
        self.alert(self.details())

    def selection_traceback(self) -> None:
        """Show its traceback."""
        self.alert(self.details("exception", "traceback"))

    def selection_result(self) -> None:
        """Show its result."""
        self.alert(self.details("result", "exception"))

    def revoke_selection(self) -> None:
        """Revoke it."""
        if self.selected_task:
            self._ask("revoke", lambda: self.app.control.revoke(self.selected_task, reply=True))

    def selection_rate_limit(self) -> None:
        """Ask for a rate, and set it for all tasks of its type."""
        task = self.state.tasks.get(self.selected_task)
        if task is None or not task.name:
            return
        rate = self.readline(f"Rate limit of {task.name} (such as 10/m): ")
        if rate:
            self._ask("rate limit", lambda: self.app.control.rate_limit(task.name, rate, reply=True))

    def _ask(self, what: str, ask: Callable[[], Any]) -> None:
        """Have the workers do something; their answers become the notice."""
        try:
            self.notice = f"{what}: {ask() or 'no worker has answered'}"
        except Exception as exc:  # a border: connections of any make raise what they like
            self.notice = f"{what}: {exc!r}"

    def handle_keypress(self) -> bool:
        """Do what the key asks for that was pressed; False where none was."""
        key = self.win.getch()
        if key < 0:
            return False
        name = self._keyalias.get(key) or (chr(key).lower() if key < 256 else "")
        if name in self.keymap:
            self.keymap[name]()
        return True

    def readline(self, question: str) -> str:
        """Ask for a line of text."""
        height, _ = self.win.getmaxyx()
        self._line(height - 2, question, curses.A_BOLD)
        curses.echo()
        self.win.nodelay(False)
        try:
            return self.win.getstr(height - 2, min(len(question) + 2, 70), 40).decode().strip()
        finally:
            curses.noecho()
            self.win.nodelay(True)

    # -- the screen

    def _line(self, at: int, text: str, how: int = 0) -> None:
        height, width = self.win.getmaxyx()
        if 0 <= at < height - 1:
            try:
                self.win.addstr(at, 2, text[: max(0, width - BORDER)], how)
            except curses.error:
                pass  # the screen has shrunk meanwhile

    def draw(self) -> None:
        """Paint all of it."""
        height, width = self.win.getmaxyx()
        self.win.erase()
        self._line(0, self.greet, curses.A_DIM)
        self._line(2, self.format_row("UUID", "TASK", "WORKER", "TIME", "STATE", width), curses.A_BOLD)
        status = self.status()
        for at, (uuid, task) in enumerate(self.tasks(max(0, height - 6 - len(status)))):
            self._line(3 + at, self.row(task, width), curses.A_STANDOUT if uuid == self.selected_task else 0)
        for at, text in enumerate(status):
            self._line(height - 2 - len(status) + at, text)
        self.win.refresh()

    def alert(self, lines: list[str]) -> None:
        """Show a text until a key is pressed."""
        self.win.erase()
        for at, line in enumerate([*lines, "", "Press any key to continue..."]):
            self._line(1 + at, line)
        self.win.refresh()
        while self.win.getch() < 0 and not self.ended.is_set():
            self.ended.wait(LOOK)

    def run(self, win: Any) -> None:
        """Show until `ended` is set; called by `curses.wrapper`."""
        self.win = win
        win.nodelay(True)
        win.keypad(True)
        try:
            curses.curs_set(0)
        except curses.error:
            pass  # a terminal whose cursor is always there
        shown = 0.0
        while not self.ended.is_set():
            if self.handle_keypress() or time.monotonic() - shown >= PICTURE:
                self.draw()
                shown = time.monotonic()
            self.ended.wait(LOOK)


def _listen(app: Any, state: Any, display: CursesMonitor) -> None:
    """Feed the state until the display ends."""
    while not display.ended.is_set():
        try:
            with app.connection_for_read() as connection:
                receiver = app.events.Receiver(connection, handlers={"*": state.event})
                display.notice = ""
                receiver.capture()
        except Exception as exc:  # a border: connections of any make raise what they like, and the screen must live
            display.notice = f"Connection lost: {exc!r}. Trying again in {PAUSE:g} s"
            display.ended.wait(PAUSE)


def evtop(app: Any = None) -> None:
    """Show the cluster until somebody presses q or Ctrl-C."""
    app = _state.app_or_default(app)
    state = app.events.State()
    display = CursesMonitor(state, app)
    threading.Thread(target=_listen, args=(app, state, display), name="events", daemon=True).start()
    try:
        curses.wrapper(display.run)
    except KeyboardInterrupt:
        pass  # how people leave
    finally:
        display.ended.set()
