"""The parent of a worker: starts, watches, replaces and stops the other processes.

Single-threaded, never on the network: so it can fork at any time, and no broker can make it hang. What it knows of
tasks it reads from the board.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celerylite import signals
from celerylite.utils.clock import uptime
from celerylite.utils.polling import readable
from celerylite.worker.board import Board
from celerylite.worker.children import BEAT, CONTROL, Child, Line, describe, fork, freeze
from celerylite.worker.directives import Directives

if TYPE_CHECKING:
    from celerylite.worker.options import WorkerOptions

logger = logging.getLogger("celery.worker")
pool_logger = logging.getLogger("celery.concurrency.prefork")

#: Seconds between looks at the board (time limits).
TICK = 0.1
#: A task process that dies younger than this is replaced with a growing pause.
INFANT = 1.0
PAUSE_MOST = 5.0
#: Seconds that the end of a worker waits for losses to be settled (a broker that is gone).
PATIENCE = 8.0
#: Seconds that a task process has for a cold shutdown.
GRACE = 2.0
#: Seconds before a beat that has ended is started again.
BEAT_PAUSE = 1.0
#: Parts of a lease after which a control process that does nothing is replaced.
CONTROL_SILENCE = 0.5


class Parent:
    """Keeps `processes` task processes of `slots_each` slots alive, and one control process."""

    def __init__(
        self,
        options: WorkerOptions,
        processes: int,
        slots_each: int,
        run_tasks: Callable[[Board, range, Line], int],
        run_control: Callable[[Board, Line], int],
        on_ready: Callable[[], None],
        run_beat: Callable[[Line], int] | None = None,
        directives: Directives | None = None,
    ) -> None:
        self.options = options
        self.processes = processes
        self.slots_each = slots_each
        self.run_tasks = run_tasks
        self.run_control = run_control
        self.on_ready = on_ready
        self.run_beat = run_beat
        #: What the worker was told so far: children that are forked later inherit it.
        self.directives = directives or Directives(options.queues)
        # Twice as many places as processes: what a dead one was running stays on the board until it is settled.
        self._free = [range(at * slots_each, (at + 1) * slots_each) for at in range(2 * processes + 2)]
        self.board = Board(len(self._free) * slots_each)
        self.tasks: dict[int, Child] = {}
        self.control: Child | None = None
        self.beat: Child | None = None
        self._unsettled: dict[int, tuple[Child, int]] = {}
        self._numbers = 0
        self._infants = 0
        self._not_before = 0.0
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
                self._limits()
                self._watch_control()
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
        if not self.stopping or self.tasks or self.beat is not None:
            return False
        self._ended_at = self._ended_at or uptime()
        if self._unsettled and uptime() - self._ended_at < PATIENCE:
            return False
        return self._stop_control()

    def _fill(self) -> None:
        """Start what is missing."""
        if self.control is None:
            self.control = fork(
                0, CONTROL, range(0), lambda line: self.run_control(self.board, line), self._children(),
                self._lifelines(),
            )  # fmt: skip
            for child in (*self.tasks.values(), *(child for child, _ in self._unsettled.values())):
                for name, file in child.lifelines.items():
                    self.control.line.send_file(file, adopt=name)
            for child, status in self._unsettled.values():
                self._report(child, status)
        if self.run_beat is not None and self.beat is None and not self.stopping and uptime() >= self._beat_not_before:
            self.beat = fork(0, BEAT, range(0), self.run_beat, self._children(), self._lifelines())
        while not self.stopping and len(self.tasks) < self.processes and self._free and uptime() >= self._not_before:
            self._start_one()

    def _start_one(self) -> None:
        slots = self._free.pop(0)
        self._numbers += 1
        number = self._numbers
        taken = {int(child.name.rsplit("-", 1)[1]) for child in self.tasks.values()}
        index = next(n for n in range(1, self.processes + 1) if n not in taken)

        def run(line: Line) -> int:
            for slot in slots:
                self.board.clear(slot, os.getpid())
            return self.run_tasks(self.board, slots, line)

        signals.worker_before_create_process.send(sender=self)
        self.tasks[number] = fork(number, f"ForkPoolWorker-{index}", slots, run, self._children(), self._lifelines())

    def _children(self) -> list[Child]:
        return [child for child in (*self.tasks.values(), self.control, self.beat) if child is not None]

    def _lifelines(self) -> list[int]:
        """The sockets that we keep for others: who holds a copy of them keeps them open."""
        children = (*self.tasks.values(), *(child for child, _ in self._unsettled.values()))
        return [file for child in children for file in child.lifelines.values()]

    def _listen(self) -> None:
        lines = [child.line for child in self._children()]
        for line in lines:
            line.flush()
        for ready in readable([self._wake_read, *lines], TICK):
            if ready == self._wake_read:
                self._drain()
                continue
            messages = ready.receive()
            if messages is None:
                # The child is about to be reaped; its line would be readable for ever.
                readable([self._wake_read], 0.01)
            for message in messages or ():
                self._hear(ready, message)

    def _drain(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass  # already empty

    def _hear(self, line: Line, message: dict[str, Any]) -> None:
        if "directive" in message:
            self._pass_on(message["directive"], line)
        if "ask" in message:
            line.send(answer=self._answer(message["ask"]))
        if "settled" in message:
            child, _ = self._unsettled.pop(int(str(message["settled"])))
            self._release(child)
        for process in self._children():
            if process.line is not line:
                continue
            if message.get("ready"):
                process.ready = True
            if "lifeline" in message:
                self._keep(process, str(message["lifeline"]))
        if not self._announced and self._all_ready():
            self._announced = True
            self.on_ready()

    def _pass_on(self, directive: dict[str, Any], origin: Line) -> None:
        """Note a directive for children to come, and tell those that are there."""
        self.directives.apply(directive)
        for child in self.tasks.values():
            child.line.send(directive=directive)
        if self.control is not None and self.control.line is not origin:
            self.control.line.send(directive=directive)
        self.board.tell()

    def _answer(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Do what the control process asks for; see `Node.ask_parent`."""
        number, kind = ask.pop("number"), ask.pop("kind")
        if kind == "shutdown":
            self.warm()
            return {"number": number, "value": None}
        return {"number": number, "error": f"the worker's main process does not know how to {kind}"}

    def _keep(self, child: Child, name: str) -> None:
        """Keep a copy of the socket on which a task process holds messages, in place of the one before."""
        file = child.line.files.popleft()
        self._drop_lifelines(child)
        child.lifelines[name] = file
        if self.control is not None:
            self.control.line.send_file(file, adopt=name)

    def _drop_lifelines(self, child: Child) -> None:
        while child.lifelines:
            name, file = child.lifelines.popitem()
            os.close(file)
            if self.control is not None:
                self.control.line.send(disown=name)

    def _all_ready(self) -> bool:
        everybody = [*self.tasks.values(), self.control]
        return len(self.tasks) == self.processes and all(child is not None and child.ready for child in everybody)

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
        child.line.close()
        if child is self.control:
            self.control = None
            if not self.stopping or self.tasks:
                logger.error(
                    "The control process (pid %s) has ended with status %s; starting another", child.pid, status
                )
            return
        if child is self.beat:
            self.beat = None
            if not self.stopping:
                logger.error("Beat (pid %s) has ended with %s; starting it anew", child.pid, describe(status))
                self._beat_not_before = uptime() + BEAT_PAUSE
            return
        del self.tasks[child.number]
        for slot in child.slots:
            self.board.set_dead(slot)
        busy = any(self.board.busy(slot) for slot in child.slots)
        if (status == 0 or child.wanted) and not busy:
            self._release(child)
            return
        if not child.wanted and child.timeout is None:
            level = logging.ERROR
            pool_logger.log(level, "Process %r pid:%s exited with %r", child.name, child.pid, describe(status))
        if uptime() - child.born < INFANT and not busy:
            self._infants += 1
            self._not_before = uptime() + min(PAUSE_MOST, 0.1 * 2**self._infants)
        else:
            self._infants = 0
        self._unsettled[child.number] = (child, status)
        self._report(child, status)

    def _report(self, child: Child, status: int) -> None:
        if self.control is not None:
            self.control.line.send(
                loss={
                    "number": child.number, "name": child.name, "pid": child.pid, "status": status,
                    "timeout": child.timeout, "wanted": child.wanted, "slots": [child.slots.start, len(child.slots)],
                }
            )  # fmt: skip

    def _release(self, child: Child) -> None:
        self._drop_lifelines(child)
        for slot in child.slots:
            self.board.clear(slot)
        self._free.append(child.slots)

    # -- time limits and the control process

    def _limits(self) -> None:
        if self.options.pool == "threads":
            return  # they watch themselves
        now = uptime()
        for child in self.tasks.values():
            slot = child.slots.start
            if not self.board.busy(slot):
                continue
            running = self.board.read(slot)
            age = now - running.since
            if running.hard_limit and age >= running.hard_limit:
                self._kill_late(child, running.since, running.hard_limit)
            elif running.soft_limit and age >= running.soft_limit and child.warned != running.since:
                child.warned = running.since
                os.kill(child.pid, signal.SIGUSR1)

    def _kill_late(self, child: Child, since: float, limit: float) -> None:
        """Kill a task past its hard limit: stop it first, so that the next task is not hit in its place."""
        os.kill(child.pid, signal.SIGSTOP)
        running = self.board.read(child.slots.start)
        if running.busy and running.since == since:
            child.timeout = limit
            os.kill(child.pid, signal.SIGKILL)
        os.kill(child.pid, signal.SIGCONT)

    def _watch_control(self) -> None:
        """A control process that does nothing for half a lease hangs: replace it while the leases last."""
        if self.control is None or not self.control.ready:
            return
        silence = uptime() - max(self.board.alive(), self.control.born)
        if silence > max(self.options.lease * CONTROL_SILENCE, 3 * TICK) + 10.0:
            logger.error("The control process (pid %s) hangs; replacing it", self.control.pid)
            os.kill(self.control.pid, signal.SIGKILL)

    # -- stopping

    def warm(self) -> None:
        """Let running tasks finish; any signal handler may call."""
        self.stopping = True
        for child in (*self.tasks.values(), self.beat):
            if child is not None:
                self._signal(child, signal.SIGTERM)

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
            self._signal(self.beat, signal.SIGKILL)
        for child in self.tasks.values():
            if not child.wanted or kill:
                child.wanted = True
                self._signal(child, signal.SIGKILL if kill else signal.SIGQUIT)

    def _stop_control(self) -> bool:
        """Tell the control process to end; True when it has."""
        if self.control is None:
            return True
        if not self.control.wanted:
            self.control.wanted = True
            self.control.line.send(stop=True)
        return False

    @staticmethod
    def _signal(child: Child, number: int) -> None:
        try:
            os.kill(child.pid, number)
        except ProcessLookupError:
            pass  # it is being reaped
