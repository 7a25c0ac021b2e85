"""Workflows that are always tried: one for each rule, and those on which Celery was seen to hang."""

from __future__ import annotations

from .workflow import Chain, Chord, Errback, Group, Node, Task, labelled, write

NEW, OLD = Errback("new"), Errback("old")
t, f, i = Task(), Task(fails=True), Task(immutable=True)
own = Task(own=("own",))
e, o = Task(errbacks=(NEW,)), Task(errbacks=(OLD,))


def chain(*steps: Node, links: tuple[Node, ...] = (), errbacks: tuple[Errback, ...] = ()) -> Chain:
    return Chain(links, errbacks, steps)


def group(*members: Node, links: tuple[Node, ...] = (), errbacks: tuple[Errback, ...] = ()) -> Group:
    return Group(links, errbacks, members)


def chord(
    header: tuple[Node, ...], body: Node, links: tuple[Node, ...] = (), errbacks: tuple[Errback, ...] = ()
) -> Chord:
    return Chord(links, errbacks, header, body)


def becomes(node: Node, links: tuple[Node, ...] = (), errbacks: tuple[Errback, ...] = ()) -> Task:
    return Task(links, errbacks, becomes=node)


TASKS = [  # fmt: skip
    t, f, own,
    Task(links=(t,)), Task(links=(Task(links=(t,)), f)), Task(links=(group(t, t), chain(t, t), i)),
    Task(fails=True, errbacks=(NEW, OLD)), Task(links=(t,), fails=True),
]
CHAINS = [  # fmt: skip
    chain(t, t, t), chain(t, i, own), chain(t, chain(t, chain(t, t))), chain(chain(t, t), t),
    chain(t, f, t), chain(t, f, e, errbacks=(OLD,)), chain(e, chain(t, f, errbacks=(NEW,)), e, errbacks=(OLD,)),
    chain(t, t, links=(t,)), chain(chain(t, t, links=(t,)), t), chain(t, f, e, links=(t,)),
]
GROUPS = [
    group(), group(t), group(t, f), group(t, t, links=(t,)), group(t, group(t, group(), t)), group(chain(t, t), t),
    group(t, t, errbacks=(NEW,)), group(t, f, f, errbacks=(NEW, OLD)), group(f, chain(t, f, t), errbacks=(NEW,)),
    group(chain(t, group(t, t)), t), group(chord((t, t), t), t), group(chord((t, f), e), t, errbacks=(OLD,)),
    group(chord((), t), t),
]  # fmt: skip
GROUPS_IN_CHAINS = [
    chain(t, group(t, t)), chain(t, group(t, t), t), chain(group(t, t), t), chain(group(t, t), group(t, t)),
    chain(group(t, t), group(t, t), t), chain(t, group(t), t), chain(t, group(), t), chain(group(), t),
    chain(chain(t, group(t, t)), t), chain(t, group(t, i, own), own), chain(t, group(t, t, links=(t,)), t),
    chain(t, group(t, t), links=(t,)), group(chain(t, group(t, t), links=(t,)), t),
    chain(t, group(t, f), errbacks=(NEW,)), chain(t, group(t, f), t), chain(t, group(t, f), t, t),
    chain(t, group(t, f, errbacks=(NEW,)), t), chain(t, group(t, f), e, errbacks=(OLD,)),
    chain(f, group(e, e)), chain(f, group(t, t), t), chain(group(t, f), e, e), chain(group(f), e),
    chain(group(t, f), group(e, e)), chain(t, group(chain(t, f), f), errbacks=(NEW,)),
]  # fmt: skip
CHORDS = [
    chord((t, t), t), chord((t,), t), chord((), t), chord((t, t), i), chord((t, t), own), chord((t, t), t, links=(t,)),
    chord((t, group(t, t)), t), chord((group(t, t),), t), chord((t, group()), t), chord((chain(t, t), t), t),
    chord((chain(t, group(t, t)), t), t), chord((t, t), group(t, t)), chord((t, t), chain(t, t)),
    chord((t, t), chord((t, t), t)), chord((chord((t, t), t), t), t), chord((chord((), t), t), t),
    chord((chord((t,), t), t), t), chord((chord((t, t), group(t, t)), t), t), chord((chain(t, chord((t, t), t)), t), t),
    chord((chain(t, chord((t, t), group(t, t))), t), t), chain(chord((t, t), t), t), chain(t, chord((t, t), t), t),
    chain(t, chord((), t), t), chain(t, chord((t,), t), t), chain(chord((t, t), t, links=(t,)), t),
    chain(chord((t, t), chord((t, t), t)), group(t, t), t), chord((t, t), chain(t, group(t, t)), links=(t,)),
    group(chord((t, t), group()), t), chord((chord((t, t), group()), t), t), chain(group(group(t, t)), t),
    group(chain(t, t), t, links=(t,)), chord((t, t), group(t, t), links=(t,)),
]  # fmt: skip
CHORD_FAILURES = [
    chord((t, f), t), chord((t, f), Task(errbacks=(NEW, OLD))), chord((t, f), t, errbacks=(NEW, OLD)),
    chord((t, f, f), t, errbacks=(NEW, OLD)), chord((t, t), f, errbacks=(NEW, OLD)), chord((f,), e, errbacks=(OLD,)),
    chord((), f, errbacks=(NEW,)), chord((t, f), chain(e, e)), chord((t, f), chain(e, e), errbacks=(OLD,)),
    chord((t, f), group(e, o)), chord((t, f), group(e, o), errbacks=(OLD,)), chain(chord((t, f), e), e),
    chain(t, chord((t, t), f), e), chain(t, chord((f, t), t), e), chain(f, chord((e, t), e)),
    chain(f, chord((e, t), e), e), chord((chain(t, f, e), t), o), chord((chain(f, f), chain(f, t)), o),
    # On these Celery hangs.
    chord((t, f), chord((e, e), o)), chord((t, f), chord((e, e), o), errbacks=(OLD,)),
    chain(chord((f, t), e), group(e, e)), chord((chain(t, f, e, group(t, t)), t), o),
    chord((chord((t, f), e), t), o), chord((chord((t, f), group(e, e)), t), o),
    chord((chain(t, chord((t, f), e)), t), o), chord((chain(t, chord((t, f), e), t), t), o),
    chord((chain(t, chord((t, f), e), e, t), t), o), chord((t, chord((), group(t, f))), o),
    chord((chord((chord((f, t), e), t), e), t), o), chord((t, f), chord((t, t), chord((t, t), o))),
]  # fmt: skip
REPLACED = [
    becomes(t), becomes(f), becomes(t, links=(t,)), becomes(f, errbacks=(NEW,)), becomes(becomes(t)),
    becomes(chain(t, t)), becomes(chain(t, f, e), errbacks=(OLD,)), becomes(group(t, t)),
    becomes(group(t, t), links=(t,)), becomes(chord((t, t), t)), becomes(chord((t, f), e), errbacks=(OLD,)),
    chain(becomes(t), t), chain(t, becomes(chain(t, t)), t), chain(becomes(group(t, t)), t),
    chain(t, becomes(chord((t, t), t)), t), chain(t, becomes(group(t, f)), e),
    chain(t, becomes(group(t, f), errbacks=(NEW,)), e), chord((becomes(t), t), t), chord((becomes(f), t), o),
    chord((becomes(group(t, t)), t), t), chord((becomes(chain(t, t)), t), t), chord((becomes(chord((t, t), t)), t), t),
    becomes(group()), becomes(group(t)), chord((becomes(group()), t), t), chain(t, becomes(group()), t),
    chord((t, t), becomes(t)), chord((t, t), becomes(chord((t, f), e))), group(becomes(group(t, t)), t),
]  # fmt: skip
#: Their results are not stored, but what follows them gets their values.
q, qf = Task(ignore_result=True), Task(fails=True, ignore_result=True)
IGNORED = [
    chain(q, t), chain(t, q, i), chain(q, q, t), Task(links=(q,)), chord((q, t), t), chord((q, q), t),
    chain(q, group(q, t), t), chain(group(q, q), group(t, t)), chain(qf, t), chain(t, qf, e), chord((qf, t), o),
    chord((chain(t, q), chain(q, t)), t), chain(chord((t, t), q), t), chain(becomes(q), t),
]

ALL = [*TASKS, *CHAINS, *GROUPS, *GROUPS_IN_CHAINS, *CHORDS, *CHORD_FAILURES, *REPLACED, *IGNORED]
#: By how they are written.
CORPUS: dict[str, Node] = {write(node): node for node in map(labelled, ALL)}
