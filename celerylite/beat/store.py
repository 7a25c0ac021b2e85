"""`PersistentScheduler`, which beat uses by itself: the shared scheduler, and Celery's file beside it.

The file (`beat_schedule_filename`) is Celery's, a shelf. What beats share counts first; the file says when an entry ran
that nobody shares yet: one of Celery's beat, or of a broker that has no place for notes.
"""

from __future__ import annotations

import dbm
import errno
import os
import pickle
import shelve
from contextlib import suppress
from io import BytesIO
from types import ModuleType
from typing import Any

import celerylite
from celerylite.beat.scheduler import logger
from celerylite.beat.shared import SharedScheduler

#: The file is in use, or not ours to write: that is no reason to delete it.
NOT_BROKEN = (errno.EAGAIN, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)

#: Where the entries stand in the file.
ENTRIES = "entries"


class Store(dict[str, Any]):
    """What is in the file; read at once, written by `sync`, so that several beats may use the same one."""

    def __init__(self, filename: str, persistence: ModuleType) -> None:
        super().__init__()
        self.filename = filename
        self.persistence = persistence
        self._read()

    def _read(self) -> None:
        with self.persistence.open(self.filename) as file:
            self.update({key: _Unpickler(BytesIO(file.dict[key.encode()])).load() for key in file})

    def sync(self) -> None:
        """Write the file."""
        with self.persistence.open(self.filename) as file:
            file.update(self)

    def close(self) -> None:
        """Nothing is open."""


class _Unpickler(pickle.Unpickler):
    """Reads Celery's entries, too, whether Celery is installed or not."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "celery" or module.startswith("celery."):
            module = "celerylite" + module[len("celery") :]
        return super().find_class(module, name)


class PersistentScheduler(SharedScheduler):
    """Sends each tick's task exactly once, and keeps a file of when what ran."""

    persistence: Any = shelve
    known_suffixes = ("", ".db", ".dat", ".bak", ".dir")
    _store: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.schedule_filename: str = kwargs.get("schedule_filename") or ""
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the file, and make the schedule what the settings say."""
        try:
            self._store = self._open_schedule()
        except Exception as exc:  # a border: a file may break in as many ways as there are databases
            if getattr(exc, "errno", None) in NOT_BROKEN:
                logger.warning("beat: Going on without the file %r: %s", self.schedule_filename, exc)
                self._store = {}
            else:
                self._store = self._destroy_open_corrupted_schedule(exc)
        self._create_schedule()
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)
        self.sync()
        entries = "\n".join(repr(entry) for entry in self.schedule.values())
        logger.debug("Current schedule:\n%s", entries)

    def _open_schedule(self) -> Any:
        if not self.schedule_filename:
            return {}
        return Store(self.schedule_filename, self.persistence)

    def _create_schedule(self) -> None:
        entries = self._store.get(ENTRIES)
        if not isinstance(entries, dict):
            entries = self._store[ENTRIES] = {}
        for entry in entries.values():
            entry.app = self.app

    def _destroy_open_corrupted_schedule(self, exc: Exception) -> Any:
        logger.error(
            "Removing corrupted schedule file %r: %r", self.schedule_filename, exc,
            exc_info=True, extra={"action": "bad_file"},
        )  # fmt: skip
        self._remove_db()
        try:
            return self._open_schedule()
        except (OSError, *dbm.error):
            return {}

    def _remove_db(self) -> None:
        for suffix in self.known_suffixes:
            with suppress(FileNotFoundError, PermissionError):
                os.remove(self.schedule_filename + suffix)

    def get_schedule(self) -> Any:
        """The entries by their names."""
        return self._store[ENTRIES] if self._store is not None else self.data

    def set_schedule(self, schedule: Any) -> None:
        """Replace all entries."""
        self._store[ENTRIES] = schedule

    # Again, for `property` of the base looks the methods up anyway, and subclasses expect it here.
    schedule = property(lambda self: self.get_schedule(), lambda self, schedule: self.set_schedule(schedule))

    def sync(self) -> None:
        """Write the file; where that fails, what beats share is still there."""
        store = self._store
        if not isinstance(store, Store):
            return
        conf = self.app.conf
        store.update(__version__=celerylite.__version__, tz=conf.timezone, utc_enabled=conf.enable_utc)
        try:
            store.sync()
        except (OSError, *dbm.error) as exc:
            level = logger.debug if self.ledger is not None and self.ledger.shared else logger.error
            level("beat: Cannot write %s: %s", self.schedule_filename, exc, extra={"action": "sync_failed"})

    def close(self) -> None:
        """Write the file for the last time."""
        self.sync()

    @property
    def info(self) -> str:
        """More lines for the banner."""
        return f"    . db -> {self.schedule_filename}"
