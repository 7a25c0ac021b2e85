"""What a worker runs and was told, under the names of `celery.worker.state`: views of the board and of the directives.

They show the worker of this process: in its control process, where remote commands run, and in a worker within one
process. Elsewhere they are empty. Requests are read anew at each look, and changing one changes nothing.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any

import celerylite
from celerylite.app.revoking import REVOKE_EXPIRES, REVOKES_MAX
from celerylite.worker import looking

if TYPE_CHECKING:
    from celerylite.worker.node import Node
    from celerylite.worker.request import Request

__all__ = (
    "REVOKES_MAX", "REVOKE_EXPIRES", "SOFTWARE_INFO", "active_requests", "all_total_count", "merge_revoked", "requests",
    "reserved_requests", "revoked", "revoked_stamps", "scheduled_requests", "total_count",
)  # fmt: skip

#: What heartbeats say of the software. The name is Celery's: monitors go by it.
SOFTWARE_INFO = {"sw_ident": "py-celery", "sw_ver": celerylite.__version__, "sw_sys": platform.system()}

_node: Node | None = None


def show(node: Node) -> None:
    """Let the views show this worker."""
    global _node
    _node = node


class _Requests(Set):
    """Requests that are found when somebody looks."""

    def __init__(self, find: Callable[[Node], Iterable[Request]]) -> None:
        self._find = find

    def __iter__(self) -> Iterator[Request]:
        return iter(()) if _node is None else iter(list(self._find(_node)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, request: object) -> bool:
        wanted = getattr(request, "id", None)
        return any(found.id == wanted for found in self)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        return set(it)  # of `&`, `|` and the like


class _ById(Mapping):
    """Id -> request, of all requests that the worker knows."""

    def __getitem__(self, task_id: str) -> Request:
        for request in self._all():
            if request.id == task_id:
                return request
        raise KeyError(task_id)

    def __iter__(self) -> Iterator[str]:
        return iter({request.id for request in self._all()})

    def __len__(self) -> int:
        return len({request.id for request in self._all()})

    def _all(self) -> list[Request]:
        return [*reserved_requests, *scheduled_requests]


class _Counts(Mapping):
    """Name of a task -> how many of it were started."""

    def _now(self) -> dict[str, int]:
        return {} if _node is None else _node.board.tally.totals(_node.board.used())

    def __getitem__(self, name: str) -> int:
        return self._now().get(name, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


class _AllCounts:
    """The sum, as the one member of a list: Celery's is a list with one number."""

    def __getitem__(self, index: int) -> int:
        return [sum(total_count.values())][index]

    def __len__(self) -> int:
        return 1


class _Revoked(Set):
    """The ids of revoked tasks; what is added here is made known to all processes of the worker."""

    def __contains__(self, task_id: object) -> bool:
        return _node is not None and task_id in _node.directives.revoked

    def __iter__(self) -> Iterator[str]:
        return iter(()) if _node is None else iter(list(_node.directives.revoked))

    def __len__(self) -> int:
        return 0 if _node is None else len(_node.directives.revoked)

    def add(self, task_id: str) -> None:
        """Revoke a task."""
        self.update([task_id])

    def update(self, task_ids: Iterable[str]) -> None:
        """Revoke tasks."""
        if _node is not None:
            _node.post("revoke", ids=list(task_ids))

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        return set(it)


class _Stamps(Mapping):
    """Stamp -> values of which tasks are revoked."""

    def _now(self) -> dict[str, Any]:
        return {} if _node is None else _node.directives.revoked_stamps

    def __getitem__(self, name: str) -> Any:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._now()))

    def __len__(self) -> int:
        return len(self._now())


def merge_revoked(task_ids: Iterable[str]) -> None:
    """Take over what another worker knows to be revoked."""
    revoked.update(task_ids)


def _active(node: Node) -> list[Request]:
    found = (node.read_request(running) for running in node.running())
    return [request for request in found if request is not None]


def _reserved(node: Node) -> list[Request]:
    return _active(node) + [request for request, _ in looking.readable(node, looking.held_back(node))]


def _scheduled(node: Node) -> list[Request]:
    waiting = node.broker.delayed(node.directives.queues)
    return [request for request, _ in looking.readable(node, waiting)]


active_requests = _Requests(_active)
#: What runs, and what waits in the task processes.
reserved_requests = _Requests(_reserved)
scheduled_requests = _Requests(_scheduled)
requests = _ById()
total_count = _Counts()
all_total_count = _AllCounts()
revoked = _Revoked()
revoked_stamps = _Stamps()
