"""The plan of the house: imports at the top of a module point down, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "celerylite"

#: The floor of a module is that of its longest prefix here.
FLOORS = {
    "celerylite.__main__": 9,
    "celerylite": 8,
    "celerylite.bin": 8,
    "celerylite.contrib": 8,
    "celerylite.alias": 8,
    "celerylite.shims": 8,
    "celerylite.registry": 8,
    "celerylite.apps": 8,
    "celerylite.worker": 7,
    "celerylite.app": 7,
    "celerylite.beat": 7,
    "celerylite.execution": 6,
    "celerylite.followup": 5,
    "celerylite.canvas": 4,
    "celerylite.concurrency": 4,
    "celerylite.fixups": 4,
    "celerylite.loaders": 7,
    "celerylite.message": 3,
    "celerylite.result": 3,
    "celerylite.result_base": 3,
    "celerylite.result_set": 3,
    "celerylite.result_tree": 3,
    "celerylite.brokers": 3,
    "celerylite.events": 3,
    "celerylite.backends": 3,
    "celerylite.transports": 3,
    "celerylite.bootsteps": 3,
    "celerylite.signals": 3,
    "celerylite.schedules": 3,
    "celerylite.security": 3,
    "celerylite.context": 2,
    "celerylite._state": 2,
    "celerylite.utils": 2,
    "celerylite.states": 1,
    "celerylite.exceptions": 1,
    "celerylite.platforms": 1,
    "celerylite.local": 1,
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def floor(module: str) -> int:
    while module not in FLOORS:
        module = module.rpartition(".")[0]
    return FLOORS[module]


def imports(module: str) -> Iterator[str]:
    """The modules of ours that are imported when this one is; what only the type checker reads is left out."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in top_level(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*parent, source]) if source else ".".join(parent)
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                if whole in MODULES or source in MODULES:
                    yield whole if whole in MODULES else source


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.If | ast.Try):
            yield from (child for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom))
        yield node


GRAPH = {module: set(imports(module)) - {module} for module in MODULES}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    up = {target for target in GRAPH[module] if floor(target) > floor(module) and target != "celerylite"}
    assert not up, (
        f"{module} (floor {floor(module)}) imports {', '.join(f'{t} (floor {floor(t)})' for t in sorted(up))}"
    )


def test_no_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(GRAPH[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in sorted(MODULES):
        visit(module, ())
