"""Steps: parts that a project adds to its workers (`app.steps`), put in order by what they require.

The worker itself is not made of them; what they require of it (`celery.worker.components:Pool` and the like) is always
there.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from celerylite.exceptions import ImproperlyConfigured
from celerylite.utils.graph import CycleError, DependencyGraph, GraphFormatter
from celerylite.utils.imports import symbol_by_name

__all__ = ("Blueprint", "Step", "StartStopStep", "ConsumerStep")

logger = logging.getLogger("celery.bootsteps")

RUN, CLOSE, TERMINATE = 1, 2, 3

#: What stands behind these names belongs to the worker, and is there before any step starts.
OF_THE_WORKER = ("celery.worker.", "celerylite.worker.")


class StepFormatter(GraphFormatter):
    """Draws the steps of a blueprint under their short names."""

    def label(self, obj: Any) -> Any:
        """The name in the picture."""
        return getattr(obj, "label", None) or str(obj).rpartition(".")[2]


class Blueprint:
    """Steps in order: made and created by `apply`, then started, restarted and stopped as one.

    `steps` are classes or their names ("module:Class"), beside the `default_steps` of a subclass; those that they
    require are added. `on_start`, `on_close` and `on_stopped` are called without arguments.
    """

    GraphFormatter = StepFormatter

    name: str | None = None
    #: None before the start, then `RUN`, `CLOSE` or `TERMINATE`.
    state: int | None = None
    #: How many of the parent's steps were started; the one that failed is counted.
    started: int = 0
    default_steps: ClassVar[Iterable[Any]] = set()
    state_to_name: ClassVar[dict[int, str]] = {
        0: "initializing", RUN: "running", CLOSE: "closing", TERMINATE: "terminating",
    }  # fmt: skip

    def __init__(
        self,
        steps: Iterable[Any] | None = None,
        name: str | None = None,
        on_start: Callable[[], Any] | None = None,
        on_close: Callable[[], Any] | None = None,
        on_stopped: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name or self.name or f"{type(self).__module__}.{type(self).__qualname__}"
        self.types = {*(steps or ()), *self.default_steps}
        self.on_start, self.on_close, self.on_stopped = on_start, on_close, on_stopped
        self.shutdown_complete = threading.Event()
        self.steps: dict[str, Step] = {}
        self.order: list[Step] = []
        self.graph: Any = None

    # -- building

    def apply(self, parent: Any, **kwargs: Any) -> Blueprint:
        """Make all steps with `parent` and the keywords, then let each one that is enabled create what it is about.

        Those with something to start and stop are then in `parent.steps`, in order. Raises `ImproperlyConfigured` where
        steps require each other, or one requires what cannot be imported.
        """
        if not hasattr(parent, "steps"):
            parent.steps = []
        self._debug("Preparing bootsteps.")
        classes = self._sort(self.claim_steps())
        self.order = [cls(parent, **_taken(cls, kwargs)) for cls in classes]
        self.steps = {step.name: step for step in self.order}
        self._debug("New boot order: {%s}", ", ".join(step.alias for step in self.order))
        for step in self.order:
            step.include(parent)
        return self

    def claim_steps(self) -> dict[str, StepType]:
        """Name -> class of all steps, with those that they require."""
        claimed: dict[str, StepType] = {}
        waiting = [self.load_step(step)[1] for step in self.types]
        # Sorted, so that steps which do not require each other start in the same order in every worker.
        waiting.sort(key=str, reverse=True)
        while waiting:
            step = waiting.pop()
            if claimed.setdefault(step.name, step) is step:
                waiting.extend(other for other in self._required(step) if other.name not in claimed)
        return claimed

    def load_step(self, step: Any) -> tuple[str, StepType]:
        """Name and class of a step that is given as either."""
        cls = symbol_by_name(step)
        return cls.name, cls

    def _required(self, step: StepType) -> list[StepType]:
        """The classes that a step requires; without the worker's own parts."""
        found = []
        for other in step.requires:
            if isinstance(other, str) and other.startswith(OF_THE_WORKER):
                continue
            try:
                found.append(self.load_step(other)[1])
            except (ImportError, AttributeError) as exc:
                raise ImproperlyConfigured(f"Step {step} requires {other!r}, which is not there: {exc}") from exc
        return found

    def _sort(self, claimed: dict[str, StepType]) -> list[StepType]:
        """The classes in order; the graph is kept for pictures."""
        self._debug("Building graph...")
        graph = DependencyGraph((cls, self._required(cls)) for cls in claimed.values())
        try:
            for last in [cls for cls in claimed.values() if cls.last]:
                behind = _behind(last, graph)
                for cls in claimed.values():
                    if not cls.last and cls not in behind:
                        graph.add_edge(last, cls)
            order = graph.topsort()
        except CycleError as exc:
            circle = " → ".join(map(str, reversed(exc.args[1])))
            raise ImproperlyConfigured(f"These steps require each other in a circle: {circle}") from exc
        self.graph = graph
        return order

    def connect_with(self, other: Blueprint) -> None:
        """For a picture: the steps of another blueprint come before ours."""
        self.graph.adjacent.update(other.graph.adjacent)
        self.graph.add_edge(type(other.order[0]), type(self.order[-1]))

    # -- life

    def start(self, parent: Any) -> None:
        """Start the parent's steps in order; what one of them raises is raised, and `started` says which it was."""
        self.state = RUN
        if self.on_start is not None:
            self.on_start()
        for number, step in enumerate(parent.steps, 1):
            self._debug("Starting %s", step.alias)
            self.started = number
            step.start(parent)
            logger.debug("^-- substep ok")

    def restart(
        self, parent: Any, method: str = "stop", description: str = "restarting", propagate: bool = False
    ) -> None:
        """Stop all steps in reverse, so that `start` can follow."""
        self.send_all(parent, method, description, propagate=propagate)

    def close(self, parent: Any) -> None:
        """Tell steps that have a `close` that the end is near, in the order of their start."""
        if self.on_close is not None:
            self.on_close()
        self.send_all(parent, "close", "closing", reverse=False, propagate=False)

    def stop(self, parent: Any, close: bool = True, terminate: bool = False) -> None:
        """Stop (or terminate) all steps in reverse. Again, or before all were started, it changes only the state."""
        if self.state in (CLOSE, TERMINATE):
            return
        if self.state == RUN and self.started == len(parent.steps):
            if close:
                self.close(parent)
            self.state = CLOSE
            what = ("terminate", "terminating") if terminate else ("stop", "stopping")
            self.restart(parent, *what)
            if self.on_stopped is not None:
                self.on_stopped()
        self.state = TERMINATE
        self.shutdown_complete.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until all is stopped."""
        self.shutdown_complete.wait(timeout)

    def send_all(
        self,
        parent: Any,
        method: str,
        description: str | None = None,
        reverse: bool = True,
        propagate: bool = True,
        args: Any = (),
    ) -> None:
        """Call a method of all steps that have it; what they raise is raised, or with `propagate` off only logged."""
        description = description or method.replace("_", " ")
        for step in [*parent.steps][:: -1 if reverse else 1]:
            call = getattr(step, method, None)
            if call is None:
                continue
            self._debug("%s %s...", description.capitalize(), step.alias)
            try:
                call(parent, *args)
            except (Exception, SystemExit) as exc:  # a border: users' steps
                if propagate:
                    raise
                logger.exception("Error on %s %s: %r", description, step.alias, exc, extra={"action": "step_failed"})

    # -- looking

    def human_state(self) -> str:
        """The state as a word."""
        return self.state_to_name[self.state or 0]

    def info(self, parent: Any) -> dict[str, Any]:
        """What the steps tell of themselves, in one dict."""
        found: dict[str, Any] = {}
        for step in self.order:
            found.update(step.info(parent) or {})
        return found

    @property
    def alias(self) -> str:
        """The last part of the name."""
        return str(self.name).rpartition(".")[2]

    def __getitem__(self, name: str) -> Step:
        return self.steps[name]

    def _debug(self, text: str, *args: Any) -> None:
        logger.debug(f"| %s: {text}", self.alias, *args)


class StepType(type):
    """The class of step classes: they have names, and are shown by them."""

    name: str
    requires: Iterable[Any]
    last: bool

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> StepType:
        attrs["name"] = attrs.get("name") or f"{attrs['__module__']}.{attrs['__qualname__']}"
        return super().__new__(cls, name, bases, attrs)

    def __str__(cls) -> str:
        return cls.name

    def __repr__(cls) -> str:
        return f"step:{cls.name}{{{cls.requires!r}}}"


class Step(metaclass=StepType):
    """Something that is done when a worker is made: `__init__` of all steps first, then `create` of all."""

    #: The whole name; by default of module and class.
    name: ClassVar[str]
    #: A short name for logs and pictures.
    label: str | None = None
    #: For pictures: whether it depends on something that the step is there.
    conditional: bool = False
    #: Classes of steps, or their names, that come before this one. They are added by themselves.
    requires: Iterable[Any] = ()
    #: Whether it comes after all others.
    last: bool = False
    #: Whether it does anything.
    enabled: bool = True

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        """`parent` is the worker or its consumer; the keywords are the worker's."""

    def include_if(self, parent: Any) -> bool:
        """Whether it does anything in this parent; asked when all steps were made."""
        return self.enabled

    def instantiate(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """An instance of a class, given as it is or by name."""
        return symbol_by_name(name)(*args, **kwargs)

    def include(self, parent: Any) -> bool:
        """Create it, if it is wanted; returns whether it is."""
        return self._should_include(parent)[0]

    def _should_include(self, parent: Any) -> tuple[bool, Any]:
        if self.include_if(parent):
            return True, self.create(parent)
        return False, None

    def create(self, parent: Any) -> Any:
        """Do what there is to do."""

    def info(self, obj: Any) -> dict[str, Any] | None:
        """What the step tells of itself."""
        return None

    @property
    def alias(self) -> str:
        """The label, or the last part of the name."""
        return self.label or self.name.rpartition(".")[2]

    def __repr__(self) -> str:
        return f"<step: {self.alias}>"


class StartStopStep(Step):
    """A step that is started and stopped: itself, or what its `create` returns."""

    #: What `create` returned; its own `start`, `stop` and `terminate` are called where they are not overridden.
    obj: Any = None

    def start(self, parent: Any) -> Any:
        """Called when the parent starts."""
        if self.obj:
            return self.obj.start()
        return None

    def stop(self, parent: Any) -> Any:
        """Called when the parent stops; a consumer also when it has lost its connection."""
        if self.obj:
            return self.obj.stop()
        return None

    def close(self, parent: Any) -> Any:
        """Called before any step is stopped."""

    def terminate(self, parent: Any) -> Any:
        """Called in place of `stop` at a cold shutdown."""
        if self.obj:
            return getattr(self.obj, "terminate", self.obj.stop)()
        return None

    def include(self, parent: Any) -> bool:
        """Create it, if it is wanted, and let the parent start and stop it."""
        included, created = self._should_include(parent)
        if included:
            self.obj = created
            parent.steps.append(self)
        return included


class ConsumerStep(StartStopStep):
    """Consumes messages by kombu's consumers: those of `get_consumers`, anew after each loss of the connection."""

    requires: Iterable[Any] = ("celery.worker.consumer:Connection",)
    consumers: Any = None

    def get_consumers(self, channel: Any) -> Any:
        """The `kombu.Consumer` objects, on this channel."""
        raise NotImplementedError("missing get_consumers")

    def start(self, c: Any) -> None:
        """Consume from now on."""
        self.consumers = self.get_consumers(c.connection.channel())
        for consumer in self.consumers or ():
            consumer.consume()

    def stop(self, c: Any) -> None:
        """Consume no more; what was not acknowledged goes back when the channel closes."""
        self._close(c, True)

    def shutdown(self, c: Any) -> None:
        """The worker ends: let go of the channels."""
        self._close(c, False)

    def _close(self, c: Any, cancel_consumers: bool = True) -> None:
        errors = c.connection.connection_errors + c.connection.channel_errors
        for consumer in self.consumers or ():
            for call in (consumer.cancel if cancel_consumers else None, consumer.channel and consumer.channel.close):
                try:
                    if call:
                        call()
                except errors as exc:  # the connection is lost: there is nothing left to close
                    logger.debug("Closing %s: %r", consumer, exc)


def _behind(step: StepType, graph: DependencyGraph) -> set[StepType]:
    """The step, and those that can only come after it."""
    found = {step}
    while more := {node for node, leads_to in graph.items() if found.intersection(leads_to)} - found:
        found |= more
    return found


def _taken(cls: StepType, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Those of the keywords that `__init__` takes: the guide's own example has no `**kwargs`."""
    parameters = inspect.signature(cls).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return kwargs
    return {name: value for name, value in kwargs.items() if name in parameters}
