"""The database under the ledger: its engine, what each kind of database needs, its migrations, its errors in our words.

It knows no table; `keepwarm.ledger` reads and writes them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError, StatementError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool, StaticPool

from keepwarm.clock import sleep
from keepwarm.errors import LedgerError
from keepwarm.ledger.files import create_file, parse_url, sqlite_file

OPEN_HINT = "check KEEPWARM_LEDGER_URL, that the database is up, and that this user may write to it"
NEWER_HINT = "run the newer keepwarm that wrote it, or give this one another KEEPWARM_LEDGER_URL"
TROUBLE_HINT = "check that the ledger's disk has room, that its database is up, and that nobody changed its tables"
_DRIVER_HINT = (
    "install the driver that KEEPWARM_LEDGER_URL names (pip install 'keepwarm[postgresql]' for "
    "postgresql+psycopg://...), or correct it"
)

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT = timedelta(seconds=30)
_WAL_PAUSE = timedelta(milliseconds=20)

# A network that swallows everything must end a connection within seconds, not after the two hours of TCP.
_POSTGRESQL_PATIENCE = {
    "fallback_application_name": "keepwarm",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_MIGRATING = 1801810801  # an advisory lock of PostgreSQL; `lease` has another


def open_engine(url: str) -> Engine:
    """An engine on a database whose tables are up to date; a missing SQLite file is created.

    Raises:
        LedgerError: it cannot be opened or written, is not a database, or was migrated by a newer keepwarm.
    """
    parsed = parse_url(url)
    path = sqlite_file(parsed)
    if path:
        create_file(path)
    engine = _connect(parsed, in_memory=parsed.get_backend_name() == "sqlite" and path is None)
    try:
        with worded(f"cannot open the ledger {_shown(parsed)}", hint=OPEN_HINT):
            _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def single_engine(engine: Engine) -> Engine:
    """An engine on the same PostgreSQL whose connections are its own, new each time, and in autocommit."""
    return create_engine(
        engine.url, **_options(engine.url), poolclass=NullPool, isolation_level="AUTOCOMMIT", hide_parameters=True
    )


def _connect(url: URL, *, in_memory: bool) -> Engine:
    options = _options(url)
    if in_memory:
        options |= {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    elif url.get_backend_name() != "sqlite":
        options |= {"poolclass": QueuePool, "pool_size": 10, "max_overflow": 20, "pool_pre_ping": True}
    try:
        engine = create_engine(url, hide_parameters=True, **options)
    except (SQLAlchemyError, ImportError) as error:
        raise LedgerError(f"no driver for the ledger's database: {error}", hint=_DRIVER_HINT) from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _options(url: URL) -> dict[str, Any]:
    """What the driver wants; whatever the URL says itself goes before."""
    if url.get_backend_name() != "postgresql" or url.get_driver_name() not in {"psycopg", "psycopg2"}:
        return {}
    return {"connect_args": {name: value for name, value in _POSTGRESQL_PATIENCE.items() if name not in url.query}}


def _shown(url: URL) -> str:
    """The URL for people: without its password, which drivers of servers also take as a parameter."""
    public = url if url.get_backend_name() == "sqlite" else url.set(query={})
    return public.render_as_string(hide_password=True)


def _set_up_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT // timedelta(milliseconds=1)}")
    connection.execute("PRAGMA foreign_keys = ON")
    _switch_to_wal(connection)
    # FULL: an intent must outlive a power cut, or a billed ping could be missing; NORMAL would only outlive kill -9.
    connection.execute("PRAGMA synchronous = FULL")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # The first switch of a new file needs it alone, and SQLite does not wait for that as it waits for locks elsewhere:
    # two processes that open an empty ledger at once would see one of them fail.
    for _ in range(_BUSY_TIMEOUT // _WAL_PAUSE):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            sleep(_WAL_PAUSE)
        else:
            return
    raise sqlite3.OperationalError("another process keeps the new database to itself")


# Two processes may open an empty ledger at once: one migrates, the other waits and then finds it done.
_ALONE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": f"SELECT pg_advisory_xact_lock({_MIGRATING})"}


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        if _is_current(connection, script):
            return
        connection.rollback()
        alone = _ALONE.get(connection.dialect.name)
        if alone:
            connection.exec_driver_sql(alone)
        if not _is_current(connection, script):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        connection.commit()


def _is_current(connection: Connection, script: ScriptDirectory) -> bool:
    found = set(MigrationContext.configure(connection).get_current_heads())
    known = {revision.revision for revision in script.walk_revisions()}
    if found - known:
        raise LedgerError(
            f"the ledger was migrated by a newer keepwarm (revision {', '.join(sorted(found - known))})",
            hint=NEWER_HINT,
        )
    return found == set(script.get_heads())


@contextmanager
def held(lock: threading.Lock | None) -> Iterator[None]:
    """Hold a lock where there is one."""
    if lock is None:
        yield
        return
    with lock:
        yield


@contextmanager
def worded(trouble: str, *, hint: str = TROUBLE_HINT) -> Iterator[None]:
    """Turn what SQLAlchemy raises into a `LedgerError` without its statement and parameters."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise LedgerError(f"{trouble}: {_reason(error)}", hint=hint) from None


def _reason(error: Exception) -> str:
    if not isinstance(error, StatementError):
        return str(error)
    # The rest of what PostgreSQL says (DETAIL, CONTEXT) repeats the row.
    return next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
