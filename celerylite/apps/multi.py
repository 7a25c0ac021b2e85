"""Many workers at once: what `celerylite multi` makes of its words, and the workers that they name.

Nothing here prints, and no app is imported: the workers do that.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from celerylite.platforms import Pidfile
from celerylite.utils.nodenames import gethostname, host_format, nodename, nodesplit

PIDFILE = "/var/run/celery/%n.pid"
LOGFILE = "/var/log/celery/%n%I.log"
#: Options of `celerylite` itself, which stand before `worker`.
GLOBAL = (
    "-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir", "-C", "--no-color",
    "-q", "--quiet", "--as-celery", "--skip-checks",
)  # fmt: skip
#: Options for multi, which do not reach the workers.
OWN = ("--range-prefix", "--suffix", "--prefix", "--cmd", "-n", "--hostname")


class BadWords(ValueError):
    """The command line cannot be understood; the message says which part."""


@dataclass(frozen=True)
class Option:
    """An option for workers, as it was written."""

    name: str
    value: str | None = None
    #: The nodes that it is for: names or numbers from 1; empty for all.
    nodes: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """As words of a command line."""
        if self.value is None:
            return [self.name]
        return [f"{self.name}={self.value}"] if self.name.startswith("--") else [self.name, self.value]


@dataclass
class Words:
    """What stood on the command line."""

    names: list[str] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)
    #: What stood after `--`, which is settings.
    rest: list[str] = field(default_factory=list)

    def own(self, *names: str) -> str | None:
        """The value of an option that is for all nodes; None if it was not given."""
        found = [one.value or "" for one in self.options if one.name in names and not one.nodes]
        return found[-1] if found else None


def parse(words: Sequence[str], takes_value: Mapping[str, bool]) -> Words:
    """Sort the words into names of nodes and options for workers.

    `takes_value` says of the worker's options whether a value follows. Of options that it does not know, those of one
    letter take the next word unless it is an option, and the others need `=`.
    """
    found = Words()
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            found.rest = ["--", *left]
            break
        if not word.startswith("-") or word == "-":
            found.names.append(word)
            continue
        name, value, nodes = _split(word, takes_value)
        if value is None and _needs_value(name, left, takes_value):
            value = left.pop(0)
        found.options.append(Option(name, value, nodes))
    return found


def _split(word: str, takes_value: Mapping[str, bool]) -> tuple[str, str | None, tuple[str, ...]]:
    """`-c`, `-c3`, `-c:1-3`, `--opt`, `--opt=value`, `--opt:1,2=value` as name, value and nodes."""
    name, equals, value = word.partition("=")
    name, colon, nodes = name.partition(":")
    if not word.startswith("--") and not colon and len(name) > 2 and takes_value.get(word[:2]):
        return word[:2], word[2:], ()
    return name, value if equals else None, tuple(_range(nodes)) if colon else ()


def _range(text: str) -> Iterator[str]:
    """`1-3,5,name` as `1 2 3 5 name`."""
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        if dash and first.isdigit() and last.isdigit():
            yield from map(str, range(int(first), int(last) + 1))
        else:
            yield part


def _needs_value(name: str, left: list[str], takes_value: Mapping[str, bool]) -> bool:
    if not left:
        return False
    if name in takes_value:
        return takes_value[name]
    return not name.startswith("--") and not left[0].startswith("-")


# -- the nodes


@dataclass
class Node:
    """One worker: its name, how it is started, and its process, found by the pid file."""

    name: str
    command: list[str]
    options: list[Option]
    rest: list[str] = field(default_factory=list)

    def expand(self, template: str) -> str:
        """The template with %n, %h, %d and %p filled in; %i and %I stay, for the worker's processes know them.

        As in Celery, here %h is the full name, and %d the host with its domain.
        """
        values = {"n": self.short, "h": self.name, "p": self.name, "d": nodesplit(self.name)[1]}
        return re.sub(r"%([nhpd])", lambda found: values[found[1]], template)

    @property
    def short(self) -> str:
        """Its name without the host."""
        return nodesplit(self.name)[0] or self.name

    @property
    def pidfile(self) -> str:
        """The path of its pid file."""
        return self.expand(self._value("--pidfile") or PIDFILE)

    @property
    def logfile(self) -> str:
        """The path of its log file, in which %i and %I may stand."""
        return self.expand(self._value("--logfile", "-f") or LOGFILE)

    def _value(self, *names: str) -> str | None:
        found = [one.value for one in self.options if one.name in names]
        return found[-1] if found else None

    @property
    def argv(self) -> list[str]:
        """The command line that starts it in the background."""
        own = [
            option if option.value is None else Option(option.name, self.expand(option.value))
            for option in self.options
        ]
        files = {"--pidfile": self.pidfile, "--logfile": self.logfile, "--executable": sys.executable}
        given = {option.name for option in own} | ({"--logfile"} if self._value("-f") else set())
        own += [Option("-n", self.name)]
        own += [Option(name, path) for name, path in files.items() if name not in given]
        first = [word for option in own if option.name in GLOBAL for word in option.words()]
        then = [word for option in own if option.name not in GLOBAL for word in option.words()]
        return [*self._program(), *first, "worker", "--detach", *then, *self.rest]

    def _program(self) -> list[str]:
        python = self._value("--executable")
        return self.command if python is None else [python, *self.command[1:]]

    def start(self) -> int:
        """Start it; the exit code of the process that sent it to the background."""
        for path in (self.pidfile, self.logfile):
            directory = Path(path).parent
            if path.startswith(("/var/run/celery/", "/var/log/celery/")):
                directory.mkdir(parents=True, exist_ok=True)
        return subprocess.run(self.argv, stdin=subprocess.DEVNULL).returncode

    @property
    def pid(self) -> int | None:
        """Its process id, if it runs. A pid file that is left over from a process that is gone is removed."""
        lock = Pidfile(os.path.join(self._value("--workdir") or "", self.pidfile))
        try:
            pid = lock.read_pid()
        except ValueError:
            return None  # somebody else's file, or one that is just being written
        if pid is None or is_worker(pid):
            return pid
        lock.remove()
        return None

    def wait_started(self, timeout: float) -> int | None:
        """Its process id, as soon as it has one; None if it has none after `timeout` seconds."""
        end = time.monotonic() + timeout
        while (pid := self.pid) is None and time.monotonic() < end:
            time.sleep(0.02)
        return pid


def is_worker(pid: int) -> bool:
    """Whether that process is there, is no zombie and may be a worker: numbers are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        return b"celery" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # no /proc on this system


