"""Read by the type checker only: what users' tasks look like to it."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from celerylite import Celery, Task, shared_task
from celerylite.result import AsyncResult, EagerResult

app = Celery("typed")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(queue="slow", max_retries=5)
def upper(text: str) -> str:
    return text.upper()


@app.task(bind=True, autoretry_for=(OSError,))
def bound(self: Task[..., Any], path: str, *, times: int = 1) -> list[str]:
    return [path] * times


@shared_task
def shared(flag: bool) -> float:
    return 1.5 if flag else 0.0


@shared_task(bind=True, name="other")
def shared_bound(self: Task[..., Any], key: bytes) -> None:
    self.update_state(state="PROGRESS", meta={"key": key.hex()})


# A call is checked against the function, and its result has the function's type.
assert_type(add.delay(1, y=2), AsyncResult[int])
assert_type(add.delay(1).get(timeout=1), int)
assert_type(upper.delay("a").get(), str)
assert_type(bound.delay("p", times=3).get(), list[str])
assert_type(shared.delay(True).get(), float)
assert_type(shared_bound.delay(b"k"), AsyncResult[None])
assert_type(add.apply_async((1, 2), countdown=3, queue="x"), AsyncResult[int])
assert_type(add.apply((1, 2)), EagerResult[int])
assert_type(add(1, 2), int)

# Wrong calls are errors.
add.delay("1")  # type: ignore[arg-type]
add.delay()  # type: ignore[call-arg]
add.delay(1, 2, 3)  # type: ignore[call-arg]
upper.delay(text=b"x")  # type: ignore[arg-type]
bound.delay()  # type: ignore[call-arg]
shared.delay(flag="yes")  # type: ignore[arg-type]
shared_bound.delay("k")  # type: ignore[arg-type]
add(x="1")  # type: ignore[arg-type]
assert_type(add.delay(1).get(), str)  # type: ignore[assert-type]


class Notify(Task[[str], None]):
    """A class-based task says its parameters and result itself."""

    def run(self, address: str) -> None:
        self.retry(countdown=5)


notify = app.register_task(Notify())
assert_type(Notify().delay("a@b"), AsyncResult[None])
Notify().delay(1)  # type: ignore[arg-type]
