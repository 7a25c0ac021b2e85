"""Chords on Redis, under Celery's keys, so that the tasks of one header may run on workers of both kinds.

Counting is part of the script that settles a task (`brokers.redis_lua`): each part once, however often it is delivered.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite import message
from celerylite.backends.chords import Ended, Part
from celerylite.brokers.redis_link import pack
from celerylite.brokers.redis_scripts import CHORDS, COUNT_PARTS, DROP_CHORD, OVERDUE_CHORD
from celerylite.brokers.redis_settling import counted
from celerylite.brokers.values import EndedChord
from celerylite.exceptions import SecurityError
from celerylite.result import GroupResult, result_from_tuple
from celerylite.utils.objects import cached_property

if TYPE_CHECKING:
    from celerylite.message import Message

#: Seconds until somebody else takes on a chord that was taken on.
TAKEN_ON = 5
#: How pickled bodies begin; JSON never does.
PICKLED = b"\x80"
#: What stands before signed bodies.
SIGNED = b"\0auth:"


class RedisChords:
    """See `redis.RedisBackend`; it overrides `chords.Chords`."""

    reads_parts = False
    settles_chords = True
    app: Any
    expires: Any
    #: The body that was written last, because the tasks of a header come one after the other.
    _last_body: tuple[str, bytes] = ("", b"")

    @cached_property
    def _ordered(self) -> bool:
        options = self.app.conf.result_backend_transport_options or {}
        return bool(options.get("result_chord_ordered", True))

    @cached_property
    def _chord_ttl(self) -> int:
        """Seconds that what is kept about a chord lives; 0 is for ever."""
        given = self.app.conf.result_chord_expires
        return int((self.expires if given is None else self.prepare_expires(given, int)) or 0)  # type: ignore[attr-defined]

    @cached_property
    def _ended_chords(self) -> bytes:
        return self._global_keyprefix().encode() + CHORDS.encode()  # type: ignore[attr-defined]

    def _book_of(self, group_id: str) -> bytes:
        """Where a chord is noted whose header has ended."""
        return self._ended_chords

    # -- before

    def start_chords(self, chords: Sequence[Any]) -> list[Message]:
        """Note how many parts chords have, in one trip."""
        commands = [pack(*command) for command in self._starting(chords)]
        if commands:
            self._retrying(lambda: self._calls(commands))  # type: ignore[attr-defined]
        return []

    def _starting(self, chords: Iterable[Any]) -> list[tuple[bytes, ...]]:
        ttl = (b"EX", b"%d" % self._chord_ttl) if self._chord_ttl else ()
        commands: list[tuple[bytes, ...]] = []
        for chord in chords:
            key = self.get_key_for_group(chord.group_id)  # type: ignore[attr-defined]
            if any(isinstance(result, GroupResult) for result in chord.results.results):
                saved = self._payload({"result": chord.results.as_tuple()})  # type: ignore[attr-defined]
                commands.append((b"SET", key, _bytes(saved), *ttl))
            commands += self._sizing(key, chord.size)
        return commands

    def _sizing(self, key: bytes, size: int) -> list[tuple[bytes, ...]]:
        ttl = (b"EX", b"%d" % self._chord_ttl) if self._chord_ttl else ()
        return [(b"DEL", key + b".c"), (b"SET", key + b".s", b"%d" % size, *ttl)]

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many parts the header of a chord has."""
        key = self.get_key_for_group(group_id)  # type: ignore[attr-defined]
        self._calls([pack(*command) for command in self._sizing(key, chord_size)])  # type: ignore[attr-defined]

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """One more part for the header of a chord."""
        self._call(pack(b"INCRBY", self.get_key_for_group(chord_id, ".t"), b"1"))  # type: ignore[attr-defined]

    # -- counting

    def settling(
        self, chords: Iterable[Any], parts: Iterable[Part], records: Iterable[tuple[str, Any]]
    ) -> list[tuple[bytes, ...]]:
        """Commands for the broker's script."""
        commands = self._starting(chords)
        for task_id, record in records:
            ttl = self.ttl(record.state)  # type: ignore[attr-defined]
            key = self.get_key_for_task(task_id)  # type: ignore[attr-defined]
            commands.append((b"STORE", key, b"%d" % ttl if ttl else b"", record))
        return commands + [self._counting(part) for part in parts]

    def _counting(self, part: Part) -> tuple[bytes, ...]:
        index = b"+inf" if part.index is None else b"%d" % part.index
        about = (part.group_id, part.task_id, part.root_id or "", "" if part.priority is None else str(part.priority))
        return (
            b"PART", self.get_key_for_group(part.group_id), part.task_id.encode() + b":" + index, index,  # type: ignore[attr-defined]
            _bytes(self.encode([1, part.task_id, part.state, part.result])),  # type: ignore[attr-defined]
            b"1" if self._ordered else b"0", b"%d" % self._chord_ttl, b"%d" % (self.expires or 0),
            self._written_body(part), "\0".join(about).encode(), self._book_of(part.group_id),
        )  # fmt: skip

    def _written_body(self, part: Part) -> bytes:
        if self._last_body[0] != part.group_id:
            self._last_body = part.group_id, self._write_body(part.body)
        return self._last_body[1]

    def count_parts(self, parts: Iterable[Part]) -> list[Ended]:
        """Count parts where the broker is another server."""
        commands = [self._counting(part) for part in parts]
        if not commands:
            return []
        script = pack(b"EVALSHA", COUNT_PARTS.sha, b"0", *counted(commands))
        answers = self._retrying(lambda: self._call(script))  # type: ignore[attr-defined]
        return [self.ended_chord(answer) for answer in answers[1:]] if isinstance(answers, list) else []

    # -- the end

    def ended_chord(self, answer: Any) -> Ended:
        """What the script said of a chord whose last part it has counted."""
        about, body, saved, raws = answer
        group_id, task_id, root_id, priority = about.decode().split("\0")
        parts = []
        for raw in raws:
            _, part_id, state, result = self.decode(raw)  # type: ignore[attr-defined]
            if state in self.EXCEPTION_STATES:  # type: ignore[attr-defined]
                result = self.exception_to_python(result)  # type: ignore[attr-defined]
            parts.append((part_id, state, result))
        chord = EndedChord(self.get_key_for_group(group_id), self._book_of(group_id), about)  # type: ignore[attr-defined]
        header = result_from_tuple(self.decode(saved)["result"], self.app) if saved else None  # type: ignore[attr-defined]
        return Ended(
            group_id, task_id, root_id or None, int(priority) if priority else None,
            self._read(body), parts, header, chord,
        )  # fmt: skip

    def _write_body(self, body: Any) -> bytes:
        if self.app.conf.task_serializer == "auth":
            return SIGNED + message.dumps(body, "auth")[2]
        try:
            return message.json_dumps(body).encode()
        except (TypeError, ValueError):  # it came pickled, with what only pickle can carry
            return pickle.dumps(body)

    def _read(self, body: bytes) -> dict[str, Any]:
        """A body that nobody has signed would be signed by us when it is sent: so it must come from one of us."""
        accept = set(self.app.conf.accept_content or ())
        if body.startswith(SIGNED):
            return message.loads(body.removeprefix(SIGNED), "application/data", "utf-8", {"application/data"})
        if accept == {"auth"}:
            raise SecurityError("a chord's body is not signed, and accept_content has nothing but auth")
        if not body.startswith(PICKLED):
            return message.json_loads(body)
        if not {"pickle", "application/x-python-serialize"} & accept:
            raise SecurityError("a chord's body is pickled, and accept_content does not have pickle")
        return pickle.loads(body)

    def finish_chord(self, ended: Ended) -> None:
        """Forget a chord whose body was sent by another server than this one."""
        assert ended.chord is not None
        chord = ended.chord
        self._retrying(  # type: ignore[attr-defined]
            lambda: self._call(pack(b"EVALSHA", DROP_CHORD.sha, b"2", chord.key, chord.book, chord.about))  # type: ignore[attr-defined]
        )

    def overdue_chord(self) -> Ended | None:
        """A chord that somebody else should have finished by now."""
        prefix = self.group_keyprefix  # type: ignore[attr-defined]
        script = pack(b"EVALSHA", OVERDUE_CHORD.sha, b"1", self._ended_chords, prefix, b"%d" % TAKEN_ON)
        answer: Any = 0
        while answer == 0:
            answer = self._call(script)  # type: ignore[attr-defined]
        return None if answer is None else self.ended_chord(answer)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
