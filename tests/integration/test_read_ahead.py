"""Results that are read one after the other come by the dozen; what is read for nothing does no harm."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from celerylite.backends.read_ahead import BIG
from celerylite.exceptions import TimeoutError


@pytest.fixture
def app(redis_app: Any) -> Any:
    """An app with one task."""
    redis_app.task(name="t")(lambda: None)
    return redis_app


def call(app: Any, n: int, value: Any = None) -> list[Any]:
    """n calls whose results are there already, 0 to n - 1."""
    results = [app.tasks["t"].delay() for _ in range(n)]
    for number, result in enumerate(results):
        app.backend.store_result(result.id, number if value is None else value, "SUCCESS")
    return results


def reads(client: redis.Redis) -> int:
    """How often the server was asked for values."""
    stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("get", "mget"))


def test_in_order(app: Any, redis_client: redis.Redis) -> None:
    results = call(app, 200)
    before = reads(redis_client)
    assert [result.get(timeout=5) for result in results] == list(range(200))
    assert reads(redis_client) - before < 20


def test_one_result_is_read_alone(app: Any, redis_client: redis.Redis) -> None:
    results = call(app, 20)
    assert results[7].get(timeout=5) == 7
    assert all(result._cache is None for result in results if result is not results[7])


def test_in_no_order(app: Any) -> None:
    results = call(app, 20)
    order = [3, 17, 0, 4, 5, 6, 19, 1, 2, 18]
    assert [results[number].get(timeout=5) for number in order] == order


def test_big_results_come_alone(app: Any, redis_client: redis.Redis) -> None:
    results = call(app, 30, "x" * (BIG + 1))
    before = reads(redis_client)
    assert {len(result.get(timeout=5)) for result in results} == {BIG + 1}
    assert reads(redis_client) - before >= 20


def test_what_nobody_keeps_is_not_read(app: Any) -> None:
    results = call(app, 10)
    del results[2:]
    assert [result.get(timeout=5) for result in results] == [0, 1]


def test_an_error_hits_its_own_call(app: Any) -> None:
    results = call(app, 8)
    app.backend.forget(results[5].id)
    app.backend.store_result(results[5].id, KeyError("five"), "FAILURE")
    values = [result.get(timeout=5, propagate=False) for result in results]
    assert values[:5] + values[6:] == [0, 1, 2, 3, 4, 6, 7]
    assert isinstance(values[5], KeyError)
    with pytest.raises(KeyError):
        results[5].get(timeout=5)


def test_those_that_are_not_ready_are_waited_for(app: Any) -> None:
    results = call(app, 6)
    late = app.tasks["t"].delay()
    assert [result.get(timeout=5) for result in results] == list(range(6))
    with pytest.raises(TimeoutError):
        late.get(timeout=0.05)
    app.backend.store_result(late.id, "late", "SUCCESS")
    assert late.get(timeout=5) == "late"


def test_a_failure_may_become_a_success_before_it_is_asked_for(app: Any) -> None:
    results = call(app, 8)
    app.backend.forget(results[5].id)
    app.backend.store_result(results[5].id, KeyError("five"), "FAILURE")
    assert [result.get(timeout=5) for result in results[:5]] == list(range(5))
    app.backend.store_result(results[5].id, 5, "SUCCESS")
    assert [result.get(timeout=5) for result in results[5:]] == [5, 6, 7]
