"""The group: where options may stand, what happens to wrong ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import celerylite
from celerylite.app.revoking import recall

Run = Callable[..., Result]


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.stdout.strip() == celerylite.VERSION_BANNER
    assert result.exit_code == 0


def test_without_a_command_it_shows_the_help(run: Run) -> None:
    result = run()
    assert result.exit_code == 0
    assert "Commands:" in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("-A", "clirecorder", "worker"),
        ("worker", "-A", "clirecorder"),
        ("worker", "-c", "2", "-Aclirecorder", "-l", "INFO"),
        ("worker", "--app=clirecorder", "-c", "2"),
        ("worker", "--app", "clirecorder", "-c", "2"),
    ],
)
def test_the_app_before_or_after_the_command(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert "hostname=" in result.stdout
    assert result.exit_code == 3


def test_other_global_options_after_the_command(run: Run) -> None:
    result = run("worker", "-A", "clirecorder", "-b", "redis://elsewhere:1/5", "-C", "-q")
    assert "no_color=True" in result.stdout
    assert "quiet=True" in result.stdout
    assert os.environ["CELERY_BROKER_URL"] == "redis://elsewhere:1/5"


def test_words_after_two_dashes_stay_where_they_are(run: Run) -> None:
    result = run("-A", "clirecorder", "worker", "--", "-b")
    assert "Settings stand last" in result.output
    assert result.exit_code == 2


def test_the_app_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP", "clirecorder")
    assert "hostname=" in run("worker").stdout


def test_settings_from_the_command_line(run: Run) -> None:
    result = run("-b", "redis://h:1/2", "--result-backend", "redis://h:1/3", "-A", "cliproj", "report")
    assert result.exit_code == 0
    assert os.environ["CELERY_RESULT_BACKEND"] == "redis://h:1/3"
    assert "redis://h:1/3" in result.stdout


def test_a_module_with_settings(run: Run, project: Path) -> None:
    (project / "cliconf.py").write_text("broker_url = 'memory://'\nworker_concurrency = 7\n")
    assert "worker_concurrency: 7" in run("--config", "cliconf", "report").stdout


def test_a_loader_that_is_not_there(run: Run) -> None:
    result = run("-A", "cliproj", "--loader", "clinope:Loader", "report")
    assert result.exit_code == 2 and "--loader clinope:Loader: there is no such class" in result.output


def test_results_without_a_store(run: Run) -> None:
    result = run("-A", "clitwo:first", "-b", "memory://", "result", "the-id")
    assert result.exit_code == 1 and "There is no result backend" in result.output


def test_no_colours(run: Run) -> None:
    for words in (("-C", "logtool", "stats"), ("logtool", "stats", "--no-color")):
        assert "\x1b" not in run(*words, input="").stdout


def test_workdir(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    run("--workdir", str(elsewhere), "-A", "cliproj", "report")
    assert os.getcwd() == str(elsewhere)


def test_unknown_command_with_a_suggestion(run: Run) -> None:
    result = run("workr")
    assert result.exit_code == 2
    assert "No such command 'workr'." in result.output
    assert "Did you mean one of these?\n    worker" in result.output


def test_a_command_of_celery_that_is_not_there_yet(run: Run) -> None:
    result = run("amqp")
    assert result.exit_code == 2
    assert "No such command 'amqp' yet" in result.output


def test_unknown_option_with_a_suggestion(run: Run) -> None:
    result = run("-A", "cliproj", "worker", "--lglevel", "INFO")
    assert result.exit_code == 2
    assert "No such option" in result.output
    assert "--loglevel" in result.output


def test_an_app_given_as_object(project: object) -> None:
    from celerylite.bin.celery import celery

    app = celerylite.Celery("given", broker="memory://", set_as_current=False)
    with pytest.raises(SystemExit) as caught:
        celery.main(args=["report"], obj=app)
    assert caught.value.code == 0


def test_bad_settings_end_in_a_sentence(run: Run) -> None:
    result = run("-A", "cliproj", "-b", "nosuch://x", "call", "cliproj.celery.add")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")


@pytest.mark.parametrize("words", [("status",), ("inspect", "ping"), ("control", "revoke", "id")])
def test_workers_cannot_be_asked_without_a_server(run: Run, words: tuple[str, ...]) -> None:
    """At once: it is tried a second time, and no third."""
    result = run("-A", "cliproj", "-b", "redis://127.0.0.1:1/0", *words)
    assert result.exit_code == 69
    assert "Cannot reach the server" in result.output


def test_a_revoke_that_no_worker_hears_is_kept(run: Run, tmp_path: Path) -> None:
    broker = f"sqlite:///{tmp_path}/q.db"
    revoked = run("-A", "cliproj", "-b", broker, "control", "revoke", "one")
    assert revoked.exit_code == 69
    assert "The revoke is kept" in revoked.output
    assert "kept" not in run("-A", "cliproj", "-b", broker, "control", "revoke", "two", "-d", "w1@here").output
    app = celerylite.Celery("reader", broker=broker, set_as_current=False)
    assert list(recall(app)[0]) == ["one"]
    app.close()


def test_a_server_that_is_away_ends_in_a_sentence(run: Run) -> None:
    # Port 1 of this machine: nothing listens there.
    result = run("-A", "cliproj", "-b", "redis://127.0.0.1:1/0", "call", "cliproj.celery.add")
    assert result.exit_code == 69
    assert "Cannot reach the server" in result.output
