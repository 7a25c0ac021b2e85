"""The interpreter itself, on workflows whose outcome is known by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.tasks_canvas import value_of

from . import corpus
from .corpus import NEW, OLD, chain, chord, e, f, group, i, o, own, t
from .interpreter import Failed, Story, interpret
from .workflow import Node, labelled, write


def story(node: Node) -> Story:
    return interpret(labelled(node))


def value(label: str, *args: Any) -> str:
    return value_of(label, args)


def test_a_task_returns_a_text_of_its_own() -> None:
    assert story(own).result == value("t1", "own")


def test_a_chain_hands_values_on() -> None:
    first = value("t1")
    assert story(chain(t, own)).result == value("t2", first, "own")
    assert story(chain(t, i)).result == value("t2")


def test_a_group_that_something_follows_is_a_chord() -> None:
    values = [value("t2", value("t1")), value("t3", value("t1"))]
    assert story(chain(t, group(t, t))).result == values
    assert story(chain(t, group(t, t), t)).result == value("t4", values)


def test_small_groups_in_chains() -> None:
    assert story(chain(t, group(t), t)).result == story(chain(t, t, t)).result
    assert story(chain(t, group(), t)).result == story(chain(t, t)).result


def test_small_chords() -> None:
    assert story(chord((t,), t)).result == value("t2", [value("t1")])
    assert story(chord((), t)).result == value("t1", [])


def test_what_comes_after_a_failure_fails() -> None:
    told = Failed(frozenset({"f1"}))
    assert story(chain(f, t, t)).result == told
    assert story(chain(f, group(t, t))).result == [told, told]
    assert list(story(chain(f, group(t, t), t)).runs) == [("f1", "[]")]


def test_a_failed_header_fails_the_body() -> None:
    told = story(chord((t, f), t, errbacks=(NEW,)))
    assert told.result == Failed(frozenset({"f2"}), in_chord=True)
    assert dict(told.errbacks) == {"e4": 1}
    assert {label for label, _ in told.runs} == {"t1", "f2"}


def test_errbacks_of_the_whole_belong_to_each_part() -> None:
    assert dict(story(group(t, f, f, errbacks=(OLD,))).errbacks) == {"e4": 2}
    assert dict(story(chain(e, f, e, errbacks=(OLD,))).errbacks) == {"e6": 1}
    assert dict(story(chord((t, f), chord((e, e), o))).errbacks) == {"e8": 1}


def test_callbacks_of_a_group_are_told_nothing() -> None:
    assert story(group(t, t, links=(t,))).runs["t3", "[]"] == 1


def test_the_corpus_covers_what_there_is() -> None:
    stories = {name: interpret(node) for name, node in corpus.CORPUS.items()}
    assert len(stories) == len(corpus.ALL), "two of them are the same"
    assert sum(bool(told.errbacks) for told in stories.values()) > 20


@pytest.mark.parametrize("name", ["([t1, t2] | [t3, t4] | t5)", "<t1, f2 // <t3!e4:new, t5!e6:new // t7!e8:old>>"])
def test_workflows_are_written_as_they_are_read(name: str) -> None:
    assert write(corpus.CORPUS[name]) == name
