"""Read by the type checker only: what users' schedules look like to it."""

from __future__ import annotations

from datetime import datetime, timedelta

from typing_extensions import assert_type

from celerylite.schedules import BaseSchedule, cron, crontab, schedstate, schedule, solar, to_line

nightly = crontab(minute=30, hour="2,3", day_of_week=[1, 2], month_of_year="jan-mar")
often = schedule(timedelta(seconds=30), relative=True)

assert_type(nightly.is_due(datetime.now()), schedstate)
assert_type(nightly.next_after(datetime.now()), datetime | None)
assert_type(often.seconds, float)
assert_type(to_line(cron("* * * * * */10", tz="Europe/Berlin")), str)
assert_type(solar("sunset", 52.5, 13.4).remaining_estimate(datetime.now()), timedelta | None)

crontab(minute=1.5)  # type: ignore[arg-type]
schedule("30")  # type: ignore[arg-type]


class Thursdays(BaseSchedule):
    """A rule of a project's own."""

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return timedelta(days=(3 - last_run_at.weekday()) % 7)
