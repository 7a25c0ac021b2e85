"""Rate limits that all workers share, on Redis: the arithmetic of `rates.Line`, done by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celerylite.brokers import redis_scripts as scripts
from celerylite.brokers.redis_link import pack

if TYPE_CHECKING:
    from celerylite.brokers.redis import RedisBroker


def wait(broker: RedisBroker, name: str, period: float, *, back: bool) -> float:
    """As `rates.Line.wait`, by the server's clock."""
    key = broker.key(scripts.RATE + name)
    flag = b"1" if back else b"0"
    command = pack(b"EVALSHA", scripts.TAKE_START.sha, b"1", key, b"%.9f" % period, flag)
    try:
        return float(broker._call([command])[0])
    except broker.connection_errors:  # an idle connection that broke; at worst a start is counted twice
        return float(broker._call([command])[0])


def forget(broker: RedisBroker, name: str) -> None:
    """Begin the line anew."""
    broker._call([pack(b"DEL", broker.key(scripts.RATE + name))])
