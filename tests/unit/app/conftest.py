"""Apps whose messages are kept instead of sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celerylite import Celery, _state
from tests.support.recording import RecordingBroker


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app of its own, that is current while the test runs."""
    before = _state._tls.current_app, _state.default_app, _state._process_app, set(_state._on_app_finalizers)
    app = Celery("proj", broker="redis://nowhere", backend="cache+memory://")
    app._broker = RecordingBroker()
    yield app
    app.close()
    _state._tls.current_app, _state.default_app, _state._process_app = before[:3]
    _state._on_app_finalizers.clear()
    _state._on_app_finalizers.update(before[3])


@pytest.fixture
def sent(app: Celery) -> list:
    """The messages that the app has sent."""
    return app.broker.sent
