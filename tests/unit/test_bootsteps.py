"""Steps and blueprints by themselves: what is made, created, started and stopped, and in which order."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from celerylite import bootsteps
from celerylite.bootsteps import Blueprint, ConsumerStep, StartStopStep, Step
from celerylite.exceptions import ImproperlyConfigured

LOG: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


class Noted(StartStopStep):
    """Notes what is done with it."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        LOG.append(f"init {self.alias}")

    def create(self, parent: Any) -> None:
        LOG.append(f"create {self.alias}")

    def start(self, parent: Any) -> None:
        LOG.append(f"start {self.alias}")

    def stop(self, parent: Any) -> None:
        LOG.append(f"stop {self.alias}")

    def close(self, parent: Any) -> None:
        LOG.append(f"close {self.alias}")

    def terminate(self, parent: Any) -> None:
        LOG.append(f"terminate {self.alias}")


class First(Noted):
    pass


class Second(Noted):
    label = "two"
    requires = (First, "celery.worker.components:Pool")


class Third(Noted):
    requires = {Second, "tests.unit.test_bootsteps:First"}


def built(*steps: Any, **options: Any) -> tuple[Blueprint, Any]:
    parent = SimpleNamespace(steps=[])
    return Blueprint(steps, **options).apply(parent), parent


def names(order: Any) -> list[str]:
    return [step.alias for step in order]


def test_names() -> None:
    class Own(Step):
        name = "my.step"

    assert (str(First), First.name) == (f"{__name__}.First",) * 2
    assert repr(First) == f"step:{__name__}.First{{()}}"
    assert repr(Own) == "step:my.step{()}" and Own(None).alias == "step"
    assert repr(Second(None)) == "<step: two>"
    assert Blueprint().name == "celerylite.bootsteps.Blueprint" and Blueprint().alias == "Blueprint"


def test_a_life() -> None:
    def note(what: str) -> Any:
        return lambda: LOG.append(what)

    blueprint, parent = built(
        Third, name="My", on_start=note("on_start"), on_close=note("on_close"), on_stopped=note("on_stopped")
    )
    order = ["First", "two", "Third"]
    assert names(blueprint.order) == names(parent.steps) == order
    assert LOG == [f"{what} {name}" for what in ("init", "create") for name in order]
    assert blueprint[First.name] is blueprint.order[0]
    assert (blueprint.state, blueprint.human_state(), blueprint.started) == (None, "initializing", 0)
    LOG.clear()
    blueprint.start(parent)
    assert LOG == ["on_start", *(f"start {name}" for name in order)]
    assert (blueprint.state, blueprint.human_state(), blueprint.started) == (bootsteps.RUN, "running", 3)
    LOG.clear()
    blueprint.restart(parent)
    assert LOG == [f"stop {name}" for name in reversed(order)] and blueprint.state == bootsteps.RUN
    LOG.clear()
    blueprint.stop(parent)
    closed = [f"close {name}" for name in order]
    assert LOG == ["on_close", *closed, *(f"stop {name}" for name in reversed(order)), "on_stopped"]
    assert blueprint.human_state() == "terminating"
    blueprint.join(0)
    blueprint.stop(parent)
    assert len(LOG) == 8, "stopped twice"


def test_termination() -> None:
    blueprint, parent = built(Second)
    blueprint.start(parent)
    LOG.clear()
    blueprint.stop(parent, close=False, terminate=True)
    assert LOG == ["terminate two", "terminate First"]


def test_what_create_returns_is_started_and_stopped() -> None:
    class Thing:
        def start(self) -> None:
            LOG.append("thing starts")

        def stop(self) -> None:
            LOG.append("thing stops")

    class Owner(StartStopStep):
        def create(self, parent: Any) -> Thing:
            return self.instantiate(Thing)

    for terminate in (False, True):  # a thing without `terminate` is stopped
        LOG.clear()
        blueprint, parent = built(Owner)
        blueprint.start(parent)
        blueprint.stop(parent, terminate=terminate)
        assert LOG == ["thing starts", "thing stops"]


def test_disabled_steps_are_made_and_left_out() -> None:
    class Off(Noted):
        enabled = False

    class Asked(Noted):
        def include_if(self, parent: Any) -> bool:
            return bool(parent.wanted)

    parent = SimpleNamespace(wanted=False)  # `steps` is added where it is missing
    blueprint = Blueprint([Off, Asked, First]).apply(parent)
    assert LOG == ["init First", "init Asked", "init Off", "create First"]
    assert names(parent.steps) == ["First"] and len(blueprint.order) == 3


