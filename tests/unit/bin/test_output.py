"""Tables and JSON: plain text into a pipe, drawn on a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from celerylite.bin import output
from celerylite.bin.base import CLIContext

HEADINGS = ("queue", "waiting")
ROWS = [("celery", 12), ("[bold]x[/bold]", None)]


@pytest.fixture
def context(app: Any) -> CLIContext:
    return CLIContext(app, no_color=True, workdir=None)


def test_plain_text_in_columns(context: CLIContext, capsys: pytest.CaptureFixture[str]) -> None:
    output.say_table(context, HEADINGS, ROWS, numbers=(1,))
    assert capsys.readouterr().out == "queue           waiting\ncelery               12\n[bold]x[/bold]        -\n"


def test_json_is_one_line_and_says_everything(context: CLIContext, capsys: pytest.CaptureFixture[str]) -> None:
    output.say_json(context, {"a": [1, None], "b": ValueError("x")})
    assert capsys.readouterr().out == '{"a": [1, null], "b": "x"}\n'


def test_drawn_on_a_terminal(context: CLIContext, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setenv("TERM", "xterm")
        assert output.for_people()
        output.say_table(context, HEADINGS, ROWS, numbers=(1,))
        terminal.flush()
        shown = os.read(master, 65536).decode()
    os.close(master)
    assert "─" in shown
    assert "[bold]x[/bold]" in shown, "what users named is no markup"
    assert "celery" in shown and "12" in shown
