"""Cameras: a `Polaroid` takes a picture of the `State` every so often; `evcam` runs one behind an event receiver."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celerylite import _state, platforms
from celerylite.events.timer import Timer
from celerylite.utils.dispatch import Signal
from celerylite.utils.imports import instantiate
from celerylite.utils.time import rate

__all__ = ("Polaroid", "evcam")

logger = logging.getLogger("celery.evcam")


class Polaroid:
    """A camera; override `on_shutter`.

    `freq` is the number of seconds between two pictures, `maxrate` the most pictures that are taken in a while
    ("10/m"), `cleanup_freq` the number of seconds between two calls of `on_cleanup`.
    """

    timer: Any = None
    shutter_signal = Signal(name="shutter_signal", providing_args={"state"})
    cleanup_signal = Signal(name="cleanup_signal")
    #: Whether the state is cleared behind each picture (tasks that have not ended stay).
    clear_after = False

    _tref: Any = None
    _ctref: Any = None

    def __init__(
        self,
        state: Any,
        freq: float = 1.0,
        maxrate: Any = None,
        cleanup_freq: float = 3600.0,
        timer: Any = None,
        app: Any = None,
    ) -> None:
        self.app = _state.app_or_default(app)
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self.timer = timer or self.timer or Timer()
        self.logger = logger
        self.maxrate = _Bucket(rate(maxrate)) if maxrate else None

    def install(self) -> None:
        """Begin."""
        self._tref = self.timer.call_repeatedly(self.freq, self.capture)
        self._ctref = self.timer.call_repeatedly(self.cleanup_freq, self.cleanup)

    def cancel(self) -> None:
        """Take a last picture, and end."""
        if self._tref is not None:
            self._tref.cancel()
            self._tref = None
            self.capture()
        if self._ctref is not None:
            self._ctref.cancel()
            self._ctref = None

    def __enter__(self) -> Polaroid:
        self.install()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()

    def capture(self) -> None:
        """Take a picture while no event is taken in."""
        self.state.freeze_while(self.shutter, clear_after=self.clear_after)

    def shutter(self) -> None:
        """Take a picture, unless there were too many."""
        if self.maxrate is None or self.maxrate.can_consume():
            logger.debug("Shutter: %s", self.state)
            self.shutter_signal.send(sender=self.state)
            self.on_shutter(self.state)

    def on_shutter(self, state: Any) -> None:
        """Do something with the state: print it, store it."""

    def cleanup(self) -> None:
        """It is time to delete old pictures."""
        logger.debug("Cleanup: Running...")
        self.cleanup_signal.send(sender=self.state)
        self.on_cleanup()

    def on_cleanup(self) -> None:
        """Delete old pictures."""


class _Bucket:
    """So many a second, and one at once."""

    def __init__(self, fill_rate: float) -> None:
        from kombu.utils.limits import TokenBucket  # lazy: few cameras have a limit

        self._bucket = TokenBucket(fill_rate)

    def can_consume(self) -> bool:
        return self._bucket.can_consume()


def evcam(
    camera: Any,
    freq: float = 1.0,
    maxrate: Any = None,
    loglevel: Any = 0,
    logfile: str | None = None,
    pidfile: str | None = None,
    timer: Any = None,
    app: Any = None,
    **kwargs: Any,
) -> None:
    """Run a camera (a class, or where it is) until somebody ends it."""
    app = _state.app_or_default(app)
    if pidfile:
        platforms.create_pidlock(pidfile)
    app.log.setup_logging_subsystem(loglevel, logfile)
    print(f"-> evcam: Taking snapshots with {camera} (every {freq} secs.)")
    state = app.events.State()
    taking = instantiate(camera, state, app=app, freq=freq, maxrate=maxrate, timer=timer)
    taking.install()
    connection = app.connection_for_read()
    receiver = app.events.Receiver(connection, handlers={"*": state.event})
    try:
        while True:
            try:
                receiver.capture(limit=None)
            except receiver.connection_errors as exc:
                logger.error("Connection lost: %r. Trying again…", exc, extra={"action": "connection_lost"})
                threading.Event().wait(1.0)
    except (KeyboardInterrupt, SystemExit):
        taking.cancel()
        raise
    finally:
        connection.close()
