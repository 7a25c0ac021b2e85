"""Routing: which queue, exchange and options a call gets from `task_routes` and `task_queues`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from celerylite.exceptions import QueueNotFound
from celerylite.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("MapRoute", "Router", "expand_router_string", "prepare")

Route = dict[str, Any]


class MapRoute:
    """Routes given as a table: exact name, glob or compiled regular expression → queue name or options."""

    def __init__(self, map: Any) -> None:
        self.map: dict[str, Any] = {}
        self.patterns: dict[re.Pattern[str], Any] = {}
        for key, route in map.items() if isinstance(map, Mapping) else map:
            if isinstance(key, re.Pattern):
                self.patterns[key] = route
            elif "*" in key:
                self.patterns[re.compile(fnmatch.translate(key))] = route
            else:
                self.map[key] = route

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Route | None:
        route = self.map.get(name)
        if route is None:
            route = next((found for pattern, found in self.patterns.items() if pattern.match(name)), None)
        if route is None:
            return None
        return {"queue": route} if isinstance(route, str) else dict(route)


def expand_router_string(router: Any) -> Any:
    """The router that a dotted path names; a class is instantiated."""
    found = symbol_by_name(router)
    return found() if isinstance(found, type) else found


def prepare(routes: Any) -> tuple[Any, ...]:
    """The setting `task_routes` as a tuple of routers."""
    if routes is None:
        return ()
    given: Iterable[Any] = routes if isinstance(routes, list | tuple) else (routes,)
    return tuple(_expand(route) for route in given)


def _expand(route: Any) -> Any:
    if isinstance(route, Mapping | list | tuple):
        return MapRoute(route)
    return _NamedRouter(route) if isinstance(route, str) else route


class _NamedRouter:
    """A router given by its dotted path, imported when the first task is routed: settings may name modules
    of tasks."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._router: Any = None

    @property
    def router(self) -> Any:
        if self._router is None:
            self._router = expand_router_string(self.path)
        return self._router


class Router:
    """Puts the options of a call, the routes and the queues together."""

    def __init__(
        self,
        routes: tuple[Any, ...] | None = None,
        queues: Any = None,
        create_missing: bool = False,
        app: Celery | None = None,
    ) -> None:
        self.app = app
        self.queues = {} if queues is None else queues
        self.routes = () if routes is None else routes
        self.create_missing = create_missing
        #: Whether the route of a task depends on its name alone, so that it can be kept.
        self.by_name = all(isinstance(router, MapRoute) for router in self.routes)

    def route(
        self,
        options: Route,
        name: str,
        args: Any = (),
        kwargs: Any = None,
        task_type: Any = None,
    ) -> Route:
        """The options with their queue; what the caller or the task said wins over the routes."""
        options = self.expand_destination(options)
        if self.routes:
            found = self.lookup_route(name, args, kwargs, options, task_type)
            if found:
                return _overlay(self.expand_destination(found), options)
        if "queue" not in options and self.app is not None:
            default = self.expand_destination(self.app.conf.task_default_queue)
            return _overlay(default, options)
        return options

    def expand_destination(self, route: Any) -> Route:
        """Options, or the name of a queue, with the queue object in place of its name."""
        if isinstance(route, str):
            queue, options = route, {}
        else:
            options = dict(route)
            queue = options.pop("queue", None)
        if queue:
            options["queue"] = self._queue(queue) if isinstance(queue, str) else queue
        return options

    def _queue(self, name: str) -> Any:
        try:
            return self.queues[name]
        except KeyError:
            raise QueueNotFound(f"Queue {name!r} missing from task_queues") from None

    def lookup_route(
        self, name: str, args: Any = None, kwargs: Any = None, options: Any = None, task_type: Any = None
    ) -> Any:
        """What the first router that knows the task says."""
        for router in self.routes:
            found = self.query_router(router, name, args, kwargs, options, task_type)
            if found:
                return found
        return None

    def query_router(
        self, router: Any, task: str, args: Any, kwargs: Any, options: Any, task_type: Any
    ) -> Any:
        """Ask one router: a function, or an object with `route_for_task`."""
        if isinstance(router, _NamedRouter):
            router = router.router
        ask: Callable[..., Any] | None = getattr(router, "route_for_task", None)
        if ask is not None:
            return ask(task, args, kwargs)
        return router(task, args, kwargs, options, task=task_type)


def _overlay(route: Route, options: Route) -> Route:
    """`route`, with every option that is set on top of it."""
    route.update((key, value) for key, value in options.items() if value is not None)
    return route
