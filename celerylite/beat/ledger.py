"""Where beats keep how far each entry has come, and how a tick is claimed and its task sent.

Best on the broker, in one step (`BrokerLedger`); else in the result store's server, in two (`ResultStoreLedger`); else
in this process, which must then be the only beat (`LocalLedger`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from celerylite import brokers, transports
from celerylite.beat.runs import Run
from celerylite.brokers.base import Notebook
from celerylite.brokers.values import Claim
from celerylite.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from celerylite.app.base import Celery
    from celerylite.brokers.base import Broker


def book_names(app: Celery) -> tuple[str, str]:
    """The notebooks of an app: the runs, and the entries that were made at run time."""
    name = app.main or "celery"
    return f"beat.{name}.runs", f"beat.{name}.entries"


class Ledger:
    """The contract, and how it is kept by a broker that has notebooks."""

    #: What beat says at start where something is less than it could be.
    warning: str | None = None
    #: Whether several beats may run.
    shared = True

    def __init__(self, app: Celery, broker: Broker, place: Broker) -> None:
        self.broker = broker
        self.place = place
        self.runs_book, entries_book = book_names(app)
        runs, entries = place.notebook(self.runs_book), place.notebook(entries_book)
        assert runs is not None and entries is not None
        self.runs: Notebook = runs
        self.entries: Notebook = entries

    def publish(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """As `Broker.publish_once`."""
        return self.place.publish_once(claims)

    def forget(self, wanted: Container[str], before: float) -> None:
        """Delete the notes of entries that are in no schedule and ran last `before`."""
        stored = self.entries.read()[1]
        old = [
            name
            for name, note in self.runs.read()[1].items()
            if name not in wanted and name not in stored and _last_tick(note) < before
        ]
        if old:
            self.runs.change(drop=old)

    def clock(self) -> float:
        """The time that all beats agree on."""
        return self.place.clock()


class ResultStoreLedger(Ledger):
    """Notes on the result store's server. A beat that dies between claiming and sending loses that tick."""

    def publish(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Claim each tick, then send its task; what cannot be sent is not claimed any more."""
        answers = self.place.publish_once([_without_messages(claim) for claim in claims])
        won = [number for number, answer in enumerate(answers) if answer is None]
        for done, number in enumerate(won):
            try:
                if claims[number].messages:
                    self.broker.publish_many(claims[number].messages)
            except BaseException:
                self._undo([claims[number] for number in won[done:]])
                if not done:
                    raise
                # Those before were sent, and must not be tried again; these are as they were.
                for number in won[done:]:
                    answers[number] = claims[number].seen or b""
                break
        return answers

    def _undo(self, claims: Iterable[Claim]) -> None:
        # The last first: several ticks of one entry stand on each other.
        for claim in reversed(list(claims)):
            self.place.publish_once([Claim(claim.book, claim.field, claim.value, claim.seen or b"")])


class LocalLedger(Ledger):
    """Notes in this process."""

    shared = False

    def __init__(self, app: Celery, broker: Broker) -> None:
        from celerylite.brokers.memory import MemoryNotebook  # lazy: for brokers without notebooks only

        self.broker = self.place = broker
        self.runs_book, _ = book_names(app)
        self.runs, self.entries = MemoryNotebook(), MemoryNotebook()

    def publish(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """Send, then note."""
        answers: list[bytes | None] = []
        for claim in claims:
            found = self.runs.look([claim.field])[0]
            if found == claim.seen:
                if claim.messages:
                    self.broker.publish_many(claim.messages)
                self.runs.change({claim.field: claim.value})
            answers.append(None if found == claim.seen else found or b"")
        return answers


def choose(app: Celery) -> Ledger:
    """The best that the app's broker and result store allow."""
    broker = app.broker
    if broker.notebook(book_names(app)[0]) is not None:
        return Ledger(app, broker, broker)
    address = brokers.as_uri(app.connection_for_write())
    place = _result_store(app)
    if place is None:
        ledger: Ledger = LocalLedger(app, broker)
        ledger.warning = (
            f"{address} cannot keep what several beats must agree on, nor can the result store: "
            "run one beat only, or tasks will be sent more than once"
        )
        return ledger
    ledger = ResultStoreLedger(app, broker, place)
    ledger.warning = (
        f"{address} cannot claim a tick and send its task in one step: ticks are claimed in the result store. "
        "Several beats may run, but one that is killed between the two steps loses that tick"
    )
    return ledger


def _result_store(app: Celery) -> Broker | None:
    """A broker on the server of the result store, where there is one that keeps notebooks."""
    url = app.conf.result_backend
    if not isinstance(url, str) or "://" not in url:
        return None
    options: dict[str, Any] = dict(app.conf.result_backend_transport_options or {})
    where = transports.for_kombu(url)
    connection = app.amqp.Connection(where, ssl=app.conf.redis_backend_use_ssl, transport_options=options)
    try:
        place = brokers.connect(app, connection)
    except (ImproperlyConfigured, KeyError):
        return None
    return place if place.notebook(book_names(app)[0]) is not None else None


def _last_tick(note: bytes) -> float:
    try:
        return Run.read(note).tick
    except ValueError:
        return 0.0


def _without_messages(claim: Claim) -> Claim:
    return Claim(claim.book, claim.field, claim.seen, claim.value)
