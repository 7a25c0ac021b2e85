"""What is left of a chain, as text: the same bodies as when it is read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celerylite.context import Context
from celerylite.message import JSON_TYPE, dumps, loads
from celerylite.utils.steps import FEWEST, Steps


def step(number: int, *args: Any) -> dict[str, Any]:
    options = {"task_id": f"id-{number}"}
    return {
        "task": f"t{number}", "args": list(args), "kwargs": {}, "options": options,
        "subtask_type": None, "immutable": False,
    }  # fmt: skip


def body(chain: Any, args: Any = (1,), **kwargs: Any) -> tuple[Any, Any, dict[str, Any]]:
    return args, kwargs, {"callbacks": None, "errbacks": None, "chain": chain, "chord": None}


def read(text: bytes) -> Any:
    return loads(text, JSON_TYPE, "utf-8", leave_steps=True)


NESTED = [
    step(1, step(10), {"a": [step(11), step(12)]}),
    step(2, ', {"task": "t9"}], "chord": null}]'),
    step(3, "ü\\\"\n", None, 2**80, 0.5),
    step(4),
    {**step(5, step(13)), "subtask_type": "group"},
    step(6, [step(14)]),
]


@pytest.mark.parametrize("chain", [[step(n) for n in range(FEWEST + 3)], NESTED, NESTED[::-1]])
def test_step_by_step(chain: list[Any]) -> None:
    args, kwargs, embed = read(dumps(body(chain, ([1, ', {"task": "'],), x=step(7)))[2])
    assert (args, kwargs) == ([[1, ', {"task": "']], {"x": step(7)})
    steps, left = embed["chain"], list(chain)
    while isinstance(steps, Steps):
        assert steps.read() == left
        following, later = steps.cut()
        assert following == left.pop()
        if later is None:
            assert not left
            return
        written = dumps(body(later))[2]
        assert written == dumps(body(left))[2]
        steps = read(written)[2]["chain"]
    assert steps == left


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(body([step(n) for n in range(9)]), separators=(",", ":")),
        json.dumps(body([step(n) for n in range(FEWEST - 1)])),
        json.dumps(body([{"options": {}, **step(n)} for n in range(9)])),
        json.dumps(body([step(n, {"__type__": "uuid", "__value__": "x"}) for n in range(9)])),
        json.dumps(body(None, ([step(n) for n in range(9)],))),
        json.dumps([[1], {}, {"chain": [step(n) for n in range(9)], "chord": None}]),
    ],
)
def test_other_layouts_are_read(text: str) -> None:
    if "__type__" not in text:
        assert list(read(text.encode())) == json.loads(text)
    else:
        assert isinstance(read(text.replace("__type__", "__kind__").encode())[2]["chain"], Steps)
        with pytest.raises(Exception, match="UUID"):
            read(text.encode())


def test_other_serializers_write_what_it_says() -> None:
    chain = [step(n) for n in range(9)]
    content_type, encoding, data, _ = dumps(body(Steps(json.dumps(chain))), "pickle")
    assert loads(data, content_type, encoding, accept=[content_type])[2]["chain"] == chain


def test_who_looks_gets_a_list_that_counts() -> None:
    context = Context(_steps=Steps(json.dumps([step(1), step(2)])))
    context.chain.pop()
    assert context.chain == [step(1)]
    assert context._steps is None
    assert Context().chain is None
    assert Context(chain=[step(3)]).chain == [step(3)]
