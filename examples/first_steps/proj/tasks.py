"""The tasks."""

import logging

from .celery import app

logger = logging.getLogger(__name__)


@app.task
def add(x: int, y: int) -> int:
    """The sum."""
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    """The sum of many."""
    return sum(numbers)


@app.task(bind=True, max_retries=5)
def send_mail(self, to: str, fail_first: bool = False) -> str:
    """Pretends to send a mail; tries again when the server is away."""
    try:
        if fail_first and not self.request.retries:
            raise ConnectionError("the mail server is away")
    except ConnectionError as exc:
        raise self.retry(exc=exc, countdown=0.2) from exc
    logger.info("mail to %s is out", to)
    return f"sent to {to}"
