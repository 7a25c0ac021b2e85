"""`celerylite multi`: start, stop and restart many workers in the background of one machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

import click
from click import Context

import celerylite
from celerylite.apps.multi import BadWords, Node, Words, as_line, is_worker, nodes, parse, parse_signal
from celerylite.bin.base import CLIContext
from celerylite.platforms import signal_name

#: Seconds that a worker has to write its pid file; it does that before it imports the app's tasks.
START_LIMIT = 15.0
#: Seconds between two looks at whether workers have ended.
LOOK = 0.1

USAGE = """\
Usage: multi start <node1 node2 … | number> [worker options]
       multi stop <nodes> [-SIG (default: -TERM)]
       multi stopwait <nodes> [-SIG]
       multi restart <nodes> [-SIG] [worker options]
       multi kill <nodes>

       multi show <nodes> [worker options]
       multi get <node's full name> <nodes> [worker options]
       multi names <nodes>
       multi expand <template> <nodes>
       multi help

Options for multi, anywhere on the line:
  --nosplash   Do not print the version.
  --quiet      Print errors only.
  --verbose    Print the commands that are run.
  --no-color   No colours."""

EXAMPLES = """
Nodes are names (`foo`, `foo@host`, `foo@%h`), or one number: `3` is celery1, celery2, celery3 (another name with
--range-prefix). They run on this machine, whose name is what follows the @ unless --hostname gives another.

Options are those of `celerylite worker`, for all nodes, or with a colon for some of them, by name or number:

  celerylite multi start 3 -A proj -l INFO -c 3 -c:1 10
  celerylite multi start image video data -A proj -c:image,video 8 --max-tasks-per-child:data=100
  celerylite multi start 10 -A proj -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 DEBUG

In all of them %n is the node's name, %h the name with its host, %d the host. In --logfile %i is the number of the
task process (0 for the others) and %I the same with a dash, or nothing for the others. By default:

  --pidfile=/var/run/celery/%n.pid --logfile=/var/log/celery/%n%I.log

Nothing is remembered: give the same --pidfile to stop, and all options to restart."""


class MultiCommand(click.Command):
    """All words are multi's: none is one of `celerylite`'s own options, for the workers need those too."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Keep the words as they are."""
        if args == ["--help"]:
            args = ["help"]
        ctx.args = list(args)
        return []


@click.command(cls=MultiCommand, short_help="Start, stop and restart many workers of this machine.")
@click.pass_context
def multi(ctx: Context) -> None:
    """Start, stop and restart many workers of this machine."""
    Multi(ctx, ctx.args).run()


