"""Chords on Redis with a real worker: every way in which a part can end, and chords that nobody has finished."""

from __future__ import annotations

from typing import Any

import pytest

from celerylite import chord, group
from celerylite.backends.chords import Part
from celerylite.canvas.dispatch import ChordStart
from celerylite.exceptions import ChordError
from celerylite.result import GroupResult
from tests.conftest import Site
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def client(module_site: Site) -> Any:
    module_site.worker("-c", "2", "-n", "w1@%h", conf={"task_create_missing_queues": True})
    return module_site.client()


def sig(client: Any, name: str, *args: Any) -> Any:
    return client.tasks[f"t.{name}"].s(*args)


def failing_part(client: Any, site: Site, part: Any, error: str) -> None:
    """A chord with this part fails with `error`, its errback is called once, and nothing is left of it."""
    body = sig(client, "same").on_error(sig(client, "errback"))
    result = chord([sig(client, "add", 1), part, sig(client, "add", 2)])(body)
    with pytest.raises(ChordError, match=error):
        client.AsyncResult(result.id).get(timeout=15)
    [called] = wait_for(lambda: site.ledger.events("errback", result.id), what="the errback")
    assert error.replace("\\", "") in called.data["exc"]
    keys = f"celery-taskset-meta-{result.parent.id}."
    wait_for(lambda: site.redis.keys(f"{keys}*") == [f"{keys}c".encode()], what="the chord's keys to go")
    assert not site.redis.zcard("celerylite.chords")


@pytest.mark.parametrize(
    ("task", "args", "options", "error"),
    [
        ("fail", ("ValueError", "no"), {}, r"ValueError\('no'\)"),
        ("add", (1, 1), {"expires": -5}, "TaskRevokedError"),
        ("hopeless", (), {}, "Broken"),
        ("reject", (False,), {}, "reject requeue=False"),
        ("die", (), {}, "WorkerLostError"),
        ("unencodable", (), {}, "EncodeError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parts_that_fail(
    client: Any, module_site: Site, task: str, args: Any, options: dict[str, Any], error: str
) -> None:
    failing_part(client, module_site, sig(client, task, *args).set(**options), error)


def test_a_part_at_its_hard_limit(client: Any, module_site: Site) -> None:
    failing_part(client, module_site, sig(client, "work", 30).set(time_limit=0.2), "TimeLimitExceeded")


def test_a_part_that_no_worker_knows(client: Any, module_site: Site) -> None:
    failing_part(client, module_site, client.signature("nobody.knows.it"), "never registered")


def test_a_chain_in_the_header_that_fails_early(client: Any, module_site: Site) -> None:
    end = group(sig(client, "add", 1), sig(client, "add", 2))
    part = sig(client, "fail", "ValueError", "early") | sig(client, "add", 1) | end
    failing_part(client, module_site, part, r"ValueError\('early'\)")


def test_an_inner_chord_that_fails(client: Any, module_site: Site) -> None:
    inner = chord([sig(client, "add", 1), sig(client, "fail", "ValueError", "deep")], sig(client, "size"))
    failing_part(client, module_site, inner, "ChordError")


def test_results_may_be_ignored(client: Any) -> None:
    header = [sig(client, "noop", 1), sig(client, "add", 5).set(ignore_result=True)]
    assert chord(header)(sig(client, "same")).get(timeout=10) == [None, 5]


@pytest.mark.slow
def test_ten_thousand_parts(client: Any) -> None:
    header = [sig(client, "add", i) for i in range(10_000)]
    assert chord(header)(sig(client, "size")).get(timeout=60) == 10_000


@pytest.mark.slow
def test_a_chord_that_its_worker_left_is_finished_by_housekeeping(client: Any, module_site: Site) -> None:
    body = dict(sig(client, "size"))
    results = [client.AsyncResult(f"left-{index}") for index in range(3)]
    header = GroupResult("left", results, app=client)
    body["options"] = {"task_id": "left-body"}
    client.backend.start_chords([ChordStart("left", 3, header, body, {})])
    for index in range(3):
        client.backend.count_parts([Part("left", index, f"left-{index}", "SUCCESS", index, body)])
    assert client.AsyncResult("left-body").get(timeout=15) == 3

