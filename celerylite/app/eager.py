"""Running a task here and now, without a message: `Task.apply`, and calls under `task_always_eager`. A part of the
`Task` class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celerylite import _state
from celerylite.exceptions import Retry
from celerylite.utils import uuid
from celerylite.utils.functional import maybe_list

if TYPE_CHECKING:
    from celerylite.result import EagerResult

__all__ = ("Eager",)

R = TypeVar("R")


class Eager(Generic[R]):
    """The part of `Task` that runs it in this process; `R` is what it returns."""

    def apply(
        self: Any,
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: str | None = None,
        loglevel: int | None = None,
        headers: dict[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run the task in this process, now, and return how it ended."""
        from celerylite import execution  # upwards: running is another floor
        from celerylite.result import EagerResult

        app = self._get_app()
        args, kwargs = args or (), kwargs or {}
        task_id = task_id or uuid()
        request = self._eager_request(task_id, retries or 0, logfile, loglevel, headers, options)
        request.update(callbacks=maybe_list(link), errbacks=maybe_list(link_error))
        throw = app.either("task_eager_propagates", throw)
        outcome = execution.apply_eager(
            self, task_id=task_id, args=args, kwargs=kwargs, request=request, throw=bool(throw)
        )
        value = outcome.value
        if isinstance(value, Retry) and value.sig is not None:
            return value.sig.apply(retries=(retries or 0) + 1)
        traceback = outcome.einfo.traceback if outcome.einfo is not None else None
        return EagerResult(task_id, value, outcome.state, traceback=traceback, name=self.name)

    def _eager_request(
        self: Any,
        task_id: str,
        retries: int,
        logfile: str | None,
        loglevel: int | None,
        headers: dict[str, Any] | None,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        """What stands in the request of an eager call, in place of what a message would bring."""
        from celerylite.utils.nodenames import gethostname

        parent = _state.get_current_worker_task()
        request: dict[str, Any] = {
            "id": task_id,
            "task": self.name,
            "parent_id": parent.request.id if parent is not None else None,
            "root_id": (parent.request.root_id or parent.request.id) if parent is not None else None,
            "retries": retries,
            "is_eager": True,
            "logfile": logfile,
            "loglevel": loglevel or 0,
            "hostname": gethostname(),
            "headers": headers,
            "ignore_result": options.get("ignore_result", self.ignore_result),
            "delivery_info": {
                "is_eager": True,
                "exchange": options.get("exchange"),
                "routing_key": options.get("routing_key"),
                "priority": options.get("priority"),
            },
        }
        request["root_id"] = request["root_id"] or task_id
        if "stamped_headers" in options:
            request["stamped_headers"] = maybe_list(options["stamped_headers"])
            request["stamps"] = {
                header: maybe_list(options.get(header, [])) for header in request["stamped_headers"]
            }
        return request

    def _apply_eagerly(
        self: Any, args: Any, kwargs: Any, task_id: str | None, link: Any, link_error: Any, options: dict[str, Any]
    ) -> Any:
        """`task_always_eager`: run it here and now, with arguments as a worker would get them."""
        from celerylite import message, result  # upwards in floors, and only for eager calls

        content_type, encoding, body, _ = message.dumps((args or (), kwargs or {}), options.get("serializer"))
        args, kwargs = message.loads(body, content_type, encoding, accept=[content_type])
        with result.denied_join_result():
            return self.apply(
                args, kwargs, task_id=task_id or uuid(), link=link, link_error=link_error, **options
            )
