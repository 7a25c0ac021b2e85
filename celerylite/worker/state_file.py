"""The file of `--statedb`: what was revoked, over restarts of one worker.

Lines of JSON: a head, then one line for each thing that was told, appended at once. When the worker starts and ends the
file is written anew, in one step, with what is still of use. The worker's main process writes it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

from celerylite.app.revoking import REVOKE_EXPIRES
from celerylite.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celerylite.worker.directives import Directives

logger = logging.getLogger("celery.worker")

HEAD = {"celerylite": "worker state", "version": 1}


class StateFile:
    """Loaded when made; raises `ImproperlyConfigured` where the file cannot be written."""

    def __init__(self, path: str, directives: Directives) -> None:
        self.path = path
        self.directives = directives
        self._pid = os.getpid()
        self._file: Any = None
        try:
            self._load()
            self._rewrite()
        except OSError as exc:
            raise ImproperlyConfigured(
                f"--statedb {path}: {exc}. Name a file that this user can write, in a folder that exists."
            ) from exc
        directives.on("revoke", self._note)
        directives.on("revoke_stamps", self._note)

    def close(self) -> None:
        """The worker ends: leave what is still of use."""
        try:
            self._load()  # another worker may have been given the same file
            self._rewrite()
        except OSError as exc:
            logger.error("The worker's state could not be saved to %s: %s", self.path, exc)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _note(self, directive: dict[str, Any]) -> None:
        """Something was revoked; children inherit the listener, and leave the writing to the main process."""
        if os.getpid() != self._pid or self._file is None:
            return
        line = {"ids": directive.get("ids") or [], "stamps": directive.get("stamps") or {}, "time": time.time()}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as exc:
            logger.error("A revoke could not be saved to %s: %s", self.path, exc)

    def _load(self) -> None:
        try:
            with open(self.path, "rb") as file:
                head, *lines = file.read().split(b"\n")
        except FileNotFoundError:
            return
        if head and _parsed(head).get("celerylite") != HEAD["celerylite"]:
            os.replace(self.path, self.path + ".old")
            logger.warning(
                "%s was not written by celerylite (Celery's format is another): it is kept as %s.old, and the worker "
                "starts with nothing revoked from it", self.path, self.path, extra={"action": "foreign_state"},
            )  # fmt: skip
            return
        for line in lines:
            self._apply(_parsed(line))

    def _apply(self, entry: dict[str, Any]) -> None:
        """One line; one that was cut off by a crash is empty."""
        when = float(entry.get("time") or 0)
        if when > time.time() - REVOKE_EXPIRES:
            self.directives.revoked.update(dict.fromkeys(entry.get("ids") or (), when))
            for header, values in (entry.get("stamps") or {}).items():
                known = self.directives.revoked_stamps.setdefault(header, [])
                known += [value for value in values if value not in known]

    def _rewrite(self) -> None:
        """Write all anew, beside the file, and put it in its place."""
        self.directives.revoked.purge()
        by_time: dict[float, list[str]] = {}
        for task_id, when in self.directives.revoked.as_dict().items():
            by_time.setdefault(when, []).append(task_id)
        entries: list[dict[str, Any]] = [HEAD]
        entries += [{"ids": ids, "time": when} for when, ids in by_time.items()]
        if self.directives.revoked_stamps:
            entries.append({"stamps": self.directives.revoked_stamps, "time": time.time()})
        fresh = f"{self.path}.{os.getpid()}.new"
        with open(fresh, "w", encoding="utf-8") as file:
            file.write("".join(json.dumps(entry) + "\n" for entry in entries))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)
        if self._file is not None:
            self._file.close()
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (it stays open)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line) if line else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
