"""The order and the calls of our blueprints are those of Celery's."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from celerylite import bootsteps as ours

theirs = pytest.importorskip("celery.bootsteps")


def make_steps(lib: Any, needs: list[list[int]], log: list[str], base: str = "StartStopStep") -> list[Any]:
    """One class a row, which requires those of the numbers in it; each notes what is done with it."""

    def noting(name: str, what: str) -> Any:
        return lambda self, *args, **kwargs: log.append(f"{what} {name}")

    steps: list[Any] = []
    for number, row in enumerate(needs):
        name = f"S{number}"
        methods = {what: noting(name, what) for what in ("create", "start", "stop", "close", "terminate")}
        attrs = {**methods, "__init__": noting(name, "init") if base == "StartStopStep" else None}
        attrs = {key: value for key, value in attrs.items() if value is not None}
        attrs.update(__module__="proj", __qualname__=name, requires=tuple(steps[other] for other in row))
        steps.append(type(lib.Step)(name, (getattr(lib, base),), attrs))
    return steps


def life(lib: Any, needs: list[list[int]], seed: int, base: str = "StartStopStep") -> tuple[list[str], Any]:
    log: list[str] = []
    steps = make_steps(lib, needs, log, base)
    log += [repr(steps[0]), str(steps[-1])]
    parent = SimpleNamespace(steps=[])
    blueprint = lib.Blueprint(random.Random(seed).sample(steps, len(steps)), name="Mine")
    blueprint.apply(parent, some=1)
    blueprint.start(parent)
    blueprint.restart(parent)
    blueprint.start(parent)
    blueprint.stop(parent, terminate=bool(seed % 2))
    log += [blueprint.human_state(), str(blueprint.started), repr(parent.steps)]
    return log, blueprint


def row(generator: random.Random, number: int, *also: int) -> list[int]:
    return sorted({*also, *(other for other in range(number) if generator.random() < 0.3)})


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("base", ["StartStopStep", "Step"])
def test_where_there_is_one_order_it_is_the_same(seed: int, base: str) -> None:
    generator = random.Random(seed)
    needs = [[], *(row(generator, number, number - 1) for number in range(1, 8))]
    assert life(ours, needs, seed, base)[0] == life(theirs, needs, seed, base)[0]


@pytest.mark.parametrize("seed", range(10))
def test_any_order_obeys_the_requirements(seed: int) -> None:
    generator = random.Random(seed)
    needs = [row(generator, number) for number in range(12)]
    for lib in (ours, theirs):
        _, blueprint = life(lib, needs, seed)
        place = {step.alias: at for at, step in enumerate(blueprint.order)}
        assert all(place[f"S{other}"] < place[f"S{number}"] for number in range(12) for other in needs[number])


def test_signatures() -> None:
    for name in ours.__all__:
        methods = {name for name in vars(getattr(theirs, name)) if not name.startswith("_")}
        assert methods <= set(dir(getattr(ours, name))), name
    assert set(ours.__all__) == set(theirs.__all__)