class Multi:
    """One run of the command."""

    def __init__(self, ctx: Context, words: Sequence[str]) -> None:
        self.context: CLIContext = ctx.obj
        self.ctx = ctx
        left = list(words)
        self.splash = not _take(left, "--nosplash")
        self.quiet = _take(left, "--quiet", "-q") or self.context.quiet
        self.verbose = _take(left, "--verbose")
        self.context.no_color = _take(left, "--no-color") or self.context.no_color
        self.command, self.words = (left[0], left[1:]) if left else ("", [])
        self.failed = False

    def run(self) -> None:
        """Do what the first word says; the exit code is 1 if a worker could not be started."""
        commands: dict[str, Callable[[], None]] = {
            "start": self.start, "stop": self.stop, "stopwait": self.stopwait, "stop_verify": self.stopwait,
            "restart": self.restart, "kill": self.kill, "show": self.show, "names": self.names, "get": self.get,
            "expand": self.expand, "help": self.help,
        }  # fmt: skip
        act = commands.get(self.command)
        if act is None:
            problem = f"Invalid command: {self.command}" if self.command else "A command is missing."
            raise click.UsageError(f"{problem}\n{USAGE}", self.ctx)
        try:
            act()
        except BadWords as exc:
            raise click.UsageError(str(exc), self.ctx) from exc
        except PermissionError as exc:
            hint = "Say where the files shall be: --pidfile=%n.pid --logfile=%n%I.log"
            raise click.ClickException(f"{exc.filename}: {exc.strerror}. {hint}") from exc
        self.ctx.exit(1 if self.failed else 0)

    # -- commands

    def start(self) -> None:
        """Start those that do not run, then see whether they do."""
        found = self._nodes()
        self._say_splash()
        self._say("> Starting nodes...")
        self._start_all(found)

    def stop(self) -> None:
        """Send the signal, and wait for nothing."""
        signum, found = self._signal_and_nodes()
        self._say_splash()
        self._stop_all(found, signum)

    def stopwait(self) -> None:
        """Send the signal and wait until all have ended."""
        signum, found = self._signal_and_nodes()
        self._say_splash()
        self._wait_gone(self._stop_all(found, signum), lambda node: self._say(f"\t> {node.name}: {self._ok()}"))

    def restart(self) -> None:
        """Stop all, and start each as soon as it has ended."""
        signum, found = self._signal_and_nodes()
        self._say_splash()
        stopped = self._stop_all(found, signum)
        down = [node for node in found if node.name not in {one.name for one, _ in stopped}]
        self._start_all(down, "> Restarting node ")
        self._wait_gone(stopped, lambda node: self._start_all([node], "> Restarting node "))

    def kill(self) -> None:
        """SIGKILL to each of them."""
        self._say_splash()
        for node in self._nodes():
            pid = node.pid
            if pid is None:
                self._say_down(node)
            else:
                self._say(f"Sending KILL to node {node.name} ({pid})")
                _send(pid, signal.SIGKILL)

    def show(self) -> None:
        """The command lines that `start` would run."""
        for node in self._nodes():
            self.context.echo(as_line(node.argv))

    def get(self) -> None:
        """The arguments of one of the nodes."""
        wanted = self._first("the full name of a node")
        for node in self._nodes():
            if node.name == wanted:
                self.context.echo(as_line(node.argv[1:]))

    def names(self) -> None:
        """The full names."""
        for node in self._nodes():
            self.context.echo(node.name)

    def expand(self) -> None:
        """A template for each node."""
        template = self._first("a template, as %n.log")
        for node in self._nodes():
            self.context.echo(node.expand(template))

    def help(self) -> None:
        """What can be done."""
        self.context.echo(f"Start, stop and restart many workers of this machine.\n\n{USAGE}\n{EXAMPLES}")

    # -- parts

    def _first(self, what: str) -> str:
        if not self.words:
            raise BadWords(f"multi {self.command} needs {what}.")
        return self.words.pop(0)

    def _nodes(self) -> list[Node]:
        words = self._parsed()
        found = nodes(words, self.context.app_name)
        if not found:
            raise BadWords(f"multi {self.command} needs names of nodes, or how many there are.")
        return found

    def _parsed(self) -> Words:
        return parse(self.words, _worker_options(self.ctx))

    def _signal_and_nodes(self) -> tuple[signal.Signals, list[Node]]:
        signum = signal.SIGTERM
        for word in list(self.words):
            found = parse_signal(word)
            if found is not None:
                signum = found
                self.words.remove(word)
        return signum, self._nodes()

    def _start_all(self, found: list[Node], title: str = "\t> ") -> None:
        """Start nodes one after the other, then look whether each is there: it may fail in the background."""
        started = []
        for node in found:
            pid = node.pid
            if pid is not None:
                self._say(f"{title}{node.name}: {self._ok()} (already running, pid {pid})")
                continue
            if self.verbose:
                self._say(f"{title}{node.name}: {as_line(node.argv)}")
            code = node.start()
            if code:
                self._say_failed(node, title, f"* Child terminated with exit code {code}")
            else:
                started.append(node)
        for node in started:
            if node.wait_started(START_LIMIT) is None:
                self._say_failed(node, title, f"* It did not come up; see {node.logfile.replace('%I', '')}")
            else:
                self._say(f"{title}{node.name}: {self._ok()}")

    def _stop_all(self, found: list[Node], signum: signal.Signals) -> list[tuple[Node, int]]:
        """Signal those that run; which they are."""
        running: list[tuple[Node, int]] = []
        for node in found:
            pid = node.pid
            if pid is None:
                self._say_down(node)
                continue
            if not running:
                self._say(self._style("> Stopping nodes...", fg="blue"))
            name = signal_name(signum).removeprefix("SIG")
            if _send(pid, signum):
                self._say(f"\t> {node.name}: {name} -> {pid}")
                running.append((node, pid))
            else:
                self._say(f"Could not signal {node.name} ({pid}): No such process")
        return running

    def _wait_gone(self, running: list[tuple[Node, int]], then: Callable[[Node], None]) -> None:
        if running:
            noun = "node" if len(running) == 1 else "nodes"
            pids = ", ".join(str(pid) for _, pid in running)
            self._say(self._style(f"> Waiting for {len(running)} {noun} -> {pids}...", fg="blue"))
        while running:
            gone = [node for node, pid in running if not is_worker(pid)]
            running = [(node, pid) for node, pid in running if node not in gone]
            for node in gone:
                then(node)
            if running:
                time.sleep(LOOK)

    # -- words

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.context.echo(text)

    def _say_splash(self) -> None:
        if self.splash:
            self._say(self._style(f"celerylite multi v{celerylite.VERSION_BANNER}", fg="cyan", bold=True))

    def _say_down(self, node: Node) -> None:
        self._say(f"> {node.name}: {self._style('DOWN', fg='magenta')}")

    def _say_failed(self, node: Node, title: str, reason: str) -> None:
        self.failed = True
        self.context.error(f"{title}{node.name}: {self._style('FAILED', fg='red', bold=True)}\n{reason}")

    def _ok(self) -> str:
        return self._style("OK", fg="green", bold=True)

    def _style(self, text: str, **how: object) -> str:
        return self.context.style(text, **how)


def _take(words: list[str], *names: str) -> bool:
    """Remove these words (before a `--`), and say whether one was there."""
    end = words.index("--") if "--" in words else len(words)
    places = [number for number, word in enumerate(words[:end]) if word in names]
    for number in reversed(places):
        del words[number]
    return bool(places)


def _worker_options(ctx: Context) -> dict[str, bool]:
    """Of each option of a worker, and of `celerylite` itself: whether a value follows."""
    assert ctx.parent is not None
    group = ctx.parent.command
    assert isinstance(group, click.Group)
    worker = group.get_command(ctx, "worker")
    options: list[click.Parameter] = [*group.params, *(worker.params if worker else ())]
    return {name: not getattr(one, "is_flag", False) for one in options for name in (*one.opts, *one.secondary_opts)}


def _send(pid: int, signum: signal.Signals) -> bool:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True
