"""What the tests of commands share: a project in a directory of its own, and a way to run commands in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from celerylite import _state

MODULES = {
    "cliproj/__init__.py": "",
    "cliproj/celery.py": """
from celerylite import Celery

app = Celery("cliproj", broker="memory://", backend="cache+memory://", set_as_current=False)


@app.task
def add(x, y):
    return x + y
""",
    # Its worker tells how it was made, and ends.
    "clirecorder.py": """
from celerylite import Celery


class Recorder:
    exitcode = 3

    def __init__(self, **options):
        self.options = options

    def start(self):
        for name, value in sorted(self.options.items()):
            print(f"{name}={value!r}")


class App(Celery):
    Worker = Recorder


app = App("clirecorder", broker="memory://", set_as_current=False)
""",
    "clinoapp.py": "number = 1\n",
    "clitwo.py": (
        "from celerylite import Celery\n"
        "first = Celery('first', set_as_current=False)\nsecond = Celery('second', set_as_current=False)\n"
    ),
    "clibrokenpackage/__init__.py": "",
    "clibrokenpackage/celery.py": "import cli_is_not_installed\n",
    "clibroken.py": "import cli_is_not_installed\n",
    "cliraises.py": "def settings():\n    return {}['broker']\n\nsettings()\n",
    "cliexits.py": "raise SystemExit('no settings')\n",
    "clisyntax.py": "def f(:\n",
    "clishell.py": (
        "from celerylite import Celery\napp = Celery('clishell', broker='memory://', set_as_current=False)\n"
        "@app.task\ndef weigh_apples(): pass\n"
    ),
    "clifactory.py": (
        "from celerylite import Celery\ndef create_app():\n    return Celery('made')\nclass Mine(Celery):\n    pass\n"
    ),
    "clicircle/__init__.py": "",
    "clicircle/app.py": "from celerylite import Celery\nfrom clicircle.tasks import add\napp = Celery('circle')\n",
    "clicircle/tasks.py": "from clicircle.app import app\ndef add(): pass\n",
    "cliname.py": "from clitwo import third\n",
    "clihidden/__init__.py": "",
    "clihidden/main.py": "import celerylite\nqueue: celerylite.Celery = celerylite.Celery('hidden')\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of the project, as the current one; its modules are forgotten afterwards."""
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("APP", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    # As in a process of its own: no other test's app is current.
    _state.default_app = _state._fallback_app = _state._process_app = _state._tls.current_app = None
    before = dict(os.environ)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)
    for name in [name for name in sys.modules if name.startswith("cli") and not name.startswith("click")]:
        del sys.modules[name]


@pytest.fixture
def run(project: Path) -> Callable[..., Result]:
    """Run a command line; gives click's result: `exit_code`, `stdout`, `stderr`, `output`."""
    from celerylite.bin.celery import celery

    def run_it(*words: str, input: str | None = None) -> Result:
        result = CliRunner().invoke(
            celery, list(words), input=input, prog_name="celerylite", auto_envvar_prefix="CELERY"
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it
