"""Classes known by their methods: `isinstance(x, CallableTask)` is true of whatever acts like a task."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from typing import Any

__all__ = ("CallableTask", "CallableSignature")


def _has_all(cls: type, required: frozenset[str]) -> bool:
    return all(any(name in base.__dict__ for base in cls.__mro__) for name in required)


class CallableTask(metaclass=ABCMeta):
    """Anything that is called as a task is: `delay`, `apply_async`, `apply`, and by itself."""

    __required_attributes__ = frozenset({"delay", "apply_async", "apply"})

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def delay(self, *args: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def apply_async(self, *args: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def apply(self, *args: Any, **kwargs: Any) -> Any: ...

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        if cls is CallableTask and _has_all(other, cls.__required_attributes__):
            return True
        return NotImplemented


class CallableSignature(CallableTask):
    """Anything that is used as a signature is."""

    __required_attributes__ = frozenset({"clone", "freeze", "set", "link", "link_error", "__or__"})

    name: Any
    type: Any
    app: Any
    id: Any
    task: Any
    args: Any
    kwargs: Any
    options: Any
    subtask_type: Any
    chord_size: Any
    immutable: Any

    @abstractmethod
    def clone(self, args: Any = None, kwargs: Any = None) -> Any: ...

    @abstractmethod
    def freeze(
        self,
        id: Any = None,
        group_id: Any = None,
        chord: Any = None,
        root_id: Any = None,
        group_index: Any = None,
    ) -> Any: ...

    @abstractmethod
    def set(self, immutable: Any = None, **options: Any) -> Any: ...

    @abstractmethod
    def link(self, callback: Any) -> Any: ...

    @abstractmethod
    def link_error(self, errback: Any) -> Any: ...

    @abstractmethod
    def __or__(self, other: Any) -> Any: ...

    @abstractmethod
    def __invert__(self) -> Any: ...

    @classmethod
    def __subclasshook__(cls, other: Callable[..., Any] | type) -> Any:
        if cls is CallableSignature and _has_all(other, cls.__required_attributes__):  # type: ignore[arg-type]
            return True
        return NotImplemented
