"""`-A`: what it finds, and the sentences when it does not."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from celerylite.bin.loading import load_app, no_app_given


def reason(name: str) -> str:
    with pytest.raises(click.UsageError) as caught:
        load_app(name)
    assert "Unable to load celery application." in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("name", ["cliproj", "cliproj.celery", "cliproj.celery:app", "cliproj.celery.app"])
def test_every_way_to_name_an_app(project: Path, name: str) -> None:
    assert load_app(name).main == "cliproj"


def test_an_attribute_of_another_name(project: Path) -> None:
    assert load_app("clitwo:second").main == "second"


def test_module_not_found(project: Path) -> None:
    text = reason("clinope")
    assert "The module clinope was not found." in text
    assert str(project) in text
    assert "--workdir" in text


def test_a_parent_that_is_not_there(project: Path) -> None:
    assert "The module clinope.app was not found." in reason("clinope.app")


def test_import_error_inside_the_users_module(project: Path) -> None:
    text = reason("clibroken")
    assert 'clibroken.py", line 1' in text
    assert "No module named 'cli_is_not_installed'" in text
    assert "Install the package that provides 'cli_is_not_installed'" in text


def test_import_error_inside_the_celery_module_of_a_package(project: Path) -> None:
    assert "Install the package that provides 'cli_is_not_installed'" in reason("clibrokenpackage")


def test_only_the_users_lines_of_a_traceback(project: Path) -> None:
    text = reason("cliraises")
    assert "KeyError: 'broker'" in text
    assert text.count("  File ") == 2
    assert "importlib" not in text
    assert f"Correct {project / 'cliraises.py'}, line 2" in text


def test_a_module_that_exits(project: Path) -> None:
    assert "SystemExit: no settings" in reason("cliexits")


def test_a_syntax_error(project: Path) -> None:
    text = reason("clisyntax")
    assert "SyntaxError" in text and "def f(:" in text
    assert f"Correct {project / 'clisyntax.py'}, line 1" in text


def test_a_typo_in_the_module(project: Path) -> None:
    assert "Did you mean -A clitwo?" in reason("clitow")
    assert "Did you mean -A cliproj?" in reason("cliporj")


def test_a_name_that_the_users_module_imports_in_vain(project: Path) -> None:
    text = reason("cliname")
    assert "cannot import name 'third' from 'clitwo'" in text
    assert f"Correct {project / 'cliname.py'}, line 1" in text


def test_a_circular_import(project: Path) -> None:
    text = reason("clicircle.app")
    assert "The imports go round in a circle: clicircle/app.py imports clicircle/tasks.py" in text
    assert "app.autodiscover_tasks()" in text


@pytest.mark.parametrize(("name", "kind"), [("create_app", "function"), ("Mine", "class")])
def test_a_factory(project: Path, name: str, kind: str) -> None:
    text = reason(f"clifactory:{name}")
    assert f"is not a Celery app, but the {kind} {name}" in text
    assert f"Write `celery = {name}()` into the module clifactory" in text and "-A clifactory:celery" in text


@pytest.mark.parametrize(
    ("name", "meant"),
    [("clitwo.py", "clitwo"), ("./clitwo", "clitwo"), ("cliproj/celery.py:app", "cliproj.celery:app")],
)
def test_a_path(project: Path, name: str, meant: str) -> None:
    assert f"Did you mean -A {meant}?" in reason(name)


def test_a_path_elsewhere(project: Path) -> None:
    assert "--workdir" in reason("../somewhere/proj")


def test_a_package_whose_app_is_in_a_module_of_another_name(project: Path) -> None:
    assert "Did you mean -A clihidden.main:queue?" in reason("clihidden")


def test_no_app_at_all(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`celerylite -A proj worker`" in no_app_given()  # there are several, so none can be meant
    only = project / "only"
    (only / "shop").mkdir(parents=True)
    (only / "shop" / "__init__.py").write_text("from celery import Celery\napp = Celery('shop')\n")
    monkeypatch.chdir(only)
    assert "`celerylite -A shop:app worker`" in no_app_given()


def test_a_module_without_an_app(project: Path) -> None:
    text = reason("clinoapp")
    assert "Module 'clinoapp' has no attribute 'celery'" in text
    assert "No app was found in clinoapp" in text


def test_something_that_is_not_an_app(project: Path) -> None:
    assert "clinoapp:number is not a Celery app, but of type int." in reason("clinoapp:number")


def test_an_attribute_that_is_not_there_suggests_the_app_that_is(project: Path) -> None:
    assert "Did you mean -A clitwo:first?" in reason("clitwo:nope")
