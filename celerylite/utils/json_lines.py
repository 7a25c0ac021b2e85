"""Log lines as JSON, one object a line: `--log-format json`, the setting `worker_log_json`.

The keys: `time`, `level`, `logger`, `message`, `process`, `pid`; where they are known `task_id`, `task_name`, `action`,
`runtime`, `exception`, `stack`; and whatever else the call to the logger gave as `extra`.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import datetime, timezone
from typing import Any

from .. import context
from .saferepr import saferepr

__all__ = ("JsonFormatter", "json_line")

#: What every record has; all else was given as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object. Formats, date formats and colours have no meaning here."""

    def __init__(self, fmt: str | None = None, use_color: bool = False, datefmt: str | None = None) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.processName,
            "pid": record.process,
        }
        line.update(_task_of(record))
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self._exception(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line and name != "data":
                line[name] = value
        return _dump(line)

    def _exception(self, info: Any) -> dict[str, str]:
        kind, value, _ = info
        return {
            "type": f"{kind.__module__}.{kind.__qualname__}" if kind.__module__ != "builtins" else kind.__qualname__,
            "message": _text(value),
            "traceback": self.formatException(info),
        }


def json_line(level: str, logger: str, message: str, process: str, **extra: Any) -> str:
    """A line like those of the log, for where logging cannot be used (signal handlers: its locks may be taken)."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    line = {"time": now, "level": level, "logger": logger, "message": message, "process": process, "pid": os.getpid()}
    return _dump({**line, **extra})


def _task_of(record: logging.LogRecord) -> dict[str, Any]:
    """The task that a line is about: what the line says, else the one that runs."""
    data = getattr(record, "data", None)
    if isinstance(data, dict) and "id" in data and "name" in data:
        known = {"task_id": data["id"], "task_name": data["name"]}
        if isinstance(data.get("runtime"), (int, float)):
            known["runtime"] = data["runtime"]
        return known
    running = context.top()
    if running is None:
        return {}
    return {"task_id": running.context.id, "task_name": running.task.name}


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception as exc:  # user code
        return f"<{type(value).__name__} whose text cannot be had: {exc!r}>"


def _dump(line: dict[str, Any]) -> str:
    """JSON that any reader takes: what has no JSON form becomes text, and so does NaN, which is not JSON."""
    try:
        return json.dumps(line, default=saferepr, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        plain = (str, int, bool, type(None))
        return json.dumps(
            {
                key: value if isinstance(value, plain) or key == "exception" else saferepr(value)
                for key, value in line.items()
            }
        )
