"""Which errbacks are called with (request, exc, traceback), and which are sent with the id: as Celery decides."""

from __future__ import annotations

from typing import Any

import pytest

from celerylite import Celery
from celerylite.canvas.errbacks import called_in_place

app = Celery("errbacks", broker="memory://", set_as_current=False)


def declared(fun: Any, **options: Any) -> Any:
    return app.task(fun, name=fun.__name__, **options)


@declared
def one(task_id: str) -> None: ...


@declared
def one_and_options(task_id: str, a: int, b: int = 0) -> None: ...


@declared
def three(request: Any, exc: Any, traceback: Any) -> None: ...


@declared
def all_of_them(*args: Any) -> None: ...


@declared
def only_keyword(task_id: str, *, a: int) -> None: ...


def with_self(self: Any, request: Any, exc: Any, traceback: Any) -> None: ...


bound = declared(with_self, bind=True)


@app.register_task
class Written(app.Task):  # type: ignore[name-defined, misc]
    name = "written"

    def run(self, request: Any, exc: Any, traceback: Any) -> None: ...


@pytest.mark.parametrize(
    "errback", [three.s(), three.s(1), three.s(traceback=1), all_of_them.s(), one_and_options.s(a=1)], ids=repr
)
def test_called(errback: Any) -> None:
    assert called_in_place(errback)


@pytest.mark.parametrize(
    "errback",
    [
        one.s(), one_and_options.s(a=1, b=2), one_and_options.s(1, 2), three.s(exc=1, traceback=2), bound.s(),
        Written.s(), only_keyword.s(a=1), app.signature("another project's"),
    ],
    ids=repr,
)  # fmt: skip
def test_sent(errback: Any) -> None:
    assert not called_in_place(errback)
