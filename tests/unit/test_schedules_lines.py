"""Lines of text as schedules, both ways, and what is said of lines that are none."""

from __future__ import annotations

import pickle
import warnings
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from celerylite import Celery
from celerylite.schedules import BaseSchedule, cron, crontab, maybe_schedule, schedule, to_line

UTC = timezone.utc
START = datetime(2026, 1, 30, 23, 58, 30, tzinfo=UTC)


@pytest.fixture
def app() -> Celery:
    app = Celery(set_as_current=False)
    app.conf.timezone = "UTC"
    return app


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("*/5 * * * *", crontab(minute="*/5")),
        ("*/1 * * * ?", crontab()),
        ("0 0 ? * mon-fri", crontab(0, 0, day_of_week="1-5")),
        ("30 6 * jan,jul *", crontab(30, 6, month_of_year="1,7")),
        ("@hourly", crontab(minute=0)),
        ("@daily", crontab(0, 0)),
        ("@midnight", crontab(0, 0)),
        ("@weekly", crontab(0, 0, day_of_week=0)),
        ("@monthly", crontab(0, 0, day_of_month=1)),
        ("@yearly", crontab(0, 0, day_of_month=1, month_of_year=1)),
        ("@Annually", crontab(0, 0, day_of_month=1, month_of_year=1)),
        ("@crontab 0 0 13 * 5", crontab(0, 0, day_of_month=13, day_of_week=5)),
        ("@every 90s", schedule(90)),
        ("@every 1h30m", schedule(5400)),
        ("@every 500ms", schedule(0.5)),
        ("@every 1w2d", schedule(timedelta(days=9))),
        ("@every 1d relative", schedule(timedelta(days=1), relative=True)),
        ("0 0 13 * 5", cron("0 0 13 * 5")),
        ("* * * * * */10", cron("* * * * * */10")),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", cron("0 9 * * *", tz="Asia/Tokyo")),
        ("TZ=Asia/Tokyo @daily", cron("0 0 * * *", tz="Asia/Tokyo")),
    ],
)
def test_what_a_line_stands_for(line: str, meant: Any) -> None:
    read = maybe_schedule(line)
    assert (type(read), read) == (type(meant), meant)
    assert maybe_schedule(to_line(read)) == read


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("* * * * * */10", "2026-01-30 23:58:40"),
        ("0 0 * * 7", "2026-02-01 00:00:00"),
        ("0 0 L * *", "2026-01-31 00:00:00"),
        ("0 0 15W * *", "2026-02-16 00:00:00"),
        ("0 0 * * 5#2", "2026-02-13 00:00:00"),
        ("0 0 * * L5", "2026-02-27 00:00:00"),
        ("5/15 * * * *", "2026-01-31 00:05:00"),
        ("0 0 13 * mon", "2026-02-02 00:00:00"),  # either day is enough
        ("5 3-3 * * * 0", "2026-01-31 03:05:00"),
        ("50-10/7 * * * * 0", "2026-01-31 00:04:00"),
        ("0 0 * * 7-7 0", "2026-02-01 00:00:00"),
        ("0 0 * * 5-7 0", "2026-01-31 00:00:00"),
        ("0 0 1 1 * 0 2030", "2030-01-01 00:00:00"),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", "2026-01-31 00:00:00"),
    ],
)
def test_what_only_a_cron_line_can_say(app: Celery, line: str, due: str) -> None:
    read = maybe_schedule(line, app=app)
    assert isinstance(read, cron)
    assert read.next_after(START) == datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert pickle.loads(pickle.dumps(read)) == read


def test_a_year_that_is_over_is_never_due_again(app: Celery) -> None:
    over = maybe_schedule("0 0 1 1 * 0 2020", app=app)
    assert over.next_after(START) is None
    assert over.is_due(START) == (False, None)
    assert over.remaining_estimate(START) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "is not a schedule: write five fields"),
        ("30", "is not a schedule: write five fields"),
        ("* * * *", "is not a schedule: write five fields"),
        ("61 * * * *", "minute of a crontab: '61': 61 is not between 0 and 59"),
        ("* * * * foo", "'foo' is neither a number nor the name of a weekday"),
        ("mon * * * *", "'mon \\* \\* \\* \\*' is not a cron line"),
        ("0 0 30 2 *", "there is no day 30 in month 2"),
        ("0 0 31 4,6 * 0", "there is no day 31 in month 4 or 6"),
        ("0 30 2 * * *", "of six fields the last is the seconds: did you mean '30 2 \\* \\* \\* 0'"),
        ("H * * * *", "must be the same everywhere"),
        ("0 R(1-5) * * *", "must be the same everywhere"),
        ("@reboot", "use the signal beat_init"),
        ("@fortnightly", "known are @yearly"),
        ("@every 90", "write spans such as 90s"),
        ("@every 0s", "longer than nothing"),
        ("@every soon", "write spans such as 90s"),
        ("@solar sunset", "@solar sunset 52.5 13.4"),
        ("CRON_TZ=Mars/Olympus 0 0 * * *", "There is no time zone 'Mars/Olympus'"),
    ],
)
def test_what_is_said_of_a_line_that_is_none(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        maybe_schedule(line)


def test_seconds_first_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="did you mean '\\* \\* \\* \\* \\* \\*/10'"):
        maybe_schedule("*/10 * * * * *")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maybe_schedule("* * * * * *")


def test_spans_are_written_as_one_says_them() -> None:
    spans = {0.25: "0.25s", 90: "1m30s", 5400: "1h30m", 86400: "1d", 0: "0s", 1e-6: "0.000001s"}
    assert {seconds: to_line(schedule(seconds)) for seconds in spans} == {
        seconds: f"@every {text}" for seconds, text in spans.items()
    }


def test_classes_of_others_have_no_line() -> None:
    class Own(BaseSchedule):
        pass

    class Zoned(crontab):
        pass

    for value in (Own(), Zoned()):
        with pytest.raises(TypeError, match="cannot be written as a line"):
            to_line(value)
