"""Signed messages with real workers: Celery's client with our worker and the reverse, and messages that are refused."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("cryptography")

from celerylite.security.certificate import Certificate
from celerylite.security.key import PrivateKey
from celerylite.security.serialization import SEPARATOR, SecureSerializer
from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.certificates import signer
from tests.support.envelopes import dump, envelope
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for
from tests.support.worker import ROOT

pytestmark = pytest.mark.slow


class Signed(NamedTuple):
    """A worker that accepts what Ann signed, the settings of both sides, and files of somebody that nobody trusts."""

    site: Site
    lib: str
    conf: dict[str, Any]
    ann: SecureSerializer
    eve: SecureSerializer
    forger: SecureSerializer

    def client(self, lib: str) -> dict[str, Any]:
        """What a client of this library has seen, in a process of its own."""
        names = {**os.environ, **self.site.environment(self.conf), "QUEUE_LIB": lib, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.support.signed"]
        done = subprocess.run(command, env=names, cwd=ROOT, capture_output=True, text=True, timeout=120)
        log = self.site.workers.started[0].tail()
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n--- worker ---\n{log}"
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return report


@pytest.fixture(scope="module", params=[OURS, THEIRS])
def signed(request: pytest.FixtureRequest, new_redis_url: Any, tmp_path_factory: Any) -> Iterator[Signed]:
    directory: Path = tmp_path_factory.mktemp("signed")
    (directory / "trusted").mkdir()
    ann, eve = signer(directory / "trusted", "ann"), signer(directory, "eve")
    conf = {
        **ann, "security_cert_store": str(directory / "trusted" / "*.pem"),
        "task_serializer": "auth", "event_serializer": "auth", "result_serializer": "auth", "accept_content": ["auth"],
    }  # fmt: skip
    site = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
    site.workers("tests.support.signed", "-c", "1", "-E", program=request.param, env=site.environment(conf))
    key = {name: PrivateKey(Path(who["security_key"]).read_bytes()) for name, who in {"ann": ann, "eve": eve}.items()}
    cert = {"ann": ann, "eve": eve}
    certs = {name: Certificate(Path(who["security_certificate"]).read_bytes()) for name, who in cert.items()}
    yield Signed(
        site, request.param, conf, SecureSerializer(key["ann"], certs["ann"]),
        SecureSerializer(key["eve"], certs["eve"]), SecureSerializer(key["eve"], certs["ann"]),
    )  # fmt: skip
    site.close()


@pytest.mark.parametrize("lib", [OURS, THEIRS])
def test_everything_travels_signed(signed: Signed, lib: str) -> None:
    assert signed.client(lib) == {
        "call": 5, "big": 100_000, "countdown": 7, "retry": 2, "chain": 7, "group": [0, 2, 4], "chord": [2, 4],
        "failure": "ValueError('as foreseen')", "ping": [{"ok": "pong"}], "event": "task-succeeded",
    }  # fmt: skip


def message_with(body: str, marker: str, content_type: str = "application/data") -> bytes:
    """A call of t.mark, which writes the marker into the ledger; with this body."""
    message = envelope("t.mark", task_id=marker)
    raw = base64.b64encode(body.encode()).decode()
    return dump({**message, "body": raw, "content-type": content_type})


def call(marker: str) -> list[Any]:
    return [[marker], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]


def tampered(signed: str) -> str:
    """The same signature over other words."""
    parts = base64.b64decode(signed).split(SEPARATOR, 4)
    parts[-1] = parts[-1].replace(b"tampered", b"TAMPERED")
    return base64.b64encode(SEPARATOR.join(parts)).decode()


BAD: dict[str, Callable[[Signed], bytes]] = {
    "tampered": lambda s: message_with(tampered(s.ann.serialize(call("tampered"))), "tampered"),
    "stranger": lambda s: message_with(s.eve.serialize(call("stranger")), "stranger"),
    "forged": lambda s: message_with(s.forger.serialize(call("forged")), "forged"),
    "unsigned": lambda s: message_with(json.dumps(call("unsigned")), "unsigned", "application/json"),
    "junk": lambda s: message_with("junk", "junk"),
}
SAID = {
    "tampered": "Bad signature", "stranger": "Unknown certificate: 'eve ", "forged": "Bad signature",
    "unsigned": "application/json", "junk": "Unable to deserialize",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_no_trusted_key_has_signed_does_not_run_and_the_worker_goes_on(signed: Signed, name: str) -> None:
    good = message_with(signed.ann.serialize(call(f"after {name}")), f"after {name}")
    for raw in (BAD[name](signed), good):
        signed.site.redis.lpush("celery", raw)
    signed.site.ledger.wait("start", f"after {name}")
    assert not signed.site.ledger.events("start", name)
    if signed.lib == OURS:
        client = signed.site.client()
        wait_for(
            lambda: [
                letter for letter in client.broker.dead(100)
                if SAID[name] in letter.reason and f'"{name}"'.encode() in letter.raw
            ],
            what="the dead letter",
        )  # fmt: skip
        signed.site.workers.started[0].wait_log(f"Can't decode message body: .*{SAID[name]}")


def test_requests_that_are_not_signed_are_not_answered(signed: Signed) -> None:
    """The support app without security sends JSON: a shutdown, from somebody who has no key."""
    stranger = signed.site.client(signed.lib)
    stranger.control.broadcast("shutdown")
    stranger.control.broadcast("ping")
    marker = "after the shutdown"
    signed.site.redis.lpush("celery", message_with(signed.ann.serialize(call(marker)), marker))
    signed.site.ledger.wait("start", marker)
    assert signed.site.workers.started[0].returncode is None
    if signed.lib == OURS:
        signed.site.workers.started[0].wait_log("Cannot decode message: ContentDisallowed", count=2)
