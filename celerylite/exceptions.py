"""All errors and warnings, in one tree; the docstring of a class says what went wrong.

Two names need a package that is not imported here, and are fetched when first asked for:
`OperationalError` (kombu's) and `CeleryCommandException` (click's).
"""

from __future__ import annotations

import numbers
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from kombu.exceptions import OperationalError as OperationalError

    from .utils.command_errors import CeleryCommandException as CeleryCommandException

__all__ = (
    "reraise",
    # warnings
    "CeleryWarning",
    "AlwaysEagerIgnored",
    "DuplicateNodenameWarning",
    "DuplicateTaskNameWarning",
    "FixupWarning",
    "NotConfigured",
    "SecurityWarning",
    "UnknownSettingWarning",
    # the core
    "CeleryError",
    "ImproperlyConfigured",
    "SecurityError",
    "OperationalError",
    # what a task may raise to steer the worker
    "TaskPredicate",
    "Ignore",
    "Reject",
    "Retry",
    # tasks
    "TaskError",
    "QueueNotFound",
    "IncompleteStream",
    "NotRegistered",
    "AlreadyRegistered",
    "TimeoutError",
    "MaxRetriesExceededError",
    "TaskRevokedError",
    "InvalidTaskError",
    "ChordError",
    # results
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    # task processes
    "SoftTimeLimitExceeded",
    "TimeLimitExceeded",
    "WorkerLostError",
    "Terminated",
    "RestartFreqExceeded",
    # deprecation
    "CPendingDeprecationWarning",
    "CDeprecationWarning",
    # the worker
    "WorkerShutdown",
    "WorkerTerminate",
    "CeleryCommandException",
)

UNREGISTERED_FMT = "Task of kind {0} never registered, please make sure it's imported."


def __getattr__(name: str) -> Any:
    # kombu takes 30 ms and click 15 ms to import, and most processes need neither of them for its errors.
    found: Any
    if name == "OperationalError":
        from kombu import exceptions as kombu_errors

        found = kombu_errors.OperationalError
    elif name in ("CeleryCommandException", "ClickException"):
        from .utils import command_errors

        found = getattr(command_errors, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def reraise(tp: type[BaseException], value: BaseException, tb: TracebackType | None = None) -> NoReturn:
    """Raise `value` again, with the traceback `tb`."""
    if value.__traceback__ is not tb:
        raise value.with_traceback(tb)
    raise value


# -- warnings


class CeleryWarning(UserWarning):
    """The base of all our warnings."""


class AlwaysEagerIgnored(CeleryWarning):
    """`send_task` goes to the broker even when `task_always_eager` is set."""


class DuplicateNodenameWarning(CeleryWarning):
    """Two workers have the same node name."""


class DuplicateTaskNameWarning(CeleryWarning):
    """Two functions are registered under the same task name."""


class FixupWarning(CeleryWarning):
    """A fixup for a framework found something to complain of."""


class NotConfigured(CeleryWarning):
    """No configuration module was found, so the defaults are in use."""


class SecurityWarning(CeleryWarning):
    """Something here may be a security problem."""


class UnknownSettingWarning(CeleryWarning):
    """No setting has this name, but one has a name very much like it."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """This will be deprecated."""


class CDeprecationWarning(DeprecationWarning):
    """This is deprecated."""


# -- the core


class CeleryError(Exception):
    """The base of all our errors."""


class ImproperlyConfigured(CeleryError):
    """The configuration cannot work."""


class SecurityError(CeleryError):
    """Refused for the sake of security."""


# -- what a task may raise to steer the worker


class TaskPredicate(CeleryError):
    """The base of what a task raises to tell the worker how to go on."""


class Retry(TaskPredicate):
    """The task is to be tried again later."""

    #: What to say instead of the sentence about when.
    message: str | None = None
    #: The exception that led to the retry.
    exc: BaseException | None = None
    #: When: a number of seconds from now, or a datetime.
    when: Any = None

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: Any = None,
        is_eager: bool = False,
        sig: Any = None,
        **kwargs: Any,
    ) -> None:
        self.message = message
        if isinstance(exc, str):
            # Only the text survived (an exception that could not be pickled).
            self.exc = None
            self.excs: str | None = exc
        else:
            self.exc = exc
            self.excs = repr(exc) if exc else None
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when, **kwargs)

    def humanize(self) -> str:
        """When the task will be tried again, in words."""
        if isinstance(self.when, numbers.Number):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.exc, self.when)


#: An older name of `Retry`.
RetryTaskError = Retry


class Ignore(TaskPredicate):
    """The task does not want any state to be stored."""


class Reject(TaskPredicate):
    """The message is to be refused, or put back into its queue with `requeue=True`."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


# -- tasks


class TaskError(CeleryError):
    """The base of errors that have to do with one task."""


class QueueNotFound(KeyError, TaskError):
    """The task goes to a queue that is not in `task_queues`."""


class IncompleteStream(TaskError):
    """The stream of data ended too early."""


class NotRegistered(KeyError, TaskError):
    """No task of this name is registered."""

    def __repr__(self) -> str:
        return UNREGISTERED_FMT.format(str(self))


class AlreadyRegistered(TaskError):
    """A task of this name is registered already."""


class TimeoutError(TaskError):
    """It took longer than it was given."""


class MaxRetriesExceededError(TaskError):
    """The task failed as often as it may."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args = kwargs.pop("task_args", [])
        self.task_kwargs = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class TaskRevokedError(TaskError):
    """The task was revoked, so there is no result."""


class InvalidTaskError(TaskError):
    """The message does not describe a task."""


class ChordError(TaskError):
    """A task in the header of a chord failed."""


# -- results


class BackendError(Exception):
    """The result backend could not be read or written."""


class BackendGetMetaError(BackendError):
    """The result backend could not be read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_id = kwargs.get("task_id", "")
        super().__init__(*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()} task_id:{self.task_id}"


class BackendStoreError(BackendError):
    """The result backend could not be written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state = kwargs.get("state", "")
        self.task_id = kwargs.get("task_id", "")
        super().__init__(*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()} state:{self.state} task_id:{self.task_id}"


# -- task processes (Celery takes these from billiard, and results say so: see utils/serialization.py)


class TimeLimitExceeded(Exception):
    """The task ran longer than its hard time limit, and its process was killed."""

    def __str__(self) -> str:
        return f"{type(self).__name__}{self.args!r}"


class SoftTimeLimitExceeded(Exception):
    """The task ran longer than its soft time limit; it may catch this and clean up."""

    def __str__(self) -> str:
        return f"{type(self).__name__}{self.args!r}"


class WorkerLostError(Exception):
    """The process that ran the task died."""


class Terminated(Exception):
    """Someone asked for the task to be terminated while it ran."""


class RestartFreqExceeded(Exception):
    """Processes die faster than it makes sense to replace them."""


# -- the worker


class WorkerTerminate(SystemExit):
    """The worker is to stop at once."""


#: An older name of `WorkerTerminate`.
SystemTerminate = WorkerTerminate


class WorkerShutdown(SystemExit):
    """The worker is to finish what runs and then stop."""
