"""Chords as result stores see them: how many parts there will be, which have ended, and what they returned.

What the end of a chord sets off is `followup`'s business. Here are the values, and two ways to count: stores that can
count up (`CountingChords`), and all others, for which the task `celery.chord_unlock` looks from time to time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celerylite import states
from celerylite.exceptions import ChordError
from celerylite.result import GroupResult
from celerylite.utils.log import get_logger

if TYPE_CHECKING:
    from celerylite.brokers.values import EndedChord
    from celerylite.message import Message

logger = get_logger("celerylite.backends.base")

#: Behind the key of a chord's count: how many threads have seen that it has ended.
ENDED = ".ended"


@dataclass(slots=True)
class Part:
    """One task of a chord's header has ended, or will never run."""

    group_id: str
    #: Its place in the header; None where the message did not say.
    index: int | None
    task_id: str
    #: SUCCESS, FAILURE or REVOKED.
    state: str
    #: What it returned, or its exception, made fit for the serializer.
    result: Any
    #: The body's signature, as the message carried it.
    body: dict[str, Any]
    root_id: str | None = None
    #: The priority that follow-ups inherit.
    priority: int | None = None


@dataclass(slots=True)
class Ended:
    """A chord whose header has ended."""

    group_id: str
    #: The task that was counted last, its root, and the priority that follow-ups inherit.
    task_id: str
    root_id: str | None
    priority: int | None
    body: dict[str, Any]
    #: (task id, state, result) of every part, in the header's order.
    parts: list[tuple[str, str, Any]]
    #: The header's results, where they are not simply a row.
    saved: Any = None
    #: How the store names it.
    chord: EndedChord | None = None
    _by_id: dict[str, tuple[str, str, Any]] = field(default_factory=dict)

    def results(self) -> list[Any]:
        """What the body is called with. Raises `ChordError`, caused by the first part that failed."""
        if self.saved is None:
            return [_value(part) for part in self.parts]
        self._by_id = {part[0]: part for part in self.parts}
        return [self._joined(result) for result in self.saved.results]

    def _joined(self, result: Any) -> Any:
        if isinstance(result, GroupResult):
            return [self._joined(one) for one in result.results]
        part = self._by_id.get(result.id)
        if part is None:  # it is no part itself: the last of a chain that was counted under another id
            meta = result.backend.get_task_meta(result.id)
            part = (result.id, meta["status"], meta["result"])
            if part[1] not in states.READY_STATES:
                raise ChordError(f"Dependency {result.id} has no result")
        return _value(part)


def _value(part: tuple[str, str, Any]) -> Any:
    task_id, state, result = part
    if state in states.EXCEPTION_STATES:
        cause = result if isinstance(result, BaseException) else None
        raise ChordError(f"Dependency {task_id} raised {result!r}") from cause
    return result


class Chords:
    """What a store needs for chords; these are for a store that cannot count."""

    app: Any
    #: Whether a chord's header is read from its records, so that they are stored even where results are ignored.
    reads_parts = True
    #: Whether chords can be started and counted in the broker's transaction (`settling`).
    settles_chords = False

    def start_chords(self, chords: Sequence[Any]) -> list[Message]:
        """Note how many parts chords (`canvas` says which) have, before these are sent; returns messages to send
        besides. Raises `NotImplementedError` where there are no results.
        """
        self.ensure_chords_allowed()
        return [self._unlocking(chord) for chord in chords]

    def _unlocking(self, chord: Any) -> Message:
        options = dict(chord.options or {})
        interval = options.get("interval")
        kwargs = {
            "interval": interval,
            "max_retries": options.get("max_retries"),
            "result": [result.as_tuple() for result in chord.results.results],
        }
        pause = self.app.conf.result_chord_retry_interval if interval is None else interval
        sent = {"countdown": pause, "queue": chord.body["options"].get("queue")}
        unlock = self.app.signature("celery.chord_unlock", (chord.group_id, dict(chord.body)), kwargs)
        return unlock.as_message(**{name: value for name, value in sent.items() if value is not None})

    def count_parts(self, parts: Iterable[Part]) -> list[Ended]:
        """Count parts, once each; returns the chords whose header has ended now."""
        return []

    def finish_chord(self, ended: Ended) -> None:
        """The body was sent, or the chord has failed: forget it."""

    def overdue_chord(self) -> Ended | None:
        """A chord whose body should have been sent by now, because the worker that counted its last part is gone or
        busy; nobody else is given it for a while.
        """
        return None

    def settling(
        self, chords: Iterable[Any], parts: Iterable[Part], records: Iterable[tuple[str, Any]]
    ) -> list[Any]:
        """What a settlement has to do in this store, in the broker's transaction: start, count, store further
        results.
        """
        raise NotImplementedError(f"{type(self).__name__} is no broker")

    def ended_chord(self, answer: Any) -> Ended:
        """What a broker's transaction has answered about a chord."""
        raise NotImplementedError(f"{type(self).__name__} is no broker")

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """A task of a chord's header has ended, by the word of somebody else than a worker."""
        self.count_parts([self.part_of(request, state, result)])

    def part_of(self, context: Any, state: str, result: Any) -> Part:
        """The part that a task's context describes."""
        info = context.delivery_info or {}
        inherits = self.app.conf.task_inherit_parent_priority
        return Part(
            group_id=context.group, index=context.group_index, task_id=context.id, state=state,
            result=self.encode_result(result, state),  # type: ignore[attr-defined]
            body=context.chord, root_id=context.root_id or context.id,
            priority=info.get("priority") if inherits else None,
        )  # fmt: skip

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """How many parts the header of a chord has."""

    def ensure_chords_allowed(self) -> None:
        """Raise where chords cannot work."""

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """One more part for the header of a chord."""
        raise NotImplementedError("Backend does not support add_to_chord")


