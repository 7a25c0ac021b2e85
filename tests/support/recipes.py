"""The files of contrib/deploy as data, and their command lines as our own CLI understands them."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from celerylite.bin.celery import celery

DEPLOY = Path(__file__).resolve().parents[2] / "contrib" / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
MANIFESTS = sorted(DEPLOY.glob("kubernetes/*.yaml"))
#: Where the units expect our command.
PROGRAM = "/srv/proj/venv/bin/celerylite"


@functools.cache
def read_yaml(path: Path) -> list[dict[str, Any]]:
    """The documents of a file, which are not to be changed; reading one takes 20 ms."""
    return list(yaml.safe_load_all(path.read_text()))


# -- systemd


def read_unit(path: Path) -> dict[str, list[str]]:
    """All directives of a unit; sections do not matter, for none stands in two."""
    directives: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            directives.setdefault(key, []).append(value)
    return directives


def read_environment(path: Path) -> dict[str, str]:
    """The variables of an environment file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def unit_command(unit: Mapping[str, list[str]], environment: Mapping[str, str], instance: str = "one") -> list[str]:
    """What ExecStart runs after our program's name, with systemd's specifiers and variables filled in."""
    (text,) = unit["ExecStart"]
    text = text.replace("%%", "\0").replace("%i", instance)
    assert "%" not in text, f"an unknown specifier: {text}"
    words = [re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], word) for word in shlex.split(text)]
    assert words[0] == PROGRAM
    return [word.replace("\0", "%") for word in words[1:]]


def seconds(text: str | int) -> int:
    """`330`, `330s` and `5min` in seconds."""
    found = re.fullmatch(r"(\d+)(s|m|min)?", str(text))
    assert found, text
    return int(found[1]) * (60 if (found[2] or "s").startswith("m") else 1)


# -- containers


def read_dockerfile(path: Path = DOCKERFILE) -> list[tuple[str, str]]:
    """Its instructions in order, with continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in text.splitlines()]


def exec_form(text: str) -> list[str]:
    """The words of an instruction in exec form, which is JSON; in the shell form a shell would be process 1."""
    words = json.loads(text)
    assert isinstance(words, list) and all(isinstance(word, str) for word in words)
    return words


def last_instruction(name: str) -> str:
    """What the image's last instruction of this name says."""
    return [text for key, text in read_dockerfile() if key == name][-1]


def health_command() -> list[str]:
    """The command of the image's HEALTHCHECK."""
    return exec_form(last_instruction("HEALTHCHECK").partition("CMD ")[2])


def compose() -> dict[str, Any]:
    """compose.yaml, with its anchors resolved."""
    return read_yaml(DEPLOY / "container" / "compose.yaml")[0]


# -- Kubernetes


def resources(kind: str | None = None) -> list[dict[str, Any]]:
    """All Kubernetes objects, or those of one kind."""
    return [each for path in MANIFESTS for each in read_yaml(path) if kind in (None, each["kind"])]


def deployment(component: str) -> dict[str, Any]:
    """The Deployment of `worker` or `beat`."""
    (found,) = (each for each in resources("Deployment") if each["metadata"]["name"] == f"proj-{component}")
    return found


def container(component: str) -> dict[str, Any]:
    """Its only container."""
    (found,) = deployment(component)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


# -- all of them


def understood(argv: list[str]) -> tuple[str, dict[str, Any]]:
    """The name of the command and its parameters, as our CLI reads them; UsageError where it does not."""
    context = celery.make_context("celerylite", list(argv), auto_envvar_prefix="CELERY")
    name, command, rest = celery.resolve_command(context, [*context._protected_args, *context.args])
    assert name and isinstance(command, click.Command)
    inner = command.make_context(name, list(rest), parent=context)
    assert inner.args == [], f"left over: {inner.args}"
    return name, inner.params
