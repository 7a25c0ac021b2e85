"""What people see: cameras, the dump, and the lines of the live view."""

from __future__ import annotations

import io
from typing import Any

import pytest

from celerylite.events.cursesmon import CursesMonitor
from celerylite.events.dumper import Dumper, humanize_type
from celerylite.events.snapshot import Polaroid
from celerylite.events.state import State


class HandTimer:
    """A timer that a test turns by hand."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def call_repeatedly(self, secs: float, fun: Any, *args: Any) -> Any:
        timer, entry = self, (secs, fun)

        class Handle:
            def cancel(self) -> None:
                timer.entries.remove(entry)

        self.entries.append(entry)
        return Handle()


def event(kind: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    now = 1000.0 + number
    return {"type": kind, "timestamp": now, "local_received": now, "clock": number, "hostname": "w@h", **fields}


def test_a_camera_takes_pictures_until_it_is_put_away(app: Any) -> None:
    taken: list[tuple[int, int]] = []

    class Camera(Polaroid):
        clear_after = True

        def on_shutter(self, state: Any) -> None:
            taken.append((state.event_count, len(state.tasks)))

        def on_cleanup(self) -> None:
            taken.append((-1, -1))

    state, timer = State(), HandTimer()
    signalled: list[Any] = []
    receiver = lambda sender, **_: signalled.append(sender)  # noqa: E731 (kept alive here)
    Camera.shutter_signal.connect(receiver)
    with Camera(state, freq=2.0, timer=timer, app=app):
        (freq, picture), (_, cleanup) = timer.entries
        state.event(event("task-succeeded", uuid="1"))
        picture()
        picture()
        cleanup()
    Camera.shutter_signal.disconnect(receiver)
    assert freq == 2.0
    assert taken == [(1, 1), (0, 0), (-1, -1), (0, 0)]
    assert timer.entries == [] and signalled == [state] * 3


def test_a_camera_does_not_take_more_pictures_than_it_may(app: Any) -> None:
    class Camera(Polaroid):
        taken = 0

        def on_shutter(self, state: Any) -> None:
            self.taken += 1

    camera = Camera(State(), maxrate="1/h", timer=HandTimer(), app=app)
    for _ in range(5):
        camera.capture()
    assert camera.taken == 1


def test_the_dump_names_tasks_after_their_first_event() -> None:
    out = io.StringIO()
    dumper = Dumper(out)
    dumper.on_event(event("worker-heartbeat", active=1, pid=2))
    dumper.on_event(event("task-received", uuid="1", name="proj.add", args="(1,)", kwargs="{}"))
    dumper.on_event(event("task-succeeded", uuid="1", result="5"))
    heartbeat, received, succeeded = out.getvalue().splitlines()
    assert heartbeat.startswith("w@h [1970-01-01 00:16:40+00:00] heartbeat: active=1, clock=0")
    assert "task received: proj.add(1) args=(1,) kwargs={}" in received
    assert "task succeeded: proj.add(1) args=(1,) kwargs={} clock=0" in succeeded and "result=5" in succeeded
    assert humanize_type("worker-offline") == "shutdown"


@pytest.fixture
def monitor(app: Any) -> CursesMonitor:
    state = State()
    state.event(event("task-received", 1, uuid="1" * 36, name="proj.tasks.add", args="(1,)"))
    state.event(event("task-failed", 2, uuid="2" * 36, name="proj.tasks.bad", exception="E()", traceback="Trace\nback"))
    return CursesMonitor(state, app)


def test_rows_fit_the_screen(monitor: CursesMonitor) -> None:
    for width in (40, 80, 120, 200):
        for _, task in monitor.tasks(10):
            assert len(monitor.row(task, width)) <= width - 4
    row = monitor.row(monitor.state.tasks["2" * 36], 140)
    assert "2" * 36 in row and "proj.tasks.bad" in row and "w@h" in row and "FAILURE" in row


def test_selecting(monitor: CursesMonitor) -> None:
    monitor.move_selection(-1)
    assert monitor.selected_task == "2" * 36  # the newest comes first
    monitor.move_selection(1)
    monitor.move_selection(1)
    assert monitor.selected_task == "1" * 36
    assert monitor.status()[0].startswith("Selected: proj.tasks.add args=(1,)")


def test_details(monitor: CursesMonitor) -> None:
    assert monitor.details() == ["No task is selected: j and k move."]
    monitor.move_selection()
    assert monitor.details("traceback")[2:] == ["traceback:", "  Trace", "  back"]
    assert "There is no result (state FAILURE)." in monitor.details("result")
    assert "state:" in monitor.details()


def test_answers_of_workers_are_shown(monitor: CursesMonitor) -> None:
    asked: list[Any] = []

    class Control:
        def revoke(self, task_id: Any, reply: bool) -> Any:
            asked.append(task_id)
            return [{"w@h": {"ok": "tasks flagged as revoked"}}]

    monitor.app.__dict__["control"] = Control()
    monitor.move_selection()
    monitor.revoke_selection()
    assert asked == ["2" * 36]
    assert monitor.status()[0] == "revoke: [{'w@h': {'ok': 'tasks flagged as revoked'}}]"


def test_keys_of_ones_own(app: Any) -> None:
    pressed: list[str] = []
    monitor = CursesMonitor(State(), app, keymap={"x": lambda: pressed.append("x")})
    monitor.keymap["x"]()
    assert pressed == ["x"] and "j" in monitor.keymap
