"""Messages that cannot be run: logged once, set aside where they can be looked at, and the worker goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.envelopes import BAD, DOUBTFUL, changed, dump, envelope, fuzzed, without
from tests.support.keys import broker_keys_with
from tests.support.keys import dump as dump_keys
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(OURS == THEIRS, reason="bad messages end Celery's worker or block its queue")


@pytest.fixture(scope="module", params=["prefork", "threads"])
def site(
    request: pytest.FixtureRequest, new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp(request.param)
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    site.worker("-P", request.param, "-c", "2", signals="task")
    yield site
    site.close()


def good_call_after(site: Site) -> None:
    """Whatever came before it, a good call runs; two, so that every slot has come by."""
    client = site.client()
    results = [client.tasks["t.add"].delay(n, n) for n in range(4)]
    assert [result.get(timeout=10) for result in results] == [0, 2, 4, 6]


def letter_with(site: Site, raw: bytes) -> Any:
    """The dead letter that holds exactly these bytes."""
    client = site.client()

    def find() -> Any:
        return next((letter for letter in client.broker.dead(10_000) if letter.raw == raw), None)

    return wait_for(find, 10, f"{raw[:60]!r} among the dead letters")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_is_set_aside_and_the_worker_goes_on(site: Site, name: str) -> None:
    worker = site.workers.started[0]
    pids = set(worker.tree())
    site.redis.lpush("celery", BAD[name])
    letter = letter_with(site, BAD[name])
    assert letter.reason
    assert letter.queue == "celery"
    assert "@" in letter.worker
    assert letter.time > 1_700_000_000
    good_call_after(site)
    assert set(worker.tree()) == pids, "a process died of it"


def test_nothing_is_left_in_the_queue_or_in_hands(site: Site) -> None:
    """Once all of them were set aside, the other keys of the broker hold no message."""
    marker = "left-over-marker"
    site.redis.lpush("celery", changed("headers.origin", marker).replace(b'"t.add"', b'"t.nowhere"'))
    wait_for(
        lambda: any(marker.encode() in letter.raw for letter in site.client().broker.dead(10_000)),
        what="letter",
    )
    # Set-aside messages may be kept in a form of their own.
    assert all("dead" in key for key in broker_keys_with(site.redis, marker))


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_doubtful_message_harms_nobody(site: Site, name: str) -> None:
    """It runs, or fails, or waits, or is set aside; it does not vanish, and no process dies of it."""
    worker = site.workers.started[0]
    pids = set(worker.tree())
    raw = DOUBTFUL[name]
    task_id = json.loads(raw)["headers"]["id"]
    site.redis.lpush("celery", raw)
    good_call_after(site)
    wait_for(lambda: has_trace(site, raw, task_id), 10, "the message to be found again")
    assert set(worker.tree()) == pids, "a process died of it"


def has_trace(site: Site, raw: bytes, task_id: str) -> bool:
    """Whether the call has a result, or the message is set aside or waits to become due."""
    if site.redis.exists(f"celery-task-meta-{task_id}"):
        return True
    if any(letter.raw == raw for letter in site.client().broker.dead(10_000)):
        return True
    return bool(broker_keys_with(site.redis, task_id))


# Fields that a lenient reader can do without: such calls run, as they do with Celery.
LENIENT = {
    "no delivery tag": without("properties.delivery_tag"),
    "no priority": without("properties.priority"),
    "no reply_to": without("properties.reply_to"),
    "no origin": without("headers.origin"),
    "no argsrepr": without("headers.argsrepr"),
    "no timelimit": without("headers.timelimit"),
    "no stamps": without("headers.stamps"),
    "no root_id": without("headers.root_id"),
    "no retries": without("headers.retries"),
    "no lang": without("headers.lang"),
    "priority beyond the steps": changed("properties.priority", 99),
    "another language": changed("headers.lang", "go"),
    "unknown header": changed("headers.hello", {"a": [1]}),
    "binary encoding of text": changed("content-encoding", "binary"),
}


@pytest.mark.parametrize("name", LENIENT)
def test_small_gaps_are_no_reason_to_refuse(site: Site, name: str) -> None:
    raw = LENIENT[name]
    task_id = json.loads(raw)["headers"]["id"]
    site.redis.lpush("celery", raw)
    assert site.client().AsyncResult(task_id).get(timeout=10) == 2


def test_unknown_task(site: Site) -> None:
    """The caller is told, the message is kept, the signal is sent."""
    result = site.client().send_task("t.nowhere", (1, 2))
    with pytest.raises(Exception, match="t.nowhere") as caught:
        result.get(timeout=10)
    assert type(caught.value).__name__ == "NotRegistered"
    broker = site.client().broker
    # It is set aside right after the caller was told.
    letters = wait_for(lambda: [letter for letter in broker.dead(10_000) if letter.task_id == result.id])
    assert [(letter.task_name, letter.queue) for letter in letters] == [("t.nowhere", "celery")]
    assert site.ledger.wait("signal:task_unknown", result.id)
    assert len(site.workers.started[0].wait_log(r"Received unregistered task of type '?t\.nowhere'?")) >= 1


def test_each_is_logged_once(site: Site) -> None:
    site.redis.lpush("celery", changed("headers.task", "t.logged_once"))
    site.workers.started[0].wait_log(r"t\.logged_once")
    good_call_after(site)
    lines = [line for line in site.workers.started[0].log().splitlines() if "unregistered" in line]
    assert sum("t.logged_once" in line for line in lines) == 1


def test_the_log_does_not_drown(site: Site) -> None:
    """A bad message of megabytes is shown in part."""
    worker = site.workers.started[0]
    before = len(worker.log())
    raw = b"\xff" + b"A" * 5_000_000
    site.redis.lpush("celery", raw)
    letter_with(site, raw)
    good_call_after(site)
    assert len(worker.log()) - before < 50_000


def test_wrong_arguments_are_a_failure_of_the_task(site: Site) -> None:
    message = envelope("t.add", (1, 2, 3, 4))
    site.redis.lpush("celery", dump(message))
    with pytest.raises(TypeError):
        site.client().AsyncResult(message["headers"]["id"]).get(timeout=10)


def test_a_put_back_message_is_tried_again(site: Site) -> None:
    client = site.client()
    raw = changed("headers.task", "t.again")
    site.redis.lpush("celery", raw)
    letter = letter_with(site, raw)
    assert client.broker.retry_dead([letter.id]) == 1
    again = letter_with(site, raw)
    assert again.time >= letter.time


@pytest.mark.slow
def test_two_hundred_fuzzed_messages(site: Site) -> None:
    """Around each spoilt message a good one: every good one runs, every spoilt one is found again."""
    client = site.client()
    worker = site.workers.started[0]
    spoilt = fuzzed(20_261, 200)
    good = []
    for marker, raw in spoilt:
        site.redis.lpush("celery", raw)
        good.append((marker, client.tasks["t.same"].delay(marker)))
    for marker, result in good:
        assert result.get(timeout=30) == marker
    assert worker.returncode is None
    wait_for(lambda: not lost(site, spoilt), 10, "all spoilt messages to be found again", 0.2)


def lost(site: Site, spoilt: list[tuple[str, bytes]]) -> list[bytes]:
    """The spoilt messages of which there is no trace: not set aside, not run, not waiting, no result."""
    letters = {letter.raw for letter in site.client().broker.dead(10_000)}
    standing = b"".join(text for key, text in dump_keys(site.redis).items() if not key.startswith("celery-task-meta-"))
    ran = {event.data.get("marker") for event in site.ledger.events("start")}
    ran |= {event.key for event in site.ledger.events()}
    missing = []
    for marker, raw in spoilt:
        traces = raw in letters or marker in ran or site.redis.exists(f"celery-task-meta-{marker}")
        if not traces and marker.encode() not in standing:
            missing.append(raw)
    return missing


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_more_fuzzed_messages(site: Site, seed: int) -> None:
    client = site.client()
    spoilt = fuzzed(seed, 1000)
    for _, raw in spoilt:
        site.redis.lpush("celery", raw)
    good_call_after(site)
    assert [result.get(timeout=30) for result in [client.tasks["t.add"].delay(n) for n in range(20)]] == list(range(20))
    wait_for(lambda: not lost(site, spoilt), 30, "all spoilt messages to be found again", 0.5)
