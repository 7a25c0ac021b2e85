"""The parent of a worker: starts, watches, replaces and stops the other processes.

Single-threaded, never on the network: so it can fork at any time, and no broker can make it hang. What it knows of
tasks it reads from the board; `Crew` sees to the task processes, `Watch` to what they run, `Commands` answers what
remote control asks for.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celerylite.utils.clock import uptime
from celerylite.utils.polling import readable
from celerylite.worker.board import Board
from celerylite.worker.children import BEAT, CONTROL, Child, Line, describe, fork, freeze, signals_held
from celerylite.worker.crew import Crew
from celerylite.worker.directives import Directives
from celerylite.worker.parent_commands import Commands
from celerylite.worker.watch import Watch

if TYPE_CHECKING:
    from celerylite.worker.options import WorkerOptions

logger = logging.getLogger("celery.worker")

#: Seconds between looks at the board (time limits).
TICK = 0.1
#: Seconds that the end of a worker waits for losses to be settled (a broker that is gone).
PATIENCE = 8.0
#: Seconds that a task process has for a cold shutdown.
GRACE = 2.0
#: Seconds before a beat that has ended is started again.
BEAT_PAUSE = 1.0
#: Parts of a lease after which a control process that does nothing is replaced.
CONTROL_SILENCE = 0.5
#: Task processes and threads for which there is place on the board, at least; and how many times what the worker starts
#: with (what a dead process was running stays there until it is settled). Pages are only used when they are written.
PLACES, PLACES_TIMES = 256, 4
THREADS, THREADS_TIMES = 32, 2


class Parent:
    """Keeps the task processes alive, one control process, and beat where it is wanted."""

    def __init__(
        self,
        options: WorkerOptions,
        run_tasks: Callable[[Board, range, Line, bool], int],
        run_control: Callable[[Board, Line], int],
        on_ready: Callable[[], None],
        run_beat: Callable[[Line], int] | None = None,
        directives: Directives | None = None,
        reload: Callable[[Any, bool], None] = lambda modules, reload: None,
        shutdown: Callable[..., None] | None = None,
    ) -> None:
        self.options = options
        self.run_control = run_control
        self.on_ready = on_ready
        self.run_beat = run_beat
        #: What the worker was told so far: children that are forked later inherit it.
        self.directives = directives or Directives(options.queues)
        self.board, places = make_board(options)
        processes = 1 if options.pool == "threads" else options.concurrency
        self.crew = Crew(self.board, places, processes, run_tasks, self._fork, self._tell_control)
        self.watch = Watch(self.board)
        self.commands = Commands(self, reload, shutdown or (lambda exitcode=None: self.warm()))
        self.control: Child | None = None
        self.beat: Child | None = None
        self._beat_not_before = 0.0
        self._announced = False
        #: Called each time that the loop has gone round.
        self.on_round: Callable[[], None] = lambda: None
        self.stopping = False
        self.cold_at: float | None = None
        self._ended_at = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    # -- the loop

    def run(self) -> None:
        """Work until everything has ended."""
        freeze()
        with self._waking_on_signals():
            while not self._over():
                self._fill()
                self._listen()
                self._reap()
                if self.options.pool != "threads":  # they watch themselves
                    self.watch.limits(self.crew.members.values())
                self._watch_control()
                self._tell_end()
                self._cool()
                self.on_round()

    @contextmanager
    def _waking_on_signals(self) -> Iterator[None]:
        """Let signals, and the end of children above all, end a wait at once; in a thread the ticks must do."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        handler = signal.signal(signal.SIGCHLD, lambda *_: None)  # only so that the wake-up comes
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            signal.signal(signal.SIGCHLD, handler)

    def _over(self) -> bool:
        if not self.stopping or self.crew.members or self.beat is not None:
            return False
        self._ended_at = self._ended_at or uptime()
        if self.crew.unsettled and uptime() - self._ended_at < PATIENCE:
            return False
        return self._stop_control()

    def _fill(self) -> None:
        """Start what is missing; a signal to end must meet a new child among the others, not on its way to them."""
        with signals_held():
            self._start_missing()

    def _start_missing(self) -> None:
        if self.control is None:
            self.control = self._fork(0, CONTROL, range(0), lambda line: self.run_control(self.board, line))
            self.crew.report_all()
        if self.stopping:
            return
        if self.run_beat is not None and self.beat is None and uptime() >= self._beat_not_before:
            self.beat = self._fork(0, BEAT, range(0), self.run_beat)
        self.crew.fill()

    def _fork(self, number: int, name: str, slots: range, run: Callable[[Line], int]) -> Child:
        return fork(number, name, slots, run, self._children(), self.crew.lifelines())

    def _children(self) -> list[Child]:
        return [child for child in (*self.crew.members.values(), self.control, self.beat) if child is not None]

    # -- what they say

    def _listen(self) -> None:
        children = {child.line: child for child in self._children()}
        for line in children:
            line.flush()
        for ready in readable([self._wake_read, *children], TICK):
            if ready == self._wake_read:
                self._drain()
            elif not self._read(children[ready]):
                # The child is about to be reaped; its line would be readable for ever.
                readable([self._wake_read], 0.01)

    def _read(self, child: Child) -> bool:
        """Hear what a child has said; False where it has hung up."""
        messages = child.line.receive()
        for message in messages or ():
            self._hear(child, message)
        return messages is not None

    def _drain(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass  # already empty

    def _hear(self, child: Child, message: dict[str, Any]) -> None:
        if "directive" in message:
            self.pass_on(message["directive"], child)
        if "ask" in message:
            child.line.send(answer=self.commands.answer(message["ask"]))
        if "settled" in message:
            self.crew.settled(int(message["settled"]))
        if message.get("ready"):
            child.ready = True
        if "lifeline" in message:
            self.crew.keep(child, str(message["lifeline"]))
        if child.slots:
            self.crew.hear(child, message)
        if not self._announced and self.control is not None and self.control.ready and self.crew.all_ready():
            self._announced = True
            self.on_ready()

    def pass_on(self, directive: dict[str, Any], origin: Child | None = None) -> None:
        """Note a directive for children to come, and tell those that are there."""
        self.directives.apply(directive)
        for child in self.crew.members.values():
            child.line.send(directive=directive)
        if self.control is not None and self.control is not origin:
            self.control.line.send(directive=directive)
        self.board.tell()

    def _tell_control(self, file: int | None = None, **message: Any) -> None:
        if self.control is None:
            return
        if file is None:
            self.control.line.send(**message)
        else:
            self.control.line.send_file(file, **message)

    # -- the dead

    def _reap(self) -> None:
        for child in self._children():
            status = self._status(child)
            if status is not None:
                self._bury(child, status)
        if os.getpid() == 1:
            self._reap_strangers()

    @staticmethod
    def _status(child: Child) -> int | None:
        try:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
        except ChildProcessError:
            return 0  # somebody else has waited for it
        return os.waitstatus_to_exitcode(status) if pid else None

    def _reap_strangers(self) -> None:
        """As process 1 we inherit the orphans of our tasks."""
        ours = {child.pid for child in self._children()}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in ours:
                return
            os.waitpid(found.si_pid, os.WNOHANG)

    def _bury(self, child: Child, status: int) -> None:
        # What it said last: a directive of a control process that was killed right after it must reach everybody.
        while readable((child.line,), 0) and self._read(child):
            pass
        child.line.close()
        if child is self.control:
            self.control = None
            if not self.stopping or self.crew.members:
                logger.error(
                    "The control process (pid %s) has ended with status %s; starting another", child.pid, status
                )
        elif child is self.beat:
            self.beat = None
            if not self.stopping:
                logger.error("Beat (pid %s) has ended with %s; starting it anew", child.pid, describe(status))
                self._beat_not_before = uptime() + BEAT_PAUSE
        else:
            self.crew.bury(child, status)

    # -- the control process

    def _watch_control(self) -> None:
        """A control process that does nothing for half a lease hangs: replace it while the leases last."""
        if self.control is None or not self.control.ready:
            return
        silence = uptime() - max(self.board.alive(), self.control.born)
        if silence > max(self.options.lease * CONTROL_SILENCE, 3 * TICK) + 10.0:
            logger.error("The control process (pid %s) hangs; replacing it", self.control.pid)
            self.control.signal(signal.SIGKILL)

    # -- stopping

    def warm(self) -> None:
        """Let running tasks finish; any signal handler may call."""
        self.stopping = True
        for child in (*self.crew.members.values(), self.beat):
            if child is not None:
                child.end()

    def _tell_end(self) -> None:
        """Have the control process stop the project's own steps, as soon as the worker begins to end."""
        if self.stopping and self.control is not None and not self.control.retiring:
            self.control.retiring = True
            self.control.line.send(closing=True, cold=self.cold_at is not None)

    def cold(self, after: float = 0.0) -> None:
        """End tasks that still run `after` seconds from now."""
        self.warm()
        self.cold_at = uptime() + after

    def _cool(self) -> None:
        """Ask tasks to end, so that they can give back what they hold; those that do not are killed."""
        if self.cold_at is None or uptime() < self.cold_at:
            return
        self.board.set_cold()
        kill = uptime() >= self.cold_at + GRACE
        if kill and self.beat is not None:
            self.beat.signal(signal.SIGKILL)
        for child in self.crew.members.values():
            if not child.wanted or kill:
                child.wanted = True
                child.signal(signal.SIGKILL if kill else signal.SIGQUIT)

    def _stop_control(self) -> bool:
        """Tell the control process to end; True when it has."""
        if self.control is None:
            return True
        if not self.control.wanted:
            self.control.wanted = True
            self.control.line.send(stop=True)
        return False


def make_board(options: WorkerOptions) -> tuple[Board, list[range]]:
    """The board of a worker, and the slots of each task process that it has place for."""
    highest = max(options.concurrency, options.autoscale[0] if options.autoscale else 0)
    if options.pool == "threads":
        each, processes = max(THREADS, THREADS_TIMES * highest), PLACES_TIMES
    else:
        each, processes = 1, max(PLACES, PLACES_TIMES * highest + 2)
    board = Board(processes * each)
    board.set_size(options.concurrency)
    return board, [range(at * each, (at + 1) * each) for at in range(processes)]
