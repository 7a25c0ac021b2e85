"""The banner: the lines that people look for, and no passwords."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

import celerylite
from celerylite.worker.banner import banner, extra_info


@pytest.fixture
def worker() -> Any:
    """What the banner reads of a worker."""
    app = celerylite.Celery(
        "shop", broker="redis://:secret@h:1/0", backend="redis://:secret@h:1/1", set_as_current=False
    )
    app.task(lambda: None, name="shop.pay")
    app.amqp.queues.select("hipri,lopri")
    return SimpleNamespace(
        app=app,
        hostname="w1@h",
        concurrency=2,
        pool_cls="prefork",
        task_events=True,
        autoscale=None,
        loglevel=20,
    )


def test_lines(worker: Any) -> None:
    text = banner(worker)
    assert f"w1@h v{celerylite.VERSION_BANNER}" in text
    for line in (
        ".> app:         shop:0x",
        ".> transport:   redis://:**@h:1/0",
        ".> results:     redis://:**@h:1/1",
        ".> concurrency: 2 (prefork)",
        ".> task events: ON",
        ".> hipri            exchange=hipri(direct) key=hipri",
        ".> lopri            exchange=lopri(direct) key=lopri",
    ):
        assert line in text
    assert text.index("[config]") < text.index("[queues]")


def test_no_passwords(worker: Any) -> None:
    assert "secret" not in banner(worker)


def test_events_off_says_how_to_switch_them_on(worker: Any) -> None:
    worker.task_events = False
    assert ".> task events: OFF (enable -E to monitor tasks in this worker)" in banner(worker)


@pytest.mark.parametrize(
    ("level", "shop", "celery"),
    [(logging.DEBUG, True, True), (logging.INFO, True, False), (logging.WARNING, False, False)],
)
def test_tasks_by_level(worker: Any, level: int, shop: bool, celery: bool) -> None:
    worker.loglevel = level
    text = extra_info(worker)
    assert ("  . shop.pay" in text) is shop
    assert ("  . celery." in text) is celery
