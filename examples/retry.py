"""Retries: by hand with `self.retry`, automatic with `autoretry_for`, and what comes after the last one."""

import running
from celerylite import Celery

app = Celery("retry")


class ServiceAway(Exception):
    """What a flaky service raises."""


@app.task(bind=True, max_retries=3)
def by_hand(self, succeed_at):
    """Decides itself when to try again."""
    try:
        if self.request.retries < succeed_at:
            raise ServiceAway("try later")
    except ServiceAway as exc:
        raise self.retry(exc=exc, countdown=0.1) from exc
    return f"succeeded after {self.request.retries} retries"


@app.task(
    bind=True,
    autoretry_for=(ServiceAway,),
    max_retries=3,
    default_retry_delay=0.1,
    # In production let the pauses grow, and spread them:
    # retry_backoff=True, retry_backoff_max=600, retry_jitter=True
)
def automatic(self, succeed_at):
    """Retried whenever it raises ServiceAway."""
    if self.request.retries < succeed_at:
        raise ServiceAway("try later")
    return f"succeeded after {self.request.retries} retries"


@app.task(bind=True, max_retries=1)
def hopeless(self):
    """Uses up its retries; then the exception given to `retry` is raised."""
    raise self.retry(exc=ConnectionError("still away"), countdown=0.1)


def main():
    with running.redis(), running.worker(app, "-c", "2"):
        print("by hand:  ", by_hand.delay(2).get(timeout=20))
        print("automatic:", automatic.delay(2).get(timeout=20))
        try:
            hopeless.delay().get(timeout=20)
        except ConnectionError as exc:
            print("hopeless:  gave up:", exc)


if __name__ == "__main__":
    main()
