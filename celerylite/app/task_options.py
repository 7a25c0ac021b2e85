"""What a task says of itself, as attributes: limits, acknowledgement, results, events. A part of the `Task` class."""

from __future__ import annotations

from typing import Any, ClassVar

from celerylite.app.attributes import FromConfig

__all__ = ("TaskOptions",)


class TaskOptions:
    """The options of `Task`; those that are not given are settings."""

    #: The name it is registered by.
    name: Any = None
    #: Whether calls are checked against the parameters of the function.
    typing: bool = True
    #: Calls a second ("100/s", "10/m"), for each worker.
    rate_limit: Any = FromConfig("rate_limit", "task_default_rate_limit")
    #: Whether that is counted for each "worker", or for all together ("global").
    rate_limit_scope: Any = FromConfig("rate_limit_scope", "task_rate_limit_scope")
    #: Do not store what it returns.
    ignore_result: Any = FromConfig("ignore_result", "task_ignore_result")
    #: Note the tasks that it calls as its `children`.
    trail: bool = True
    #: Worker events about it are sent.
    send_events: bool = True
    #: Errors are stored even where results are not.
    store_errors_even_if_ignored: Any = FromConfig(
        "store_errors_even_if_ignored", "task_store_errors_even_if_ignored"
    )
    #: Results of eager calls are stored.
    store_eager_result: Any = FromConfig("store_eager_result", "task_store_eager_result")
    #: How arguments are written: a name in kombu's registry.
    serializer: Any = FromConfig("serializer", "task_serializer")
    #: Hard time limit in seconds: the process is killed.
    time_limit: Any = FromConfig("time_limit", "task_time_limit")
    #: Soft time limit in seconds: `SoftTimeLimitExceeded` is raised inside.
    soft_time_limit: Any = FromConfig("soft_time_limit", "task_soft_time_limit")
    #: Seconds, or a datetime, after which it must not start any more.
    expires: Any = None
    #: A state STARTED is stored.
    track_started: Any = FromConfig("track_started", "task_track_started")
    #: Messages are acknowledged after the task has run.
    acks_late: Any = FromConfig("acks_late", "task_acks_late")
    acks_on_failure_or_timeout: Any = FromConfig(
        "acks_on_failure_or_timeout", "task_acks_on_failure_or_timeout"
    )
    acks_on_failure: Any = FromConfig("acks_on_failure", "task_acks_on_failure")
    acks_on_timeout: Any = FromConfig("acks_on_timeout", "task_acks_on_timeout")
    #: With `acks_late`: a message whose process died goes back to its queue.
    reject_on_worker_lost: Any = FromConfig("reject_on_worker_lost", "task_reject_on_worker_lost")
    #: A task whose process died is retried.
    retry_on_worker_lost: Any = FromConfig("retry_on_worker_lost", "task_retry_on_worker_lost")
    #: Errors that are expected: reported without a traceback.
    throws: tuple[type[BaseException], ...] = ()
    #: Priority of its messages, 0 to 9 on Redis.
    priority: Any = FromConfig("priority", "task_default_priority")
    #: Longest text of a result in logs and events.
    resultrepr_maxsize: int = 1024
    #: A base for other tasks; not registered.
    abstract: bool = True

    #: Not supported: our worker has one road, and sets messages of a task with a strategy of its own aside.
    Strategy: Any = None
    #: The class of its requests in the worker, or the name of that class as "package.module:Name".
    Request: Any = "celerylite.worker.request:Request"

    #: Attributes that the configuration decides where the task does not, and by which settings.
    from_config: ClassVar[tuple[tuple[str, str], ...]] = tuple(
        (option.name, option.setting) for option in vars().values() if isinstance(option, FromConfig)
    )
