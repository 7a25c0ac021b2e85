"""Later: `countdown` in seconds, `eta` as a time, `expires` for what is not worth doing too late.

Tasks that wait stay in the broker; they cost the worker nothing, and they survive it.
"""

import time
from datetime import datetime, timedelta, timezone

import running
from celerylite import Celery
from celerylite.exceptions import TaskRevokedError

app = Celery("eta_countdown")


@app.task
def clock():
    """When it ran, in seconds since the epoch."""
    return time.time()


def main():
    with running.redis():
        # Sent while no worker runs: it is too late for this task when one comes.
        too_late = clock.apply_async(expires=0.05)
        with running.worker(app, "-c", "1"):
            started = time.time()
            in_half_a_second = clock.apply_async(countdown=0.5)
            at_a_time = clock.apply_async(eta=datetime.now(timezone.utc) + timedelta(seconds=1))
            print(f"countdown=0.5: ran {in_half_a_second.get(timeout=20) - started:.1f} s after the call")
            print(f"eta in 1 s:    ran {at_a_time.get(timeout=20) - started:.1f} s after the call")
            try:
                too_late.get(timeout=20)
            except TaskRevokedError as exc:
                print("expires=0.05:  not run:", exc)


if __name__ == "__main__":
    main()
