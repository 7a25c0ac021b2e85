"""Options that an app adds to commands, and commands that other packages add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from celerylite import signals
from celerylite.bin import logtool
from celerylite.bin.celery import celery

Run = Callable[..., Result]


@pytest.fixture
def options(project: Path) -> Iterator[None]:
    """`clirecorder`'s app wants an option for workers, one for beats, and one everywhere."""
    path = project / "clirecorder.py"
    path.write_text(
        path.read_text()
        + "from click import Option\n"
        + "app.user_options['worker'].add(Option(('--enable-mine',), is_flag=True, help='Mine.'))\n"
        + "app.user_options['beat'].add(Option(('--beat-mine',)))\n"
        + "app.user_options['preload'].add(Option(('-Z', '--template'), default='plain'))\n"
        + "class Beat:\n    def __init__(self, **options):\n        print(options['beat_mine'])\n"
        + "    def run(self):\n        pass\n"
        + "App.Beat = Beat\n"
    )
    context = click.Context(celery)
    commands = [celery.get_command(context, name) for name in ("worker", "beat", "report")]
    commands += logtool.logtool.commands.values()  # each of them is given the options for all
    before = [(command, command.params[:], command.callback) for command in commands if command is not None]
    yield
    for command, params, callback in before:
        command.params, command.callback = params, callback


@pytest.fixture
def preloaded() -> Iterator[list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []

    def receiver(options: dict[str, Any], **kwargs: Any) -> None:
        seen.append(options)

    signals.user_preload_options.connect(receiver)
    yield seen
    signals.user_preload_options.disconnect(receiver)


def test_options_of_workers_reach_the_worker(run: Run, options: None) -> None:
    assert "enable_mine=True" in run("-A", "clirecorder", "worker", "--enable-mine").stdout
    assert "enable_mine=False" in run("-A", "clirecorder", "worker").stdout
    assert "--enable-mine" in run("-A", "clirecorder", "worker", "--help").stdout


def test_options_of_beat_reach_beat(run: Run, options: None) -> None:
    result = run("-A", "clirecorder", "beat", "--beat-mine", "yes")
    assert result.stdout == "yes\n"
    assert run("-A", "clirecorder", "worker", "--beat-mine", "yes").exit_code == 2


def test_options_for_all_are_told_by_a_signal(run: Run, options: None, preloaded: list[dict[str, Any]]) -> None:
    result = run("-A", "clirecorder", "worker", "-Z", "fancy")
    assert "template" not in result.stdout  # no business of the worker
    run("-A", "clirecorder", "report")
    run("-A", "clirecorder", "logtool", "stats", "-Z", "logs", input="")
    assert preloaded == [{"template": "fancy"}, {"template": "plain"}, {"template": "logs"}]


def test_a_command_of_somebody_else(run: Run, options: None, preloaded: list[dict[str, Any]]) -> None:
    @click.command()
    def theirs() -> None:
        click.echo("ran")

    @click.command()
    def taking(template: str) -> None:
        click.echo(template)

    for name, command in (("theirs", theirs), ("taking", taking)):
        celery.add_command(command, name)
    try:
        assert run("-A", "clirecorder", "theirs", "-Z", "x").stdout == "ran\n"
        assert run("-A", "clirecorder", "taking", "-Z", "x").stdout == "x\n"
    finally:
        del celery.commands["theirs"], celery.commands["taking"]
    assert preloaded == [{"template": "x"}, {"template": "x"}]
