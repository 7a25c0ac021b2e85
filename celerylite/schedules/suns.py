"""Schedules by the sun, at a place on Earth. The astronomy is ephem's, an optional package."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from celerylite.exceptions import ImproperlyConfigured

from .base import UTC, BaseSchedule


class Event(NamedTuple):
    """How ephem finds an event: by which of its methods, and where the sun stands."""

    #: The method of `ephem.Observer`.
    method: str
    #: The height of the sun over the horizon, in degrees (and minutes).
    horizon: str
    #: Whether the middle of the sun counts, and not its upper edge.
    center: bool


EVENTS = {
    "dawn_astronomical": Event("next_rising", "-18", True),
    "dawn_nautical": Event("next_rising", "-12", True),
    "dawn_civil": Event("next_rising", "-6", True),
    # With the atmosphere's refraction left to the height of -0:34, as almanacs do.
    "sunrise": Event("next_rising", "-0:34", False),
    "solar_noon": Event("next_transit", "0", False),
    "sunset": Event("next_setting", "-0:34", False),
    "dusk_civil": Event("next_setting", "-6", True),
    "dusk_nautical": Event("next_setting", "-12", True),
    "dusk_astronomical": Event("next_setting", "-18", True),
}


class solar(BaseSchedule):  # the lower-case name is Celery's
    """Due at an event of the sun (`EVENTS`) at a latitude (north is positive) and a longitude (east is positive).

    Where the sun does not rise or set for weeks, the event is due on the first day on which it happens. Needs ephem
    (`pip install celerylite[solar]`): ImproperlyConfigured without it; ValueError for events and places there are not.
    """

    #: How far ahead an event is looked for: a year and a day.
    max_search_days = 366

    def __init__(
        self,
        event: str,
        lat: float,
        lon: float,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        _check(event, lat, lon)
        self.ephem = _ephem()
        self.event = event
        self.lat = lat
        self.lon = lon
        self.method, horizon, self.use_center = EVENTS[event]
        self.cal = self.ephem.Observer()
        self.cal.lat = str(lat)
        self.cal.lon = str(lon)
        self.cal.elev = 0
        self.cal.horizon = horizon
        self.cal.pressure = 0

    def next_after(self, moment: datetime) -> datetime | None:
        """The first such event after `moment`, in UTC, on the second; None if there is none within a year."""
        return self._remember_next(moment, self._search)

    def _search(self, moment: datetime) -> datetime | None:
        # ephem knows moments to the millisecond, depending on where it starts; all beats shall find the same.
        start = moment.replace(microsecond=0)
        for day in range(self.max_search_days + 1):
            event = self._event_after(start + timedelta(days=day))
            if event is not None and (due := _whole_second(event)) > moment:
                return due
        return None

    def _event_after(self, start: datetime) -> datetime | None:
        options = {"use_center": self.use_center} if self.method != "next_transit" else {}
        try:
            found = getattr(self.cal, self.method)(self.ephem.Sun(), start=start.replace(tzinfo=None), **options)
        except self.ephem.CircumpolarError:
            return None  # the sun stays up, or down, that day
        return found.datetime().replace(tzinfo=UTC)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta | None:
        """How long it is until the first event after `last_run_at`; negative if that has passed."""
        return self._until(self.next_after(last_run_at))

    def _key(self) -> tuple[Any, ...]:
        return (self.event, self.lat, self.lon)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.event, self.lat, self.lon)

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"


def _whole_second(moment: datetime) -> datetime:
    return (moment + timedelta(microseconds=999_999)).replace(microsecond=0)


def _check(event: str, lat: float, lon: float) -> None:
    if event not in EVENTS:
        raise ValueError(f"{event!r} is not an event of the sun: it must be one of {', '.join(sorted(EVENTS))}")
    for name, degrees, most in (("latitude", lat, 90), ("longitude", lon, 180)):
        if not -most <= degrees <= most:
            raise ValueError(f"{name} {degrees} is not between -{most} and {most}")


def _ephem() -> Any:
    try:
        import ephem  # lazy: an optional package
    except ImportError:
        raise ImproperlyConfigured("Solar schedules need the package ephem: pip install 'celerylite[solar]'") from None
    return ephem
