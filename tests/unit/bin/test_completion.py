"""What the tab key offers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.shell_completion import ShellComplete
from click.testing import Result

from celerylite.bin.celery import celery

Run = Callable[..., Result]


def offers(*words: str) -> list[str]:
    """What is offered for the last of these words."""
    *before, incomplete = words
    completion = ShellComplete(celery, {}, "celerylite", "_CELERYLITE_COMPLETE")
    return [item.value for item in completion.get_completions(before, incomplete)]


def test_commands_and_options(project: object) -> None:
    assert offers("wor") == ["worker"]
    assert offers("upgrade", "") == ["settings"]
    assert offers("worker", "--health") == ["--health-port"]
    assert offers("worker", "-P", "th") == ["threads"]


@pytest.mark.parametrize("words", [("-A", "cliproj", "call"), ("call", "-A", "cliproj"), ("call", "--app=cliproj")])
def test_tasks(project: object, words: tuple[str, ...]) -> None:
    assert offers(*words, "cli") == ["cliproj.celery.add"]
    assert offers(*words, "other") == []


def test_queues(project: object) -> None:
    assert offers("-A", "cliproj", "worker", "-Q", "") == ["celery"]
    assert offers("-A", "cliproj", "worker", "-Q", "other,c") == ["other,celery"]
    assert offers("-A", "cliproj", "worker", "-Q", "celery,c") == []


def test_remote_commands(project: object) -> None:
    assert offers("-A", "cliproj", "inspect", "act") == ["active", "active_queues"]
    assert offers("control", "pool_g") == ["pool_grow"]


def test_an_app_that_cannot_be_loaded(project: object) -> None:
    assert offers("-A", "clibroken", "call", "") == []
    assert offers("call", "") == []


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", "complete -o nosort -F"), ("zsh", "#compdef celerylite"), ("fish", "complete --no-files")],
)
def test_scripts(run: Run, shell: str, words: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert words in result.stdout and "_CELERYLITE_COMPLETE=" in result.stdout
