"""Beats are killed at any moment: every tick is sent exactly once all the same."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celerylite import Celery
from celerylite.beat import ticks
from celerylite.beat.runs import Run
from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.base import Broker
from tests.support.beat_project import beat_process, entry
from tests.support.proxy import TO_CLIENT, TO_SERVER, Link, Proxy
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.crash


@pytest.fixture
def start_beat(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts beats; what is left of them ends with the test."""
    started: list[WorkerProcess] = []

    def start(schedule: dict[str, Any], url: str = redis_url, **options: Any) -> WorkerProcess:
        name = f"beat-{len(started)}"
        beat = beat_process(tmp_path, url, schedule, "-l", "INFO", "-s", str(tmp_path / name), name=name, **options)
        started.append(beat)
        return beat.start()

    yield start
    for beat in started:
        beat.kill_tree()


@pytest.fixture
def watch() -> Iterator[Callable[[str], Broker]]:
    """The broker at a URL, from the side."""
    apps: list[Celery] = []

    def connect(url: str) -> Broker:
        apps.append(Celery("watch", broker=url, set_as_current=False))
        return apps[-1].broker

    yield connect
    for app in apps:
        app.close()


def notes(broker: Broker) -> dict[str, Run]:
    """What the beats have agreed on, by entry."""
    book = broker.notebook("beat.beat_project.runs")
    assert book is not None
    return {name: Run.read(note) for name, note in book.read()[1].items()}


def sent(broker: Broker) -> Counter[str]:
    """How often each task id stands in the queue, which is empty afterwards."""
    consumer = broker.consumer(["celery"], serial=False, lease=60)
    assert consumer.open(lambda: False)
    found: Counter[str] = Counter()
    while deliveries := consumer.fetch(500, 0):
        for delivery in deliveries:
            found[consumer.read(delivery).headers["id"]] += 1
            consumer.ack(delivery)
    consumer.flush()
    consumer.close()
    return found


def check_each_tick_once(broker: Broker, every: float) -> int:
    """Compare the queue with the ticks that must have come, up to the last of each entry; returns how many."""
    wanted: set[str] = set()
    for name, run in notes(broker).items():
        wanted |= {ticks.task_id("beat_project", name, round(run.tick - every * n, 6)) for n in range(run.count)}
    found = sent(broker)
    assert [task_id for task_id, count in found.items() if count > 1] == []
    assert set(found) == wanted
    return len(found)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "most"), [("redis", 1500), ("sqlite", 1000)])
def test_three_beats_killed_at_random_for_a_thousand_ticks(
    start_beat: Callable[..., WorkerProcess], watch: Callable[[str], Broker], redis_url: str, tmp_path: Path,
    rng: random.Random, place: str, most: int,
) -> None:  # fmt: skip
    every = 0.2
    schedule = {f"e{n}": entry(every, missed="all", missed_limit=100_000) for n in range(20)}
    url = redis_url if place == "redis" else f"sqlite:///{tmp_path}/beats.db"
    broker = watch(url)
    beats = [start_beat(schedule, url) for _ in range(3)]
    wait_for(lambda: broker.queue_length("celery"), 30, "the first tick")
    kills = 0
    deadline = time.monotonic() + 60
    while broker.queue_length("celery") < most or kills < 12:
        assert time.monotonic() < deadline, f"{broker.queue_length('celery')} ticks, {kills} kills"
        time.sleep(rng.uniform(0.05, 0.8))
        victim = rng.randrange(3)
        beats[victim].kill_tree()
        kills += 1
        beats[victim] = start_beat(schedule, url)
    for beat in beats:
        beat.kill_tree()
    assert len(notes(broker)) == 20
    assert check_each_tick_once(broker, every) >= most


class Struck:
    """Watches a proxy for claims, and strikes once: before the script, after it and before its reply, or after that."""

    def __init__(self, when: str, strike: Callable[[], None]) -> None:
        self.when = when
        self.strike = strike
        self.claims = 0
        self.done = False
        self._waiting: Link | None = None

    def __call__(self, direction: str, data: bytes, link: Link) -> bool:
        if self.done:
            return False
        if direction == TO_SERVER and scripts.CLAIM_NOTE.sha in data and b"task" in data:
            self.claims += 1
            if self.claims < 3:
                return False
            if self.when == "before the script":
                self._strike()
                return True
            self._waiting = link
        elif direction == TO_CLIENT and link is self._waiting:
            self._strike()
            return self.when == "before the reply"
        return False

    def _strike(self) -> None:
        self.done = True
        self.strike()


@pytest.mark.parametrize("fault", ["kill", "cut"])
@pytest.mark.parametrize("when", ["before the script", "before the reply", "after the reply"])
def test_at_every_point_of_a_claim(
    start_beat: Callable[..., WorkerProcess], watch: Callable[[str], Broker], redis_server: Any, redis_url: str,
    when: str, fault: str,
) -> None:  # fmt: skip
    """A beat dies, or its connection breaks, in the middle of a claim; another goes on, or it does itself."""
    every = 0.5
    schedule = {"a": entry(every, missed="all"), "b": entry(every, missed="all")}
    beats: list[WorkerProcess] = []
    broker = watch(redis_url)

    def strike() -> None:
        if fault == "kill":
            beats[0].signal(signal.SIGKILL)
            beats[0].wait()

    struck = Struck(when, strike)
    with Proxy(("127.0.0.1", redis_server.port), on_chunk=struck) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/{redis_url.rpartition('/')[2]}"
        beats.append(start_beat(schedule, url))
        wait_for(lambda: struck.done, 30, "the third claim")
        before = broker.queue_length("celery")
        if fault == "kill":
            start_beat(schedule)
        wait_for(lambda: broker.queue_length("celery") >= before + 8, 30, "ticks after the fault")
        beats[-1].kill_tree()
    assert check_each_tick_once(broker, every) >= 8
