"""By the sun: ephem finds the moments, the schedule says whether one is due."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest

from celerylite import Celery
from celerylite.schedules import maybe_schedule, solar, to_line

pytest.importorskip("ephem")

UTC = timezone.utc
NOON = datetime(2026, 6, 5, 12, 0, 30, tzinfo=UTC)


def by_the_sun(event: str, latitude: float = 52.5, longitude: float = 13.4) -> solar:
    app = Celery(set_as_current=False)
    app.conf.timezone = "Asia/Tokyo"
    return solar(event, latitude, longitude, app=app, nowfun=lambda: NOON)


def test_a_sunset_is_due_after_it_has_happened() -> None:
    sunset = by_the_sun("sunset")
    due, wait = sunset.is_due(NOON)
    # Celery says 26581.28 s: 19:23 UTC.
    assert (due, round(wait or 0)) == (False, 26582)
    assert sunset.is_due(NOON - timedelta(days=1)).is_due


def test_the_moment_does_not_depend_on_when_it_is_asked() -> None:
    for event in ("sunrise", "sunset", "solar_noon", "dawn_civil"):
        rule = by_the_sun(event)
        first = rule.next_after(NOON)
        assert first is not None
        assert rule.next_after(first - timedelta(hours=3, seconds=7.5)) == first
        following = rule.next_after(first)
        assert following is not None
        assert timedelta(hours=23) < following - first < timedelta(hours=25)


def test_where_the_sun_does_not_set_for_weeks() -> None:
    # Longyearbyen: the midnight sun lasts until the 24th of August.
    sunset = by_the_sun("sunset", 78.2, 15.6).next_after(NOON)
    assert sunset is not None
    assert sunset.date().isoformat() == "2026-08-24"
    # Astronomical dusk is not reached in a Berlin summer.
    dusk = by_the_sun("dusk_astronomical").next_after(NOON)
    assert dusk is not None
    assert timedelta(days=40) < dusk - NOON < timedelta(days=60)


def test_at_the_pole_noon_is_the_only_event_of_a_day() -> None:
    assert by_the_sun("solar_noon", 90, 0).next_after(NOON) is not None


def test_values() -> None:
    sunset = by_the_sun("sunset")
    assert repr(sunset) == "<solar: sunset at latitude 52.5, longitude: 13.4>"
    assert pickle.loads(pickle.dumps(sunset)) == sunset != by_the_sun("sunrise")
    assert to_line(sunset) == "@solar sunset 52.5 13.4"
    assert maybe_schedule("@solar sunset 52.5 13.4") == sunset


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("moonrise", 0, 0), "'moonrise' is not an event of the sun: it must be one of dawn_astronomical"),
        (("sunset", 91, 0), "latitude 91 is not between -90 and 90"),
        (("sunset", 0, -181), "longitude -181 is not between -180 and 180"),
    ],
)
def test_what_is_refused(arguments: tuple[str, float, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        solar(*arguments)


def test_without_ephem_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ephem'] = None\n"
        "from celerylite.schedules import solar\n"
        "try: solar('sunset', 0, 0)\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert said == "ImproperlyConfigured Solar schedules need the package ephem: pip install 'celerylite[solar]'\n"
