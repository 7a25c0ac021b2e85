"""`celerylite events --dump`: prints events as they come."""

from __future__ import annotations

import sys
import time
from datetime import datetime, timezone
from typing import Any, TextIO

from celerylite import _state
from celerylite.utils.functional import LRUCache

__all__ = ("Dumper", "evdump")

HUMAN_TYPES = {"worker-offline": "shutdown", "worker-online": "started", "worker-heartbeat": "heartbeat"}

#: Seconds before a broken connection is tried again.
PAUSE = 2.0


def humanize_type(type: str) -> str:
    """An event's type in words."""
    return HUMAN_TYPES.get(type.lower()) or type.lower().replace("-", " ")


class Dumper:
    """Prints a line for each event."""

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        #: What is known of a task, because not every event names it.
        self._names: LRUCache = LRUCache(limit=0xFFF)

    def say(self, msg: str) -> None:
        """Print a line, at once."""
        print(msg, file=self.out, flush=True)

    def on_event(self, ev: dict[str, Any]) -> None:
        """Print an event."""
        fields = dict(ev)
        when = datetime.fromtimestamp(fields.pop("timestamp"), timezone.utc)
        type_, hostname = fields.pop("type").lower(), fields.pop("hostname")
        if not type_.startswith("task-"):
            text = ", ".join(f"{key}={fields[key]}" for key in sorted(fields))
            self.say(f"{hostname} [{when}] {humanize_type(type_)}{': ' if text else ''}{text}")
            return
        uuid = fields.pop("uuid")
        name = fields.pop("name", None)
        if name:
            args, kwargs = fields.pop("args", None), fields.pop("kwargs", None)
            self._names[uuid] = f"{name}({uuid}) args={args} kwargs={kwargs}"
        task = self._names.get(uuid, "")
        self.format_task_event(hostname, when, type_, task or uuid, fields)

    def format_task_event(self, hostname: str, timestamp: Any, type: str, task: str, event: dict[str, Any]) -> None:
        """Print an event about a task."""
        fields = ", ".join(f"{key}={event[key]}" for key in sorted(event))
        self.say(f"{hostname} [{timestamp}] {humanize_type(type)}: {task} {fields}")


def evdump(app: Any = None, out: TextIO | None = None) -> None:
    """Print events until somebody ends it; a broken connection is tried again."""
    app = _state.app_or_default(app)
    dumper = Dumper(out)
    dumper.say("-> evdump: starting capture...")
    with app.connection_for_read() as connection:
        errors = connection.connection_errors
        while True:
            try:
                with connection.clone() as used:
                    app.events.Receiver(used, handlers={"*": dumper.on_event}).capture()
            except (KeyboardInterrupt, SystemExit):
                return
            except errors as exc:
                dumper.say(f"-> Connection lost: {exc}. Trying again in {PAUSE:g} s")
                time.sleep(PAUSE)
