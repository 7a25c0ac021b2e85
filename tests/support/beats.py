"""Beats in one process, on a clock that the test turns."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from celerylite import Celery
from celerylite.beat import PersistentScheduler
from celerylite.beat.clocks import Clock

#: A round moment: all tests begin here.
START = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)


class TurnedClock(Clock):
    """Stands still until it is turned. It does not follow the broker's."""

    def __init__(self, at: datetime = START) -> None:
        super().__init__()
        self._now = at.timestamp()
        self._passed = 1000.0

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._passed

    def follow(self, shared: Any) -> None:
        pass  # the broker's clock cannot be turned

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self._now = round(self._now + seconds, 6)
        self._passed += seconds

    def jump(self, seconds: float) -> None:
        """Set the clock, while no time passes."""
        self._now = round(self._now + seconds, 6)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now, timezone.utc)


class Beats:
    """A project and its beats: `beats.turn(60)` lets a minute pass second by second; `sent` is what was published."""

    def __init__(self, broker: str | None = None, **conf: Any) -> None:
        self.clock = TurnedClock()
        self.url = broker or f"memory:///{uuid.uuid4().hex}"
        self.conf = conf
        self.running: list[PersistentScheduler] = []
        self.apps: list[Celery] = []
        self._reader = self.app({})

    def app(self, schedule: dict[str, Any], **conf: Any) -> Celery:
        """The project's app, as one process has it."""
        settings = {"result_backend": "cache+memory://", **self.conf, **conf}
        app = Celery("beats", broker=self.url, set_as_current=False, **settings)
        app.now = self.clock.now  # type: ignore[method-assign]
        app.conf.beat_schedule = {
            name: {"task": f"task.{name}", **({"schedule": entry} if not isinstance(entry, dict) else entry)}
            for name, entry in schedule.items()
        }
        self.apps.append(app)
        return app

    def start(self, schedule: dict[str, Any] | None = None, **options: Any) -> PersistentScheduler:
        """One more beat, after its first look; `schedule` maps names to entries or to schedules alone."""
        conf = options.pop("conf", {})
        app = options.pop("app", None) or self.app(schedule or {}, **conf)
        scheduler = options.pop("cls", PersistentScheduler)(app=app, clock=self.clock, **options)
        self.running.append(scheduler)
        scheduler.tick()
        return scheduler

    def turn(self, seconds: float, step: float = 1.0) -> None:
        """Let so many seconds pass, with a tick of every beat at each step."""
        for _ in range(round(seconds / step)):
            self.clock.turn(step)
            self.tick()

    def tick(self) -> None:
        """One tick of every beat that runs, at this moment."""
        for scheduler in self.running:
            scheduler.tick()

    def kill(self, scheduler: PersistentScheduler) -> None:
        """It ticks no more; and as it is killed, nothing is written down."""
        self.running.remove(scheduler)

    def messages(self, queue: str = "celery") -> list[Any]:
        """What was published since the last call, oldest first."""
        consumer = self._reader.broker.consumer([queue], serial=False, lease=60)
        assert consumer.open(lambda: False)
        found = []
        while deliveries := consumer.fetch(1000, 0):
            for delivery in deliveries:
                found.append(consumer.read(delivery))
                consumer.ack(delivery)
        consumer.flush()
        consumer.close()
        return found

    def sent(self) -> list[str]:
        """The names of the tasks published since the last call, without the "task." that all begin with."""
        return [message.headers["task"].removeprefix("task.") for message in self.messages()]

    def close(self) -> None:
        """Close the connections."""
        for app in self.apps:
            app.close()


def ago(**span: float) -> datetime:
    """So long before the start."""
    return START - timedelta(**span)
