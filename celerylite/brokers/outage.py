"""How a consumer lives through an outage of its broker: it says so once, tries again less and less often, and once it
is ending, not for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from celerylite.brokers.waking import Waking
from celerylite.utils.clock import uptime

#: Seconds that a process which is ending waits for a server that is gone.
PATIENCE = 8.0
#: Seconds until the second try, and at most between two; the first one comes after half of that.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class Enduring(Waking):
    """What consumers inherit; call `_open_wake` first."""

    _logger: logging.Logger
    #: What the log says, of the error that began the outage.
    _lost_sentence = "Connection to broker lost: %s. Trying again…"
    #: Seconds until the next try; 0 while all is well.
    _pause = 0.0
    _complaint = ""
    #: Called with True when an outage begins, and with False when it is over.
    on_outage: Callable[[bool], object] | None = None
    #: When patience ends (`uptime`).
    _ends: float | None = None

    def _keep_trying(
        self, connect: Callable[[], object], errors: tuple[type[BaseException], ...], given_up: Callable[[], bool]
    ) -> bool:
        """Call `connect` until it raises none of `errors` or `given_up` says so; returns whether it did."""
        while not given_up():
            try:
                connect()
            except errors as exc:
                self._complain(exc)
                self._sleep(self._pause)
                if self._alarmed():
                    return False
            else:
                self._well()
                return True
        return False

    def _complain(self, exc: BaseException) -> None:
        """Log each failure of an outage once, and wait longer from time to time."""
        if not self._pause and self.on_outage is not None:
            self.on_outage(True)
        if not self._pause or str(exc) != self._complaint:
            self._complaint = str(exc)
            self._logger.error(self._lost_sentence, exc, extra={"action": "connection_lost"})
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)

    def _relieved(self, sentence: str, broker: str) -> None:
        """An outage is over."""
        self._logger.warning(sentence, broker, extra={"action": "reconnected"})
        self._well()

    def _well(self) -> None:
        if self._pause and self.on_outage is not None:
            self.on_outage(False)
        self._pause = 0.0

    def end(self) -> None:
        """Nothing is fetched any more: from now on a server that is gone is waited for only so long."""
        if self._ends is None:
            self._ends = uptime() + PATIENCE
        self.wake()

    def _out_of_patience(self) -> bool:
        return self._ends is not None and uptime() > self._ends