def test_last() -> None:
    class AtTheEnd(Step):
        last = True

    class AfterTheEnd(Noted):
        requires = (AtTheEnd,)

    class Zebra(Noted):
        pass

    assert names(built(AtTheEnd, First, Zebra)[0].order)[-1] == "AtTheEnd"
    assert names(built(AtTheEnd, AfterTheEnd, Zebra)[0].order) == ["Zebra", "AtTheEnd", "AfterTheEnd"]


def test_a_circle_is_named() -> None:
    class One(Step):
        pass

    class Two(Step):
        requires = (One,)

    One.requires = (Two,)
    with pytest.raises(ImproperlyConfigured, match=r"in a circle: .*(One → .*Two → .*One|Two → .*One → .*Two)"):
        built(One, Two)


def test_what_is_required_must_be_there() -> None:
    class Lost(Step):
        requires = ("no.such.module:Thing",)

    with pytest.raises(ImproperlyConfigured, match=r"Step .*Lost requires 'no\.such\.module:Thing'"):
        built(Lost)


def test_a_start_that_fails_says_where(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Noted):
        requires = (First,)

        def start(self, parent: Any) -> None:
            raise KeyError("start")

    class Behind(Noted):
        requires = (Failing,)

    blueprint, parent = built(Behind)
    with pytest.raises(KeyError):
        blueprint.start(parent)
    assert parent.steps[blueprint.started - 1].alias == "Failing"
    LOG.clear()
    blueprint.stop(parent)
    assert LOG == [] and blueprint.state == bootsteps.TERMINATE


def test_a_stop_that_fails_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Noted):
        requires = (First,)

        def stop(self, parent: Any) -> None:
            raise KeyError("stop")

    blueprint, parent = built(Failing)
    blueprint.start(parent)
    LOG.clear()
    with caplog.at_level(logging.ERROR, "celery.bootsteps"):
        blueprint.stop(parent)
    assert LOG[-1] == "stop First"
    assert "Error on stopping Failing: KeyError('stop')" in caplog.text
    with pytest.raises(KeyError):
        blueprint.send_all(parent, "stop", propagate=True)


def test_keywords() -> None:
    given: dict[str, Any] = {}

    class All(Step):
        def __init__(self, parent: Any, **kwargs: Any) -> None:
            super().__init__(parent, **kwargs)
            given["all"] = kwargs

    class Some(Step):
        """As in the guide's example of deadlock detection."""

        def __init__(self, parent: Any, timeout: int = 3600) -> None:
            given["some"] = timeout

    Blueprint([All, Some]).apply(SimpleNamespace(), timeout=5, other=1)
    assert given == {"all": {"timeout": 5, "other": 1}, "some": 5}


def test_info_and_pictures() -> None:
    class Telling(Step):
        def info(self, obj: Any) -> dict[str, Any]:
            return {"telling": True}

    blueprint, parent = built(Telling, Second)
    assert blueprint.info(parent) == {"telling": True}
    other, _ = built(Third)
    other.connect_with(blueprint)
    out = io.StringIO()
    other.graph.to_dot(out, formatter=other.GraphFormatter())
    assert '"Third" -> "two"' in out.getvalue() and '"Telling"' in out.getvalue()


def test_steps_of_a_subclass() -> None:
    class Own(Blueprint):
        name = "Own"
        default_steps = {"tests.unit.test_bootsteps:Second"}

    parent = SimpleNamespace(steps=[])
    assert names(Own([Third]).apply(parent).order) == ["First", "two", "Third"]


def test_a_consumer_step_on_a_connection_that_is_lost() -> None:
    """Stopping one must not fail where there is nothing left to close."""

    class Gone(Exception):
        pass

    def gone() -> None:
        LOG.append("closed")
        raise Gone

    channel = SimpleNamespace(close=gone)
    consumer = SimpleNamespace(consume=lambda: LOG.append("consume"), cancel=gone, channel=channel)

    class Mine(ConsumerStep):
        def get_consumers(self, channel: Any) -> Any:
            return [consumer]

    connection = SimpleNamespace(connection_errors=(Gone,), channel_errors=(), channel=lambda: channel)
    c = SimpleNamespace(connection=connection)
    step = Mine(c)
    step.stop(c)
    step.start(c)
    step.stop(c)
    step.shutdown(c)
    assert LOG == ["consume", "closed", "closed", "closed"]
    with pytest.raises(NotImplementedError, match="get_consumers"):
        ConsumerStep(c).start(c)
