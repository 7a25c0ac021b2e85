"""The network between worker, client and broker misbehaves: resets, black holes, slow links, refusals. Nobody dies."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests.crash.harness import Lab, outlast, poll
from tests.crash.project import make_app
from tests.support.proxy import Proxy

pytestmark = pytest.mark.crash


@pytest.fixture
def proxy(lab: Lab) -> Iterator[Proxy]:
    """Stands between the worker and the broker."""
    with lab.proxy() as proxy:
        yield proxy


def assert_all_once(lab: Lab, ids: list[str], timeout: float) -> None:
    """Every task ran to its end, once, and has its result."""
    left = lab.wait_finished(ids, timeout)
    assert not left, f"{len(left)} of {len(ids)} tasks did not run"
    assert not lab.wait_records(ids, 5), "results are missing"
    lab.wait_quiet(lab.settings["worker_lease"] + 1.0)
    assert not lab.tally().doubled()


def assert_resumes(lab: Lab, within: float) -> None:
    """A task sent now starts within so many seconds."""
    ids = lab.send(1)
    assert not lab.wait_finished(ids, within), f"the worker did not resume within {within:g} s"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_reset_while_idle_and_while_busy(lab: Lab, proxy: Proxy, mode: str) -> None:
    worker = lab.setup(mode).worker(broker_url=lab.through(proxy))
    assert proxy.reset_all() >= 1
    assert_resumes(lab, 3)
    ids = lab.send(30, 0.03)
    assert poll(lambda: len(lab.tally().starts) > 10, 5)
    proxy.reset_all()
    assert_all_once(lab, ids, 5)
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_reset_every_two_seconds(lab: Lab, proxy: Proxy, mode: str) -> None:
    worker = lab.setup(mode).worker(broker_url=lab.through(proxy))
    ids = lab.send(400, 0.05)
    for number in range(5):
        ids += lab.send(10, countdown=1.0 + number)
        outlast(2.0)
        proxy.reset_all()
    assert_all_once(lab, ids, 20)
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_resets_while_draining_tiny_tasks(lab: Lab, rng: random.Random, proxy: Proxy, mode: str) -> None:
    lab.setup(mode, task_ignore_result=True).worker(broker_url=lab.through(proxy))
    ids: list[str] = []
    for _ in range(12):
        ids += lab.send(800)
        lab.wait_started(rng.randint(1, 700), 10)
        proxy.reset_all()
    assert not lab.wait_finished(ids, 30)
    lab.wait_quiet(3.0)
    assert not lab.tally().doubled()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "forget"),
    [
        pytest.param("early", True, id="early-old connections stay silent"),
        pytest.param("late", False, id="late-old connections go on"),
    ],
)
def test_black_hole_of_twenty_seconds(lab: Lab, proxy: Proxy, mode: str, forget: bool) -> None:
    """Longer than the lease: another worker, with a healthy network, takes over what this one holds, once."""
    worker = lab.setup(mode).worker("dark", broker_url=lab.through(proxy))
    ids = lab.send(200, 0.05) + lab.send(20, countdown=5.0)
    assert poll(lambda: len(lab.tally().starts) > 20, 10)

    proxy.black_hole()
    outlast(20.0)
    proxy.end_black_hole(forget=forget)

    assert_resumes(lab, 10)
    assert_all_once(lab, ids, 25)
    assert worker.returncode is None


@pytest.mark.slow
def test_black_hole_with_another_worker(lab: Lab, proxy: Proxy) -> None:
    """Early: what the silent worker held is run by the other, and not again by itself when the light comes back."""
    dark = lab.setup("early", worker_lease=1.0).worker("dark", broker_url=lab.through(proxy))
    ids = lab.send(2000)
    poll(lambda: len(lab.tally().starts) > 200, 10, every=0.0005)
    proxy.black_hole()
    lab.worker("light")
    ids += lab.send(50, 0.02)
    outlast(6.0)
    proxy.end_black_hole()
    left = lab.wait_finished(ids, 15)
    assert not left, f"{len(left)} did not run"
    lab.wait_quiet(3.0)
    doubled = lab.tally().doubled()
    # An acknowledgement that went into the dark looks to everybody else as if it had never been given. A process starts
    # no more than a few tasks (see the consumer) while the answers to its acknowledgements stay away.
    assert len(doubled) <= 16 * dark.processes, f"{len(doubled)} run twice"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_slow_link(lab: Lab, proxy: Proxy, mode: str) -> None:
    """A tenth of a second a trip: everything takes longer and nothing breaks."""
    worker = lab.setup(mode).worker(broker_url=lab.through(proxy))
    proxy.slow(0.05)
    ids = lab.send(40, 0.01) + lab.send(10, countdown=2.0)
    assert_all_once(lab, ids, 30)
    proxy.heal()
    assert_resumes(lab, 3)
    assert worker.returncode is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["early", "late"])
def test_broker_refuses_for_five_seconds(lab: Lab, proxy: Proxy, mode: str) -> None:
    worker = lab.setup(mode, worker_lease=10.0).worker(broker_url=lab.through(proxy))
    ids = lab.send(100, 0.03) + lab.send(10, countdown=3.0)
    assert poll(lambda: len(lab.tally().starts) > 10, 10)
    proxy.refuse()
    outlast(5.0)
    proxy.heal()
    assert_resumes(lab, 10)
    lab.settings["worker_lease"] = 2.0  # how long to look for second runs; nobody died here
    assert_all_once(lab, ids, 15)
    assert worker.returncode is None


# -- clients


QUICK = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}


def client_app(lab: Lab, proxy: Proxy, **settings: object) -> object:
    """An app whose every word passes the proxy."""
    url = lab.through(proxy)
    return make_app(url, url, lab.ledger, {**lab.settings, **settings})


def test_delay_during_an_outage_raises_operational_error(lab: Lab, proxy: Proxy) -> None:
    """After the tries of `task_publish_retry_policy`, kombu's error, which is also the library's."""
    from kombu.exceptions import OperationalError

    policy = {"max_retries": 3, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}
    app = client_app(lab.setup("early"), proxy, task_publish_retry_policy=policy)
    proxy.refuse()
    began = time.monotonic()
    with pytest.raises(OperationalError):
        app.tasks["crash.work"].delay()  # type: ignore[attr-defined]
    assert 0.25 < time.monotonic() - began < 10.0
    began = time.monotonic()
    with pytest.raises(OperationalError):
        app.tasks["crash.work"].apply_async(retry=False)  # type: ignore[attr-defined]
    assert time.monotonic() - began < 5.0
    proxy.heal()
    key = app.tasks["crash.work"].delay().id  # type: ignore[attr-defined]
    lab.worker()
    assert not lab.wait_finished([key], 10)


def test_delay_outlives_a_short_outage(lab: Lab, proxy: Proxy) -> None:
    policy = {"max_retries": 50, "interval_start": 0, "interval_step": 0.05, "interval_max": 0.1}
    app = client_app(lab.setup("early"), proxy, task_publish_retry_policy=policy)
    keys = [app.tasks["crash.work"].delay().id]  # type: ignore[attr-defined]
    for _ in range(5):
        proxy.reset_all()
        keys.append(app.tasks["crash.work"].delay().id)  # type: ignore[attr-defined]
    lab.worker()
    assert not lab.wait_finished(keys, 10)


@pytest.mark.slow
def test_delay_into_a_black_hole_ends(lab: Lab, proxy: Proxy) -> None:
    from kombu.exceptions import OperationalError

    policy = {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
    app = client_app(lab.setup("early"), proxy, task_publish_retry_policy=policy, broker_transport_options=QUICK)
    app.tasks["crash.work"].delay()  # type: ignore[attr-defined]
    proxy.black_hole()
    began = time.monotonic()
    with pytest.raises(OperationalError):
        app.tasks["crash.work"].delay()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 10.0


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["reset", "refuse", "black hole"])
def test_get_waits_through_a_fault(lab: Lab, proxy: Proxy, fault: str) -> None:
    """A caller that waits for a result when its connection breaks gets it all the same."""
    app = client_app(lab.setup("early"), proxy, redis_socket_timeout=3.0)
    lab.worker()
    result = app.tasks["crash.work"].delay(4.0)  # type: ignore[attr-defined]
    from threading import Timer

    faults = {"reset": proxy.reset_all, "refuse": proxy.refuse, "black hole": proxy.black_hole}
    timers = [Timer(1.0, faults[fault]), Timer(5.0, proxy.end_black_hole if fault == "black hole" else proxy.heal)]
    for timer in timers:
        timer.start()
    try:
        assert result.get(timeout=20) > 0
    finally:
        for timer in timers:
            timer.cancel()
