"""Messages as they stand in a Redis list, good and bad, made by hand so that no library can tidy them up."""

from __future__ import annotations

import base64
import json
import random
import uuid
from typing import Any


def body_of(args: Any = (), kwargs: Any = None, embed: Any = None) -> str:
    """A protocol 2 body, base64."""
    options = {"callbacks": None, "errbacks": None, "chain": None, "chord": None} if embed is None else embed
    return base64.b64encode(json.dumps([list(args), kwargs or {}, options]).encode()).decode()


def envelope(
    task: str = "t.add", args: Any = (1, 1), task_id: str | None = None, queue: str = "celery"
) -> dict[str, Any]:
    """A protocol 2 message as Celery 5.7 and kombu 5.7 write it."""
    task_id = task_id or str(uuid.uuid4())
    return {
        "body": body_of(args),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "argsrepr": repr(tuple(args)),
            "kwargsrepr": "{}",
            "origin": "gen1@test",
            "ignore_result": False,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": str(uuid.uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def dump(message: dict[str, Any]) -> bytes:
    """The message as the bytes in the list."""
    return json.dumps(message).encode()


def changed(path: str, value: Any) -> bytes:
    """A good message of which one field is replaced; `path` is like "headers.task"."""
    message = envelope()
    *parents, last = path.split(".")
    target = message
    for name in parents:
        target = target[name]
    target[last] = value
    return dump(message)


def without(path: str) -> bytes:
    """A good message that lacks one field."""
    message = envelope()
    *parents, last = path.split(".")
    target = message
    for name in parents:
        target = target[name]
    del target[last]
    return dump(message)


def with_body(raw: bytes, **fields: Any) -> bytes:
    """A good message with other bytes as its body."""
    message = envelope()
    message["body"] = base64.b64encode(raw).decode()
    message.update(fields)
    return dump(message)


def protocol_1(**fields: Any) -> bytes:
    """A message of the old protocol."""
    payload = {
        "task": "t.add",
        "id": str(uuid.uuid4()),
        "args": [1, 1],
        "kwargs": {},
        "retries": 0,
        "eta": None,
        "expires": None,
        "utc": True,
        "callbacks": None,
        "errbacks": None,
        "timelimit": [None, None],
        "taskset": None,
        "chord": None,
        **fields,
    }
    message = envelope()
    message["headers"] = {}
    message["body"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return dump(message)


#: Messages that nobody can run: name → bytes. Each must be set aside.
BAD: dict[str, bytes] = {
    "one zero byte": b"\0",
    "binary": bytes(range(256)),
    "words": b"hello",
    "null": b"null",
    "a number": b"1",
    "a string": b'"text"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "an object of other things": b'{"foo": 1}',
    "JSON cut short": dump(envelope())[:-40],
    "very deep JSON": b"[" * 100_000,
    "invalid UTF-8 inside JSON": b'{"body": "\xff\xfe"}',
    "no body": without("body"),
    "body null": changed("body", None),
    "body a number": changed("body", 5),
    "body no base64": changed("body", "%%%"),
    "body of an unknown encoding": changed("properties.body_encoding", "rot13"),
    "headers null, body of protocol 2": changed("headers", None),
    "headers a list": changed("headers", [1]),
    "properties null": changed("properties", None),
    "properties a string": changed("properties", "x"),
    "content type unknown": changed("content-type", "application/x-nope"),
    "content type a number": changed("content-type", 7),
    "content type null": changed("content-type", None),
    "content type not accepted": changed("content-type", "application/x-python-serialize"),
    "pickled": with_body(b"\x80\x04K\x01.", **{"content-type": "application/x-python-serialize"}),
    "yaml not accepted": with_body(b"[]", **{"content-type": "application/x-yaml"}),
    "body no JSON": with_body(b"hello"),
    "body binary": with_body(b"\xff\xfe\x00"),
    "body empty": with_body(b""),
    "body null inside": with_body(b"null"),
    "body an object": with_body(b"{}"),
    "body a string inside": with_body(b'"abc"'),
    "body a list of one": with_body(b"[[]]"),
    "body args a number": with_body(b"[1, {}, {}]"),
    "body kwargs a list": with_body(b"[[], [1], {}]"),
    "body of deep JSON": with_body(b"[" * 100_000),
    "compressed with what nobody has": changed("headers.compression", "application/x-nope"),
    "said to be compressed": changed("headers.compression", "application/x-gzip"),
    "task unknown": changed("headers.task", "t.nowhere"),
    "task a number": changed("headers.task", 5),
    "task null, body of protocol 2": changed("headers.task", None),
    "task a list": changed("headers.task", ["t.add"]),
    "task an object": changed("headers.task", {"t.add": 1}),
    "id a list": changed("headers.id", ["x"]),
    "id an object": changed("headers.id", {}),
    "eta no date": changed("headers.eta", "tomorrow"),
    "eta an object": changed("headers.eta", {"a": 1}),
    "expires no date": changed("headers.expires", "never ever"),
    "protocol 1 without a task": protocol_1(task=None),
    "protocol 1 with an unknown task": protocol_1(task="t.nowhere"),
    "protocol 1 with args a string": protocol_1(args=5),
    "protocol 1 with kwargs a list": protocol_1(kwargs=[1]),
}

#: Messages that a lenient worker may run and a strict one may set aside.
DOUBTFUL: dict[str, bytes] = {
    "content encoding unknown": changed("content-encoding", "utf-99"),
    "no delivery info": without("properties.delivery_info"),
    "delivery info a string": changed("properties.delivery_info", "x"),
    "retries a string": changed("headers.retries", "many"),
    "timelimit strings": changed("headers.timelimit", ["a", "b"]),
    "timelimit a number": changed("headers.timelimit", 5),
    "timelimit huge": changed("headers.timelimit", [1e308, 2**80]),
    "timelimit below zero": changed("headers.timelimit", [-1, -1]),
    "stamps a list": changed("headers.stamps", [1]),
    "callbacks a string": with_body(b'[[1, 1], {}, {"callbacks": "x"}]'),
    "callbacks a list of numbers": with_body(b'[[1, 1], {}, {"callbacks": [1]}]'),
    "errbacks an object": with_body(b'[[1, 1], {}, {"errbacks": {"a": 1}}]'),
    "chain of numbers": with_body(b'[[1, 1], {}, {"chain": [1]}]'),
    "chord a number": with_body(b'[[1, 1], {}, {"chord": 7}]'),
    "embed null": with_body(b"[[1, 1], {}, null]"),
    "group a list": changed("headers.group", []),
    "root_id a list": changed("headers.root_id", []),
    "origin a list": changed("headers.origin", []),
    "eta of a year that no clock reaches": changed("headers.eta", "9999-12-31T23:59:59"),
    "eta a number": changed("headers.eta", 5),
    "expires a number": changed("headers.expires", 5),
    "reply_to an object": changed("properties.reply_to", {}),
    "priority a string": changed("properties.priority", "high"),
    "delivery tag a list": changed("properties.delivery_tag", [1]),
    "correlation id a list": changed("properties.correlation_id", [1]),
}

JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**80,
    1e308,
    "",
    "x",
    "\0",
    "ä" * 10,
    [],
    [None],
    {},
    {"a": {"b": []}},
    [[]] * 3,
    "2026-01-01",
    "9999-99-99",
    "NaN",
    -1e-300,
    "celery",
    "a" * 5000,
]


def fuzzed(seed: int, count: int) -> list[tuple[str, bytes]]:
    """`count` messages to `t.mark`, spoilt in one place or random, with the marker they carry."""
    rng = random.Random(seed)
    kinds = [_random_bytes, _flipped_byte, _cut, _junk_field, _dropped_field, _junk_in_body]
    found = []
    for n in range(count):
        marker = f"fuzz-{seed}-{n}-end"
        found.append((marker, kinds[n % len(kinds)](rng, marker)))
    return found


def _random_bytes(rng: random.Random, marker: str) -> bytes:
    return rng.randbytes(rng.randint(1, 400))


def _good(marker: str) -> dict[str, Any]:
    return envelope("t.mark", (marker,), task_id=marker)


def _flipped_byte(rng: random.Random, marker: str) -> bytes:
    data = bytearray(dump(_good(marker)))
    # One only, so that the marker survives in the id or in the arguments.
    data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _cut(rng: random.Random, marker: str) -> bytes:
    data = dump(_good(marker))
    start = rng.randrange(len(data) // 2)
    return data[start:] if rng.random() < 0.5 else data[: len(data) - start - 1]


def _all_paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return ([path] if path else []) + [found for key in value for found in _all_paths(value[key], (*path, key))]


def _at_random_path(rng: random.Random, message: dict[str, Any]) -> tuple[dict[str, Any], str]:
    *parents, last = rng.choice(_all_paths(message))
    for name in parents:
        message = message[name]
    return message, last


def _junk_field(rng: random.Random, marker: str) -> bytes:
    message = _good(marker)
    parent, key = _at_random_path(rng, message)
    parent[key] = rng.choice(JUNK)
    return dump(message)


def _dropped_field(rng: random.Random, marker: str) -> bytes:
    message = _good(marker)
    parent, key = _at_random_path(rng, message)
    del parent[key]
    return dump(message)


def _junk_in_body(rng: random.Random, marker: str) -> bytes:
    message = _good(marker)
    body = [[marker], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    if rng.random() < 0.5:
        body[rng.randrange(3)] = rng.choice(JUNK)
    else:
        body[2][rng.choice(list(body[2]))] = rng.choice(JUNK)  # type: ignore[call-overload, index]
    message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    return dump(message)
