"""The task: what `@app.task` makes of a function, and the base of class-based tasks.

A task knows how it is called and with which options; running it is the business of `execution`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from celerylite import _state, canvas, context, states
from celerylite.app.annotations import annotate
from celerylite.app.attributes import AppOfTask, FromConfig, RequestStack, getattr_static
from celerylite.app.eager import Eager
from celerylite.app.registry import _unpickle_task_v2
from celerylite.app.retrying import Retrying
from celerylite.app.task_options import TaskOptions
from celerylite.app.utils import appstr
from celerylite.context import Context
from celerylite.exceptions import Ignore
from celerylite.result_base import allow_join_result

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.canvas import Signature
    from celerylite.result import AsyncResult

__all__ = ("Context", "Task")

P = ParamSpec("P")
R = TypeVar("R")

#: Attributes of a task that go with every call of it, as if the caller had said them.
CALL_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)


class Task(TaskOptions, Retrying, Eager[R], Generic[P, R]):
    """A function that can be called later, elsewhere. `P` are its parameters, `R` what it returns."""

    app: Any = AppOfTask()
    __bound__: ClassVar[bool] = False
    #: Raises TypeError for a call that does not fit; made by `@app.task`.
    __header__: ClassVar[Callable[..., None] | None] = None
    _app: ClassVar[Celery | None] = None
    _backend: Any = None
    _default_request: Context | None = None
    _exec_options: dict[str, Any] | None = None
    #: What runs it, where a tool has put something in its place.
    __trace__: Any = None
    #: Turns pydantic models among the arguments into what is sent (`pydantic=True`).
    _dump_pydantic_arguments: ClassVar[Callable[..., tuple[Any, Any]] | None] = None

    # -- binding

    @classmethod
    def bind(cls, app: Celery) -> Celery:
        """Make the class a task of `app`; attributes that are None are read from its settings from here
        on."""
        was_bound, cls.__bound__ = cls.__bound__, True
        cls._app = app
        cls._exec_options = None
        for name, setting in cls.from_config:
            if getattr_static(cls, name) is None:
                setattr(cls, name, FromConfig(name, setting))
        if not was_bound:
            cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Called when the class is bound to an app; for subclasses."""

    @classmethod
    def _get_app(cls) -> Celery:
        if cls._app is None:
            return _state.get_current_app()
        return cls._app

    @classmethod
    def annotate(cls) -> None:
        """Set what `task_annotations` says about this task."""
        annotate(cls, cls._get_app().annotations)

    @classmethod
    def add_around(cls, attr: str, around: Callable[..., Any]) -> None:
        """Wrap a method: `around(original)` takes its place; `__wrapped__` keeps the original."""
        original = getattr(cls, attr)
        meth = around(original)
        if not hasattr(meth, "__wrapped__"):
            meth.__wrapped__ = original
        setattr(cls, attr, meth)

    # -- running

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        frame = context.top()
        if frame is not None and frame.task is self:
            request = frame.context
            if not request.called_directly and not request._protected:
                # The worker runs it through here: it keeps the request of the message.
                request._protected = 1
                return self.run(*args, **kwargs)
        token = context.push(self, Context(args=args, kwargs=kwargs))
        try:
            return self.run(*args, **kwargs)
        finally:
            context.pop(token)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body of the task."""
        raise NotImplementedError("Tasks must define the run method.")

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled as its name; the module is imported on the other side, so that the task exists there.
        module = type(self).__module__
        return _unpickle_task_v2, (self.name, module if module in sys.modules else None), None

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker before the task runs."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker when the task has succeeded."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by the worker when the task is to be retried."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by the worker when the task has failed."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called by the worker after the task, whatever became of it."""

    def on_replace(self, sig: Signature) -> Any:
        """Called with the signature that takes the place of this task."""
        request = self.request
        if request.is_eager:
            with allow_join_result():
                return sig.apply().get()
        if request.called_directly:
            sig.delay()
        else:
            dispatch = sig.collect()
            for item in (*dispatch.chords, *dispatch.messages):  # sent together with the acknowledgement
                request.send_at_end(item)
        raise Ignore("Replaced by new task")

    # -- calling

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Call the task with these arguments, later and elsewhere."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Call the task, with options; the user guide's chapter "Calling Tasks" lists them."""
        app = type(self)._app or self._get_app()
        args, kwargs, options = self._prepare_call(args, kwargs, options)
        if not shadow and type(self).shadow_name is not Task.shadow_name:
            shadow = self.shadow_name(args, kwargs, options)
        if app.conf.task_always_eager:
            return self._apply_eagerly(args, kwargs, task_id, link, link_error, options)
        own_result = self.AsyncResult if type(self).AsyncResult is not Task.AsyncResult else None
        if not (task_id or producer or link or link_error or shadow or own_result) and app.sends_plainly(options):
            return app.send_plain(self, args, kwargs, options)
        return app.send_task(
            self.name,
            args,
            kwargs,
            task_id=task_id,
            producer=producer,
            link=link,
            link_error=link_error,
            result_cls=own_result,
            shadow=shadow,
            task_type=self,
            **options,
        )

    def _is_called_plainly(self) -> bool:
        """Whether calls of it need not go through `apply_async`: nobody has put his own in its place."""
        cls: Any = type(self)
        return (cls.apply_async, cls.shadow_name, cls.AsyncResult) == _OWN_ROAD

    def _prepare_call(
        self, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Check the arguments, and put the task's own options under those of the call."""
        if self.__header__ is not None and self.typing:
            self._check_arguments(self.__header__, args, kwargs)
        own = self._exec_options
        if own is None:
            own = self._get_exec_options()
        soft = own.get("soft_time_limit")
        if soft and soft > (own.get("time_limit") or soft):
            raise ValueError("soft_time_limit must be less than or equal to time_limit")
        options = {**own, **options} if options else own.copy()
        if self._dump_pydantic_arguments is not None:
            args, kwargs = self._dump_pydantic_arguments(args, kwargs, options)
        if "ignore_result" not in options:
            options["ignore_result"] = self.ignore_result
        return args, kwargs, options

    def _check_arguments(self, check: Callable[..., None], args: Any, kwargs: Any) -> None:
        if type(args) is not tuple and args is not None and not isinstance(args, list | tuple):
            if isinstance(args, str) or not isinstance(args, Sequence):
                raise TypeError("task args must be a list or tuple")
        if kwargs:
            check(*(args or ()), **kwargs)
        else:
            check(*(args or ()))

    def shadow_name(self, args: Any, kwargs: Any, options: dict[str, Any]) -> str | None:
        """Another name for logs and monitors; for subclasses."""
        return None

    def _get_exec_options(self) -> dict[str, Any]:
        if self._exec_options is None:
            given = ((name, getattr(self, name, None)) for name in CALL_OPTIONS)
            self._exec_options = {name: value for name, value in given if value is not None}
        return self._exec_options

    # -- signatures

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Signature:
        """A signature of this task: the call as a value."""
        starkwargs.setdefault("app", self.app)
        return canvas.signature(self, args, *starargs, **starkwargs)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """`.s(*args, **kwargs)`: a signature with these arguments."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """An immutable signature: it takes no results of other tasks."""
        return self.signature(args, kwargs, immutable=True)

    def map(self, it: Any) -> canvas.xmap:
        """A signature that calls the task with each item, in one task."""
        return canvas.xmap(self.s(), it, app=self.app)

    def starmap(self, it: Any) -> canvas.xstarmap:
        """The same with lists of arguments."""
        return canvas.xstarmap(self.s(), it, app=self.app)

    def chunks(self, it: Any, n: int) -> canvas.chunks:
        """The same in several tasks, of `n` lists of arguments each."""
        return canvas.chunks(self.s(), it, n, app=self.app)

    # -- state and results

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:
        """The result of a call of this task, by id."""
        return self._get_app().AsyncResult(task_id, backend=self._backend, task_name=self.name, **kwargs)

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Store a state of your own for the running task."""
        self.backend.store_result(
            task_id or self.request.id, meta, state or states.PENDING, request=self.request, **kwargs
        )

    def send_event(self, type_: str, retry: bool = True, retry_policy: Any = None, **fields: Any) -> Any:
        """Send a monitoring event about the running task, such as `task-progress`.

        One that the broker does not take is dropped with a warning; `retry` and `retry_policy` are Celery's, and
        change nothing.
        """
        self._get_app().events.tell(type_, hostname=self.request.hostname, uuid=self.request.id, **fields)

    def add_trail(self, result: Any) -> Any:
        """Note a result as a child of the running task."""
        if self.trail:
            self.request.children.append(result)
        return result

    @property
    def request(self) -> Context:
        """What the running task knows of its call; defaults where it does not run."""
        running = context.for_task(self)
        if running is not None:
            return running
        if self._default_request is None:
            self._default_request = Context()
        return self._default_request

    @property
    def request_stack(self) -> RequestStack:
        return RequestStack(self)

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Pretend that the task runs with this request; for tests and tools."""
        context.push(self, Context(*args, **kwargs))

    def pop_request(self) -> None:
        """Undo `push_request`."""
        self.request_stack.pop()

    @property
    def backend(self) -> Any:
        """Where its results are stored."""
        return self._backend if self._backend is not None else self._get_app().backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    @property
    def OperationalError(self) -> type[Exception]:
        from kombu.exceptions import OperationalError  # lazy: kombu is imported when first needed

        return OperationalError

    def __repr__(self) -> str:
        app = type(self)._app
        bound = f"of {appstr(app)}" if app is not None else "(unbound)"
        return f"<@task: {self.name} {bound}>"


#: What calls of a task pass through, as long as no subclass and no monitoring package has its own.
_OWN_ROAD = (Task.apply_async, Task.shadow_name, Task.AsyncResult)
