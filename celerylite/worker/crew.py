"""The task processes of a worker: how many there are to be, who replaces whom, and what the dead leave on the board.

A process that is about to have run its share gets a successor beforehand: it starts, connects and stands by until the
old one has finished its last task. So there is no gap, and never more tasks run than there are to be processes.
"""

from __future__ import annotations

import heapq
import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from celerylite import signals
from celerylite.utils.clock import uptime
from celerylite.worker.children import Child, Line, describe

if TYPE_CHECKING:
    from celerylite.worker.board import Board

pool_logger = logging.getLogger("celery.concurrency.prefork")

#: A task process that dies younger than this is replaced with a growing pause.
INFANT = 1.0
PAUSE_MOST = 5.0

#: Forks: number, name, slots, what to run.
Fork = Callable[[int, str, range, Callable[[Line], int]], Child]


class Crew:
    """Keeps `wanted` task processes at work. Used by the parent's one thread."""

    def __init__(
        self,
        board: Board,
        places: list[range],
        wanted: int,
        run_tasks: Callable[[Board, range, Line, bool], int],
        fork: Fork,
        tell_control: Callable[..., object],
    ) -> None:
        self.board = board
        self.run_tasks = run_tasks
        self.fork = fork
        self.tell_control = tell_control
        #: Task processes by number, those that stand by or are about to end among them.
        self.members: dict[int, Child] = {}
        #: The dead, and their exit status, of whom the control process has not settled what they ran.
        self.unsettled: dict[int, tuple[Child, int]] = {}
        # The lowest first: each place that was ever used costs memory.
        self._free = [(place.start, place) for place in places]
        #: For how many task processes the board has place, those that have died among them.
        self.places = len(places)
        self.wanted = wanted
        self._numbers = 0
        self._infants = 0
        self._not_before = 0.0

    # -- how many

    def at_work(self) -> list[Child]:
        """Who fetches and runs tasks, or still runs one; of those with threads, who fetches."""
        return [
            child
            for child in self.members.values()
            if not child.standby and not child.idle and child.running is None
        ]

    def all_ready(self) -> bool:
        """Whether as many as are wanted have said that they are ready."""
        return sum(child.ready for child in self.at_work()) >= self.wanted

    def fill(self) -> None:
        """Start what is missing, and who will be needed soon."""
        while len(self.at_work()) < self.wanted:
            successor = self._successor()
            if successor is not None:
                successor.standby = False
                self._share_slots()  # first: once it may go it takes as many tasks as it knows of slots
                successor.line.send(go=True)
            elif not self._start(standby=False):
                return
        self._share_slots()
        self._prepare()

    def _share_slots(self) -> None:
        """The successor of a process with threads begins with the slots that the old one does not need any more."""
        leaving = sum(child.running or 0 for child in self.members.values() if not child.idle)
        for child in self.at_work():
            room = max(0, self.board.size() - leaving)
            if child.room != room and (leaving or child.room is not None):
                child.room = room
                child.line.send(directive={"directive": "concurrency", "slots": room})

    def _successor(self) -> Child | None:
        """Who stands by, rather one who is ready."""
        standing = [child for child in self.members.values() if child.standby and not child.retiring]
        return min(standing, key=lambda child: (not child.ready, child.number), default=None)

    def _prepare(self) -> None:
        """Have successors stand by, and end those that are overdue once there is one for them."""
        working = self.at_work()
        surplus = max(0, len(working) - self.wanted)
        leaving = max(0, sum(child.retiring for child in working) - surplus)
        staying = [child for child in working if not child.retiring]
        overdue = sorted((child for child in staying if child.overdue), key=self._busy)
        needed = leaving + sum(child.expiring and not child.overdue for child in staying) + bool(overdue)
        standing = [child for child in self.members.values() if child.standby and not child.retiring]
        for child in standing[needed:]:
            self.retire(child)
        for _ in range(needed - len(standing)):
            if not self._start(standby=True):
                break
        if overdue and sum(child.ready for child in standing) > leaving:
            self.retire(overdue[0])

    def grow(self, n: int) -> None:
        """Have `n` more processes; raises `ValueError` where the board has no place for them."""
        most = max(self.wanted, self.places // 2 - 1)
        if self.wanted + n > most:
            raise ValueError(
                f"this worker has place for {most} task processes, and runs {self.wanted}: start it with a larger -c "
                "(it has place for at least twice as many), or start another worker"
            )
        self.wanted += n

    def shrink(self, n: int) -> None:
        """Have `n` fewer processes: idle ones end first, busy ones after their task."""
        if n >= self.wanted:
            raise ValueError(f"the worker has {self.wanted} task process(es), and keeps at least one")
        self.wanted -= n
        staying = sorted((child for child in self.at_work() if not child.retiring), key=self._busy)
        for child in staying[: max(0, len(staying) - self.wanted)]:
            self.retire(child)

    def replace_all(self) -> None:
        """One after the other: a successor starts, then the old one ends after its task."""
        for child in self.members.values():
            child.expiring = child.overdue = True
            if child.standby:
                self.retire(child)

    def retire(self, child: Child) -> None:
        """Have a process end once it has finished its task."""
        child.end()

    def _busy(self, child: Child) -> bool:
        return any(self.board.busy(slot) for slot in child.slots)

    # -- birth

    def _start(self, *, standby: bool) -> bool:
        if not self._free or uptime() < self._not_before:
            return False
        slots = heapq.heappop(self._free)[1]
        self._numbers += 1
        number = self._numbers
        taken = {int(child.name.rsplit("-", 1)[1]) for child in self.members.values()}
        index = next(n for n in range(1, len(taken) + 2) if n not in taken)

        def run(line: Line) -> int:
            for slot in slots:
                self.board.clear(slot, os.getpid())
            return self.run_tasks(self.board, slots, line, standby)

        signals.worker_before_create_process.send(sender=self)
        self.board.use(slots)
        child = self.fork(number, f"ForkPoolWorker-{index}", slots, run)
        child.standby = standby
        self.members[number] = child
        return True

    # -- what a member says

    def hear(self, child: Child, message: dict[str, object]) -> None:
        """`expiring`: it will soon have run its share; `idle`: it runs nothing any more."""
        if "expiring" in message:
            child.expiring = True
        if "idle" in message:
            child.idle = True
        if "running" in message:
            child.running = int(str(message["running"]))

    # -- death

    def bury(self, child: Child, status: int) -> None:
        """A task process has ended: tell the control process, unless it has left nothing."""
        del self.members[child.number]
        for slot in child.slots:
            self.board.set_dead(slot)
        busy = self._busy(child)
        asked = child.retiring and status == -signal.SIGTERM  # before it had learned to end in order
        if (status == 0 or child.wanted or asked) and not busy:
            self._release(child)
            return
        if child.terminated is not None and child.terminated.since != self.board.read(child.slots.start).since:
            child.terminated = None  # it has survived the signal, and dies of something else with another task
        if not child.wanted and child.timeout is None and child.terminated is None:
            pool_logger.error("Process %r pid:%s exited with %r", child.name, child.pid, describe(status))
        if uptime() - child.born < INFANT and not busy:
            self._infants += 1
            self._not_before = uptime() + min(PAUSE_MOST, 0.1 * 2**self._infants)
        else:
            self._infants = 0
        self.unsettled[child.number] = (child, status)
        self._report(child, status)

    def report_all(self) -> None:
        """The control process is a new one."""
        for child in (*self.members.values(), *(child for child, _ in self.unsettled.values())):
            for name, file in child.lifelines.items():
                self.tell_control(file, adopt=name)
        for child, status in self.unsettled.values():
            self._report(child, status)

    def _report(self, child: Child, status: int) -> None:
        loss = {
            "number": child.number, "name": child.name, "pid": child.pid, "status": status, "timeout": child.timeout,
            "wanted": child.wanted, "terminated": child.terminated and child.terminated.number,
            "slots": [child.slots.start, len(child.slots)],
        }  # fmt: skip
        self.tell_control(loss=loss)

    def settled(self, number: int) -> None:
        """The control process has settled what a dead process left."""
        self._release(self.unsettled.pop(number)[0])

    def _release(self, child: Child) -> None:
        self.drop_lifelines(child)
        for slot in child.slots:
            self.board.clear(slot)
        heapq.heappush(self._free, (child.slots.start, child.slots))

    # -- sockets that are kept for the dead

    def keep(self, child: Child, name: str) -> None:
        """Keep a copy of the socket on which a task process holds messages, in place of the one before."""
        file = child.line.files.popleft()
        self.drop_lifelines(child)
        child.lifelines[name] = file
        self.tell_control(file, adopt=name)

    def drop_lifelines(self, child: Child) -> None:
        """Nobody needs them any more."""
        while child.lifelines:
            name, file = child.lifelines.popitem()
            os.close(file)
            self.tell_control(disown=name)

    def lifelines(self) -> list[int]:
        """The sockets that we keep for others: who holds a copy of them keeps them open."""
        children = (*self.members.values(), *(child for child, _ in self.unsettled.values()))
        return [file for child in children for file in child.lifelines.values()]