class CountingChords(Chords):
    """For stores that can count up: each part adds one, and whoever makes it whole looks at the records.

    A part that is counted twice makes somebody look too early; the records decide.
    """

    implements_incr = False

    def start_chords(self, chords: Sequence[Any]) -> list[Message]:
        """Save the header's results and start to count."""
        if not self.implements_incr:
            return super().start_chords(chords)
        for chord in chords:
            chord.results.save(backend=self)
            self._open_count(self.get_key_for_chord(chord.group_id, ENDED), 0)  # type: ignore[attr-defined]
            self._open_count(self.get_key_for_chord(chord.group_id), -chord.size)  # type: ignore[attr-defined]
        return []

    def _open_count(self, key: Any, value: int) -> None:
        self.set(key, value)  # type: ignore[attr-defined]

    def count_parts(self, parts: Iterable[Part]) -> list[Ended]:
        """Count parts; a chord has ended when all of its records are there."""
        if not self.implements_incr:
            return []
        ended = [self._count(part) for part in parts]
        return [chord for chord in ended if chord is not None]

    def _count(self, part: Part) -> Ended | None:
        try:
            missing = -self.incr(self.get_key_for_chord(part.group_id))  # type: ignore[attr-defined]
        except KeyError:
            missing = 0  # there is no count any more, nor a header
        if missing > 0:
            return None
        saved = self.restore_group(part.group_id, cache=False)  # type: ignore[attr-defined]
        if saved is None:
            logger.warning("Chord %r has ended or expired; a part of it came late", part.group_id)
            return None
        ended = looked_up(self, saved, part)
        return None if ended is None or self._is_taken(part.group_id) else ended

    def _is_taken(self, group_id: str) -> bool:
        """Whether another thread was the first to see that the chord has ended."""
        try:
            return self.incr(self.get_key_for_chord(group_id, ENDED)) > 1  # type: ignore[attr-defined]
        except KeyError:
            return True

    def finish_chord(self, ended: Ended) -> None:
        """Forget the counts and the saved header."""
        self.delete(self.get_key_for_chord(ended.group_id, ENDED))  # type: ignore[attr-defined]
        self.delete(self.get_key_for_chord(ended.group_id))  # type: ignore[attr-defined]
        self.delete(self.get_key_for_group(ended.group_id))  # type: ignore[attr-defined]


def leaves(result: Any) -> Iterator[Any]:
    """The results of tasks in a group's, however deep."""
    if isinstance(result, GroupResult):
        for one in result.results:
            yield from leaves(one)
    else:
        yield result


def looked_up(backend: Any, header: Any, part: Part) -> Ended | None:
    """The end of a chord by its records; None while one is missing. `part` says what else is known."""
    metas = {result.id: backend.get_task_meta(result.id, cache=False) for result in leaves(header)}
    if not all(meta["status"] in states.READY_STATES for meta in metas.values()):
        return None
    found = [(task_id, meta["status"], meta["result"]) for task_id, meta in metas.items()]
    return Ended(part.group_id, part.task_id, part.root_id, part.priority, part.body, found, header)
