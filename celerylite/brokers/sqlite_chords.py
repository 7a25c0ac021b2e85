"""Chords in an SQLite file: counting their parts within the transaction that settles a task.

The result store says what to do in commands (`backends.sqlite_chords`):

    ("start", chord, size, saved header or None, seconds to live or None)
    ("store", key of a result, record, state, seconds to live or None)
    ("part", chord, task id, place, record, body, about, seconds to live or None)

A part counts once, however often it is delivered. What ended is told as (about, body, saved header, records in order).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from celerylite.brokers.sqlite_results import write_result

if TYPE_CHECKING:
    from celerylite.brokers.sqlite_file import Link
    from celerylite.brokers.values import EndedChord

logger = logging.getLogger("celery.brokers.sqlite")

#: What is told of a chord whose header has ended.
Answer = tuple[bytes, bytes, "bytes | None", list[bytes]]


def do_commands(link: Link, commands: Iterable[tuple[Any, ...]]) -> list[Answer]:
    """Within a transaction: do what the result store says; returns the chords that have ended with it."""
    ended: list[Answer] = []
    for name, *arguments in commands:
        if name == "start":
            _start(link, *arguments)
        elif name == "store":
            write_result(link, *arguments)
        else:
            ended += _count(link, *arguments)
    return ended


def _start(link: Link, key: bytes, size: int, saved: bytes | None, ttl: float | None) -> None:
    link.execute("DELETE FROM part WHERE chord = ?", (key,))
    link.execute(
        "INSERT OR REPLACE INTO chord (key, size, count, expires, saved) VALUES (?, ?, 0, ?, ?)",
        (key, size, _until(ttl), saved),
    )


def _count(
    link: Link, key: bytes, task_id: str, place: float, record: bytes, body: bytes, about: bytes, ttl: float | None
) -> list[Answer]:
    if not link.read("SELECT 1 FROM chord WHERE key = ?", (key,)):
        logger.warning("Chord %r has ended or expired; a part of it came late", about.split(b"\0")[0].decode())
        return []
    statement = "INSERT OR IGNORE INTO part (chord, task, place, record) VALUES (?, ?, ?, ?)"
    if not link.execute(statement, (key, task_id, place, record)).rowcount:
        return []  # it was counted before
    link.execute(
        "UPDATE chord SET count = count + 1, about = ?, body = ?, expires = ? WHERE key = ?",
        (about, body, _until(ttl), key),
    )
    statement = "UPDATE chord SET ended = ? WHERE key = ? AND count >= size AND ended IS NULL"
    return [_answer(link, key)] if link.execute(statement, (time.time(), key)).rowcount else []


def _answer(link: Link, key: bytes) -> Answer:
    about, body, saved = link.read("SELECT about, body, saved FROM chord WHERE key = ?", (key,))[0]
    records = link.read("SELECT record FROM part WHERE chord = ? ORDER BY place, rowid", (key,))
    return about, body, saved, [record for (record,) in records]


def drop_chord(link: Link, chord: EndedChord) -> bool:
    """Within a transaction: forget a chord; False where somebody else has done so, and has sent its body."""
    link.execute("DELETE FROM part WHERE chord = ?", (chord.key,))
    return link.execute("DELETE FROM chord WHERE key = ? AND about = ?", (chord.key, chord.about)).rowcount == 1


def take_overdue(link: Link, after: float) -> Answer | None:
    """Within a transaction: a chord that ended so many seconds ago and is still here; it is not given again so soon."""
    now = time.time()
    found = link.read("SELECT key FROM chord WHERE ended <= ? ORDER BY ended LIMIT 1", (now - after,))
    if not found:
        return None
    link.execute("UPDATE chord SET ended = ? WHERE key = ?", (now, found[0][0]))
    return _answer(link, found[0][0])


def drop_expired(link: Link, now: float) -> None:
    """Within a transaction: forget chords that nobody has finished in time."""
    link.execute("DELETE FROM part WHERE chord IN (SELECT key FROM chord WHERE expires <= ?)", (now,))
    link.execute("DELETE FROM chord WHERE expires <= ?", (now,))


def _until(ttl: float | None) -> float | None:
    return time.time() + ttl if ttl else None
