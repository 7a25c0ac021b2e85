"""The scheduler of which any number may run: each tick is claimed, and its task sent, in one step on the broker.

What all beats share is one note an entry: the last tick that is done (`runs`). The next tick follows from it, so they
agree without talking to each other; whoever comes first with its claim sends, the others learn of it. None leads. A
beat that lost a claim waits a little from then on, so that usually one does the work; if that one dies, the next
is there a moment later.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from celerylite.beat import ledger, ticks
from celerylite.beat.agenda import BATCH, Agenda
from celerylite.beat.clocks import Clock
from celerylite.beat.definitions import Overlay
from celerylite.beat.outbox import Outbox
from celerylite.beat.plans import Firing, Plan
from celerylite.beat.runs import Run
from celerylite.beat.scheduler import logger
from celerylite.brokers.values import Claim
from celerylite.utils.time import humanize_seconds
from celerylite.utils.uuids import uuid

#: Most batches between two looks.
BATCHES = 20

#: Seconds after which the note of an entry that is gone is deleted: longer than two ticks of a yearly one are apart.
FORGET = 800 * 86400.0

#: Seconds that a beat which is not first waits after a tick has come.
BEHIND = (0.1, 0.4)


class SharedScheduler(Agenda):
    """Sends each tick's task exactly once, however many of it run."""

    def __init__(self, app: Any, *args: Any, clock: Clock | None = None, **kwargs: Any) -> None:
        self.id = uuid()
        self._overlay: Overlay | None = None
        self._looked: float | None = None
        self._task_id: str | None = None
        self._failure: Exception | None = None
        super().__init__(app, *args, clock=clock, **kwargs)

    # -- the loop

    def turn(self) -> float:
        """Send all that is due; returns the seconds until the next tick or look."""
        errors = self._connection_errors()
        try:
            self._look_around()
            for _ in range(BATCHES):
                if not self._fire(self._take_due()):
                    break
        except errors as exc:
            logger.error(
                "beat: Connection error: %s. Trying again in %s seconds...", exc, self._poll,
                extra={"action": "connection_error"},
            )  # fmt: skip
            self._looked = None
            return self._poll
        if super().should_sync():
            self._do_sync()
        return self._pause()

    def should_sync(self) -> bool:
        """Never while tasks are being sent: that could take long."""
        return False

    def _connection_errors(self) -> tuple[type[BaseException], ...]:
        from kombu.exceptions import OperationalError  # lazy: as everything of kombu

        return (OperationalError, *self.app.broker.connection_errors)

    # -- what is there

    def _look_around(self) -> None:
        """At the first call, read everything; later, see what has changed, every `POLL` seconds."""
        now = self.clock.monotonic()
        if self._looked is not None and now - self._looked < self._poll:
            return
        if self.ledger is None:
            Outbox.of(self.app)
            self.ledger = ledger.choose(self.app)
            if self.ledger.warning:
                logger.warning("beat: %s", self.ledger.warning, extra={"action": "not_shared"})
        if self._overlay is None:
            self.clock.follow(self.ledger.clock)
            self.ledger.forget(self.schedule, self.clock.time() - FORGET)
            self._overlay = Overlay(self, self.ledger.entries)
        jump = self.clock.jumped()
        if jump:
            self._after_jump(jump)
        if self._overlay.read():
            logger.info("beat: Schedule changed.", extra={"action": "schedule_changed"})
        self._follow_schedule()
        self._looked = now

    def _after_jump(self, jump: float) -> None:
        direction = "forward" if jump > 0 else "back"
        logger.warning(
            "beat: The clock has jumped %s by %s (or the machine was asleep). What was missed is handled as each entry "
            "says; nothing is sent twice.",
            direction, humanize_seconds(abs(jump)),
            extra={"action": "clock_jump", "seconds": jump},
        )  # fmt: skip
        for plan in self._plans.values():
            self._plan_next(plan)

    def _follow_schedule(self) -> None:
        """Make plans for what is new in the schedule, and drop those of what is gone."""
        schedule = self.schedule
        new = []
        for name, entry in schedule.items():
            plan = self._plans.get(name)
            if plan is None:
                new.append(entry)
            elif plan.entry is not entry:
                changed = entry != plan.entry
                plan.entry = entry
                self._tell_entry(plan)
                if changed:
                    self._plan_next(plan)
        if len(schedule) != len(self._plans) + len(new):
            for name in set(self._plans) - set(schedule):
                del self._plans[name]
        if new:
            self._make_plans(new)

    def _make_plans(self, entries: Sequence[Any]) -> None:
        """Take up entries where their notes say; one that has none starts now, for all beats alike."""
        notes = dict(zip((entry.name for entry in entries), self._look([entry.name for entry in entries]), strict=True))
        firings = []
        for entry in entries:
            seen_first = min(entry.last_run_at.timestamp(), self.clock.time())
            plan = Plan(entry, None, Run(round(seen_first, 6), count=entry.total_run_count, by=self.id))
            self._learn(plan, notes[entry.name])
            self._plans[entry.name] = plan
            if plan.seen is None:
                claim = Claim(self.ledger.runs_book, entry.name, None, plan.run.note())
                firings.append(Firing(plan, claim, plan.run, None, False))
        for start in range(0, len(firings), BATCH):
            self._claim(firings[start : start + BATCH])
        for entry in entries:
            self._plan_next(self._plans[entry.name])

    # -- when

    def _plan_next(self, plan: Plan) -> None:
        """Give an entry its place in the heap, by its schedule and its last tick."""
        entry = plan.entry
        if not entry.enabled:
            plan.event = None
            return
        try:
            if ticks.is_computed(entry):
                self._return_from_the_future(plan)
                outlook = ticks.outlook(entry, plan.run.tick, self.clock.time())
                at = self.clock.time() if outlook.passed is not None else outlook.next
                due = None if at is None else max(at, ticks.due(entry, at) if outlook.passed is None else at)
            else:
                due = self._asked(plan)
        except Exception as exc:  # a border: the schedule may be anybody's code
            self._is_due_failed(entry, exc)
            due = self.clock.time() + self.max_interval
        self._push(plan, due)

    def _return_from_the_future(self, plan: Plan) -> None:
        """An interval must not wait until the clock has come again to where it once wrongly was."""
        every, ahead = ticks.interval(plan.entry), plan.run.tick - self.clock.time()
        if every is not None and ahead > max(2 * every, 60.0) and plan.entry.start is None:
            logger.warning(
                "beat: %s ran last %s in the future; going on from now",
                plan.entry.name, humanize_seconds(ahead), extra={"action": "from_the_future"},
            )  # fmt: skip
            self._claim([self._skip(plan, self.clock.time(), None)])

    # -- sending

    def _fire(self, plans: list[Plan]) -> bool:
        """Claim and send what is due; returns whether there was something."""
        if not plans:
            return False
        try:
            if self._behind:
                self._catch_up(plans)
            firings = [firing for plan in plans if plan.event is None for firing in self._prepare(plan)]
            self._claim(firings)
        except BaseException:
            for plan in plans:
                self._push(plan, self.clock.time())
            raise
        nexts = {id(firing.plan): firing.next for firing in firings if firing.plan.run is firing.run}
        for plan in plans:
            if plan.event is None and self._plans.get(plan.entry.name) is plan:
                self._go_on(plan, nexts)
        return True

    def _go_on(self, plan: Plan, nexts: dict[int, float | None]) -> None:
        if id(plan) in nexts and ticks.is_computed(plan.entry):
            following = nexts[id(plan)]
            self._push(plan, None if following is None else ticks.due(plan.entry, following))
        else:
            self._plan_next(plan)

    def _catch_up(self, plans: list[Plan]) -> None:
        """A beat that is not first looks what the first has done before it does anything."""
        for plan, note in zip(plans, self._look([plan.entry.name for plan in plans]), strict=True):
            if note != plan.seen and note is not None:
                self._learn(plan, note)
                self._plan_next(plan)

    def _prepare(self, plan: Plan) -> list[Firing]:
        """The claims for an entry whose time has come."""
        entry, now = plan.entry, self.clock.time()
        if not entry.enabled:
            return []
        try:
            if not ticks.is_computed(entry):
                return [self._send(plan, plan, now, None)] if self.is_due(entry)[0] else []
            found = ticks.outlook(entry, plan.run.tick, now, self.app.conf.beat_cron_starting_deadline)
        except Exception as exc:  # a border: the schedule may be anybody's code
            self._is_due_failed(entry, exc)
            self._push(plan, now + self.max_interval)
            return []
        if found.passed is None:
            return []
        firings: list[Firing] = []
        for tick in found.send:
            firings.append(self._send(plan, firings[-1] if firings else plan, tick, found.next))
        if not found.send:
            firings.append(self._skip(plan, found.passed, found.next))
        return firings

    def _skip(self, plan: Plan, tick: float, following: float | None) -> Firing:
        run = plan.run.skipped(tick, self.id)
        claim = Claim(self.ledger.runs_book, plan.entry.name, plan.seen, run.note())
        return Firing(plan, claim, run, following, False)

    def _send(self, plan: Plan, before: Plan | Firing, tick: float, following: float | None) -> Firing:
        """Prepare the messages of one tick, to be claimed after what was `before`."""
        entry = plan.entry
        seen = before.seen if isinstance(before, Plan) else before.claim.value
        self._task_id, self._failure = ticks.task_id(self.app.main or "celery", entry.name, tick), None
        with Outbox.of(self.app).collecting() as messages:
            self.apply_entry(entry)
        if self._failure is not None and isinstance(self._failure.__cause__, self._connection_errors()):
            raise self._failure.__cause__  # not the entry's fault: the tick is not done
        if self._failure is None:
            # No message is an answer, too: of an eager task, or of one that does not want to be called twice.
            run = before.run.after(tick, messages[0].headers.get("id") if messages else None, self.id)
        else:
            run = before.run.skipped(tick, self.id)  # it would fail as often as it is tried
        claim = Claim(self.ledger.runs_book, entry.name, seen, run.note(), messages)
        return Firing(plan, claim, run, following, self._failure is None)

    def _options_of(self, entry: Any) -> dict[str, Any]:
        # The first call of an entry gets the tick's id; where a subclass makes several, the others get random ones.
        options = super()._options_of(entry)
        if self._task_id is not None:
            options.setdefault("task_id", self._task_id)
            self._task_id = None
        return options

    def _not_sent(self, entry: Any, exc: Exception) -> None:
        self._failure = exc
        super()._not_sent(entry, exc)

    def _claim(self, firings: Sequence[Firing]) -> None:
        """Claim ticks, and see which of them were ours."""
        if not firings:
            return
        answers = self.ledger.publish([firing.claim for firing in firings])
        lost = False
        for firing, answer in zip(firings, answers, strict=True):
            if answer is None:
                self._won(firing)
            else:
                before = firing.plan.run.tick
                self._learn(firing.plan, answer)
                # A note that says the same tick was only written in by somebody who ran the task beside the schedule.
                lost = lost or (firing.sends and firing.plan.run.tick > before)
        self._take_place(lost, any(firing.sends for firing in firings))

    def _won(self, firing: Firing) -> None:
        plan = firing.plan
        plan.seen, plan.run = firing.claim.value, firing.run
        if firing.sends:
            entry = self.reserve(plan.entry)
            plan.entry = entry
            self._tell_entry(plan)

    def _take_place(self, lost: bool, sent: bool) -> None:
        """Behind whoever was faster; in front again once nobody was."""
        if lost:
            # At random, so that two who lost to each other do not meet again.
            self._behind = random.uniform(*BEHIND)
        elif sent:
            self._behind = 0.0
