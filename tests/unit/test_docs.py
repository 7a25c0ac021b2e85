"""The pages under docs/ say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

from celerylite.bin.celery import COMMANDS, celery

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_settings", ROOT / "docs" / "generate_settings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_page_is_that_of_the_table() -> None:
    module = generator()
    assert module.PAGE.read_text() == module.page(), "run: python docs/generate_settings.py"


def test_every_setting_has_help() -> None:
    module = generator()
    assert [name for name, option in module.options(module.NAMESPACES) if not option.help] == []


def test_our_own_settings_are_marked() -> None:
    module = generator()
    known = {name for name, _ in module.options(module.NAMESPACES)}
    assert set(module.OWN) <= known
    defaults = pytest.importorskip("celery.app.defaults")
    assert known - set(defaults.DEFAULTS) == set(module.OWN)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_commands_and_their_options_are_in_the_page(name: str) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert re.search(rf"^##.*\b{name}\b", page, re.MULTILINE)
    command = celery.get_command(click.Context(celery), name)
    assert command is not None
    # The demo's only option is explained by --help.
    options = [] if name == "demo" else [param for param in command.params if param.opts[0].startswith("-")]
    longest = {max(param.opts, key=len) for param in options}
    missing = {
        option for option in longest if option not in page and option not in ("--args", "--kwargs", "--task")
    }
    assert missing <= {"--force", "--queues", "--exclude-queues"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
