"""Remote control, the worker's side: a thread that listens to kombu's pidbox, has commands carried out, and answers.

What the commands do is in `worker/control.py`; the road on which requests and answers travel in `brokers/mailbox.py`.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from celerylite import message as _message
from celerylite.brokers.mailbox import Address, Mailbox, NoFanout
from celerylite.message import Message
from celerylite.utils.saferepr import saferepr
from celerylite.worker import state as worker_state
from celerylite.worker.consumer import Consumer
from celerylite.worker.control import Panel
from celerylite.worker.revoked import catch_up

if TYPE_CHECKING:
    from celerylite.worker.node import Node

logger = logging.getLogger("celery.worker.control")

#: Seconds between tries to connect, at first and at most.
PAUSE, PAUSE_MOST = 0.5, 5.0
#: Seconds of a wait for requests; `stop` ends it at once where the broker lets it.
WAIT = 30.0
#: Seconds that the start of a worker waits for the first connection, and `stop` for the thread.
START_PATIENCE, STOP_PATIENCE = 5.0, 2.0

#: AMQP's delivery mode for messages that need not survive the server.
TRANSIENT = 1


@dataclass
class ControlState:
    """What a command is given as its first argument."""

    app: Any
    hostname: str
    #: The worker's consumer, as the guide's examples use it.
    consumer: Any
    #: The worker itself.
    node: Node
    #: Makes a set of tasks.
    tset: Any = field(default=set)
    #: Whether the request named the workers that it is for.
    addressed: bool = False


class Pidbox:
    """Listens from `start` to `stop`; a broken connection is mended."""

    def __init__(self, node: Node, consumer: Consumer | None = None, mailbox: Mailbox | None = None) -> None:
        self.app = node.app
        self.hostname = node.hostname
        consumer = (consumer or Consumer(app=node.app, hostname=node.hostname)).attach(node)
        self.state = ControlState(node.app, node.hostname, consumer, node)
        worker_state.show(node)
        self.mailbox = mailbox or node.broker.mailbox(self._address())
        self.handlers = Panel.data
        #: Set once requests are heard, or the first try has failed.
        self.settled = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def _address(self) -> Address:
        app = self.app
        return Address(
            exchange=f"{app.conf.control_exchange}.pidbox",
            queue=lambda: app.control.mailbox.get_queue(self.hostname),
            connect=app.connection_for_read,
            reply_ttl=app.conf.control_queue_ttl or 300.0,
        )

    # -- the thread

    def start(self) -> None:
        """Listen from now on; returns when requests are heard, or after some seconds without a broker."""
        if not self.app.conf.worker_enable_remote_control:
            logger.info("Remote control is off (worker_enable_remote_control).", extra={"action": "pidbox_off"})
            return
        self._thread = threading.Thread(target=self._run, name="pidbox", daemon=True)
        self._thread.start()
        self.settled.wait(START_PATIENCE)

    def stop(self) -> None:
        """Listen no more; the command that is carried out just now is given some time."""
        self._stopping.set()
        self.mailbox.wake()
        if self._thread is not None:
            self._thread.join(STOP_PATIENCE)

    def _run(self) -> None:
        pause, broken = PAUSE, False
        while not self._stopping.is_set():
            try:
                self.mailbox.open()
                self.settled.set()
                if broken:
                    logger.warning("Remote control is connected again.", extra={"action": "pidbox_reconnected"})
                pause, broken = PAUSE, False
                catch_up(self.state.node)
                self._listen()
            except NoFanout as exc:
                logger.warning("No remote control: %s.", exc, extra={"action": "no_fanout"})
                break
            except Exception as exc:  # a border: a connection may break in as many ways as there are transports
                if not broken and not self._stopping.is_set():
                    logger.error("Remote control lost the broker: %s. Trying again…", exc, extra={"action": "pidbox"})
                broken = True
                self.settled.set()
                self._stopping.wait(pause)
                pause = min(2 * pause, PAUSE_MOST)
        self.settled.set()
        self.mailbox.close()

    def _listen(self) -> None:
        while not self._stopping.is_set():
            for message in self.mailbox.receive(WAIT):
                self._hear(message)

    # -- requests

    def _hear(self, message: Message) -> None:
        """One request, or something that only looks like one: nothing that is sent can end the thread."""
        accept = self.state.node.options.accept
        try:
            request = _message.loads(message.body, message.content_type, message.content_encoding, accept)
            if not isinstance(request, dict):
                raise ValueError("it is no mapping")
            self.app.clock.adjust(message.headers.get("clock") or 0)
            mine = self.is_for_us(request)
        except Exception as exc:  # a border: bytes and values of any kind
            logger.error("Cannot decode message: %r", exc, extra={"action": "undecodable"})
            return
        if mine:
            self.state.addressed = bool(request.get("destination") or request.get("pattern"))
            self._dispatch(request)

    def is_for_us(self, request: dict[str, Any]) -> bool:
        """Whether the request names this worker, a pattern that it matches, or nobody."""
        destination: Any = request.get("destination")
        pattern, matcher = request.get("pattern"), request.get("matcher")
        if destination:
            return self.hostname == destination or (not isinstance(destination, str) and self.hostname in destination)
        if pattern and matcher:
            from kombu import matcher as matchers  # lazy: hardly anybody uses patterns

            match: Any = matchers.match
            return bool(match(self.hostname, pattern, matcher))
        return True

    def _dispatch(self, request: dict[str, Any]) -> None:
        method: Any = request.get("method")
        arguments = request.get("arguments") or {}
        logger.debug("pidbox received method %s(%s)", method, saferepr(arguments, 1024))
        try:
            answer = self.handlers[method](self.state, **arguments)
        except SystemExit:  # `WorkerShutdown`, and what a command of the user's may raise in its place
            self.state.node.ask_parent("shutdown")
            return
        except Exception as exc:  # a border: commands may be the user's
            logger.error("pidbox command error: %r", exc, exc_info=True, extra={"action": "command_failed"})
            answer = {"error": repr(exc)}
        reply_to = request.get("reply_to")
        if isinstance(reply_to, dict):
            self._send(self._answer(answer, reply_to, request.get("ticket")))

    def _send(self, answer: Message) -> None:
        """Once more if the connection for answers was broken; the one on which we listen may be well."""
        try:
            self.mailbox.reply(answer)
        except self.mailbox.errors:
            self.mailbox.reply(answer)

    def _answer(self, answer: Any, reply_to: dict[str, Any], ticket: Any) -> Message:
        serializer = self.app.conf.task_serializer
        try:
            written = _message.dumps({self.hostname: answer}, serializer)
        except Exception as exc:  # a border: a command of the user's may answer with anything
            logger.error("pidbox command error: %r", exc, exc_info=True, extra={"action": "command_failed"})
            written = _message.dumps({self.hostname: {"error": repr(exc)}}, serializer)
        content_type, encoding, body, _ = written
        return Message(
            headers={"ticket": ticket, "clock": self.app.clock.forward()},
            body=body,
            content_type=content_type,
            content_encoding=encoding,
            properties={"delivery_mode": TRANSIENT, "priority": 0},
            exchange=str(reply_to.get("exchange") or ""),
            routing_key=str(reply_to.get("routing_key") or ""),
        )
