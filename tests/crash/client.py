"""A client process for the crash suite: it sends without end, and notes each id only after the call has returned.

Run as `python -m tests.crash.client one|bulk|group`; killed by the test. Not a test.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from typing import Any

from tests.crash.project import make_app
from tests.support.ledger import Ledger

BULK = 20


def send_for_ever(app: Any, ledger: Ledger, how: str) -> None:
    """Send one by one or in bulk, until somebody kills us."""
    work = app.tasks["crash.work"]
    for _ in itertools.count():
        if how == "one":
            ids = [work.delay().id]
        elif how == "later":
            ids = [work.apply_async(countdown=0.5).id]
        else:
            ids = [result.id for result in app.send_tasks([(work, (), {})] * BULK)]
        for key in ids:
            ledger.write("sent", key)


if __name__ == "__main__":
    _ledger = Ledger(os.environ["CRASH_LEDGER"])
    _app = make_app(
        os.environ["CRASH_BROKER"], os.environ["CRASH_BACKEND"], _ledger, json.loads(os.environ["CRASH_SETTINGS"])
    )
    send_for_ever(_app, _ledger, sys.argv[1])
