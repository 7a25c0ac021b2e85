"""What a running task sees of itself: `task.request` is a `Context`, and the task that runs is on a stack of context
variables.

Nothing here knows of messages, brokers or workers.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, NamedTuple


class _Chain:
    """`Context.chain`: what is left of a long chain is read when somebody looks at it, and from then on is theirs."""

    def __get__(self, context: Context | None, owner: type | None = None) -> Any:
        if context is None:
            return None
        context.read_chain()
        return context.__dict__.get("chain")


class Context:
    """The request of one task execution (`task.request`).

    Every header of the message is an attribute; an attribute that the message lacks has the default below.
    Documented in Celery's user guide, "Tasks", under "Task Request".
    """

    _children: list[Any] | None = None
    _outbox: list[Any] | None = None
    #: The same as `chain`, before anybody has looked.
    _steps: Any = None
    _protected = 0
    args: Any = None
    callbacks: list[Any] | None = None
    called_directly = True
    #: The later steps of its chain, the next one last.
    chain: Any = _Chain()
    chord: Any = None
    correlation_id: str | None = None
    delivery_info: dict[str, Any] | None = None
    errbacks: list[Any] | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    headers: dict[str, Any] | None = None
    hostname: str | None = None
    id: str | None = None
    ignore_result = False
    is_eager = False
    kwargs: Any = None
    logfile: str | None = None
    loglevel: int | None = None
    origin: str | None = None
    parent_id: str | None = None
    properties: dict[str, Any] | None = None
    replaced_task_nesting = 0
    reply_to: str | None = None
    retries = 0
    root_id: str | None = None
    shadow: str | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    taskset: str | None = None
    timelimit: list[float | None] | None = None
    utc: bool | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set attributes from a mapping or from keywords, as `dict.update` does."""
        self.__dict__.update(*args, **kwargs)

    def clear(self) -> None:
        """Forget everything that was set; only the defaults remain."""
        self.__dict__.clear()

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute `key`, or `default` where neither the message nor the defaults have it."""
        return getattr(self, key, default)

    def __getattr__(self, name: str) -> Any:
        # Only reached for names that are neither set nor defaulted.
        if name == "soft_time_limit":
            return self._limit(1)
        if name == "time_limit":
            return self._limit(0)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _limit(self, index: int) -> float | None:
        limits = self.timelimit
        return limits[index] if limits else None

    @property
    def children(self) -> list[Any]:
        """Results of the tasks that this one called (the trail)."""
        if self._children is None:
            self._children = []
        return self._children

    def read_chain(self) -> None:
        """Have the chain in the dict of attributes, whether or not somebody has looked at it."""
        steps, self._steps = self._steps, None
        if steps is not None:
            self.__dict__["chain"] = steps.read()

    def send_at_end(self, message: Any) -> None:
        """Have a message sent together with the acknowledgement of this execution."""
        if self._outbox is None:
            self._outbox = []
        self._outbox.append(message)

    def as_execution_options(self) -> dict[str, Any]:
        """The options that send this call again as it was (`Task.retry`, `signature_from_request`)."""
        limit, soft_limit = self.timelimit or (None, None)
        options = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft_limit,
            "time_limit": limit,
            "headers": self.headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamps:
            options["stamped_headers"] = self.stamped_headers
            options.update(self.stamps)
        return options

    def __repr__(self) -> str:
        return f"<Context: {self.__dict__!r}>"


class Frame(NamedTuple):
    """One running task: the task, its context, and the frame of the task that runs it."""

    task: Any
    context: Context
    below: Frame | None


_frame: ContextVar[Frame | None] = ContextVar("celerylite_frame", default=None)


def push(task: Any, context: Context) -> Token[Frame | None]:
    """Make `task` with `context` the running task; hand the returned token to `pop`."""
    return _frame.set(Frame(task, context, _frame.get()))


def pop(token: Token[Frame | None]) -> None:
    """Leave the execution that `push` entered."""
    _frame.reset(token)


def leave() -> None:
    """Leave the innermost execution, for those that kept no token."""
    frame = _frame.get()
    if frame is not None:
        _frame.set(frame.below)


def top() -> Frame | None:
    """The innermost running task, or None outside of tasks."""
    return _frame.get()


def current_task() -> Any:
    """The innermost running task, or None outside of tasks."""
    frame = _frame.get()
    return frame.task if frame is not None else None


def for_task(task: Any) -> Context | None:
    """The context of the innermost execution of `task`, or None where it does not run here."""
    frame = _frame.get()
    while frame is not None:
        if frame.task is task:
            return frame.context
        frame = frame.below
    return None


def outermost() -> Frame | None:
    """The task that the worker runs: the first one pushed, under all that it calls directly."""
    frame = _frame.get()
    while frame is not None and frame.below is not None:
        frame = frame.below
    return frame
