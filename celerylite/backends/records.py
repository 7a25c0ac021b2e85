"""Records: what is stored for a task, its fields in Celery's order, and how it becomes bytes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from celerylite import message, states
from celerylite.backends import pickles
from celerylite.exceptions import ImproperlyConfigured

#: Opens a compressed record; the content type of the compression and a zero byte follow.
COMPRESSED_PAYLOAD_MAGIC = b"\x00celery-compressed\x00"

E_UNKNOWN_COMPRESSION = """\
Unknown compression method {0!r} configured in result_compression.
Available methods are: {1}.
"""


def task_meta(
    state: str,
    result: Any,
    traceback: Any,
    children: Any,
    date_done: Any,
    request: Any,
    extended: dict[str, Any] | None,
) -> dict[str, Any]:
    """The record of a task but for its id, which is last; `extended` are the fields of `result_extended`."""
    meta = {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": children,
        "date_done": date_done if state in states.READY_STATES else None,
    }
    if request is None:
        return meta
    if getattr(request, "group", None):
        meta["group_id"] = request.group
    if getattr(request, "parent_id", None):
        meta["parent_id"] = request.parent_id
    if extended is not None:
        meta.update(extended)
    return meta


def extended_fields(request: Any) -> dict[str, Any]:
    """What `result_extended` adds: what was called with what, by whom, and its stamps."""
    delivery_info = getattr(request, "delivery_info", None) or {}
    fields = {
        "name": getattr(request, "task", None),
        "args": getattr(request, "args", None),
        "kwargs": getattr(request, "kwargs", None),
        "worker": getattr(request, "hostname", None),
        "retries": getattr(request, "retries", None),
        "queue": delivery_info.get("routing_key"),
    }
    stamps = getattr(request, "stamps", None)
    if stamps:
        fields["stamped_headers"] = getattr(request, "stamped_headers", None)
        fields.update(stamps)
    return fields


class Codec:
    """One serializer, one compression, and what may be read."""

    def __init__(self, serializer: str, accept: Any = None, compression: str | None = None) -> None:
        self.serializer = serializer
        self.content_type, self.content_encoding = _content_type(serializer)
        self.accept: Collection[str] | None = accepted_types(accept)
        self.compression = checked_compression(compression)
        self._json = serializer == "json"
        self._plain = self._json and (self.accept is None or message.JSON_TYPE in self.accept)

    def encode(self, data: Any) -> Any:
        """Serialized, not compressed: text for JSON and YAML, bytes else. Raises kombu's `EncodeError`."""
        if not self._json:
            if self.serializer == "pickle" and pickles.names_us(data):
                return pickles.dumps(data)
            from kombu.serialization import dumps  # lazy: few use anything but JSON

            return dumps(data, serializer=self.serializer)[2]
        try:
            return message.json_dumps(data)
        except (TypeError, ValueError, RecursionError) as exc:
            from kombu.exceptions import EncodeError

            raise EncodeError(exc) from exc

    def check(self, data: Any) -> None:
        """Raise where the value cannot be written, or (msgpack with numbers as keys) written but not read."""
        payload = self.encode(data)
        if not self._json:
            message.loads(payload, self.content_type, self.content_encoding, accept={self.content_type})

    def to_bytes(self, data: Any) -> bytes:
        """Serialized, and compressed if that is set."""
        payload = self.encode(data)
        if self.compression is not None:
            return compress_payload(payload, self.compression)
        return payload.encode("utf-8") if isinstance(payload, str) else payload

    def decode(self, payload: Any) -> Any:
        """Read a record back, compressed or not. Raises kombu's `DecodeError` and `ContentDisallowed`."""
        if isinstance(payload, bytes) and payload.startswith(COMPRESSED_PAYLOAD_MAGIC):
            payload = decompress_payload(payload)
        if self._plain:
            try:
                return message.json_loads(payload)
            except (ValueError, RecursionError) as exc:
                from kombu.exceptions import DecodeError

                raise DecodeError(str(exc)) from exc
        if self.serializer == "pickle" and self.content_type in (self.accept or ()):
            return pickles.loads(payload)
        return message.loads(payload, self.content_type, self.content_encoding, accept=self.accept)


def _content_type(serializer: str) -> tuple[str, str]:
    if serializer == "json":
        return message.JSON_TYPE, "utf-8"
    from kombu.serialization import registry

    encoder = registry._encoders.get(serializer)  # kombu has no public way to ask
    if encoder is None:
        known = ", ".join(sorted(registry._encoders))
        raise ImproperlyConfigured(f"result_serializer {serializer!r} is not known; these are: {known}.")
    return encoder.content_type, encoder.content_encoding


def accepted_types(accept: Any) -> Collection[str] | None:
    """Content types for a setting that has names of serializers and content types."""
    if accept is None:
        return None
    if set(accept) <= {"json", message.JSON_TYPE}:
        return {message.JSON_TYPE} if accept else set()
    from kombu.serialization import prepare_accept_content

    return prepare_accept_content(accept)


def checked_compression(method: str | None) -> str | None:
    """The method as it is; `ImproperlyConfigured` where there is no such method."""
    if not method:
        return None
    from kombu.compression import encoders, get_encoder

    try:
        get_encoder(method)
    except KeyError:
        raise ImproperlyConfigured(
            E_UNKNOWN_COMPRESSION.format(method, ", ".join(sorted(encoders())))
        ) from None
    return method


def compress_payload(payload: str | bytes, compression: str) -> bytes:
    """A compressed record, which says how it was compressed."""
    from kombu.compression import compress

    body, content_type = compress(
        payload.encode("utf-8") if isinstance(payload, str) else payload, compression
    )
    return COMPRESSED_PAYLOAD_MAGIC + content_type.encode("ascii") + b"\x00" + body


def decompress_payload(payload: bytes) -> bytes:
    """What `compress_payload` was given, as bytes; anything that is not compressed as it is."""
    if not payload.startswith(COMPRESSED_PAYLOAD_MAGIC):
        return payload
    from kombu.compression import decompress

    content_type, _, body = payload[len(COMPRESSED_PAYLOAD_MAGIC) :].partition(b"\x00")
    return decompress(body, content_type.decode("ascii"))
