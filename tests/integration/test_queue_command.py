"""`celerylite queue`: what is where, on every broker that can tell, and the way back to Celery."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from kombu import Connection

from celerylite import Celery
from celerylite.bin.celery import celery
from tests.conftest import THEIRS, Site

Run = Callable[..., Result]


@pytest.fixture(params=["redis", "sqlite", pytest.param("cluster", marks=pytest.mark.slow)])
def queue_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Celery]:
    """An app on an empty broker of each kind that can tell."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    elif request.param == "cluster":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        url = cluster.url
    else:
        url = f"sqlite:///{tmp_path}/tasks.db"
    app = Celery("queues", broker=url, set_as_current=False)
    app.conf.broker_transport_options = {} if request.param == "sqlite" else {"global_keyprefix": "p:"}
    yield app
    app.close()


def run(app: Celery, *words: str) -> Result:
    result = CliRunner().invoke(celery, ["queue", *words], obj=app, prog_name="celerylite")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def stats(app: Celery, *words: str) -> dict[str, tuple[int, ...]]:
    """Queue → waiting, delayed, in flight, dead."""
    found = json.loads(run(app, "--json", *words).stdout)
    return {row["queue"]: (row["waiting"], row["delayed"], row["held"], row["dead"]) for row in found}


def fill(app: Celery) -> Any:
    """Six waiting, of which three are taken and one of these set aside; two delayed. Returns who has taken them."""
    consumer = app.broker.consumer(["celery"], serial=True, lease=15.0)
    for priority in (0, 6, 9, 0, 0, 0):
        app.send_task("t", priority=priority)
    taken = consumer.fetch(3, 5.0)
    consumer.bury(taken[0], "nobody wants it")
    consumer.flush()
    for countdown in (100, 50):
        app.send_task("t", task_id=str(countdown), queue="later", countdown=countdown)
    return consumer


def test_counts(queue_app: Celery) -> None:
    assert stats(queue_app) == {"celery": (0, 0, 0, 0)}
    consumer = fill(queue_app)
    assert stats(queue_app) == {"celery": (3, 0, 2, 1), "later": (0, 2, 0, 0)}
    assert stats(queue_app, "-Q", "later") == {"later": (0, 2, 0, 0)}
    consumer.close()
    assert stats(queue_app)["celery"] == (5, 0, 0, 1)


def test_table(queue_app: Celery) -> None:
    consumer = fill(queue_app)
    assert run(queue_app).stdout == (
        "queue   waiting  delayed  in flight  dead\n"
        "celery        3        0          2     1\n"
        "later         0        2          0     0\n"
    )
    consumer.close()


def test_a_broker_that_cannot_tell(app: Any) -> None:
    assert stats(app, "-Q", "celery") == {"celery": (0, None, None, None)}
    assert run(app).stdout.splitlines()[1].split() == ["celery", "0", "-", "-", "-"]
    refused = run(app, "release-delayed")
    assert (refused.exit_code, refused.stderr) == (
        1, "Error: Delayed messages are where Celery has them, too: there is nothing to release.\n",
    )  # fmt: skip


def test_release_delayed(queue_app: Celery) -> None:
    consumer = fill(queue_app)
    refused = run(queue_app, "release-delayed")
    assert refused.exit_code == 1
    assert "1 task process(es) of celerylite live on this broker" in refused.stderr
    consumer.close()
    assert run(queue_app, "release-delayed").stdout == "Put 2 delayed messages into the queues.\n"
    assert stats(queue_app)["later"] == (2, 0, 0, 0)
    with queue_app.connection_for_read() as connection, connection.SimpleQueue("later") as later:
        assert {later.get(timeout=5).headers["id"] for _ in range(2)} == {"50", "100"}, "kombu finds them"


def test_what_celery_holds_is_counted(redis_url: str, redis_client: redis.Redis) -> None:
    app = Celery("queues", broker=redis_url, set_as_current=False)
    for queue in ("celery", "celery", "other"):
        app.send_task("t", queue=queue)
    with Connection(redis_url) as connection:
        for queue in ("celery", "other"):
            assert connection.default_channel.basic_get(queue)
        assert stats(app) == {"celery": (1, 0, 1, 0), "other": (0, 0, 1, 0)}
    app.close()


@pytest.mark.slow
def test_back_to_celery(site: Site) -> None:
    """A celerylite worker stops; a Celery worker runs what was delayed, at its time."""
    ours = site.worker("-c", "1")
    client = site.client()
    result = client.tasks["t.add"].apply_async((1, 2), countdown=4)
    assert stats(client)["celery"] == (0, 1, 0, 0)
    assert ours.terminate() == 0
    site.worker("-c", "1", program=THEIRS)
    assert run(client, "release-delayed").stdout == "Put 1 delayed message into the queues.\n"
    assert result.get(timeout=20) == 3
