"""Canvas as Celery has it: the same expressions give the same dicts, the same text, and the same messages."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.support.recording import RecordingBroker, kombu_memory

celery = pytest.importorskip("celery")

#: Parts of which expressions are put together.
PARTS = (
    "a.s()", "group(b.s(), c.s())", "group(d.s())", "chord([e.s(), f.s()], g.s())", "chain(g.s(), h.s())",
    "group([])", "chord([a.s()], chain(b.s(), c.s()))", "chain(d.s(), group(e.s(), f.s()))",
)  # fmt: skip
JOINED = [
    *PARTS,
    *(" | ".join(pair) for pair in itertools.product(PARTS, repeat=2)),
    *(" | ".join(three) for three in itertools.product(PARTS[:6], repeat=3)),
    *("{} | ({} | {})".format(*three) for three in itertools.product(PARTS[:6], repeat=3)),
]
OTHER = """
a.s(1, x=2)
a.si(1)
a.s(1).set(queue='q', countdown=3)
a.s(1).set(link=[b.s()], link_error=[c.s()])
a.signature((1,), {'y': 2}, priority=3, immutable=True)
group(a.s(i) for i in range(3))
chord((a.s(i) for i in range(3)), b.s())
chord(a.s(), b.s())
chord(group(a.s(), b.s()), c.s())
chain(x for x in [a.s(), b.s()])
chain([a.s(), b.s()])
chain(a.s())
chain()
group()
a.map([1, 2])
a.starmap([(1, 2), (3, 4)])
a.map([1, 2]) | b.s()
a.chunks([(1, 2), (3, 4), (5, 6)], 2)
a.chunks([(1, 2), (3, 4), (5, 6)], 2).group()
(a.s() | b.s()).on_error(e.s())
(a.s() | b.s()).on_error(e.s()) | c.s()
(a.s() | b.s()).on_error(e.s()) | (c.s() | d.s()).on_error(f.s())
group(a.s(), b.s()).on_error(e.s())
group(a.s(), b.s()).on_error(e.s()) | c.s()
group(a.s(), b.s()) | (c.s() | d.s()).on_error(e.s())
chord([a.s(), b.s()], c.s()).on_error(e.s())
chord([a.s()], c.s()).on_error(e.s()) | d.s()
chain(a.s(), group(b.s(), c.s()), d.s()).on_error(e.s())
chain(a.s(), group(b.s(), c.s())).on_error(e.s())
chord([a.s() | b.s(), c.s()], d.s() | f.s()).on_error(e.s())
(a.s() | b.s()).set(queue='x') | c.s()
group(a.s(), b.s()).set(queue='x') | c.s()
chord([a.s(), b.s()], c.s()).set(queue='x') | d.s()
chain(a.s(1), b.s(2)).set(countdown=3, queue='qq')
group(a.s(1), b.s(2)).set(countdown=3, queue='qq')
chord([a.s(1), b.s(2)], c.s()).set(countdown=3, queue='qq')
chain(a.s(1), b.s(2)).clone()
group(a.s(1), b.si(2)).clone()
chord([a.s() | b.s(), c.s()], d.s())
chord([chord([a.s(), b.s()], c.s()), d.s()], e.s())
group(a.s() | b.s(), c.s())
group(chord([a.s(), b.s()], c.s()), d.s())
chord([a.s(), b.s()], group(c.s(), d.s()))
chord([a.s(), b.s()], chord([c.s()], d.s()))
group(a.s(), b.s()) | (c.s() | d.s())
group(a.s(), b.s()).skew(1, 2)
""".strip().splitlines()
#: Calls that are not plain `apply_async()`.
CALLS = """
chain(a.s(1), b.s(2)).apply_async((7,), {'k': 1})
group(a.s(1), b.si(2)).apply_async((7,), {'k': 1})
chord([a.s(1), b.s(2)], c.s()).apply_async((7,), {'k': 1})
chord([a.s(1), b.s(2)], c.s()).apply_async(countdown=4, queue='k', task_id='TID', priority=4, headers={'x': 1})
group(a.s(1), b.s(2)).apply_async(countdown=4, queue='k')
chain(a.s(1), b.s(2)).apply_async(countdown=4, queue='k', task_id='TID')
chain(a.s(1), b.s(2)).apply_async(link=[c.s()], link_error=[d.s()])
chord([a.s(1), b.s(2)], c.s()).apply_async(link=[d.s()], link_error=[e.s()])
chord([a.s(1), b.s(2)], c.s()).apply_async(chain=[d.s(), e.s()])
chord([a.s()])(b.s())
chord([a.s()], b.s())()
group(a.s(), c.s()).apply_async(root_id='ROOT', parent_id='PAR')
group(a.s(), c.s()).apply_async(link=[b.s()])
group(a.s(), c.s()).apply_async(link_error=[b.s()])
group(a.s(), c.s()).delay(3)
chain(a.s(), c.s()).delay(3)
a.s(1).apply_async((2,), {'z': 1}, queue='x')
a.s(1).delay(5)
""".strip().splitlines()


def anything(*args: Any, **kwargs: Any) -> Any:
    return args


#: Celery tells each member of a group in such a place to go on with the rest, which runs once for each then. With us a
#: group that is followed by something is a header there, too.
REPEATED = re.compile(r"group\(.*\) \| group\([bd].*\) \| (group\(b.*|chain\(g.*)")


class Side:
    """The names of one library, with tasks from a to h."""

    def __init__(self, lib: str) -> None:
        package = __import__(lib, fromlist=["canvas"])
        self.app = package.Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.names: dict[str, Any] = {name: getattr(package, name) for name in ("chain", "group", "chord")}
        for name in "abcdefgh":
            self.names[name] = self.app.task(shared=False, name=name)(anything)
        self.app.finalize()
        self.ours = lib == "celerylite"

    def value(self, expression: str) -> Any:
        return eval(expression, self.names)

    def sent(self, expression: str) -> Any:
        """The messages of a call as (headers, body), or the error."""
        broker = RecordingBroker()
        if self.ours:
            self.app._broker = broker
        with kombu_memory() as put:
            try:
                called = self.value(expression)
                result = called.apply_async() if isinstance(called, dict) else called
            except Exception as exc:  # whatever the library raises is compared
                return type(exc).__name__, str(exc)
        envelopes = broker.envelopes() if self.ours else [envelope for _, envelope in put]
        return [ids_of(result), *(message(envelope) for envelope in envelopes)]


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    from celery import _state as theirs

    from celerylite import _state as ours

    before = theirs._tls.current_app, ours._tls.current_app
    both = Side("celery"), Side("celerylite")
    theirs._tls.current_app, ours._tls.current_app = (side.app for side in both)
    yield both
    theirs._tls.current_app, ours._tls.current_app = before


def ids_of(result: Any) -> Any:
    """A result as its ids, without the parents, of which Celery forgets some."""
    if result is None or isinstance(result, str):
        return result
    return [result.id, [ids_of(child) for child in result.results]] if hasattr(result, "results") else result.id


def message(envelope: dict[str, Any]) -> dict[str, Any]:
    """What a worker is told."""
    headers = envelope["headers"]
    args, kwargs, embed = json.loads(base64.b64decode(envelope["body"]))
    kept = ("task", "id", "root_id", "parent_id", "ignore_result", "stamps")
    place = ("group", "group_index") if embed["chord"] else ()  # nobody reads it elsewhere
    return {
        **{key: headers[key] for key in (*kept, *place)},
        "eta": bool(headers["eta"]),
        "to": envelope["properties"]["delivery_info"]["routing_key"],
        "priority": envelope["properties"]["priority"],
        "args": args,
        "kwargs": plain(kwargs),
        **{key: plain(value or None) for key, value in embed.items()},
    }


def plain(value: Any) -> Any:
    """A signature as JSON has it, without options that say nothing or the same once more."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = {key: plain(item) for key, item in value.items()}
    if "subtask_type" in items:
        dull = {"add_to_parent", "reply_to"}  # reply_to: only with rpc://
        if not items["options"].get("chord"):
            dull |= {"group_id"}  # of a chord's body: Celery notes its header there
        items["options"] = {k: v for k, v in sorted(items["options"].items()) if v not in (None, []) and k not in dull}
        tasks = items["kwargs"].get("tasks")
        if items["subtask_type"] == "group" and items["options"].get("chord"):
            for task in tasks:  # Celery repeats there what the group says
                for key in ("chord", "group_id"):
                    task["options"].pop(key, None)
        elif items["subtask_type"] == "chain" and items["options"]:
            # Sent: empty groups are left out, by Celery some of them.
            items["kwargs"]["tasks"] = [task for task in tasks if task["kwargs"].get("tasks") != []] or tasks
    return dict(sorted(items.items()))


