"""The schedules that both libraries' beats run: tasks.py with entries, as BENCH_SCHEDULE says."""

from __future__ import annotations

import importlib
import json
import os
from datetime import datetime, timedelta, timezone
from typing import Any

from tasks import LIBRARY, app

SCHEDULE = json.loads(os.environ["BENCH_SCHEDULE"])

crontab = importlib.import_module(LIBRARY + ".schedules").crontab


def resting(count: int) -> dict[str, Any]:
    """Entries of which none is due for months."""
    far = datetime.now(timezone.utc) + timedelta(days=90)
    days = {"day_of_month": min(far.day, 28), "month_of_year": far.month}
    return {
        f"entry-{number}": {
            "task": "tasks.noop",
            "schedule": crontab(minute=number % 60, hour=number // 60 % 24, **days),
            "args": (number,),
        }
        for number in range(count)
    }


def firing(count: int, every: float, first: float) -> dict[str, Any]:
    """Entries that are due every so many seconds, one after the other, evenly, from the moment `first` on."""
    entries = {}
    for number in range(count):
        due = datetime.fromtimestamp(first + number * every / count, timezone.utc)
        # Both are ways to say when it is due for the first time.
        when = {"start": due} if LIBRARY == "celerylite" else {"last_run_at": due - timedelta(seconds=every)}
        entries[f"entry-{number}"] = {"task": "tasks.noop", "schedule": every, "args": (number,), **when}
    return entries


app.conf.beat_schedule = {"resting": resting, "firing": firing}[SCHEDULE.pop("kind")](**SCHEDULE)
