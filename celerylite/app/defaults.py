"""All settings in one table: name, default, type, old name, and a line of help.

`NAMESPACES` is the table; `DEFAULTS` and the maps between new and old names are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

__all__ = ("Option", "NAMESPACES", "flatten", "find")

DEFAULT_POOL = "prefork"
DEFAULT_ACCEPT_CONTENT = ("json",)
DEFAULT_SECURITY_DIGEST = "sha256"
DEFAULT_PROCESS_LOG_FMT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
DEFAULT_TASK_LOG_FMT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"

OLD_NS = {"celery_{0}"}
OLD_NS_BEAT = {"celerybeat_{0}"}
OLD_NS_WORKER = {"celeryd_{0}"}


def _boolean(value: Any) -> bool:
    from ..utils.serialization import strtobool  # lazy: 2 ms, and settings from a program are no text

    return strtobool(value)


class Option:
    """One setting."""

    alt: str | None = None
    deprecate_by: str | None = None
    remove_by: str | None = None
    help = ""
    #: The old name in lower case; None where it is the new name in upper case.
    old_name: str | None = None

    typemap: dict[Any, Callable[[Any], Any]] = {
        "string": str,
        "str": str,
        "bytes": bytes,
        "int": int,
        "float": float,
        "any": lambda value: value,
        "bool": _boolean,
        "dict": dict,
        "tuple": tuple,
        "list": list,
        int: int,
    }

    def __init__(
        self, default: Any = None, *, type: Any = "string", old: str | None = None, **kwargs: Any
    ) -> None:
        self.default = default
        self.type = type
        self.old_name = old
        for attribute, value in kwargs.items():
            setattr(self, attribute, value)

    @property
    def old(self) -> set[str]:
        """The old name as a set, which is how Celery keeps it."""
        return {self.old_name} if self.old_name else set()

    def to_python(self, value: Any) -> Any:
        """A value given as text, on the command line for instance, in the type of this setting."""
        return self.typemap[self.type](value)

    def __repr__(self) -> str:
        return f"<Option: type->{self.type} default->{self.default!r}>"


class searchresult(NamedTuple):  # the lower-case name is Celery's
    """Where `find` found a setting."""

    namespace: str | None
    key: str
    type: Any


def Namespace(__old__: str | None = None, **options: Any) -> dict[str, Any]:  # noqa: N802 (Celery's name)
    """A group of settings; `__old__` is the pattern of their old names."""
    if __old__ is not None:
        for name, option in options.items():
            if option.old_name is None:
                option.old_name = __old__.format(name)
    return options


NAMESPACES: dict[str, Any] = Namespace(
    accept_content=Option(
        DEFAULT_ACCEPT_CONTENT,
        type="list",
        old="celery_accept_content",
        help="Content types or serializer names that are let in.",
    ),
    result_accept_content=Option(type="list", help="The same for results; None: as accept_content."),
    enable_utc=Option(True, type="bool", help="Dates in messages are in UTC."),
    imports=Option((), type="tuple", old="celery_imports", help="Modules to import when the worker starts."),
    include=Option(
        (),
        type="tuple",
        old="celery_include",
        help="More modules to import; kept apart so that imports can be replaced.",
    ),
    timezone=Option(old="celery_timezone", help="The name of the time zone; None: UTC."),
    beat=Namespace(
        __old__="celerybeat_{0}",
        enable_remote_control=Option(False, type="bool", help="Let beat answer remote control requests."),
        remote_control_max_tick_age=Option(
            type="float", help="Seconds after which a beat that does not tick is reported as stuck."
        ),
        max_loop_interval=Option(
            0, type="float", help="The longest that beat sleeps, in seconds; 0: as the scheduler likes."
        ),
        schedule=Option({}, type="dict", help="The periodic tasks."),
        scheduler=Option("celerylite.beat:PersistentScheduler", help="The scheduler class."),
        schedule_filename=Option(
            "celerybeat-schedule", help="Where the scheduler keeps when it last ran what."
        ),
        sync_every=Option(
            0, type="int", help="How many tasks may be sent before that file is written; 0: by time only."
        ),
        cron_starting_deadline=Option(
            type=int, help="How many seconds late a cron entry may still be started after a pause."
        ),
    ),
    broker=Namespace(
        url=Option(help="Where the broker is: one URL, or several to fall back on."),
        read_url=Option(help="The broker that workers read from, if it is another."),
        write_url=Option(help="The broker that clients write to, if it is another."),
        transport=Option(help="The kind of broker, where the URL does not say."),
        transport_options=Option({}, type="dict", help="Options for this kind of broker."),
        connection_timeout=Option(4, type="float", help="Seconds to wait for a connection."),
        connection_retry=Option(True, type="bool", help="Connect again when the connection is lost."),
        connection_retry_on_startup=Option(
            type="bool", help="Try again also when the first connection fails; None: as above."
        ),
        connection_max_retries=Option(
            100, type="int", help="How often to try before giving up; None or 0: without end."
        ),
        channel_error_retry=Option(False, type="bool", help="Connect again also after channel errors."),
        failover_strategy=Option(help="How the next of several URLs is chosen."),
        heartbeat=Option(120, type="int", help="Seconds between heartbeats on AMQP."),
        heartbeat_checkrate=Option(3.0, type="int", help="How many times in that span they are looked for."),
        login_method=Option(help="The AMQP login method."),
        native_delayed_delivery_queue_type=Option(
            "quorum", help="The type of the queues that hold delayed messages on RabbitMQ."
        ),
        pool_limit=Option(
            10,
            type="int",
            help="How many connections a process may hold open for sending; 0 or None: no pool.",
        ),
        pool_acquire_timeout=Option(type="float", help="Seconds to wait for one of them."),
        use_ssl=Option(False, type="bool", help="Use TLS: True, or a dict of options."),
        host=Option(help="Part of the address, where there is no URL."),
        port=Option(type="int", help="Part of the address, where there is no URL."),
        user=Option(help="Part of the address, where there is no URL."),
        password=Option(help="Part of the address, where there is no URL."),
        vhost=Option(help="Part of the address, where there is no URL."),
    ),
    cache=Namespace(
        __old__="celery_cache_{0}",
        backend=Option(help="The cache that the cache backend uses."),
        backend_options=Option({}, type="dict", help="Options for that cache."),
    ),
    cassandra=Namespace(
        entry_ttl=Option(type="float", help="Seconds after which results expire."),
        keyspace=Option(help="The keyspace for results."),
        port=Option(help="The port."),
        read_consistency=Option(help="The consistency level of reads."),
        servers=Option(type="list", help="The servers."),
        bundle_path=Option(help="The bundle for a connection to Astra."),
        table=Option(help="The table for results."),
        write_consistency=Option(help="The consistency level of writes."),
        auth_provider=Option(help="The class that authenticates."),
        auth_kwargs=Option(help="What it is called with."),
        options=Option({}, type="dict", help="More options for the cluster."),
    ),
    s3=Namespace(
        access_key_id=Option(help="The access key."),
        secret_access_key=Option(help="The secret key."),
        bucket=Option(help="The bucket for results."),
        base_path=Option(help="The prefix of the keys."),
        endpoint_url=Option(help="Another endpoint than Amazon's."),
        region=Option(help="The region."),
    ),
    azureblockblob=Namespace(
        container_name=Option("celery", help="The container for results."),
        retry_initial_backoff_sec=Option(2, type="int", help="Seconds before the first retry."),
        retry_increment_base=Option(2, type="int", help="How fast the waits grow."),
        retry_max_attempts=Option(3, type="int", help="How often to try."),
        base_path=Option("", help="The prefix of the keys."),
        connection_timeout=Option(20, type="int", help="Seconds to wait for a connection."),
        read_timeout=Option(120, type="int", help="Seconds to wait for an answer."),
    ),
    gcs=Namespace(
        bucket=Option(help="The bucket for results."),
        project=Option(help="The project."),
        base_path=Option("", help="The prefix of the keys."),
        ttl=Option(0, type="float", help="Seconds after which results expire; 0: never."),
    ),
    control=Namespace(
        queue_ttl=Option(300.0, type="float", help="Seconds that a remote control request lives in a queue."),
        queue_expires=Option(
            10.0, type="float", help="Seconds after which an unused control queue is removed."
        ),
        queue_exclusive=Option(True, type="bool", help="Control queues belong to one connection."),
        queue_durable=Option(False, type="bool", help="Control queues survive a restart of the broker."),
        exchange=Option("celery", help="The exchange of remote control."),
    ),
    couchbase=Namespace(
        backend_settings=Option(
            type="dict", old="celery_couchbase_backend_settings", help="Options of this backend."
        ),
    ),
    arangodb=Namespace(
        backend_settings=Option(
            type="dict", old="celery_arangodb_backend_settings", help="Options of this backend."
        ),
    ),
    mongodb=Namespace(
        backend_settings=Option(
            type="dict", old="celery_mongodb_backend_settings", help="Options of this backend."
        ),
    ),
    cosmosdbsql=Namespace(
        database_name=Option("celerydb", help="The database for results."),
        collection_name=Option("celerycol", help="The collection for results."),
        consistency_level=Option("Session", help="The consistency level."),
        max_retry_attempts=Option(9, type="int", help="How often to try."),
        max_retry_wait_time=Option(30, type="int", help="Seconds to go on trying."),
    ),
    event=Namespace(
        __old__="celery_event_{0}",
        queue_expires=Option(
            60.0, type="float", help="Seconds after which the queue of a monitor that is gone is removed."
        ),
        queue_ttl=Option(5.0, type="float", help="Seconds that an event lives in such a queue."),
        queue_prefix=Option("celeryev", help="How the names of these queues begin."),
        queue_exclusive=Option(True, type="bool", help="These queues belong to one connection."),
        queue_durable=Option(False, type="bool", help="These queues survive a restart of the broker."),
        serializer=Option("json", help="How events are serialized."),
        exchange=Option("celeryev", help="The exchange of events."),
    ),
    redis=Namespace(
        __old__="celery_redis_{0}",
        backend_use_ssl=Option(type="dict", help="TLS options for the result store."),
        db=Option(type="int", help="The database number, where there is no URL."),
        host=Option(help="The host, where there is no URL."),
        max_connections=Option(type="int", help="How many connections a process may hold for results."),
        username=Option(help="The user, where there is no URL."),
        password=Option(help="The password, where there is no URL."),
        port=Option(type="int", help="The port, where there is no URL."),
        socket_timeout=Option(120.0, type="float", help="Seconds to wait for an answer."),
        socket_connect_timeout=Option(type="float", help="Seconds to wait for a connection."),
        retry_on_timeout=Option(False, type="bool", help="Try again after a timeout."),
        socket_keepalive=Option(False, type="bool", help="Let the system keep the connection alive."),
    ),
    result=Namespace(
        __old__="celery_result_{0}",
        backend=Option(help="Where results are stored; None: nowhere."),
        cache_max=Option(
            -1,
            type="int",
            old="celery_max_cached_results",
            help="How many results a client remembers; -1: none, 0: without end.",
        ),
        compression=Option(type="str", help="How results are compressed."),
        exchange=Option("celeryresults", help="The exchange for results of the old AMQP backend."),
        exchange_type=Option("direct", help="Its type."),
        expires=Option(
            timedelta(days=1),
            type="float",
            old="celery_task_result_expires",
            help="Seconds, or a timedelta, after which a result is removed.",
        ),
        chord_expires=Option(
            type="float", help="The same for what is kept about a chord; None: as result_expires."
        ),
        failure_expires=Option(
            type="float", help="The same for results of tasks that failed; None: as result_expires."
        ),
        persistent=Option(type="bool", help="Results sent as messages survive a restart of the broker."),
        extended=Option(
            False, type="bool", help="Store the name, arguments, worker, retries and queue with the result."
        ),
        serializer=Option("json", help="How results are serialized."),
        backend_transport_options=Option({}, type="dict", help="Options for the result store."),
        chord_retry_interval=Option(
            1.0, type="float", help="Seconds between looks at a chord, where the backend cannot count."
        ),
        chord_join_timeout=Option(
            3.0, type="float", help="Known, and without effect: nobody waits for the results of a chord's header."
        ),
        backend_max_sleep_between_retries_ms=Option(
            10000, type="int", help="The longest wait before the store is tried again."
        ),
        backend_max_retries=Option(float("inf"), type="float", help="How often the store is tried."),
        backend_base_sleep_between_retries_ms=Option(
            10, type="int", help="The first wait; each one is longer."
        ),
        backend_always_retry=Option(False, type="bool", help="Try again when the store fails."),
    ),
    elasticsearch=Namespace(
        __old__="celery_elasticsearch_{0}",
        retry_on_timeout=Option(type="bool", help="Try again after a timeout."),
        max_retries=Option(type="int", help="How often to try."),
        timeout=Option(type="float", help="Seconds to wait for an answer."),
        save_meta_as_text=Option(True, type="bool", help="Store the result as text, not as JSON."),
    ),
    security=Namespace(
        __old__="celery_security_{0}",
        certificate=Option(help="The file of the certificate for security_key: how others know who has signed."),
        cert_store=Option(help="Whose messages are trusted: a folder of certificates, or a pattern."),
        key=Option(help="The file of the private key that messages are signed with (docs/security.md)."),
        key_password=Option(type="bytes", help="Its password."),
        digest=Option("sha256", help="The digest of signatures (see docs/security.md)."),
    ),
    database=Namespace(
        url=Option(old="celery_result_dburi", help="The database for results; set result_backend instead."),
        engine_options=Option(
            {"pool_pre_ping": True, "pool_recycle": 3600},
            type="dict",
            old="celery_result_engine_options",
            help="Options for SQLAlchemy's engine.",
        ),
        engine_callback=Option(type="any", help="Called with the engine when it was made."),
        short_lived_sessions=Option(
            False,
            type="bool",
            old="celery_result_db_short_lived_sessions",
            help="A new session for each use.",
        ),
        table_schemas=Option(type="dict", help="The schemas of the tables."),
        table_names=Option(type="dict", old="celery_result_db_tablenames", help="The names of the tables."),
        create_tables_at_setup=Option(
            True, type="bool", help="Make the tables at the start, not when they are first needed."
        ),
    ),
    task=Namespace(
        __old__="celery_{0}",
        acks_late=Option(
            False, type="bool", help="Acknowledge a message after the task has run, not before."
        ),
        acks_on_failure_or_timeout=Option(
            True,
            type="bool",
            deprecate_by="6.0",
            remove_by="7.0",
            alt="task_acks_on_failure and task_acks_on_timeout",
            help="Acknowledge also when the task failed (with late acknowledgement).",
        ),
        acks_on_failure=Option(type="bool", help="The same for failures only; None: as above."),
        acks_on_timeout=Option(type="bool", help="The same for timeouts only; None: as above."),
        always_eager=Option(False, type="bool", help="Run tasks where they are called, without a broker."),
        annotations=Option(type="any", help="Attributes to be set on tasks by name."),
        compression=Option(old="celery_message_compression", help="How messages are compressed."),
        create_missing_queues=Option(
            True, type="bool", help="A queue that is not in task_queues is made when it is named."
        ),
        create_missing_queue_type=Option("classic", help="The type of such a queue."),
        create_missing_queue_exchange_type=Option(help="The type of its exchange."),
        inherit_parent_priority=Option(False, type="bool", help="Tasks called by a task have its priority."),
        default_delivery_mode=Option(
            2, help='2 or "persistent": messages are written to disk; 1 or "transient".'
        ),
        default_queue=Option("celery", help="The queue of tasks that name none."),
        default_queue_type=Option("classic", help="Its type."),
        default_exchange=Option(help="Its exchange; None: named as the queue."),
        default_exchange_type=Option("direct", help="The type of the exchange."),
        default_routing_key=Option(help="Its routing key; None: named as the queue."),
        default_rate_limit=Option(help='How often a task may run on one worker, such as "10/m".'),
        rate_limit_scope=Option(
            "worker",
            help='Whether rate limits count for each "worker" (as in Celery), or for all workers together ("global").',
        ),
        default_priority=Option(help="The priority of tasks that name none."),
        eager_propagates=Option(
            False,
            type="bool",
            old="celery_eager_propagates_exceptions",
            help="Tasks that run eagerly raise their errors.",
        ),
        ignore_result=Option(False, type="bool", help="Store no results."),
        store_eager_result=Option(False, type="bool", help="Store the results of eager tasks, too."),
        protocol=Option(
            2, type="int", old="celery_task_protocol", help="The version of the message protocol."
        ),
        publish_retry=Option(
            True,
            type="bool",
            old="celery_task_publish_retry",
            help="Try again when a message cannot be sent.",
        ),
        publish_retry_policy=Option(
            {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
            type="dict",
            old="celery_task_publish_retry_policy",
            help="How often and after how long.",
        ),
        queues=Option(type="dict", help="The queues; None: the default queue alone."),
        queue_max_priority=Option(type="int", help="The highest priority of queues on RabbitMQ."),
        reject_on_worker_lost=Option(
            type="bool", help="Put a late-acknowledged task back when its process died."
        ),
        retry_on_worker_lost=Option(
            False, type="bool", help="Retry a task when its process died, as if it had asked for it."
        ),
        remote_tracebacks=Option(
            False, type="bool", help="Show the worker's traceback when a result raises (needs tblib)."
        ),
        repr_maxlevels=Option(3, type="int", help="How deep arguments are shown in logs and events."),
        routes=Option(type="any", help="Which task goes to which queue."),
        send_sent_event=Option(
            False,
            type="bool",
            old="celery_send_task_sent_event",
            help="Send an event for each task that is called.",
        ),
        serializer=Option("json", old="celery_task_serializer", help="How arguments are serialized."),
        soft_time_limit=Option(
            type="float",
            old="celeryd_task_soft_time_limit",
            help="Seconds after which a task is told to come to an end.",
        ),
        time_limit=Option(
            type="float", old="celeryd_task_time_limit", help="Seconds after which a task is killed."
        ),
        store_errors_even_if_ignored=Option(
            False, type="bool", help="Store errors of tasks whose results are ignored."
        ),
        track_started=Option(False, type="bool", help="Store that a task is running."),
        allow_error_cb_on_chord_header=Option(
            False, type="bool", help="Errbacks of a chord are called for its header's tasks, too."
        ),
    ),
    worker=Namespace(
        __old__="celeryd_{0}",
        agent=Option(help="Not used any more."),
        autoscaler=Option(
            "celerylite.worker.autoscale:Autoscaler", help="The class that adds and removes processes."
        ),
        cancel_long_running_tasks_on_connection_loss=Option(
            False, type="bool", help="Stop late-acknowledged tasks when the broker is lost."
        ),
        soft_shutdown_timeout=Option(
            0.0, type="float", help="Seconds that running tasks get when the worker is told to stop cold."
        ),
        enable_soft_shutdown_on_idle=Option(
            False, type="bool", help="Take that time also when nothing runs."
        ),
        concurrency=Option(type="any", help="How many tasks run at a time; None: one for each CPU."),
        consumer=Option("celerylite.worker.consumer:Consumer", help="The consumer class."),
        direct=Option(
            False, type="bool", old="celery_worker_direct", help="Each worker has a queue of its own."
        ),
        disable_rate_limits=Option(
            False, type="bool", old="celery_disable_rate_limits", help="Ignore all rate limits."
        ),
        deduplicate_successful_tasks=Option(
            False, type="bool", help="A redelivered task that has a result already is not run again."
        ),
        enable_remote_control=Option(
            True, type="bool", old="celery_enable_remote_control", help="Answer remote control requests."
        ),
        hijack_root_logger=Option(
            True,
            type="bool",
            help="Take the handlers of the root logger away and set up our own; a configuration that the "
            "project made is only replaced where this is set to True.",
        ),
        health_port=Option(
            type="any", help="Port, or host:port, where /live and /ready are answered over HTTP."
        ),
        heartbeat_file=Option(help="A file that is touched every second while the worker is alive."),
        log_color=Option(type="bool", help="Colours in logs; None: on a terminal only."),
        log_datefmt=Option(help="How the date is written in log lines."),
        log_format=Option(DEFAULT_PROCESS_LOG_FMT, help="The format of log lines."),
        log_json=Option(False, type="bool", help="Log one JSON object a line; as --log-format json."),
        lost_wait=Option(
            10.0,
            type="float",
            old="celeryd_worker_lost_wait",
            help="Seconds to wait for the result of a process that died.",
        ),
        max_memory_per_child=Option(type="int", help="KiB of memory after which a task process is replaced."),
        max_tasks_per_child=Option(type="int", help="How many tasks a process runs before it is replaced."),
        pool=Option("prefork", help="Which executor runs the tasks."),
        pool_putlocks=Option(True, type="bool", help="Not used any more."),
        pool_restarts=Option(False, type="bool", help="Allow the remote command pool_restart."),
        pool_start_method=Option("fork", help="How task processes are started."),
        proc_alive_timeout=Option(
            4.0, type="float", help="Seconds in which a new task process has to be up."
        ),
        prefetch_multiplier=Option(4, type="int", help="How many messages a worker may hold for each slot."),
        eta_task_limit=Option(type="int", help="How many waiting tasks a worker may hold in memory."),
        enable_prefetch_count_reduction=Option(
            True, type="bool", help="Hold fewer messages for a while after the connection was lost."
        ),
        disable_prefetch=Option(False, type="bool", help="Fetch a message only when a slot is free."),
        redirect_stdouts=Option(
            True, type="bool", old="celery_redirect_stdouts", help="What tasks print goes to the log."
        ),
        redirect_stdouts_level=Option(
            "WARNING", old="celery_redirect_stdouts_level", help="With this level."
        ),
        send_task_events=Option(
            False, type="bool", old="celery_send_events", help="Send events about tasks, for monitors."
        ),
        state_db=Option(help="The file that keeps the revoked tasks over a restart."),
        task_log_datefmt=Option(help="How the date is written in task log lines."),
        task_log_format=Option(DEFAULT_TASK_LOG_FMT, help="The format of log lines of tasks."),
        timer=Option(help="Not used any more."),
        timer_precision=Option(1.0, type="float", help="Not used any more."),
        detect_quorum_queues=Option(
            True,
            type="bool",
            help="Look whether the queues are quorum queues, which know no global prefetch.",
        ),
        lease=Option(
            15.0, type="float", help="Seconds after which the messages of a worker that died are free again."
        ),
        delivery_limit=Option(
            5,
            type="int",
            help="How often a message may be given to workers that die of it; None: any number.",
        ),
        dead_letter_limit=Option(
            10000, type="int", help="How many messages are kept of those that were set aside."
        ),
        fetch_max=Option(100, type="int", help="The most messages that a task process takes at a time."),
        long_task=Option(
            0.1, type="float", help="Seconds of run time from which on messages are fetched one at a time."
        ),
    ),
)


def _flatten_keys(ns: str, key: str, opt: Any) -> list[tuple[str, Any]]:
    return [(ns + key, opt)]


def flatten(
    d: Mapping[str, Any], root: str = "", keyfilter: Callable[[str, str, Any], Any] = _flatten_keys
) -> Iterator[tuple[str, Any]]:
    """(full name, option) of every setting in the table."""
    for key, value in d.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{root}{key}_", keyfilter)
        else:
            yield from keyfilter(root, key, value)


_OPTIONS: dict[str, Option] = dict(flatten(NAMESPACES))

#: The default of every setting. Do not change it: `Settings` hands out copies of what can be changed.
DEFAULTS: dict[str, Any] = {name: option.default for name, option in _OPTIONS.items()}
_TO_OLD_KEY: dict[str, str] = {name: (opt.old_name or name).upper() for name, opt in _OPTIONS.items()}
_TO_NEW_KEY: dict[str, str] = {old: new for new, old in _TO_OLD_KEY.items()}
_OLD_DEFAULTS: dict[str, Any] = {old: DEFAULTS[new] for old, new in _TO_NEW_KEY.items()}

SETTING_KEYS = set(DEFAULTS)
_OLD_SETTING_KEYS = set(_TO_NEW_KEY)


def find(name: str, namespace: str = "celery") -> searchresult:
    """The setting called `name`, in full or without its group; in `namespace` first."""
    lowered = name.lower()
    group = NAMESPACES.get(namespace.lower())
    if isinstance(group, dict) and lowered in group:
        return searchresult(namespace, lowered, group[lowered])
    for ns, options in NAMESPACES.items():
        if ns == lowered:
            return searchresult(None, ns, options)
        if isinstance(options, dict) and lowered in options:
            return searchresult(ns, lowered, options[lowered])
    return searchresult(None, lowered, _OPTIONS[lowered])
