"""What a task process holds and has not started, as remote control shows it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celerylite import Celery, brokers
from celerylite.utils.clock import uptime
from celerylite.worker import looking
from celerylite.worker.board import Board
from celerylite.worker.directives import Directives
from celerylite.worker.node import LocalRoad, Node
from celerylite.worker.options import WorkerOptions


def test_what_waits_behind_a_running_task(tmp_path: Path) -> None:
    app = Celery("looking", broker=f"sqlite:///{tmp_path}/q.db", backend="cache+memory://", set_as_current=False)

    @app.task(name="l.add", shared=False)
    def add(x: int) -> int:
        return x

    ids = [add.delay(number).id for number in range(3)]
    broker = brokers.connect_worker(app, "w@h")
    consumer = broker.consumer(["celery"], serial=True, lease=30.0)
    assert consumer.open(lambda: False)
    taken = consumer.fetch(3, 5)
    board, options = Board(1), WorkerOptions("w@h", ["celery"])
    board.use(range(1))
    board.clear(0, os.getpid())
    board.set_consumer(0, consumer.id)
    road: Any = LocalRoad(lambda: None, lambda kind, fields: None)
    node = Node(app, options, board, broker, Directives(["celery"]), road)

    assert looking.reserved(node) == []  # nothing runs, so nothing waits behind it
    board.start(0, taken[0].tag, taken[0].raw, uptime(), 0, 0, True)
    assert [task["id"] for task in looking.active(node)] == ids[:1]
    reserved = looking.reserved(node)
    assert [task["id"] for task in reserved] == ids[1:]
    assert reserved[0]["args"] == [1] and reserved[0]["time_start"] is None and not reserved[0]["acknowledged"]
    assert looking.find(node, {ids[0], ids[2]}).keys() == {ids[0], ids[2]}
    assert looking.find(node, {ids[2]})[ids[2]][0] == "reserved"
    consumer.release(taken)
    consumer.close()
    broker.close()
    app.close()
