"""Commands that an installed distribution offers (entry points `celery.commands`), and completion in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import OURS, THEIRS
from tests.support.worker import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(OURS == THEIRS, reason="our own command line")]

FILES = {
    "otherpackage.py": """
import click
from celerylite.bin.base import CeleryCommand, handle_preload_options


@click.command(cls=CeleryCommand)
@click.option("--port", default=8888, type=int)
@click.pass_context
@handle_preload_options
def weather(ctx, port):
    ctx.obj.echo(f"{ctx.obj.app.main} on {port}")


@click.command()
@click.argument("place")
def plain(place):
    click.echo(f"plain {place}")
""",
    "otherpackage-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: otherpackage\nVersion: 1.0\n",
    "otherpackage-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "otherpackage-1.0.dist-info/entry_points.txt": """
[celery.commands]
weather = otherpackage:weather
plain = otherpackage:plain
broken = otherpackage.missing:command
""",
    "otherpackage-1.0.dist-info/RECORD": "",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which pip has installed the package; an app lies beside it."""
    directory = tmp_path_factory.mktemp("site")
    wheel = directory / "otherpackage-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(directory / "lib"), str(wheel)], check=True, timeout=60)
    (directory / "shop.py").write_text(
        "from celerylite import Celery\napp = Celery('shop', broker='memory://')\n@app.task\ndef pack(): ...\n"
    )
    return directory


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(installed / "lib"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    argv = [sys.executable, "-m", "celerylite", *words]
    return subprocess.run(
        argv, cwd=installed, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )


def test_commands_of_an_installed_package(installed: Path) -> None:
    assert run(installed, "-A", "shop", "weather", "--port", "9").stdout == "shop on 9\n"
    assert run(installed, "weather", "-A", "shop").stdout == "shop on 8888\n"  # global options after it, too
    assert run(installed, "-A", "shop", "plain", "here").stdout == "plain here\n"


def test_one_that_cannot_be_loaded_spoils_nothing(installed: Path) -> None:
    listed = run(installed, "--help").stdout
    assert "weather" in listed and "broken" in listed and "worker" in listed
    result = run(installed, "-A", "shop", "broken")
    assert result.returncode == 1
    assert "The command 'broken' of another package cannot be loaded" in result.stderr


def test_completion_in_bash(installed: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    program = installed / "celerylite"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom celerylite.__main__ import main\nsys.exit(main())\n")
    program.chmod(0o755)
    script = """
        eval "$(celerylite completion bash)"
        COMP_WORDS=(celerylite -A shop call sho); COMP_CWORD=4
        _celerylite_completion celerylite
        echo "${COMPREPLY[@]}"
    """
    path = os.pathsep.join((str(installed / "lib"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    env = {**os.environ, "PYTHONPATH": path, "PATH": f"{installed}:{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", script], cwd=installed, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "shop.pack\n", done.stderr
