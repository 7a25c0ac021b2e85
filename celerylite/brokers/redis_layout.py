"""Where things stand on Redis: the names of lists and keys, as `broker_transport_options` (kombu's) change them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Between a queue's name and a priority step.
SEPARATOR = "\x06\x16"
PRIORITY_STEPS = (0, 3, 6, 9)
#: Begins the names of lists that belong to one worker.
FANOUT = "celerylite.fanout."


@dataclass(frozen=True, slots=True)
class Layout:
    """The options of kombu's transport that say where messages are, with kombu's names and defaults."""

    #: Stands before every key.
    global_keyprefix: str = ""
    sep: str = SEPARATOR
    priority_steps: tuple[int, ...] = PRIORITY_STEPS
    #: `round_robin`, `sorted`, `priority`, or a class like those in kombu.utils.scheduling.
    queue_order_strategy: Any = "round_robin"
    #: Whether kombu notes down what its consumers hold, and under which keys.
    ack_emulation: bool = True
    unacked_key: str = "unacked"
    unacked_index_key: str = "unacked_index"
    #: Seconds after which a message is taken from a kombu consumer that has not acknowledged it.
    visibility_timeout: float = 3600
    #: What stands before the channels of fan-out exchanges (True: the database's number); whether routing keys count.
    fanout_prefix: bool | str = True
    fanout_patterns: bool = True
    #: Queues of which each worker has a list of its own, and the worker.
    private: frozenset[str] = frozenset()
    owner: str = ""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Layout:
        """What an app's transport options say; those that are about other things are not looked at."""
        names = (name for name in cls.__slots__ if name not in ("private", "owner"))
        given = {name: options[name] for name in names if options.get(name) is not None}
        if "priority_steps" in given:
            given["priority_steps"] = tuple(sorted(given["priority_steps"])) or PRIORITY_STEPS
        return cls(**given)

    def key(self, name: str) -> bytes:
        """A key's name on the server."""
        return (self.global_keyprefix + name).encode()

    def list_key(self, queue: str, priority: int | None = 0) -> bytes:
        """The list in which messages of this priority wait."""
        if queue in self.private:
            queue = f"{FANOUT}{self.owner}{self.sep}{queue}"
        step = self.step(priority)
        return self.key(f"{queue}{self.sep}{step}" if step else queue)

    def list_keys(self, queue: str) -> list[bytes]:
        """All lists of a queue, the most urgent first."""
        return [self.list_key(queue, step) for step in self.priority_steps]

    def queue_of(self, list_key: bytes) -> str:
        """The queue whose list it is."""
        words = list_key.decode("utf-8", "replace")[len(self.global_keyprefix) :].split(self.sep)
        return words[1] if len(words) > 1 and words[0].startswith(FANOUT) else words[0]

    def step(self, priority: int | None) -> int:
        """The step that a priority belongs to; one below the first step goes to the last, as in kombu."""
        return self.priority_steps[bisect(self.priority_steps, min(max(priority or 0, 0), 9)) - 1]

    def topic(self, exchange: str, routing_key: str, db: int) -> bytes:
        """The channel on which kombu publishes messages to a fan-out exchange."""
        prefix = "/{db}." if self.fanout_prefix is True else self.fanout_prefix or ""
        name = f"{exchange}/{routing_key}" if routing_key and self.fanout_patterns else exchange
        return self.key(prefix.format(db=db) + name)

    def order(self, queues: Sequence[str]) -> Any:
        """kombu's cycle that says in which order to look at queues; None for taking turns, the default."""
        if self.queue_order_strategy == "round_robin":
            return None
        from kombu.utils.scheduling import cycle_by_name  # lazy: hardly anybody needs it

        cycle = cycle_by_name(self.queue_order_strategy)()
        cycle.update(list(queues))
        return cycle
