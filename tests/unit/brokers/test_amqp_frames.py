"""The frames that we read and write ourselves are those of py-amqp."""

from __future__ import annotations

import struct
from typing import Any

import amqp
import pytest
from amqp.serialization import decode_properties_basic, dumps, loads

from celerylite.brokers import amqp_frames as frames

TABLE: dict[str, Any] = {
    "task": "t.ä€😀", "retries": 0, "big": 2**40, "small": -5, "none": None, "yes": True, "no": False, "rate": 0.25,
    "limits": [None, 3, "x", [1]], "map": {"a": {"b": []}}, "empty": "", "long": "x" * 5000,
}  # fmt: skip
PROPERTIES: dict[str, Any] = {
    "content_type": "application/json", "content_encoding": "utf-8", "headers": TABLE, "delivery_mode": 2,
    "priority": 7, "correlation_id": "an id", "reply_to": "", "expiration": "1500",
}  # fmt: skip


def split(data: bytes) -> list[tuple[int, int, bytes]]:
    """Frames as (type, channel, payload)."""
    found = []
    while data:
        kind, channel, size = struct.unpack_from(">BHI", data)
        assert data[7 + size] == 0xCE
        found.append((kind, channel, data[7 : 7 + size]))
        data = data[8 + size :]
    return found


def test_a_message_is_written_as_py_amqp_reads_it() -> None:
    body = b"b" * 10_000
    method, header, *bodies = split(frames.publish_frames(3, "ex", "key", True, PROPERTIES, body, 6000))
    assert [frame[:2] for frame in (method, header, *bodies)] == [(1, 3), (2, 3), (3, 3), (3, 3)]
    assert loads("Bssb", method[2][4:], 0)[0] == [0, "ex", "key", True]
    assert b"".join(payload for _, _, payload in bodies) == body
    assert struct.unpack_from(">HHQ", header[2]) == (60, 0, len(body))
    read, _ = decode_properties_basic(header[2], 12)
    assert read.pop("application_headers") == TABLE
    assert read == {name: value for name, value in PROPERTIES.items() if name != "headers"}


def test_a_message_of_py_amqp_is_read() -> None:
    message = amqp.Message(b"", application_headers=TABLE, **{k: v for k, v in PROPERTIES.items() if k != "headers"})
    payload = struct.pack(">HHQ", 60, 0, 12) + message._serialize_properties()
    assert frames.read_header(payload) == (12, PROPERTIES)


def test_deliver() -> None:
    payload = frames.DELIVER + dumps("sLbss", ("17", 2**40, True, "ex", "kéy"))
    assert frames.read_deliver(payload) == ("17", 2**40, True, "ex", "kéy")


def test_empty_body_and_no_properties() -> None:
    method, header = split(frames.publish_frames(1, "", "q", False, {"headers": {}}, b"", 4096))
    assert loads("Bssb", method[2][4:], 0)[0] == [0, "", "q", False]
    assert frames.read_header(header[2]) == (0, {"headers": {}})


@pytest.mark.parametrize(
    "properties", [{"headers": {"x": object()}}, {"odd": 1}, {"reply_to": "x" * 300}, {"headers": {"n": 2**80}}]
)
def test_what_only_py_amqp_can_write(properties: dict[str, Any]) -> None:
    with pytest.raises(frames.Strange):
        frames.publish_frames(1, "", "q", False, properties, b"", 4096)


def test_what_only_py_amqp_can_read() -> None:
    table = dumps("F", ({"when": __import__("datetime").datetime(2026, 1, 1)},))
    with pytest.raises(frames.Strange):
        frames.read_header(struct.pack(">HHQH", 60, 0, 0, 0x2000) + table)


def test_acknowledgement() -> None:
    ((kind, channel, payload),) = split(frames.ack_frame(5, 2**33))
    assert (kind, channel, payload) == (1, 5, struct.pack(">HH", 60, 80) + dumps("Lb", (2**33, False)))
