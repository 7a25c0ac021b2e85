"""Signatures: calls as values."""

from __future__ import annotations

import json
import pickle

import pytest

from celerylite import Celery, Signature, maybe_signature, signature
from tests.unit.app.conftest import app, sent

__all__ = ("app", "sent")


@pytest.fixture
def add(app: Celery):
    return app.task(name="add")(lambda x, y=0: x + y)


def test_keys(add) -> None:
    assert dict(add.signature((1,), {"y": 2}, countdown=3)) == {
        "task": "add", "args": (1,), "kwargs": {"y": 2}, "options": {"countdown": 3}, "subtask_type": None,
        "immutable": False,
    }  # fmt: skip


def test_arguments_are_put_before(add, sent: list) -> None:
    assert add.s(1)(2) == 3
    assert add.s(2).clone((1,), {"y": 3}, queue="q") == add.signature((1, 2), {"y": 3}, queue="q")
    assert add.si(2).clone((1,), {"y": 3}, queue="q") == add.signature((2,), queue="q", immutable=True)
    add.s(2).delay(1)
    assert b"[[1, 2]" in sent[0].body


def test_a_copy_shares_nothing(add) -> None:
    one = add.s(1)
    one.link(add.s(2))
    two = one.clone()
    two.link(add.s(3))
    two["kwargs"]["y"] = 1
    assert len(one.options["link"]) == 1
    assert one.kwargs == {}


def test_set_link_and_freeze(add) -> None:
    sig = add.s(1).set(queue="q").on_error(add.si(9))
    assert sig.link(add.s(2)) == add.s(2)
    sig.link(add.s(2))
    assert sig.options["link"] == [add.s(2)]
    result = sig.freeze("I", group_id="g", root_id="r", parent_id="p", chord={"c": 1}, group_index=0)
    assert (result.id, sig.id, sig.root_id, sig.parent_id) == ("I", "I", "r", "p")
    assert sig.options["group_index"] == 0
    assert sig.freeze("J").id == "I"
    assert sig.freeze(group_id="other") and sig.options["group_id"] == "g"


def test_the_reply_queue_travels_where_results_do(add) -> None:
    sig = add.s(1)
    sig.freeze()
    assert "reply_to" not in sig.options
    add.app.conf.result_backend = "rpc://"
    sig.freeze()
    assert sig.options["reply_to"] == add.app.thread_oid


def test_travel(add) -> None:
    sig = add.s(1, y=2).set(countdown=1)
    assert pickle.loads(pickle.dumps(sig)) == sig
    back = maybe_signature(json.loads(json.dumps(sig)), app=add.app)
    assert isinstance(back, Signature)
    assert back.type is add
    assert maybe_signature(None) is None
    assert maybe_signature(sig) is sig
    assert maybe_signature(sig, clone=True) is not sig


def test_by_name(app: Celery, sent: list) -> None:
    signature("else.where", (1,), {"k": 1}, app=app).set(queue="u").delay(0)
    assert (sent[0].headers["task"], sent[0].routing_key) == ("else.where", "u")


def test_repr(add) -> None:
    assert repr(add.s(1, y="z")) == "add(1, y='z')"
    assert add.s(1).reprcall(2, k=3) == "add(2, 1, k=3)"


def test_stamps(add, sent: list) -> None:
    sig = add.s(1)
    sig.link(add.s(2))
    sig.stamp(a=1).stamp(append_stamps=True, a=2)
    assert sig.options["a"] == [2, 1]
    assert sig.options["link"][0]["options"] == {"a": [2, 1], "stamped_headers": ["a"]}
    sig.delay()
    assert sent[0].headers["stamps"] == {"a": [2, 1]}
    assert sent[0].headers["stamped_headers"] == ["a"]


def test_as_message(add, sent: list) -> None:
    message = add.s(1).set(queue="q").as_message((5,), parent_id="p", root_id="r")
    assert (message.routing_key, message.headers["parent_id"], message.headers["root_id"]) == ("q", "p", "r")
    assert b"[[5, 1]" in message.body
    assert not sent


def test_kinds_of_signatures(app: Celery) -> None:
    @Signature.register_type("unit-kind")
    class Kind(Signature):
        @classmethod
        def from_dict(cls, d, app=None):
            return cls(d, app=app)

    made = signature({"task": "x", "args": (), "kwargs": {}, "options": {}, "subtask_type": "unit-kind"})
    assert isinstance(made, Kind)
    del Signature.TYPES["unit-kind"]
