"""The tables of an SQLite file, and the statements of which several modules need the same.

A message is one row for its whole life: it waits (neither due nor held), is delayed (`due` is set) or held (`consumer`
is set). The order of rows is the order of a queue; what goes to the front gets a number below all others.
"""

from __future__ import annotations

#: "CLit": says that a file is ours.
APPLICATION_ID = 0x434C6974
VERSION = 1

TABLES = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    due REAL,
    consumer TEXT,
    number INTEGER,
    raw BLOB NOT NULL
);
CREATE INDEX message_waiting ON message (queue, priority) WHERE consumer IS NULL AND due IS NULL;
CREATE INDEX message_due ON message (due) WHERE due IS NOT NULL;
CREATE INDEX message_held ON message (consumer, number) WHERE consumer IS NOT NULL;

CREATE TABLE consumer (
    name TEXT PRIMARY KEY,
    lease REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE dead (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    reason TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    time REAL NOT NULL,
    worker TEXT NOT NULL,
    raw BLOB NOT NULL,
    task_id TEXT,
    task_name TEXT
);

CREATE TABLE result (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL,
    expires REAL,
    value BLOB NOT NULL
);
CREATE INDEX result_expires ON result (expires) WHERE expires IS NOT NULL;

CREATE TABLE waiter (
    key BLOB NOT NULL,
    bell TEXT NOT NULL,
    PRIMARY KEY (key, bell)
) WITHOUT ROWID;
CREATE INDEX waiter_bell ON waiter (bell);

CREATE TABLE chord (
    key BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    count INTEGER NOT NULL,
    expires REAL,
    ended REAL,
    about BLOB,
    body BLOB,
    saved BLOB
);
CREATE INDEX chord_expires ON chord (expires) WHERE expires IS NOT NULL;
CREATE INDEX chord_ended ON chord (ended) WHERE ended IS NOT NULL;
CREATE TABLE part (
    chord BLOB NOT NULL,
    task TEXT NOT NULL,
    place REAL NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (chord, task)
);

CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    expires REAL NOT NULL,
    lifetime REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE binding (
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    pattern TEXT NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (exchange, routing_key, pattern, queue)
) WITHOUT ROWID;
CREATE INDEX binding_queue ON binding (queue);

CREATE TABLE notebook (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE note (
    notebook TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (notebook, key)
) WITHOUT ROWID;
"""

SEND = "INSERT INTO message (queue, priority, due, raw) VALUES (?, ?, ?, ?)"

WAITING = (
    "SELECT priority, id, raw FROM message WHERE queue = ? AND consumer IS NULL AND due IS NULL "
    "ORDER BY priority, id LIMIT ?"
)
ANY = "SELECT 1 FROM message WHERE queue = ? AND consumer IS NULL AND due IS NULL LIMIT 1"
HOLD = "UPDATE message SET consumer = ?, number = ? WHERE id = ?"
#: The id, the consumer and the number of a message that is held.
_HELD = "WHERE id = ? AND consumer = ? AND number = ?"
IS_HELD = f"SELECT 1 FROM message {_HELD}"
LET_GO = f"DELETE FROM message {_HELD}"
#: To the very front; first of all the message as it is from now on.
_FRONT = "min((SELECT id FROM message ORDER BY id LIMIT 1), 1) - 1"
RETURN = f"UPDATE message SET raw = ?, consumer = NULL, number = NULL, id = {_FRONT} {_HELD}"
PROMOTE = f"UPDATE message SET due = NULL, id = {_FRONT} WHERE id = ?"
#: Due time, the message as it is from now on, then as above.
DEFER = f"UPDATE message SET due = ?, raw = ?, consumer = NULL, number = NULL {_HELD}"

BURY = (
    "INSERT INTO dead (id, reason, queue, priority, time, worker, raw, task_id, task_name) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
TRIM_DEAD = "DELETE FROM dead WHERE number <= (SELECT max(number) FROM dead) - ?"

#: key, state, expires, value. A task that has succeeded stays so.
STORE = (
    "INSERT INTO result (key, state, expires, value) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "state = excluded.state, expires = excluded.expires, value = excluded.value "
    "WHERE state != 'SUCCESS' OR expires <= ?"
)
WAITERS = "SELECT bell FROM waiter WHERE key = ?"

#: Exchange, routing key, pattern, queue.
BIND = "INSERT OR IGNORE INTO binding (exchange, routing_key, pattern, queue) VALUES (?, ?, ?, ?)"
BOUND_TO = "SELECT exchange, routing_key, pattern, queue FROM binding WHERE exchange = ?"
IS_BOUND = "SELECT 1 FROM binding WHERE exchange = ? AND routing_key = ? AND pattern = ? AND queue = ?"
