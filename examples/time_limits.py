"""Time limits. The soft one raises in the task, which may tidy up; the hard one ends it in any case.

They work in prefork and in threads.
"""

import time

import running
from celerylite import Celery
from celerylite.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

app = Celery("time_limits")


@app.task(soft_time_limit=0.3, time_limit=5)
def tidy():
    """Notices that its time is over."""
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "tidied up after the soft limit"


@app.task(time_limit=0.5)
def stubborn():
    """Does not notice."""
    while True:
        time.sleep(0.01)


def main():
    with running.redis(), running.worker(app, "-c", "1"):
        print("soft:", tidy.delay().get(timeout=20))
        try:
            stubborn.delay().get(timeout=20)
        except TimeLimitExceeded as exc:
            print("hard:", type(exc).__name__, exc)


if __name__ == "__main__":
    main()
