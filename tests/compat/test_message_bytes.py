"""The same call gives the same message in Celery and in celerylite: headers, properties, body, in their order."""

# ruff: noqa: E501  the table of calls reads best with a call a line

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from celerylite import Celery
from tests.support.recording import RecordingBroker, kombu_memory

celery = pytest.importorskip("celery")
from kombu import Exchange, Queue  # noqa: E402

LATER = datetime(2031, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
PARENT = {
    "id": "PID",
    "root_id": "ROOT",
    "parent_id": "GRAND",
    "called_directly": False,
    "delivery_info": {"priority": 7, "exchange": "", "routing_key": "rq"},
    "stamped_headers": ["st"],
    "stamps": {"st": "v"},
    "headers": {"hh": 1},
    "group": "G",
    "group_index": 2,
    "timelimit": [9, 8],
    "retries": 1,
    "args": (1, 2),
    "kwargs": {},
    "correlation_id": "PID",
    "reply_to": "RT",
    "origin": "gen1@there",
    "shadow": "other name",
    "replaced_task_nesting": 2,
    "ignore_result": True,
}


class Side:
    """An app with its tasks, of one of the two libraries."""

    def __init__(self, lib: Any, **conf: Any) -> None:
        self.lib = lib
        self.app = lib("proj", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(conf)

        @self.app.task(shared=False, name="proj.add")
        def add(x: int, y: int = 0) -> int:
            return x + y

        @self.app.task(
            shared=False, name="proj.opt", bind=True, ignore_result=True, priority=3, time_limit=3, queue="qq",
            expires=LATER, serializer="json", foo=1, rate_limit="1/s", compression="gzip",
        )  # fmt: skip
        def opt(self: Any, *args: Any, **kwargs: Any) -> None: ...

        self.add, self.opt = add, opt
        self.app.finalize()

    def inside(self, request: dict[str, Any], call: Callable[[], Any]) -> Any:
        """Call it as from inside of the running task `add`."""
        if self.lib is Celery:
            from celerylite._state import _task_stack  # noqa: F401
            from celerylite.context import Context, pop, push

            token = push(self.add, Context(request))
            try:
                return call()
            finally:
                pop(token)
        from celery._state import _task_stack as stack

        self.add.push_request(**request)
        stack.push(self.add)
        try:
            return call()
        finally:
            stack.pop()
            self.add.pop_request()

    def sent(self, call: Callable[[Side], Any]) -> Any:
        """What the call sends, or the error it raises."""
        if self.lib is Celery:
            broker = RecordingBroker()
            self.app._broker = broker
            error = self._outcome(call)
            return error or [
                (m.routing_key, m.exchange, e) for m, e in zip(broker.sent, broker.envelopes(), strict=True)
            ]
        with kombu_memory() as put:
            error = self._outcome(call)
        found = [(e["properties"]["delivery_info"], e) for _, e in put]
        return error or [(info["routing_key"], info["exchange"], e) for info, e in found]

    def _outcome(self, call: Callable[[Side], Any]) -> Any:
        try:
            call(self)
        except Exception as exc:  # whatever the library raises is compared
            return type(exc).__name__, str(exc)
        return None


def plain(found: Any, tid: str = "I") -> Any:
    """What was sent, without what must differ: ids, the sender's name, the reply queue."""
    if isinstance(found, tuple):
        return found[:1] if "ISO string" in found[1] or "date string" in found[1] else found
    out = []
    for routing_key, exchange, envelope in found:
        headers, properties = envelope["headers"], envelope["properties"]
        unique = {headers["id"]: "ID"} if headers["id"] != tid and len(headers["id"]) == 36 else {}
        for part in (headers, properties):
            for key, value in part.items():
                if isinstance(value, str):
                    part[key] = unique.get(value, value)
        if len(properties.get("expiration", "")) > 6:
            properties["expiration"] = properties["expiration"][:-5]  # it runs down while we look
        for key in ("delivery_tag", "reply_to"):
            if properties[key] != "RT":
                properties[key] = "…"
        if headers["origin"].startswith("gen") and headers["origin"] != "gen1@there":
            headers["origin"] = "gen…"
        body = base64.b64decode(envelope["body"])
        out.append(
            (routing_key, exchange, list(headers.items()), list(properties.items()), body,
             envelope["content-type"], envelope["content-encoding"])
        )  # fmt: skip
    return out


I = "I"  # noqa: E741  the id of most calls
CALLS: dict[str, Callable[[Side], Any]] = {
    "delay": lambda s: s.add.delay(1, 2),
    "delay kwargs": lambda s: s.add.delay(1, y=2),
    "task id": lambda s: s.add.apply_async((1, 2), task_id=I),
    "list args": lambda s: s.add.apply_async([1, 2], {}, task_id=I),
    "by name": lambda s: s.app.send_task("x.y", (1,), {"k": "v"}, task_id=I),
    "by name of a known task": lambda s: s.app.send_task("proj.opt", (1,), task_id=I),
    "by name, options over the task's": lambda s: s.app.send_task("proj.opt", (1,), task_id=I, expires=None, queue="z"),
    "task options": lambda s: s.opt.apply_async((1,), task_id=I),
    "options over task options": lambda s: s.opt.apply_async(
        (1,), task_id=I, priority=9, time_limit=7, expires=None, ignore_result=False, compression="zlib"
    ),
    "by name with options": lambda s: s.app.send_task(
        "x.y", (1,), task_id=I, ignore_result=True, foo=1, priority=4, headers={"h": 1}, shadow="sh", app_id="aa"
    ),
    "queue": lambda s: s.add.apply_async((1, 2), task_id=I, queue="other"),
    "routing key": lambda s: s.add.apply_async((1, 2), task_id=I, routing_key="other"),
    "exchange": lambda s: s.add.apply_async((1, 2), task_id=I, exchange="e1"),
    "queue object": lambda s: s.add.apply_async(
        (1, 2), task_id=I, queue=Queue("qx", Exchange("ex", "topic"), routing_key="a.b")
    ),
    "gzip": lambda s: s.add.apply_async((1, 2), task_id=I, compression="gzip"),
    "pickle": lambda s: s.add.apply_async((1, 2), task_id=I, serializer="pickle"),
    "transient": lambda s: s.add.apply_async((1, 2), task_id=I, delivery_mode="transient"),
    "delivery mode": lambda s: s.add.apply_async((1, 2), task_id=I, delivery_mode=1),
    "reply to": lambda s: s.add.apply_async((1, 2), task_id=I, reply_to="RT"),
    "stamps": lambda s: s.add.apply_async((1, 2), task_id=I, stamped_headers=["tenant"], tenant="t1"),
    "stamps as headers": lambda s: s.add.apply_async(
        (1, 2), task_id=I, headers={"stamped_headers": ["t"], "t": "1", "stamps": {"t": "1"}}
    ),
    "place in a canvas": lambda s: s.add.apply_async(
        (1, 2), task_id=I, root_id="r", parent_id="p", group_id="g", group_index=1, chord={"task": "a"},
        chain=[{"task": "b"}], retries=3, time_limit=1, soft_time_limit=2, replaced_task_nesting=2,
    ),
    "expired": lambda s: s.add.apply_async((1, 2), task_id=I, expires=datetime(2020, 1, 1)),
    "expires as text, garbage": lambda s: s.add.apply_async((1, 2), task_id=I, expires="abc"),
    "eta naive": lambda s: s.add.apply_async((1, 2), task_id=I, eta=datetime(2030, 1, 1)),
    "eta": lambda s: s.add.apply_async((1, 2), task_id=I, eta=LATER),
    "eta elsewhere": lambda s: s.add.apply_async((1, 2), task_id=I, eta=LATER.astimezone(timezone(timedelta(hours=5)))),
    "eta as text": lambda s: s.add.apply_async((1, 2), task_id=I, eta="2031-01-02T03:04:05Z"),
    "link": lambda s: s.add.apply_async((1, 2), task_id=I, link=s.add.s(1), link_error=[s.add.s(2), s.add.si(2, 3)]),
    "linked signature": lambda s: s.add.s(1, 2).set(task_id=I, link=[s.add.s(1)]).on_error(s.add.si(5)).apply_async(),
    "signature": lambda s: s.add.s(1).apply_async((2,), task_id=I, queue="z"),
    "immutable signature": lambda s: s.add.si(1, 2).apply_async((9,), {"z": 1}, task_id=I, queue="z"),
    "stamped signature": lambda s: s.add.s(1, 2).set(task_id=I).stamp(tenant="t1").apply_async(),
    "too few": lambda s: s.add.delay(),
    "too many": lambda s: s.add.delay(1, 2, 3),
    "unexpected": lambda s: s.add.delay(1, z=3),
    "twice": lambda s: s.add.delay(1, x=3),
    "args as text": lambda s: s.add.apply_async("ab"),
    "args as text by name": lambda s: s.app.send_task("x", "ab"),
    "kwargs as list": lambda s: s.app.send_task("x", (), [1]),
    "not JSON": lambda s: s.add.delay(1, object()),
    "serializer unknown": lambda s: s.add.apply_async((1, 2), serializer="nope"),
    "countdown far below": lambda s: s.add.apply_async((1, 2), countdown=-(2**32)),
    "properties": lambda s: s.add.apply_async((1, 2), task_id=I, expiration=5, user_id="u", message_id="m"),
    "texts given": lambda s: s.add.apply_async((1, 2), task_id=I, argsrepr="A", kwargsrepr="K", origin="gen1@there"),
    "empty": lambda s: s.app.send_task("x", task_id=I),
    "texts": lambda s: s.app.send_task(
        "x", ("it's", 'a"b', "é\n\\", b"x".decode(), 1.5, None, True, [1, [2, [3, [4]]]], {"a": {"b": [1]}}), task_id=I
    ),
    "long": lambda s: s.app.send_task("x", ("x" * 3000, list(range(2000))), {"k": "v" * 1020, "z": [1]}, task_id=I),
    "long, just under": lambda s: s.app.send_task("x", ("x" * 1010,), {"k": "v" * 995}, task_id=I),
    "child": lambda s: s.inside(PARENT, lambda: s.add.apply_async((1, 2), task_id=I)),
    "child with stamps": lambda s: s.inside(
        PARENT, lambda: s.add.apply_async((1, 2), task_id=I, stamped_headers=["own"], own=5)
    ),
    "child with a root": lambda s: s.inside(PARENT, lambda: s.add.apply_async((1, 2), task_id=I, root_id="other")),
    "child with a parent": lambda s: s.inside(
        PARENT, lambda: s.add.apply_async((1, 2), task_id=I, root_id="other", parent_id="op")
    ),
    "child by name": lambda s: s.inside(PARENT, lambda: s.app.send_task("x", task_id=I)),
    "retry": lambda s: s.inside(PARENT, lambda: s.add.retry(eta=LATER, throw=False)),
    "retry with arguments": lambda s: s.inside(
        PARENT, lambda: s.add.retry((3,), {"y": 4}, eta=LATER, queue="other", priority=2, throw=False, max_retries=7)
    ),
    "retry with options": lambda s: s.inside(
        PARENT,
        lambda: s.add.retry(
            eta=LATER, throw=False, time_limit=99, soft_time_limit=98, ignore_result=False, headers={"q": 1},
            shadow="n", routing_key="kk", exchange="ee", link=s.add.s(5),
        ),
    ),
    "retry of one sent to an exchange": lambda s: s.inside(
        {**PARENT, "delivery_info": {"exchange": "", "routing_key": "kk", "priority": 0}},
        lambda: s.add.retry(eta=LATER, throw=False),
    ),
    "retries used up": lambda s: s.inside({**PARENT, "retries": 3}, lambda: s.add.retry()),
    "retries used up, with an error": lambda s: s.inside({**PARENT, "retries": 3}, lambda: s.add.retry(exc=KeyError("x"))),
    "retry outside": lambda s: s.add.retry(),
    "retry raises": lambda s: s.inside(PARENT, lambda: s.add.retry(exc=KeyError("x"), countdown=7)),
}  # fmt: skip

CONFS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "routes": {
        "task_routes": [
            {"proj.a*": {"queue": "globbed", "priority": 5}, "x": "exact"},
            {"x.*": {"queue": "named", "routing_key": "rk"}},
        ],
    },
    "route function": {
        "task_routes": (
            lambda name, args, kwargs, options, task=None, **kw: {"queue": f"f.{len(args or ())}"},
        )
    },
    "queues": {
        "task_queues": [Queue("a"), Queue("b", Exchange("bx", "topic"), routing_key="b.#")],
        "task_default_queue": "a",
        "task_create_missing_queues": True,
    },
    "topic by default": {
        "task_default_queue": "d",
        "task_default_exchange": "de",
        "task_default_exchange_type": "topic",
        "task_default_routing_key": "rk",
    },
    "priorities": {"task_inherit_parent_priority": True, "task_default_priority": 2},
    "no new queues": {"task_create_missing_queues": False},
    "limits and the rest": {
        "task_time_limit": 100,
        "task_soft_time_limit": 90,
        "task_ignore_result": True,
        "task_compression": "gzip",
        "task_default_delivery_mode": "transient",
        "task_repr_maxlevels": 2,
    },
    "elsewhere": {"timezone": "Asia/Tokyo"},
}


@pytest.mark.parametrize("conf", CONFS, ids=str)
def test_same_messages(conf: str) -> None:
    ours, theirs = Side(Celery, **CONFS[conf]), Side(celery.Celery, **CONFS[conf])
    different = {}
    for name, call in CALLS.items():
        here, there = plain(ours.sent(call)), plain(theirs.sent(call))
        if there == [] and here and here[0][1]:
            continue  # kombu's in-memory transport has no queue bound there
        if here != there:
            different[name] = (here, there)
    assert not different, _report(different)


def _report(different: dict[str, Any]) -> str:
    lines = []
    for name, (here, there) in different.items():
        lines.append(f"{name}:\n  ours   {here}\n  theirs {there}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "conf", [{}, {"timezone": "Asia/Tokyo"}, {"enable_utc": False, "timezone": "America/New_York"}]
)
@pytest.mark.parametrize("options", [{"countdown": 60}, {"expires": 60}, {"countdown": 5, "expires": 0.5}])
def test_same_times(conf: dict[str, Any], options: dict[str, Any]) -> None:
    found = []
    for lib in (Celery, celery.Celery):
        [(_, _, envelope)] = Side(lib, **conf).sent(lambda s: s.add.apply_async((1,), **options))
        found.append(envelope)
    for key in ("eta", "expires"):
        ours, theirs = (envelope["headers"][key] for envelope in found)
        if theirs is None:
            assert ours is None
            continue
        assert ours[-6:] == theirs[-6:]  # the time zone
        assert abs(datetime.fromisoformat(ours) - datetime.fromisoformat(theirs)) < timedelta(seconds=1)
    assert found[0]["properties"].get("expiration") == found[1]["properties"].get("expiration")


def test_many_calls_at_once_are_the_same_messages() -> None:
    ours = Side(Celery)
    one_by_one = [
        ours.add.s(1),
        ours.opt.s(2).set(priority=5),
        ours.add.s(3).set(countdown=0, queue="z", link=[ours.add.s(4)]),
    ]
    alone = [plain(ours.sent(lambda s, sig=sig: sig.apply_async(task_id=I)))[0] for sig in one_by_one]
    together = plain(ours.sent(lambda s: s.app.send_tasks([sig.clone(task_id=I) for sig in one_by_one])))
    assert together == alone
    assert json.dumps(together[0][2]) == json.dumps(alone[0][2])
