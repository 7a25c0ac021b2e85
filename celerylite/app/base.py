"""The app: `Celery` is what a project makes one of. It holds the configuration, the tasks and the
connections.

Its parts stand beside this file: configuring, declaring (tasks), connecting, sending.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import defaultdict
from datetime import datetime, tzinfo
from datetime import timezone as datetime_timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celerylite import _state, canvas, context
from celerylite.app import builtins
from celerylite.app.amqp import AMQP
from celerylite.app.annotations import prepare as prepare_annotations
from celerylite.app.configuring import Configuring, PendingConfiguration
from celerylite.app.connecting import Connecting
from celerylite.app.declaring import Declaring
from celerylite.app.publishing import forget_process
from celerylite.app.registry import TaskRegistry
from celerylite.app.sending import Sending
from celerylite.app.task import Task
from celerylite.app.utils import AppPickler, _unpickle_app_v2, appstr, bugreport
from celerylite.loaders import get_loader_cls
from celerylite.utils.dispatch import Signal
from celerylite.utils.imports import instantiate, symbol_by_name

if TYPE_CHECKING:
    from celerylite.canvas import Signature

__all__ = ("App", "Celery", "PendingConfiguration")

BUILTIN_FIXUPS = {"celerylite.fixups.django:fixup"}

builtins.register()


class Celery(Configuring, Declaring, Connecting, Sending):
    """A Celery application.

    `main` names the tasks of the script that is run; `broker`, `backend`, `include` and any other keyword are
    settings.
    """

    IS_macOS = sys.platform == "darwin"
    IS_WINDOWS = sys.platform == "win32"
    SYSTEM = "Windows" if IS_WINDOWS else os.uname().sysname

    Pickler = AppPickler

    #: The name of the main module.
    main: str | None = None
    amqp_cls: Any = "celerylite.app.amqp:AMQP"
    backend_cls: Any = None
    control_cls: Any = "celerylite.app.control:Control"
    events_cls: Any = "celerylite.app.events:Events"
    loader_cls: Any = None
    log_cls: Any = "celerylite.app.log:Logging"
    registry_cls: Any = TaskRegistry
    task_cls: Any = "celerylite.app.task:Task"
    builtin_fixups = BUILTIN_FIXUPS

    #: Options that a project adds to the commands, and steps that it adds to the worker.
    user_options: Any = None
    steps: Any = None
    _fixups: Any = None
    #: Signals of this app: its configuration is about to be read, was read; all tasks are there; a child was
    #: forked.
    on_configure: Any = None
    on_after_configure: Any = None
    on_after_finalize: Any = None
    on_after_fork: Any = None

    def __init__(
        self,
        main: str | None = None,
        loader: Any = None,
        backend: Any = None,
        amqp: Any = None,
        events: Any = None,
        log: Any = None,
        control: Any = None,
        set_as_current: bool = True,
        tasks: Any = None,
        broker: str | None = None,
        include: Any = None,
        changes: dict[str, Any] | None = None,
        config_source: Any = None,
        fixups: Any = None,
        task_cls: Any = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        config_source_silent: bool = False,
        **kwargs: Any,
    ) -> None:
        self.main = main
        self.amqp_cls = amqp or self.amqp_cls
        self.events_cls = events or self.events_cls
        self.loader_cls = loader or self._get_default_loader()
        self.log_cls = log or self.log_cls
        self.control_cls = control or self.control_cls
        self._custom_task_cls_used = bool(task_cls) or type(self).task_cls is not Celery.task_cls
        self.task_cls = task_cls or self.task_cls
        self.set_as_current = set_as_current
        self.autofinalize = autofinalize
        self.namespace = namespace
        self.strict_typing = strict_typing
        self._config_source, self._config_source_silent = config_source, config_source_silent
        self.user_options, self.steps = defaultdict(set), defaultdict(set)
        self._finalize_mutex = threading.RLock()
        self._connect_lock: Any = threading.RLock()
        self._oids = threading.local()
        self._pending_periodic_tasks: list[tuple[str, Any]] = []
        self._unannotated: list[type[Task[..., Any]]] = []
        self._duplicate_task_names_warned: set[str] = set()
        self._set_tasks(tasks)
        self._set_signals()
        self._conf = self._make_conf(
            {**(changes or {}), **self._settings_given(broker, backend, include), **kwargs}
        )
        self.fixups = set(self.builtin_fixups) if fixups is None else fixups
        self._fixups = [
            symbol_by_name(fixup)(self) if isinstance(fixup, str) else fixup(self) for fixup in self.fixups
        ]
        if self.set_as_current:
            self.set_current()
        self.on_init()
        _state._register_app(self)

    def _set_tasks(self, tasks: Any) -> None:
        registry = (
            symbol_by_name(self.registry_cls) if isinstance(self.registry_cls, str) else self.registry_cls
        )
        self._tasks = tasks if isinstance(tasks, TaskRegistry) else registry(tasks or {})

    def _set_signals(self) -> None:
        # A subclass may define `on_configure` as a method; the others are always signals.
        if type(self).on_configure is None:
            self.on_configure = Signal(name="app.on_configure")
        self.on_after_configure = Signal(name="app.on_after_configure", providing_args={"source"})
        self.on_after_finalize = Signal(name="app.on_after_finalize")
        self.on_after_fork = Signal(name="app.on_after_fork")

    def _settings_given(self, broker: Any, backend: Any, include: Any) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if broker:
            given["broker_url"] = broker
        if isinstance(backend, str):
            given["result_backend"] = backend
        elif backend is not None:
            self.backend_cls = backend
        if include:
            given["include"] = include
        return given

    def _get_default_loader(self) -> Any:
        return os.environ.get("CELERY_LOADER") or self.loader_cls or "celerylite.loaders.app:AppLoader"

    def on_init(self) -> None:
        """Called at the end of the constructor; for subclasses."""

    # -- which app is current

    def set_current(self) -> None:
        """Make this the current app of this thread."""
        _state._set_current_app(self)

    def set_default(self) -> None:
        """Make this the app that is current in every thread that chose none."""
        _state.set_default_app(self)

    def close(self) -> None:
        """Close connections, and forget the app."""
        self._disconnect()
        _state._deregister_app(self)

    def __class_getitem__(cls, item: Any) -> type[Celery]:
        return cls

    def __enter__(self) -> Celery:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    # -- what hangs on the app

    @cached_property
    def amqp(self) -> AMQP:
        """Queues, routes and message format."""
        return instantiate(self.amqp_cls, app=self)

    @cached_property
    def loader(self) -> Any:
        """Reads configuration and imports modules."""
        return get_loader_cls(self.loader_cls)(app=self)

    @cached_property
    def log(self) -> Any:
        """Sets up logging."""
        return instantiate(self.log_cls, app=self)

    @cached_property
    def control(self) -> Any:
        """Remote control of workers."""
        return instantiate(self.control_cls, app=self)

    @cached_property
    def events(self) -> Any:
        """Monitoring events."""
        return instantiate(self.events_cls, app=self)

    @cached_property
    def annotations(self) -> Any:
        """`task_annotations`, ready to be asked."""
        return prepare_annotations(self.conf.task_annotations)

    @cached_property
    def clock(self) -> Any:
        """The logical clock of events and remote control."""
        from kombu.clocks import LamportClock  # lazy: a client that only calls needs none

        return LamportClock()

    @cached_property
    def AsyncResult(self) -> Any:
        return self.subclass_with_self("celerylite.result:AsyncResult")

    @cached_property
    def ResultSet(self) -> Any:
        return self.subclass_with_self("celerylite.result:ResultSet")

    @cached_property
    def GroupResult(self) -> Any:
        return self.subclass_with_self("celerylite.result:GroupResult")

    @cached_property
    def Worker(self) -> Any:
        """The worker that the command line starts."""
        return self.subclass_with_self("celerylite.apps.worker:Worker")

    @cached_property
    def WorkController(self) -> Any:
        return self.subclass_with_self("celerylite.worker:WorkController")

    @cached_property
    def Beat(self) -> Any:
        return self.subclass_with_self("celerylite.apps.beat:Beat")

    @cached_property
    def schedule_entries(self) -> Any:
        """The entries of beat's schedule, to be seen and changed while beats run (`celerylite.beat.Entries`)."""
        from celerylite.beat.entries import Entries  # lazy: few processes ask for it

        return Entries(self)

    @cached_property
    def Task(self) -> Any:
        """The base class of this app's tasks; may be set to a class of your own."""
        return self.create_task_cls()

    def create_task_cls(self) -> Any:
        """A subclass of `task_cls` that is bound to this app."""
        return self.subclass_with_self(
            self.task_cls, name="Task", attribute="_app", keep_reduce=True, abstract=True
        )

    def subclass_with_self(
        self,
        Class: Any,  # noqa: N803 (Celery's name)
        name: str | None = None,
        attribute: str = "app",
        reverse: str | None = None,
        keep_reduce: bool = False,
        **kw: Any,
    ) -> Any:
        """A subclass whose attribute `app` is this app."""
        base = symbol_by_name(Class)
        attributes = {attribute: self, "__module__": base.__module__, "__doc__": base.__doc__, **kw}
        if not keep_reduce:
            attributes["__reduce__"] = lambda instance: (
                _unpickle_attribute,
                (self, reverse or base.__name__, instance.__reduce_args__()),
            )
        return type(name or base.__name__, (base,), attributes)

    def _rgetattr(self, path: str) -> Any:
        found: Any = self
        for part in path.split("."):
            found = getattr(found, part)
        return found

    # -- tasks

    @property
    def current_task(self) -> Any:
        """The task that runs here."""
        return _state.get_current_task()

    @property
    def current_worker_task(self) -> Any:
        """The task that the worker runs here."""
        return _state.get_current_worker_task()

    def signature(self, *args: Any, **kwargs: Any) -> Signature:
        """A signature bound to this app."""
        kwargs["app"] = self
        return self._canvas.signature(*args, **kwargs)

    @property
    def _canvas(self) -> Any:
        return canvas

    def add_periodic_task(
        self, schedule: Any, sig: Any, args: Any = (), kwargs: Any = (), name: str | None = None, **opts: Any
    ) -> str:
        """Add an entry to `beat_schedule`; returns its key. ValueError for a line that is not a schedule."""
        if isinstance(schedule, str):
            from celerylite.schedules import maybe_schedule  # lazy: 20 ms, and only lines are read here

            maybe_schedule(schedule)
        key, entry = self._sig_to_periodic_task_entry(schedule, sig, args, kwargs, name, **opts)
        if self.configured:
            self._add_periodic_task(key, entry)
        else:
            self._pending_periodic_tasks.append((key, entry))
        return key

    def _sig_to_periodic_task_entry(
        self,
        schedule: Any,
        sig: Any,
        args: Any = (),
        kwargs: Any = None,
        name: str | None = None,
        **opts: Any,
    ) -> tuple[str, dict[str, Any]]:
        sig = (
            sig.clone(args, kwargs or {})
            if isinstance(sig, canvas.Signature)
            else self.signature(sig.name, args, kwargs)
        )
        entry = {
            "schedule": schedule,
            "task": sig.name,
            "args": sig.args,
            "kwargs": sig.kwargs,
            "options": dict(sig.options, **opts),
        }
        return name or repr(sig), entry

    def _add_periodic_task(self, key: str, entry: dict[str, Any], name: str | None = None) -> None:
        self._conf.beat_schedule[key] = entry

    def select_queues(self, queues: Any = None) -> None:
        """Consume from these queues only."""
        self.amqp.queues.select(queues)

    # -- the command line

    def start(self, argv: list[str] | None = None) -> Any:
        """Run the command line with this app; `argv` are the words after the program's name."""
        from click.exceptions import Exit  # lazy: only who starts commands needs them

        from celerylite.bin.celery import celery  # upwards: the command line stands on everything

        try:
            return celery.main(args=argv, obj=self, standalone_mode=False)
        except Exit as exc:
            return exc.exit_code

    def worker_main(self, argv: list[str] | None = None) -> None:
        """Run the command `worker`, with its options in `argv`."""
        argv = sys.argv[1:] if argv is None else argv
        if "worker" not in argv:
            raise ValueError(
                "argv names no worker: worker_main(['worker', …]); app.start() runs other commands"
            )
        self.start(argv=argv)

    # -- time and identity

    def now(self) -> datetime:
        """The present, in the app's time zone."""
        return datetime.now(datetime_timezone.utc).astimezone(self.timezone)

    @cached_property
    def timezone(self) -> tzinfo:
        """The time zone of the settings; UTC, or with `enable_utc` off the machine's, where none is set."""
        from celerylite.utils.time import timezone  # lazy: 5 ms, for calls with times

        conf = self.conf
        if not conf.timezone:
            return timezone.utc if conf.enable_utc else timezone.local
        return timezone.get_timezone(conf.timezone)

    def uses_utc_timezone(self) -> bool:
        """Whether the time zone is UTC."""
        from celerylite.utils.time import timezone  # lazy, as above

        return self.timezone == timezone.utc

    @cached_property
    def oid(self) -> str:
        """An id of this app in this process: the name of its reply queue."""
        return _oid(self, 0)

    @property
    def thread_oid(self) -> str:
        """An id of this app in this thread."""
        try:
            return self._oids.oid
        except AttributeError:
            oid = self._oids.oid = self._reply_address() or _oid(self, threading.get_ident())
            return oid

    def _reply_address(self) -> str | None:
        """The reply queue of this process, ready to be written to, where results come as messages (`rpc://`)."""
        if not str(self.conf.result_backend or "").startswith("rpc") or context.outermost() is not None:
            return None
        return self.backend.prepare()

    def bugreport(self) -> str:
        """Versions and settings, to be pasted into an issue."""
        return bugreport(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {appstr(self)}>"

    def __reduce__(self) -> Any:
        return _unpickle_app_v2, (type(self), self.__reduce_keys__())

    def __reduce_keys__(self) -> dict[str, Any]:
        """What a pickled app is made of again."""
        return {
            "main": self.main,
            "changes": dict(self._conf.changes),
            "loader": self.loader_cls,
            "backend": self.backend_cls,
            "amqp": self.amqp_cls,
            "events": self.events_cls,
            "log": self.log_cls,
            "control": self.control_cls,
            "fixups": self.fixups,
            "config_source": self._config_source,
            "task_cls": self.task_cls,
            "namespace": self.namespace,
        }


App = Celery


def _oid(app: Celery, thread: int) -> str:
    from uuid import NAMESPACE_OID, uuid3, uuid4  # lazy: 3 ms, needed with the first call

    return str(uuid3(NAMESPACE_OID, f"{uuid4().int:x}-{os.getpid():x}-{thread:x}-{id(app):x}"))


def _unpickle_attribute(app: Celery, name: str, args: Any) -> Any:
    return app._rgetattr(name)(*args)


def _after_fork_in_child() -> None:
    forget_process()
    for app in list(_state._get_active_apps()):
        app._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
