"""A real browser without a window (Chromium), driven over its debugging port."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .lifeline import die_with_parent
from .waiting import wait_for

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def program() -> str:
    """The browser, or the test is skipped, or fails where `CI` is set."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    reason = "no Chromium: apt-get install chromium"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(reason)
    pytest.skip(reason)


class Browser:
    """One tab of one browser; `close` ends it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = (directory / "browser.log").open("ab")
        self._process = subprocess.Popen(
            [
                program(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
                f"--user-data-dir={directory / 'profile'}", "--remote-debugging-port=0", "about:blank",
            ],
            stdout=self._log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._numbers = iter(range(1, 1_000_000))
        self._socket = self._loop.run_until_complete(self._connect())

    async def _connect(self) -> Any:
        from tornado.websocket import websocket_connect  # what Flower needs; without it the test is skipped before

        said = self._directory / "profile" / "DevToolsActivePort"
        port = wait_for(lambda: said.exists() and said.read_text().split()[:1], 30, "the browser's port")[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            tab = next(tab for tab in json.load(answer) if tab["type"] == "page")
        return await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=1 << 26)

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self._loop.run_until_complete(asyncio.wait_for(self._asked(method, params), 30))

    async def _asked(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(await self._socket.read_message())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def goto(self, url: str) -> None:
        """Open a page; what its scripts do comes later."""
        failed = self._ask("Page.navigate", url=url).get("errorText")
        assert not failed, f"{url}: {failed}"
        wait_for(lambda: self.run("document.readyState == 'complete' && location.href != 'about:blank'"), 30, url)

    def run(self, script: str) -> Any:
        """What an expression of JavaScript gives in the page."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self) -> str:
        """What a reader of the page sees."""
        return self.run("document.body ? document.body.innerText : ''")

    def wait_for_text(self, *words: str, timeout: float = 30.0) -> str:
        """Wait until the page shows all of these words; returns all that it shows."""
        wait_for(
            lambda: all(word in self.text() for word in words), timeout, f"{words} on {self.run('location.href')}"
        )
        return self.text()

    def click(self, selector: str) -> None:
        """Click what a CSS selector finds; questions that the page asks (`confirm`) are answered with yes."""
        self.run("window.confirm = () => true")
        assert self.run(f"!!document.querySelector({selector!r})"), f"{selector} is not on the page:\n{self.text()}"
        self.run(f"document.querySelector({selector!r}).click()")

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._loop.close()
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
