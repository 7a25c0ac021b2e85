"""Beat at work: the service that ticks a scheduler, inside and outside of other processes."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from celerylite import Celery, signals
from celerylite.beat import (
    BeatPidbox,
    EmbeddedService,
    PersistentScheduler,
    Scheduler,
    Service,
    beat_nodename,
)
from celerylite.schedules import crontab
from tests.support.beats import TurnedClock


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("service", broker="memory:///service", backend="cache+memory://", set_as_current=False)
    app.conf.beat_schedule_filename = str(tmp_path / "schedule")

    @app.task(name="task.a", shared=False)
    def a(*args: Any) -> None:
        pass

    yield app
    app.broker.purge(["celery"])
    app.close()


class Limited(Scheduler):
    """Ticks three times, then asks to stop as a signal would."""

    ticks = 0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        self.ticks += 1
        if self.ticks == 3:
            raise SystemExit
        return 0


def test_it_ticks_until_it_is_told_to_stop(app: Celery) -> None:
    service = Service(app, scheduler_cls=Limited)
    service.start()
    assert service.scheduler.ticks == 3
    assert service._is_shutdown.is_set() and service._is_stopped.is_set()


def test_the_scheduler_is_closed_whatever_happens(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    monkeypatch.setattr(Scheduler, "close", lambda self: closed.append(1))

    class Failing(Scheduler):
        def tick(self, *args: Any, **kwargs: Any) -> float:
            raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        Service(app, scheduler_cls=Failing).start()
    assert closed == [1]


def test_which_scheduler(app: Celery) -> None:
    assert type(Service(app).get_scheduler(lazy=True)) is PersistentScheduler
    for name in ("celery.beat:Scheduler", "celery.beat.Scheduler", "celerylite.beat:Scheduler", Scheduler):
        assert type(Service(app, scheduler_cls=name).scheduler) is Scheduler
    with pytest.raises(ImportError):
        Service(app, scheduler_cls="no.such:Scheduler").scheduler  # noqa: B018 (it must raise)


def test_what_the_scheduler_is_told(app: Celery) -> None:
    service = Service(app, max_interval=7, schedule_filename="elsewhere", scheduler_cls=PersistentScheduler)
    scheduler = service.get_scheduler(lazy=True)
    assert (scheduler.max_interval, scheduler.schedule_filename) == (7, "elsewhere")


@pytest.mark.parametrize("embedded", [False, True])
def test_the_signals_of_its_start(app: Celery, embedded: bool) -> None:
    seen: list[Any] = []

    def init(sender: Any, **kwargs: Any) -> None:
        seen.append(("init", sender))

    def embedded_init(sender: Any, **kwargs: Any) -> None:
        seen.append(("embedded", sender))

    signals.beat_init.connect(init)
    signals.beat_embedded_init.connect(embedded_init)
    service = Service(app, scheduler_cls=Limited)
    service.start(embedded_process=embedded)
    signals.beat_init.disconnect(init)
    signals.beat_embedded_init.disconnect(embedded_init)
    assert seen == [("init", service), ("embedded", service)][: 1 + embedded]


def test_beside_something_else_in_a_thread(app: Celery) -> None:
    app.conf.beat_schedule = {"a": {"task": "task.a", "schedule": 0.01}}
    sent = threading.Event()

    def published(**kwargs: Any) -> None:
        sent.set()

    signals.before_task_publish.connect(published, sender="task.a")
    service = EmbeddedService(app, thread=True)
    service.start()
    assert sent.wait(10)
    service.stop()
    service.join(10)
    assert not service.is_alive()


# -- periodic tasks that the program adds


def test_tasks_added_when_the_app_is_configured_and_finalized(tmp_path: Path) -> None:
    app = Celery("adding", broker="memory:///adding", set_as_current=False, backend="cache+memory://")

    @app.task(name="task.a", shared=False)
    def a(*args: Any) -> None:
        pass

    @app.on_after_configure.connect
    def configured(sender: Celery, **kwargs: Any) -> None:
        sender.add_periodic_task(10.0, a.s("configured"), name="configured")

    @app.on_after_finalize.connect
    def finalized(sender: Celery, **kwargs: Any) -> None:
        sender.add_periodic_task(crontab(hour=7), a.s("finalized"), expires=10)

    app.finalize()
    schedule = PersistentScheduler(app=app, schedule_filename=str(tmp_path / "s")).schedule
    assert set(schedule) == {"configured", "task.a('finalized')"}
    assert schedule["task.a('finalized')"].options == {"expires": 10}
    assert schedule["configured"].args == ("configured",)
    app.close()


def test_a_canvas_is_sent_whole(app: Celery) -> None:
    """A chain of two: one message, that brings the second along."""
    from celerylite import chain

    task = app.tasks["task.a"]
    clock = TurnedClock()
    app.now = clock.now  # type: ignore[method-assign]
    app.add_periodic_task(10.0, chain(task.si(1), task.si(2)), name="chain")
    scheduler = PersistentScheduler(app=app, clock=clock)
    scheduler.tick()
    clock.turn(10)
    scheduler.tick()
    assert app.broker.queue_length("celery") == 1


# -- is it alive?


def test_a_beat_that_stands_still_is_stale(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(app, scheduler_cls=Scheduler)
    box = BeatPidbox(service)
    assert (box.max_tick_age, box.is_stale()) == (600, False)
    monkeypatch.setattr(service, "tick_age", lambda: 601.0)
    assert box.is_stale()
    app.conf.beat_remote_control_max_tick_age = 0
    assert not box.is_stale()
    app.conf.beat_remote_control_max_tick_age = 700
    assert not box.is_stale()
    service.scheduler.max_interval = 5
    app.conf.beat_remote_control_max_tick_age = None
    assert box.max_tick_age == 60


def test_its_name() -> None:
    assert beat_nodename("beat@here") == "beat@here"
    assert beat_nodename().startswith("celerybeat@")


def test_a_transport_without_fan_out_is_said_once(app: Celery, caplog: Any) -> None:
    box = BeatPidbox(Service(app, scheduler_cls=Scheduler))
    connection = app.connection_for_read()
    connection.transport.implements = connection.transport.implements.extend(exchange_type=frozenset(["direct"]))
    with caplog.at_level(logging.WARNING, "celery.beat"):
        assert box._listen(connection, False) is False
    assert "has no fan-out: beat cannot be pinged" in caplog.text


# -- signals


class Sleepy(Scheduler):
    """Has nothing to do."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        return 3600.0


class Blocking(Scheduler):
    """Waits in its tick for something that does not come."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        time.sleep(60)
        return 0


@pytest.mark.parametrize("scheduler", [Sleepy, Blocking, PersistentScheduler])
def test_two_signals_in_a_row_end_it_in_good_order(app: Celery, scheduler: Any) -> None:
    """As Ctrl-C does in a terminal, when a worker is the parent."""
    service = Service(app, scheduler_cls=scheduler)
    before = [signal.signal(number, service.interrupt) for number in (signal.SIGINT, signal.SIGTERM)]

    # (Not an event: its lock is not made for signals, which is what this is about.)
    started: SimpleQueue[int] = SimpleQueue()

    def strike() -> None:
        started.get(timeout=10)
        # As from outside: a signal that a process sends itself may go to the thread that sends it. Again and again, for
        # one that comes just before a blocking call does not end that call.
        while not service._is_stopped.wait(0.05):
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.pthread_kill(threading.main_thread().ident or 0, number)

    signals.beat_init.connect(lambda **_: started.put(1), weak=False, sender=service)
    striker = threading.Thread(target=strike)
    striker.start()
    try:
        service.start()
        assert service._is_stopped.is_set()
    finally:
        striker.join()
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
