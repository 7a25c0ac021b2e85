"""Records: fields and their order, serializers, compression, what may be read."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.exceptions import ContentDisallowed, DecodeError, EncodeError

from celerylite.backends.records import (
    COMPRESSED_PAYLOAD_MAGIC,
    Codec,
    accepted_types,
    extended_fields,
    task_meta,
)
from celerylite.context import Context
from celerylite.exceptions import ImproperlyConfigured


def test_the_fields_of_a_plain_record() -> None:
    meta = task_meta("SUCCESS", 5, None, [], "now", None, None)
    assert list(meta.items()) == [
        ("status", "SUCCESS"), ("result", 5), ("traceback", None), ("children", []), ("date_done", "now"),
    ]  # fmt: skip


def test_only_an_end_has_a_date() -> None:
    assert task_meta("STARTED", None, None, [], "now", None, None)["date_done"] is None
    assert task_meta("PROGRESS", None, None, [], "now", None, None)["date_done"] is None


def test_group_and_parent_follow() -> None:
    meta = task_meta("SUCCESS", 5, None, [], "now", Context(group="g", parent_id="p"), None)
    assert list(meta)[-2:] == ["group_id", "parent_id"]


def test_extended_fields_and_stamps() -> None:
    request = Context(
        task="t", args=(1,), kwargs={}, hostname="w", retries=0, delivery_info={"routing_key": "q"},
        stamps={"tenant": "t1"}, stamped_headers=["tenant"],
    )  # fmt: skip
    assert list(extended_fields(request)) == [
        "name", "args", "kwargs", "worker", "retries", "queue", "stamped_headers", "tenant",
    ]  # fmt: skip


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
@pytest.mark.parametrize("compression", [None, "zlib", "bzip2"])
def test_every_serializer_there_and_back(serializer: str, compression: str | None) -> None:
    if serializer in ("yaml", "msgpack"):
        pytest.importorskip(serializer)
    codec = Codec(serializer, accept=[serializer], compression=compression)
    record = codec.to_bytes({"status": "SUCCESS", "result": [1, "ü"]})
    assert isinstance(record, bytes) and record.startswith(COMPRESSED_PAYLOAD_MAGIC) == bool(compression)
    assert codec.decode(record) == {"status": "SUCCESS", "result": [1, "ü"]}


def test_a_compressed_record_is_read_without_the_setting() -> None:
    record = Codec("json", compression="gzip").to_bytes({"a": 1})
    assert Codec("json").decode(record) == {"a": 1}


@pytest.mark.parametrize("value", [object(), {1, 2}, {(1, 2): 3}])
def test_what_json_cannot_write(value: Any) -> None:
    with pytest.raises(EncodeError):
        Codec("json").encode(value)


@pytest.mark.parametrize("payload", [b"junk", b"", b"\xff", b'{"a": '])
def test_what_json_cannot_read(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        Codec("json").decode(payload)


def test_only_what_is_accepted_is_read() -> None:
    record = Codec("pickle", accept=["pickle"]).to_bytes({"a": 1})
    with pytest.raises(ContentDisallowed):
        Codec("pickle", accept=["json"]).decode(record)


def test_unknown_serializers_and_compressions() -> None:
    with pytest.raises(ImproperlyConfigured, match="json"):
        Codec("nope")
    with pytest.raises(ImproperlyConfigured, match="Unknown compression method 'nope'"):
        Codec("json", compression="nope")


def test_accepted_types() -> None:
    assert accepted_types(None) is None
    assert accepted_types(["json"]) == {"application/json"}
    assert accepted_types(["json", "pickle"]) == {"application/json", "application/x-python-serialize"}
