"""When a task is due: every so often, by the calendar, by a cron line, by the sun.

`maybe_schedule` makes a schedule of a number, a timedelta or a line of text; `to_line` writes one as a line again.
Which task is sent is beat's business.
"""

from __future__ import annotations

from .base import BaseSchedule, schedstate
from .cronlines import cron
from .crontabs import crontab
from .fields import ParseException, cronfield, crontab_parser
from .intervals import schedule
from .lines import maybe_schedule, to_line
from .suns import solar

__all__ = (
    "BaseSchedule",
    "ParseException",
    "cron",
    "cronfield",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "schedstate",
    "schedule",
    "solar",
    "to_line",
)