def numbered(found: Any) -> str:
    """Ids as numbers, in the order in which they come."""
    if isinstance(found, tuple):
        return str(found)
    result, *messages = (json.dumps(item) for item in found)
    uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
    messages.sort(key=lambda text: uuid.sub("", text))
    numbers: dict[str, str] = {}
    text = "\n".join((result, *messages))
    return uuid.sub(lambda match: numbers.setdefault(match.group(), f"#{len(numbers)}"), text)


def text_of(value: Any) -> str:
    """The representation; which kind of sequence holds the members is nobody's business."""
    text = re.sub(r"<_regen: (\[.*?\])>", r"\1", repr(value)).replace("...]", "]")
    text = re.sub(r"@0x[0-9a-f]+", "", text)
    return text.replace("[", "(").replace("]", ")").replace(",)", ")")


def differing(sides: tuple[Side, Side], expressions: Iterable[str], look: Callable[[Side, str], Any]) -> dict[str, Any]:
    """Expressions for which the libraries differ: (Celery's, ours)."""
    found = {expression: [look(side, expression) for side in sides] for expression in expressions}
    return {expression: pair for expression, pair in found.items() if pair[0] != pair[1]}


def test_the_same_dicts(sides: tuple[Side, Side]) -> None:
    assert not differing(sides, [*JOINED, *OTHER], lambda side, e: plain(json.loads(json.dumps(side.value(e)))))


def test_the_same_text(sides: tuple[Side, Side]) -> None:
    expressions = [e for e in [*JOINED, *OTHER] if "range" not in e]  # of which Celery writes a part
    assert not differing(sides, expressions, lambda side, e: text_of(side.value(e)))


@pytest.mark.slow
def test_the_same_messages(sides: tuple[Side, Side]) -> None:
    found = differing(sides, [*JOINED, *OTHER, *CALLS], lambda side, e: numbered(side.sent(e)))
    repeated = {e for e in JOINED if REPEATED.fullmatch(e)}
    assert not {e: pair for e, pair in found.items() if e not in repeated}
    assert found.keys() & repeated
