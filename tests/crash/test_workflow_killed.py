"""A workflow whose worker dies, or is cut off, at every point: the outcome is the same, and each step is sent once.

What a step sets off (the next one, a callback, a chord's body) goes out in the transaction that acknowledges it. So
with late acknowledgement every message is sent exactly once however often its sender is killed; a step that was running
may run again.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from celerylite.brokers.redis_scripts import SETTLE
from tests.crash.harness import Lab, Worker, poll
from tests.crash.striker import Striker, kill_child, kill_tree, reset
from tests.support.proxy import TO_CLIENT, TO_SERVER
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.crash

#: More points than the workflow has; the search ends at the first that is not reached.
POINTS = 120
SENT = re.compile(r'\\"id\\": \\"([0-9a-f-]{36})\\"')


class Sent:
    """Counts what is pushed into queues by anybody, or stays with who ran the task before it, by task id. Redeliveries
    go to the other end of the list.
    """

    def __init__(self, url: str) -> None:
        self.counts: Counter[str] = Counter()
        #: How many of them stayed.
        self.stayed = 0
        self._stopped = False
        self._client = redis.Redis.from_url(url)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:
            self._ready.set()
            settling = False
            for heard in monitor.listen():
                if self._stopped:
                    return
                command = heard["command"]
                if command.startswith("EVALSHA "):
                    settling = SETTLE.sha.decode() in command
                stays = settling and command.startswith("HSET celerylite.held.")
                self.stayed += stays
                if stays or command.startswith(("LPUSH celery ", '"LPUSH" "celery" ')):
                    self.counts.update(SENT.findall(command) or re.findall(r'"id": "([0-9a-f-]{36})"', command))

    def check(self, point: int, last: str | None) -> None:
        """Nothing was sent twice, and the last step once."""
        assert last is None or poll(lambda: self.counts[last], 5), f"point {point}: nobody saw the last step being sent"
        twice = [task_id for task_id, count in self.counts.items() if count > 1]
        assert not twice, f"point {point}: sent twice"

    def stop(self) -> None:
        self._stopped = True
        self._client.ping()
        self._thread.join(5)
        self._client.close()


@pytest.fixture
def sent(lab: Lab) -> Iterator[Sent]:
    watching = Sent(lab.broker_url)
    yield watching
    watching.stop()


def workflow(app: Any) -> Any:
    """A chain with a chord in it, whose header has a chain and another chord, and whose steps have callbacks."""
    from celerylite import chord

    plus, total = app.tasks["crash.plus"], app.tasks["crash.total"]
    inner = chord([plus.s(1), plus.s(2)], total.s())
    header = [plus.s(10), plus.s(20) | plus.s(5), inner]
    return plus.si(1, 2).on_error(app.tasks["crash.errback"].s()) | chord(header, total.s()) | plus.s(1000)


#: 3, then 13 and 28 and (4 + 5), then their sum, then 1000 more.
OUTCOME = 1050


def failing(app: Any) -> Any:
    """A chord of which one part fails, and a step behind it; its errback is called once."""
    from celerylite import chord

    plus, total, fail = (app.tasks[f"crash.{name}"] for name in ("plus", "total", "fail"))
    body = total.s().on_error(app.tasks["crash.errback"].s())
    return chord([plus.s(1, 1), fail.s(), fail.s() | plus.s(1)], body | plus.s(1))


def steps(app: Any) -> Any:
    """A plain chain: each message stays with the process that ran the step before."""
    from celerylite import chain

    plus = app.tasks["crash.plus"]
    return chain(plus.si(0, 1), *[plus.s(1) for _ in range(7)])


def run(lab: Lab, build: Callable[[Any], Any]) -> str:
    """Send the workflow; the id under which its outcome will be."""
    return build(lab.app).apply_async().id


def outcome(lab: Lab, task_id: str, timeout: float) -> Any:
    """The value of a workflow, or the name of its error; None where it does not end in time."""
    poll(lambda: not lab.open_records([task_id]), timeout, every=0.05)
    record = lab.records([task_id])[task_id]
    if record is None:
        return None
    return record["result"] if record["status"] == "SUCCESS" else record["result"]["exc_type"]


def _struck_or_over(strike: Striker, lab: Lab, task_id: str) -> bool:
    poll(lambda: strike.struck.is_set() or not lab.open_records([task_id]), 15)
    return strike.struck.is_set()


def at_every_point(
    lab: Lab, act: Callable[[Worker, int], bool], direction: str, check: Callable[[int, str, bool], None],
    build: Callable[[Any], Any] = workflow,
) -> None:  # fmt: skip
    """Strike one worker, which lives on, at each point in turn."""
    strike = Striker(act)
    with lab.proxy(strike) as proxy:
        worker = lab.worker(concurrency=1, broker_url=lab.through(proxy))
        for point in range(1, POINTS):
            assert poll(lambda: len(worker.task_processes()) == 1, 10)
            strike.arm(worker, direction, point)
            task_id = run(lab, build)
            check(point, task_id, strike.struck.is_set())
            if not strike.struck.is_set():
                break
        assert 8 <= point < POINTS - 1, "the points were not found"


@pytest.mark.slow
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
@pytest.mark.parametrize("mode", ["early", "late"])
def test_connection_reset_at_every_point(lab: Lab, sent: Sent, mode: str, direction: str) -> None:
    lab.setup(mode)

    def check(point: int, task_id: str, struck: bool) -> None:
        assert outcome(lab, task_id, 15) == OUTCOME, f"point {point}"
        sent.check(point, task_id)

    at_every_point(lab, reset, direction, check)
    assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_child_killed_at_every_point_late(lab: Lab, sent: Sent, direction: str) -> None:
    lab.setup("late", worker_delivery_limit=None)

    def check(point: int, task_id: str, struck: bool) -> None:
        assert outcome(lab, task_id, 15) == OUTCOME, f"point {point}"
        sent.check(point, task_id)

    at_every_point(lab, kill_child, direction, check)


@pytest.mark.slow
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
@pytest.mark.parametrize(("mode", "act"), [("early", reset), ("late", reset), ("late", kill_child)])
def test_chain_struck_at_every_point(lab: Lab, sent: Sent, mode: str, act: Any, direction: str) -> None:
    lab.setup(mode, worker_delivery_limit=None)

    def check(point: int, task_id: str, struck: bool) -> None:
        assert outcome(lab, task_id, 15) == 8, f"point {point}"
        sent.check(point, task_id)

    at_every_point(lab, act, direction, check, steps)
    assert sent.stayed >= 7
    if act is reset:
        assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_child_killed_at_every_point_early(lab: Lab, sent: Sent, direction: str) -> None:
    """What ran is lost with its process, and that fails the workflow; it never hangs."""
    lab.setup("early")

    def check(point: int, task_id: str, struck: bool) -> None:
        assert outcome(lab, task_id, 15) in (OUTCOME, "ChordError", "WorkerLostError"), f"point {point}: it hangs"
        sent.check(point, None)

    at_every_point(lab, kill_child, direction, check)


@pytest.mark.slow
def test_child_killed_at_every_point_where_results_are_elsewhere(lab: Lab, result_redis: RedisServer) -> None:
    """No transaction spans two servers: a step may be sent twice, but the outcome is the same."""
    lab.setup("late", worker_delivery_limit=None)
    lab.backend_url = result_redis.url()

    def check(point: int, task_id: str, struck: bool) -> None:
        assert outcome(lab, task_id, 15) == OUTCOME, f"point {point}"

    at_every_point(lab, kill_child, TO_SERVER, check)


@pytest.mark.slow
@pytest.mark.parametrize("act", [kill_child, reset])
def test_failing_chord_struck_at_every_point(lab: Lab, sent: Sent, act: Any) -> None:
    lab.setup("late", worker_delivery_limit=None)

    def check(point: int, task_id: str, struck: bool) -> None:
        assert outcome(lab, task_id, 15) == "ChordError", f"point {point}"
        poll(lambda: len(lab.tally().others["errback"]) >= point, 10)
        called = Counter(event.key for event in lab.tally().others["errback"])
        assert len(called) == point, f"point {point}: errbacks called {called}"
        sent.check(point, None)

    at_every_point(lab, act, TO_SERVER, check, failing)


@pytest.mark.slow
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_tree_killed_at_every_point(lab: Lab, sent: Sent, direction: str) -> None:
    lab.setup("late", worker_lease=1.0, worker_delivery_limit=None)
    strike = Striker(kill_tree)
    with lab.proxy(strike) as proxy:
        for point in range(1, POINTS):
            worker = lab.worker(f"w{point}", concurrency=1, broker_url=lab.through(proxy))
            strike.arm(worker, direction, point)
            task_id = run(lab, workflow)
            struck = _struck_or_over(strike, lab, task_id)
            worker.kill_tree()
            if not struck:
                break
            heir = lab.worker(f"h{point}", concurrency=1)
            value = outcome(lab, task_id, 15)
            heir.kill_tree()
            assert value == OUTCOME, f"point {point}"
            sent.check(point, task_id)
        assert 8 <= point < POINTS - 1, "the points were not found"
