"""`-A`: what it finds, and the sentences when it does not."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from celerylite.bin.loading import load_app


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
    assert "SyntaxError" in reason("clisyntax")
    assert "def f(:" in reason("clisyntax")


def test_a_module_without_an_app(project: Path) -> None:
    text = reason("clinoapp")
    assert "Module 'clinoapp' has no attribute 'celery'" in text
    assert "No app was found in clinoapp" in text


def test_something_that_is_not_an_app(project: Path) -> None:
    assert "clinoapp:number is not a Celery app, but of type int." in reason("clinoapp:number")


def test_an_attribute_that_is_not_there_suggests_the_app_that_is(project: Path) -> None:
    assert "Did you mean -A clitwo:first?" in reason("clitwo:nope")
