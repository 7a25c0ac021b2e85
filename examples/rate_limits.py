"""Rate limits: how often a task may start, for each worker or for all together; others do not wait behind it."""

import time

import running
from celerylite import Celery

app = Celery("rate_limits")


@app.task(rate_limit="20/s")
def call_a_service(number):
    """May be called twenty times a second by each worker."""
    return time.time()


@app.task(rate_limit="20/s", rate_limit_scope="global")
def call_another(number):
    """Twenty times a second by all workers together."""
    return time.time()


@app.task
def free():
    """Has no limit."""
    return time.time()


def main():
    with running.redis():
        limited = [call_a_service.delay(number) for number in range(41)]
        shared = [call_another.delay(number) for number in range(41)]
        unlimited = free.delay()  # the last in the queue
        with running.worker(app, "-c", "2"):
            at_once = unlimited.get(timeout=30)
            starts = sorted(result.get(timeout=30) for result in limited)
            others = sorted(result.get(timeout=30) for result in shared)
            print("unlimited task behind them: ran before most:", at_once < starts[20])
            print("40 more starts took about two seconds:", 1.8 < starts[-1] - starts[0] < 4)
            print("as many with the global limit, too:", 1.8 < others[-1] - others[0] < 4)

            slow = [call_a_service.delay(number) for number in range(100)]
            answer = app.control.rate_limit("rate_limits.call_a_service", "1000/s", reply=True, limit=1)
            print("changed while it runs:", list(answer[0].values())[0]["ok"])
            for result in slow:
                result.get(timeout=30)
            print("all done")


if __name__ == "__main__":
    main()
