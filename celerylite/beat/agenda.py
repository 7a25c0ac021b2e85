"""What a scheduler knows of its entries, and the order in which their time comes."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Any

from celerylite.beat import ticks
from celerylite.beat.clocks import Clock
from celerylite.beat.entry import event_t
from celerylite.beat.plans import Plan
from celerylite.beat.runs import Run
from celerylite.beat.scheduler import PRIORITY, Scheduler, logger

#: Seconds between two looks at what was changed at run time, and at the clocks; the longest that beat sleeps.
POLL = 1.0

#: Most entries that are taken at a time, and most claims in one trip.
BATCH = 200


class Agenda(Scheduler):
    """A scheduler that keeps a plan for each entry, and a heap of when to look at them."""

    def __init__(self, app: Any, *args: Any, clock: Clock | None = None, **kwargs: Any) -> None:
        self.clock = clock or Clock()
        self.ledger: Any = None
        self._plans: dict[str, Plan] = {}
        self._numbers = count(PRIORITY)
        #: Seconds that this beat waits after a tick has come, for others.
        self._behind = 0.0
        super().__init__(app, *args, **kwargs)

    # -- the heap

    @property
    def _poll(self) -> float:
        return min(POLL, self.max_interval)

    def _pause(self) -> float:
        """Seconds until there is something to do."""
        heap = self._heap
        while heap and not self._is_current(heap[0]):
            heapq.heappop(heap)
        wait = self._poll
        if heap:
            wait = min(wait, heap[0].time + self._behind - self.clock.time())
        return max(wait, 0.0)

    def _is_current(self, event: event_t) -> bool:
        plan = self._plans.get(event.entry.name)
        return plan is not None and plan.event is event

    def _push(self, plan: Plan, due: float | None) -> None:
        if due is None:
            plan.event = None
            return
        # A number of its own: among equal times, comparing entries would take longer than sending them.
        plan.event = event_t(due, next(self._numbers), plan.entry)
        if self._heap is None:
            self._heap = []
        heapq.heappush(self._heap, plan.event)

    def _asked(self, plan: Plan) -> float:
        """When to ask the schedule of another package (again)."""
        is_due, wait = self.is_due(plan.entry)
        return self.clock.time() + (0 if is_due else self._seconds(wait))

    def _take_due(self) -> list[Plan]:
        """Plans whose time has come, at most a batch of them."""
        heap, horizon = self._heap or [], self.clock.time() - self._behind
        found: list[Plan] = []
        while heap and heap[0].time <= horizon and len(found) < BATCH:
            event = heapq.heappop(heap)
            plan = self._plans.get(event.entry.name)
            if plan is not None and plan.event is event:
                plan.event = None
                found.append(plan)
        return found

    # -- what the notes say

    def _look(self, names: list[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for start in range(0, len(names), 1000):
            found += self.ledger.runs.look(names[start : start + 1000])
        return found

    def _learn(self, plan: Plan, note: bytes | None) -> None:
        """What the shared note says goes for this beat, too."""
        plan.seen = note or None
        if not note:
            return
        try:
            plan.run = Run.read(note)
        except ValueError as exc:
            logger.error("beat: %s: %s; starting anew", plan.entry.name, exc, extra={"action": "bad_note"})
            return
        self._tell_entry(plan)

    def _tell_entry(self, plan: Plan) -> None:
        """Keep the fields of the entry that Celery's users and other packages read."""
        last = plan.run.tick if plan.run.sent is None else plan.run.sent
        plan.entry.last_run_at = ticks.moment(last)
        plan.entry.total_run_count = plan.run.count

