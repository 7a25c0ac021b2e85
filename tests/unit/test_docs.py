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
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("contrib/**/*.md")]
)


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


def anchors(page: Path) -> set[str]:
    """What a link into the page may name: its headings as GitHub writes them, and named anchors."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = set(re.findall(r'<a name="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        numbered = (f"{slug}-{number}" if number else slug for number in range(len(text)))
        found.add(next(name for name in numbered if name not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL))
    local = [link.partition("#") for link in links if "://" not in link]
    assert [path for path, _, _ in local if not (page.parent / path).exists()] == []
    dead = [
        f"{path}#{anchor}" for path, _, anchor in local
        if anchor and anchor not in anchors(page.parent / path if path else page)
    ]  # fmt: skip
    assert dead == []


@pytest.mark.parametrize("start", ["README.md", "docs/index.md"])
def test_every_page_is_listed(start: str) -> None:
    page = ROOT / start
    listed = {(page.parent / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())}
    assert {each.name for each in ROOT.glob("docs/*.md")} - {path.name for path in listed} <= {"index.md"}


def test_commands_are_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`{name}`" not in text] == []
