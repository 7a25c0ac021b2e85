"""The names that other packages import from Celery, or patch in it: read from the wheels of 28 packages.

A dotted name is an attribute of a class. `NOT_YET` holds what belongs to parts that are not built; it may
only shrink, and tests/unit/test_names.py fails as soon as a name in it is there.
"""

from __future__ import annotations

# fmt: off
#: Imported with `from MODULE import NAME`, or used on what was imported.
NAMES: dict[str, tuple[str, ...]] = {
    "billiard": ("VERSION", "current_process"),
    "billiard.einfo": ("ExceptionInfo", "ExceptionWithTraceback"),
    "billiard.exceptions": (
        "RestartFreqExceeded", "SoftTimeLimitExceeded", "Terminated", "TimeLimitExceeded",
        "WorkerLostError",
    ),
    "billiard.pool": ("Worker", "Worker.workloop", "Worker._do_exit"),
    "billiard.process": ("current_process",),
    "celery": (
        "Celery", "Signature", "Task", "VERSION", "__version__", "bootsteps", "chain", "chord", "chunks",
        "current_app", "current_task", "group", "maybe_patch_concurrency", "maybe_signature", "registry",
        "schedules", "shared_task", "signals", "signature", "states", "subtask", "uuid", "version_info",
        "Celery.add_periodic_task", "Celery.autodiscover_tasks", "Celery.config_from_object",
        "Celery.connection", "Celery.connection_for_read", "Celery.connection_for_write",
        "Celery.finalize", "Celery.gen_task_name", "Celery.now", "Celery.producer_pool",
        "Celery.register_task", "Celery.send_task", "Celery.set_current", "Celery.set_default",
        "Celery.signature", "Celery.start", "Celery.task", "Celery.tasks", "Celery.worker_main",
    ),
    "celery._state": ("_task_stack", "current_app", "get_current_app", "get_current_task"),
    "celery.app": ("Celery", "app_or_default", "control", "default_app", "shared_task"),
    "celery.app.amqp": ("AMQP", "Queues"),
    "celery.app.base": ("Celery", "PendingConfiguration"),
    "celery.app.control": ("Control", "Inspect"),
    "celery.app.defaults": ("DEFAULT_PROCESS_LOG_FMT", "DEFAULT_TASK_LOG_FMT", "NAMESPACES"),
    "celery.app.log": ("Logging", "TaskFormatter"),
    "celery.app.registry": ("TaskRegistry",),
    "celery.app.routes": ("Router",),
    "celery.app.task": (
        "Context", "Task", "Task.AsyncResult", "Task.Strategy", "Task.after_return", "Task.apply",
        "Task.apply_async", "Task.backend", "Task.before_start", "Task.delay", "Task.on_failure",
        "Task.on_retry", "Task.on_success", "Task.request", "Task.request_stack", "Task.retry",
        "Task.run", "Task.s", "Task.signature", "Task.throws", "Task.update_state",
    ),
    "celery.app.trace": ("build_tracer", "task_has_custom"),
    "celery.app.utils": ("Settings",),
    "celery.backends.base": (
        "BaseBackend", "BaseDictBackend", "BaseKeyValueStoreBackend", "DisabledBackend",
        "KeyValueStoreBackend", "get_current_task", "BaseDictBackend._forget",
        "BaseDictBackend._get_task_meta_for", "BaseDictBackend._store_result",
        "BaseDictBackend.apply_chord", "BaseDictBackend.cleanup", "BaseDictBackend.current_task_children",
        "BaseDictBackend.encode_result", "BaseDictBackend.exception_safe_to_retry",
        "BaseDictBackend.meta_from_decoded", "BaseDictBackend.on_chord_part_return",
        "KeyValueStoreBackend.decode_result", "KeyValueStoreBackend.get_key_for_task",
        "KeyValueStoreBackend.meta_from_decoded", "KeyValueStoreBackend.mget",
    ),
    "celery.backends.database": ("DatabaseBackend", "Task", "retry", "session_cleanup"),
    "celery.backends.redis": ("RedisBackend",),
    "celery.beat": (
        "DEFAULT_MAX_INTERVAL", "PersistentScheduler", "ScheduleEntry", "Scheduler", "SchedulingError",
        "Service", "Scheduler.apply_async", "Scheduler.apply_entry", "Scheduler.install_default_entries",
        "Scheduler.is_due", "Scheduler.reserve", "Scheduler.schedules_equal", "Scheduler.setup_schedule",
        "Scheduler.sync", "Scheduler.tick", "Scheduler.update_from_dict", "ScheduleEntry.is_due",
        "ScheduleEntry._next_instance",
    ),
    "celery.bin.base": ("CeleryCommand",),
    "celery.bin.celery": ("celery", "main"),
    "celery.bootsteps": ("StartStopStep", "Step"),
    "celery.canvas": ("Signature", "chain", "chord", "group", "maybe_signature", "signature"),
    "celery.concurrency.base": ("BasePool", "BasePool.apply_async"),
    "celery.concurrency.prefork": ("process_destructor", "process_initializer"),
    "celery.contrib.abortable": ("AbortableAsyncResult", "AbortableTask"),
    "celery.contrib.django.task": ("DjangoTask", "DjangoTask.delay_on_commit"),
    "celery.contrib.pytest": (
        "celery_app", "celery_class_tasks", "celery_config", "celery_enable_logging", "celery_includes",
        "celery_parameters", "celery_session_app", "celery_session_worker", "celery_worker",
        "celery_worker_parameters", "celery_worker_pool", "depends_on_current_app", "use_celery_app_trap",
    ),
    "celery.contrib.testing.app": (
        "DEFAULT_TEST_CONFIG", "TestApp", "Trap", "UnitLogging", "set_trap", "setup_default_app",
    ),
    "celery.contrib.testing.manager": ("Manager", "ManagerMixin"),
    "celery.contrib.testing.mocks": ("ContextMock", "TaskMessage", "TaskMessage1", "task_message_from_sig"),
    "celery.contrib.testing.tasks": ("ping",),
    "celery.contrib.testing.worker": ("TestWorkController", "setup_app_for_worker", "start_worker"),
    "celery.events": ("EventReceiver",),
    "celery.events.receiver": ("EventReceiver.capture",),
    "celery.events.state": ("State", "Task.as_dict", "Worker.alive"),
    "celery.exceptions": (
        "AlreadyRegistered", "BackendError", "CeleryError", "ChordError", "Ignore",
        "ImproperlyConfigured", "InvalidTaskError", "MaxRetriesExceededError", "NotRegistered",
        "OperationalError", "Reject", "Retry", "SoftTimeLimitExceeded", "TaskRevokedError",
        "TimeLimitExceeded", "TimeoutError", "WorkerLostError", "WorkerShutdown",
    ),
    "celery.loaders.base": ("BaseLoader", "BaseLoader.init_worker"),
    "celery.local": ("Proxy", "Proxy.__call__"),
    "celery.platforms": ("close_open_fds",),
    "celery.registry": ("tasks",),
    "celery.result": (
        "AsyncResult", "EagerResult", "GroupResult", "ResultSet", "allow_join_result",
        "result_from_tuple", "EagerResult._get_task_meta",
    ),
    "celery.schedules": ("BaseSchedule", "crontab", "schedstate", "schedule", "solar"),
    "celery.signals": (
        "after_setup_logger", "after_setup_task_logger", "after_task_publish", "beat_embedded_init",
        "beat_init", "before_task_publish", "celeryd_after_setup", "celeryd_init", "eventlet_pool_apply",
        "eventlet_pool_postshutdown", "eventlet_pool_preshutdown", "eventlet_pool_started",
        "heartbeat_sent", "import_modules", "setup_logging", "task_failure", "task_internal_error",
        "task_postrun", "task_prerun", "task_received", "task_rejected", "task_retry", "task_revoked",
        "task_sent", "task_success", "task_unknown", "user_preload_options",
        "worker_before_create_process", "worker_init", "worker_process_init", "worker_process_shutdown",
        "worker_ready", "worker_shutdown", "worker_shutting_down",
    ),
    "celery.states": ("ALL_STATES", "EXCEPTION_STATES", "PROPAGATE_STATES", "READY_STATES", "UNREADY_STATES"),
    "celery.utils": (
        "cached_property", "get_full_cls_name", "gen_task_name", "nodesplit", "uuid", "worker_direct",
    ),
    "celery.utils.abstract": ("CallableTask",),
    "celery.utils.imports": ("instantiate", "symbol_by_name"),
    "celery.utils.log": ("ColorFormatter", "get_logger", "get_task_logger"),
    "celery.utils.nodenames": ("gethostname", "nodesplit"),
    "celery.utils.serialization": ("b64decode", "b64encode"),
    "celery.utils.time": (
        "adjust_timestamp", "get_exponential_backoff_interval", "humanize_seconds", "make_aware",
        "maybe_iso8601", "maybe_make_aware", "maybe_timedelta", "timezone", "utcoffset",
    ),
    "celery.worker": ("WorkController",),
    "celery.worker.consumer": ("Consumer",),
    "celery.worker.request": ("Request", "create_request_cls"),
    "celery.worker.strategy": ("hybrid_to_proto2", "proto1_to_proto2"),
    "kombu": ("Connection", "Producer", "Producer.publish", "serialization"),
    "kombu.asynchronous.timer": ("Timer", "to_timestamp"),
    "kombu.exceptions": ("ChannelError", "ConnectionError", "DecodeError", "OperationalError"),
    "kombu.message": ("Message",),
    "kombu.pools": ("producers",),
    "kombu.utils": ("symbol_by_name", "uuid"),
    "kombu.utils.compat": ("register_after_fork",),
    "kombu.utils.encoding": ("bytes_to_str", "safe_repr", "safe_str"),
    "kombu.utils.json": ("dumps", "loads"),
    "kombu.utils.objects": ("cached_property",),
    "kombu.utils.url": ("maybe_sanitize_url",),
    "kombu.utils.uuid": ("uuid",),
    "vine": ("promise",),
}
# fmt: on

#: Need a package that celerylite does not (SQLAlchemy, Django); checked only where it is installed.
NEEDS_PACKAGE: dict[str, str] = {
    "celery.backends.database": "sqlalchemy",
    "celery.contrib.django.task": "django",
}

#: Missing: "module" (all its names) or "module:name" -> the part that is not built, or why it will not be.
NOT_YET: dict[str, str] = {
    "celery.backends.base:BaseDictBackend.apply_chord": "not supported: followup counts, or the unlock task",
    "celery.backends.database": "not supported: celerylite has no store on SQLAlchemy",
    "celery.concurrency.base:BasePool.apply_async": "not supported: task processes take tasks themselves",
    "celery.worker.request:create_request_cls": "not supported: no class is made for a task; subclass Request",
}


def is_not_yet(module: str, name: str) -> bool:
    """Whether this name is excused."""
    return module in NOT_YET or f"{module}:{name}" in NOT_YET


def every_name() -> list[tuple[str, str]]:
    """All (module, name) pairs of the table, in order."""
    return [(module, name) for module, names in NAMES.items() for name in names]
