"""Tests of tasks. The fixtures `celery_app` and `celery_worker` come with celerylite, with Celery's names.

Run it with `pytest examples/test_with_pytest.py`: no Redis is needed, everything happens in memory.
"""

import pytest

from celerylite import shared_task


@shared_task(bind=True, max_retries=2)
def fetch(self, url):
    """The task under test."""
    if url == "bad":
        raise self.retry(exc=ConnectionError(url), countdown=0)
    return f"contents of {url}"


@pytest.fixture
def celery_config():
    """Settings of the app that the fixtures make."""
    return {"broker_url": "memory://", "result_backend": "cache+memory://"}


def test_the_function_alone():
    assert fetch("a") == "contents of a"


def test_called_in_place(celery_app):
    result = fetch.apply(args=("a",))
    assert result.successful()
    assert result.get() == "contents of a"


def test_with_a_worker(celery_app, celery_worker):
    assert fetch.delay("a").get(timeout=10) == "contents of a"


def test_gives_up_after_its_retries(celery_app, celery_worker):
    with pytest.raises(ConnectionError):
        fetch.delay("bad").get(timeout=10)


def test_a_task_of_this_test_only(celery_app, celery_worker):
    @celery_app.task
    def multiply(x, y):
        return x * y

    celery_worker.reload()
    assert multiply.delay(4, 4).get(timeout=10) == 16