def nodes(words: Words, app_name: str | None = None) -> list[Node]:
    """The nodes that the words name, each with its options; raises `BadWords`."""
    names = _names(words)
    command = words.own("--cmd")
    program = shlex.split(command) if command else [sys.executable, "-m", "celerylite"]
    given = [option for option in words.options if option.name not in OWN]
    if app_name and not any(option.name in ("-A", "--app") for option in given):
        given.insert(0, Option("-A", app_name))
    _check_nodes(given, names)
    found = []
    for number, name in enumerate(names, 1):
        node = Node(name, program, [], words.rest)
        node.options = _options_of(given, {name, node.short, str(number)})
        found.append(node)
    return found


def _names(words: Words) -> list[str]:
    """Full names of the nodes; one number stands for so many."""
    wanted = words.names
    if len(wanted) == 1 and wanted[0].isdigit():
        prefix = words.own("--range-prefix") or "celery"
        wanted = [f"{prefix}{number}" for number in range(1, int(wanted[0]) + 1)]
    host = _host(words)
    full = []
    for name in wanted:
        short, at, own_host = name.partition("@")
        full.append(nodename(short, host_format(own_host, name=short) if at else host))
    twice = {name for name in full if full.count(name) > 1}
    if twice:
        raise BadWords(f"There are two nodes {', '.join(sorted(twice))}.")
    return full


def _host(words: Words) -> str:
    """What stands behind the @ of nodes that do not say it."""
    wanted = words.own("--suffix") or words.own("--hostname", "-n") or ""
    return host_format(wanted.rpartition("@")[2]) or gethostname()


def _options_of(given: list[Option], called: set[str]) -> list[Option]:
    """The options of one node; its own take the place of those for all."""
    found: list[Option] = []
    for option in sorted(given, key=lambda one: bool(one.nodes)):  # stable: those for all come first
        if option.nodes and not called & set(option.nodes):
            continue
        plain = Option(option.name, option.value)
        places = [number for number, one in enumerate(found) if one.name == option.name] if option.nodes else []
        if places:
            found[places[-1]] = plain
        else:
            found.append(plain)
    return found


def _check_nodes(given: list[Option], names: list[str]) -> None:
    """An option for a node that there is not is a mistake; `default` is what Celery's own examples say for the rest."""
    known = {"default", *names, *(nodesplit(name)[0] for name in names), *map(str, range(1, len(names) + 1))}
    for option in given:
        for node in option.nodes:
            if node not in known:
                raise BadWords(f"{option.name}:{node}: there is no node {node!r} among {', '.join(names) or 'none'}.")


# -- words


def as_line(words: Sequence[str]) -> str:
    """The words as one would type them; a % needs no quotes."""
    return " ".join(
        word if shlex.quote(word.replace("%", "")) == word.replace("%", "") else shlex.quote(word) for word in words
    )


def parse_signal(word: str) -> signal.Signals | None:
    """`-9`, `-KILL` and `-SIGKILL` as a signal; None if the word is something else."""
    text = word.removeprefix("-")
    if not word.startswith("-") or word.startswith("--"):
        return None
    try:
        return signal.Signals(int(text)) if text.isdigit() else signal.Signals[f"SIG{text.removeprefix('SIG')}"]
    except (ValueError, KeyError):
        return None
