"""Chords on SQLite: started and counted in the broker's transaction where the file is the same, else in one's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite.backends.chords import Ended, Part
from celerylite.backends.redis_chords import TAKEN_ON, RedisChords
from celerylite.brokers.sqlite_chords import do_commands, drop_chord, take_overdue
from celerylite.result import GroupResult

if TYPE_CHECKING:
    from celerylite.brokers.sqlite_file import Link
    from celerylite.message import Message

LAST = float("inf")


class SqliteChords(RedisChords):
    """See `sqlite.SqliteBackend`. What is kept of a part, and how it is read, is as on Redis."""

    database: Any

    def start_chords(self, chords: Sequence[Any]) -> list[Message]:
        """Note how many parts chords have, in one transaction."""
        if chords:
            self._do(self._starting(chords))
        return []

    def _starting(self, chords: Iterable[Any]) -> list[tuple[Any, ...]]:
        commands = []
        for chord in chords:
            nested = any(isinstance(result, GroupResult) for result in chord.results.results)
            saved = _bytes(self._payload({"result": chord.results.as_tuple()})) if nested else None  # type: ignore[attr-defined]
            commands.append(("start", self._chord_key(chord.group_id), chord.size, saved, self._chord_ttl))
        return commands

    def _chord_key(self, group_id: str) -> bytes:
        return self.get_key_for_group(group_id)  # type: ignore[attr-defined]

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many parts the header of a chord has."""
        self._do([("start", self._chord_key(group_id), chord_size, None, self._chord_ttl)])

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """One more part for the header of a chord."""

        def work(link: Link) -> None:
            with link:
                link.execute("UPDATE chord SET size = size + 1 WHERE key = ?", (self._chord_key(chord_id),))

        self.database.run(work)

    # -- counting

    def settling(
        self, chords: Iterable[Any], parts: Iterable[Part], records: Iterable[tuple[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Commands for the broker's transaction."""
        commands = self._starting(chords)
        for task_id, record in records:
            key = self.get_key_for_task(task_id)  # type: ignore[attr-defined]
            commands.append(("store", key, bytes(record), record.state, self.ttl(record.state)))  # type: ignore[attr-defined]
        return commands + [self._counting(part) for part in parts]

    def _counting(self, part: Part) -> tuple[Any, ...]:
        about = (part.group_id, part.task_id, part.root_id or "", "" if part.priority is None else str(part.priority))
        record = _bytes(self.encode([1, part.task_id, part.state, part.result]))  # type: ignore[attr-defined]
        place = LAST if part.index is None or not self._ordered else part.index
        return (
            "part", self._chord_key(part.group_id), part.task_id, place, record, self._written_body(part),
            "\0".join(about).encode(), self._chord_ttl,
        )  # fmt: skip

    def count_parts(self, parts: Iterable[Part]) -> list[Ended]:
        """Count parts where the broker is another."""
        return [self.ended_chord(answer) for answer in self._do([self._counting(part) for part in parts])]

    def _do(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        def work(link: Link) -> list[Any]:
            with link:
                ended = do_commands(link, commands)
            link.sync()
            return ended

        return self.database.run(work)

    # -- the end

    def finish_chord(self, ended: Ended) -> None:
        """Forget a chord whose body was sent by another broker than this file."""

        def work(link: Link) -> None:
            assert ended.chord is not None
            with link:
                drop_chord(link, ended.chord)

        self.database.run(work)

    def overdue_chord(self) -> Ended | None:
        """A chord that somebody else should have finished by now."""

        def work(link: Link) -> Any:
            if not link.read("SELECT 1 FROM chord WHERE ended IS NOT NULL LIMIT 1"):
                return None
            with link:
                return take_overdue(link, TAKEN_ON)

        answer = self.database.run(work)
        return None if answer is None else self.ended_chord(answer)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
