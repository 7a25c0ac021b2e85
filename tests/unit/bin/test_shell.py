"""`shell`: which shell starts, and which names it knows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import celerylite
from celerylite import canvas
from celerylite.bin.loading import load_app
from celerylite.bin.shell import namespace

Run = Callable[..., Result]

#: Shells that only say what they were given, under the names of real ones.
SHELLS = {
    "IPython": "def start_ipython(argv, user_ns):\n    print('IPython', user_ns['weigh_apples'].name)\n",
    "bpython": "def embed(names):\n    print('bpython', names['weigh_apples'].name)\n",
    "ptpython/__init__": "",
    "ptpython/repl": "def embed(first, second):\n    print('ptpython', first['weigh_apples'].name)\n",
}


@pytest.fixture
def install(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Only these shells are installed."""
    for name in ("IPython", "bpython", "ptpython", "ptpython.repl"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    class Hidden:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] in ("IPython", "bpython", "ptpython") and not known(name):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    installed: list[str] = []

    def known(name: str) -> bool:
        return name.partition(".")[0] in installed

    def make(*names: str) -> None:
        installed.extend(names)
        for path, text in SHELLS.items():
            if path.partition("/")[0] in names:
                (project / f"{path}.py").parent.mkdir(exist_ok=True)
                (project / f"{path}.py").write_text(text)

    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    return make


@pytest.mark.parametrize(
    ("option", "module"), [("-I", "IPython"), ("--ipython", "IPython"), ("-B", "bpython"), ("--ptpython", "ptpython")]
)
def test_the_shell_that_was_asked_for(run: Run, install: Callable[..., None], option: str, module: str) -> None:
    install("IPython", "bpython", "ptpython")
    assert run("-A", "clishell", "shell", option).stdout == f"{module} clishell.weigh_apples\n"


@pytest.mark.parametrize("installed", [("IPython", "bpython"), ("bpython", "ptpython"), ("ptpython",)])
def test_the_best_shell_there_is(run: Run, install: Callable[..., None], installed: tuple[str, ...]) -> None:
    install(*installed)
    assert run("-A", "clishell", "shell").stdout == f"{installed[0]} clishell.weigh_apples\n"


def test_a_shell_that_is_not_installed(run: Run, install: Callable[..., None]) -> None:
    result = run("-A", "clishell", "shell", "-B")
    assert result.exit_code == 1 and "bpython is not installed: pip install bpython" in result.output


def test_pythons_own(run: Run, install: Callable[..., None]) -> None:
    result = run("-A", "clishell", "shell", input="print(weigh_apples.name, app is celery, group.__name__)\n")
    assert "clishell.weigh_apples True group" in result.stdout


def test_without_tasks(run: Run, project: Path) -> None:
    result = run("-A", "clishell", "shell", "--python", "-T", input="print('weigh_apples' in globals(), app.main)\n")
    assert "False clishell" in result.stdout


def test_names(project: Path) -> None:
    app = load_app("clishell")
    names = namespace(app)
    assert names["celery"] is app and names["chord"] is canvas.chord
    assert {"Task", "chain", "chunks", "group", "signature", "subtask", "xmap", "xstarmap"} <= set(names)
    assert names["weigh_apples"] is app.tasks["clishell.weigh_apples"]
    assert "backend_cleanup" not in names  # Celery's own tasks


def test_a_task_cannot_hide_the_library(project: Path) -> None:
    app = celerylite.Celery("hiding", broker="memory://", set_as_current=False)

    @app.task
    def group() -> None: ...

    assert namespace(app)["group"] is canvas.group
