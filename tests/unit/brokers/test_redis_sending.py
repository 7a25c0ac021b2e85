"""The sending side of the Redis broker: declaring queues, bulk, and what happens when the connection breaks in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from kombu import Exchange, Queue, binding

from celerylite import Celery
from celerylite.brokers.redis import RedisBroker, is_plain
from celerylite.brokers.redis_link import LinkError
from tests.support.redis_server import RedisServer

PLAIN = [
    Queue("celery", Exchange("celery"), routing_key="celery"),
    Queue("ünï", Exchange("other", type="direct"), routing_key="a.b"),
    Queue("no-key", Exchange("other")),
    Queue("with-priorities", Exchange("p"), routing_key="x", max_priority=10),
    Queue("durable", Exchange("d", durable=False), routing_key="d", durable=False, message_ttl=60),
    Queue("nowhere"),
    Queue("default-exchange", Exchange(""), routing_key="x"),
    Queue("not-declared", Exchange("e"), routing_key="x", no_declare=True),
]
FOR_KOMBU = [
    Queue("topic", Exchange("t", type="topic"), routing_key="a.#"),
    Queue("fan", Exchange("f", type="fanout")),
    Queue("expires", Exchange("e"), routing_key="e", expires=60),
    Queue("expires-too", Exchange("e"), routing_key="e", queue_arguments={"x-expires": 60000}),
    Queue("bound-twice", [binding(Exchange("b"), "x"), binding(Exchange("c"), "y")]),
    Queue("temporary", Exchange("e"), routing_key="t", auto_delete=True),
]


def contents(client: redis.Redis) -> dict[bytes, Any]:
    deadlines = b"_kombu.binding_deadlines"  # has times in it
    return {key: client.smembers(key) for key in client.keys() if not key.endswith(deadlines)}


@pytest.mark.parametrize("prefix", ["", "pre:"])
@pytest.mark.parametrize("queue", PLAIN + FOR_KOMBU, ids=lambda queue: queue.name or "bound")
def test_queues_are_declared_as_by_kombu(queue: Queue, prefix: str, redis_url: str, redis_client: redis.Redis) -> None:
    app = Celery(broker=redis_url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    app.broker.declare([queue])
    ours = contents(redis_client)
    redis_client.flushdb()
    with app.connection_for_write() as connection:
        queue(connection.default_channel).declare()
        assert ours == contents(redis_client)
    assert is_plain(queue) is (queue in PLAIN)
    app.broker.close()


def bulk_app(url: str) -> tuple[Celery, Any]:
    app = Celery(broker=url, set_as_current=False)

    @app.task(name="noop", ignore_result=True)
    def noop(*args: Any) -> None: ...

    return app, noop


def waiting(client: redis.Redis, queue: str) -> list[Any]:
    """The numbers sent to a queue, in the order in which they will be taken."""
    return [int(json.loads(raw)["headers"]["argsrepr"].strip("(,)")) for raw in reversed(client.lrange(queue, 0, -1))]


def test_bulk_keeps_the_order_in_every_queue(redis_url: str, redis_client: redis.Redis) -> None:
    app, noop = bulk_app(redis_url)
    calls = [
        (noop, (i,), {}, {"queue": ("a", "b")[i % 3 == 0], "priority": 6 if i % 5 == 0 else None}) for i in range(1000)
    ]
    results = app.send_tasks(calls)
    assert len({result.id for result in results}) == 1000
    urgent = [i for i in range(1000) if i % 5 == 0]
    assert waiting(redis_client, "a\x06\x166") == [i for i in urgent if i % 3]
    assert waiting(redis_client, "a") == [i for i in range(1000) if i % 3 and i % 5]
    assert waiting(redis_client, "b") == [i for i in range(1000) if i % 3 == 0 and i % 5]
    app.broker.close()


def test_bulk_with_delays_and_exchanges_in_between(redis_url: str, redis_client: redis.Redis) -> None:
    app, noop = bulk_app(redis_url)
    app.broker.declare([Queue("q", Exchange("e"), routing_key="k")])
    options = [{}, {"countdown": 60}, {"exchange": "e", "routing_key": "k"}, {}]
    app.send_tasks([(noop, (i,), {}, options[i % 4]) for i in range(400)])
    assert waiting(redis_client, "q") == list(range(2, 400, 4))
    # Without a worker of ours the delayed ones wait in the queue, as Celery's workers expect.
    assert sorted(waiting(redis_client, "celery")) == [i for i in range(400) if i % 4 != 2]
    app.broker.close()


def test_bulk_outlives_connections_that_break(redis_url: str, redis_client: redis.Redis) -> None:
    """What is sent again may be there twice, but nothing is missing and nothing raises."""
    app, noop = bulk_app(redis_url)

    def calls() -> Any:
        for i in range(1000):
            if i % 300 == 200:
                redis_client.client_kill_filter(_type="normal", skipme=True)
            yield noop, (i,), {}

    assert len(app.send_tasks(calls())) == 1000
    assert set(waiting(redis_client, "celery")) == set(range(1000))
    app.broker.close()


def test_a_call_that_cannot_be_made_leaves_those_before_it_sent(redis_url: str, redis_client: redis.Redis) -> None:
    app, noop = bulk_app(redis_url)
    noop.delay(-1)
    with pytest.raises(TypeError, match="must be a list or tuple"):
        app.send_tasks([(noop, (i,) if i < 200 else "text", {}) for i in range(300)])
    assert waiting(redis_client, "celery") == [-1, *range(128)]
    broker = app.broker
    assert isinstance(broker, RedisBroker) and broker.queue_length("celery") == 129  # the link is fit for use
    broker.close()


def test_bulk_raises_when_the_server_refuses(redis_url: str, redis_client: redis.Redis) -> None:
    app, noop = bulk_app(redis_url)
    noop.delay(0)
    redis_client.delete("celery")
    redis_client.set("celery", "not a list")
    with pytest.raises(Exception, match="WRONGTYPE"):
        app.send_tasks([(noop, (i,), {}) for i in range(500)])
    redis_client.delete("celery")
    noop.delay(7)
    assert waiting(redis_client, "celery") == [7]
    app.broker.close()


def test_bulk_gives_up_when_nobody_answers(redis_server: RedisServer) -> None:
    app, noop = bulk_app("redis://127.0.0.1:1/0")
    app.conf.task_publish_retry = False
    from kombu.exceptions import OperationalError

    with pytest.raises(OperationalError) as caught:
        app.send_tasks([(noop, (i,), {}) for i in range(300)])
    assert isinstance(caught.value.__cause__, LinkError)


def test_plain_calls_are_written_as_any_other(redis_url: str) -> None:
    app, _ = bulk_app(redis_url)
    amqp = app.amqp
    for args, kwargs in [((), {}), ((1, "a"), {"k": [1]}), (["\\", '"'], {"x": "y" * 3000})]:
        short = amqp.as_plain_task("id", "name", args, kwargs, "oid", True, "root", "parent")
        long = amqp.as_task_v2(
            "id", "name", args, kwargs, reply_to="oid", ignore_result=True, root_id="root", parent_id="parent"
        )
        assert json.dumps(short) == json.dumps(long)
    first, second = (amqp.as_plain_task(one, "n", (), {}, "", None).headers for one in "ab")
    assert not any(first[key] is second[key] for key in ("timelimit", "stamps"))
    amqp.create_task_message = lambda *args, **kwargs: None
    assert not amqp.writes_plainly
