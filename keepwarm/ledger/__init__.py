"""The ledger: every ping, written before it leaves and completed when its answer is in, and every touch it was told of.

It prices nothing and sums nothing up (see `accounting`); it only ever inserts, cursors apart. This is the one room that
knows SQLAlchemy; nothing but `LedgerError` leaves it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Insert,
from keepwarm.ledger.sums import spent_from, spent_query
    Row,
    Select,
    and_,
    create_engine,
    event,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool, StaticPool

from keepwarm.clock import sleep
from keepwarm.errors import LedgerError
from keepwarm.guards.spending import Spent
from keepwarm.ledger.database import NEWER_HINT, held, open_engine, single_engine, worded
from keepwarm.ledger.lease import Lease, fenced
from keepwarm.ledger.lock import Holder, hold
from keepwarm.ledger.tables import (
    ENTRY_COLUMNS,
    cursors,
    entry_from,
    intent_row,
    intents,
    outcome_row,
    outcomes,
    touch_from,
    touch_row,
    touches,
)
from keepwarm.model import Entry, Intent, Outcome, Touch, Ttl

__all__ = ["Holder", "Ledger", "hold"]

_MIGRATIONS = Path(__file__).parent / "migrations"
_PAGE_ROWS = 1_000

Read = TypeVar("Read")


class Ledger:
    """An open ledger, safe to use from many threads at once; a context manager that closes it.

    Every method raises `LedgerError` when the database does not do its part.
    """

    def __init__(self, engine: Engine, *, one_writer: bool) -> None:
        self._engine = engine
        # SQLite has one writer at a time, and its waiters poll: a lock hands over at once and in turn. In memory even
        # reads share the one connection. Other databases arrange their writers themselves.
        self._write_lock = threading.Lock() if one_writer else None
        self._read_lock = self._write_lock if isinstance(engine.pool, StaticPool) else None

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger at a SQLAlchemy URL and bring its tables up to date; a missing SQLite file is created.

        Raises:
            LedgerError: it cannot be opened or written, is not a database, or was migrated by a newer keepwarm.
        """
        parsed = parse_url(url)
        path = sqlite_file(parsed)
        if path:
            create_file(path)
        engine = _connect(parsed, in_memory=parsed.get_backend_name() == "sqlite" and path is None)
        try:
            with _told(f"cannot open the ledger {parsed.render_as_string(hide_password=True)}", hint=_OPEN_HINT):
                _migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine, one_writer=parsed.get_backend_name() == "sqlite")

    def close(self) -> None:
        """Close every connection; closing twice is fine."""
        with _told("cannot close the ledger"):
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing --------------------------------------------------------------------------------------------------

    def open_entry(self, intent: Intent, run_id: str) -> int:
        """Write that a ping is about to leave; it is on disk when this returns.

        Args:
            intent: what is about to be sent.
            run_id: names this run of this process, so that a later one can tell its orphans.

        Returns:
            The number of the entry, above every number given before.
        """
        return self._insert(insert(intents), intent_row(intent, run_id), "cannot write an intent to the ledger")

    def close_entry(self, number: int, outcome: Outcome) -> None:
        """Write what became of a ping; an entry is closed once, and only after it was opened."""
        self._insert(insert(outcomes), outcome_row(number, outcome), f"cannot write the outcome of entry {number}")

    def add_touches(self, told: Collection[Touch]) -> set[str]:
        """Write the touches whose request id is not there yet, all or none of them.

        Args:
            told: a request that belongs to several prefixes has a touch for each; they are written together.

        Returns:
            The request ids that were new.
        """
        with _told("cannot write touches to the ledger"), _held(self._write_lock):
            try:
                return self._add_unknown(told)
            except IntegrityError:  # another process wrote one of them in between: now it is known
                return self._add_unknown(told)

    def _add_unknown(self, told: Collection[Touch]) -> set[str]:
        with self._engine.begin() as connection:
            known = _known_requests(connection, sorted({touch.request_id for touch in told}))
            fresh: dict[tuple[str, str], Touch] = {}
            for touch in told:
                if touch.request_id not in known:
                    fresh.setdefault((touch.request_id, touch.fingerprint), touch)
            if fresh:
                connection.execute(insert(touches), [touch_row(touch) for touch in fresh.values()])
        return {request_id for request_id, _ in fresh}

    def set_cursor(self, source: str, value: str, at: datetime) -> None:
        """Remember how far a source of touches was read, in place of what was remembered before.

        Args:
            at: aware; when it was read.
        """
        with _told("cannot write a cursor to the ledger"), _held(self._write_lock):
            try:
                self._set_cursor(source, value, at)
            except IntegrityError:  # another process wrote the first one in between
                self._set_cursor(source, value, at)

    def _set_cursor(self, source: str, value: str, at: datetime) -> None:
        row = {"value": value, "updated_at": at}
        with self._engine.begin() as connection:
            if not connection.execute(update(cursors).where(cursors.c.source == source), row).rowcount:
                connection.execute(insert(cursors), {"source": source, **row})

    def _insert(self, statement: Insert, row: Mapping[str, Any], trouble: str) -> int:
        with _told(trouble), _held(self._write_lock), self._engine.begin() as connection:
            return int(connection.execute(statement, row).inserted_primary_key[0])  # type: ignore[index]

    # -- reading --------------------------------------------------------------------------------------------------

    def entries(self, since: datetime | None, until: datetime | None, prefix: str | None = None) -> Iterator[Entry]:
        """Entries that started in [since, until), by number; None leaves an end open.

        They are read a page at a time between which no connection is held, so a slow reader hinders nobody; entries
        opened after the first page are not among them.
        """
        wanted = [
            *([intents.c.started_at >= since] if since else []),
            *([intents.c.started_at < until] if until else []),
            *([intents.c.prefix == prefix] if prefix is not None else []),
        ]
        # The bounds come from an index; with them each page is a plain walk along the primary key.
        first, last = self._rows(select(func.min(intents.c.number), func.max(intents.c.number)).where(*wanted))[0]
        if first is None:
            return
        page = _entries().where(*wanted, intents.c.number <= last).order_by(intents.c.number).limit(_PAGE_ROWS)
        after = first - 1
        while found := self._entries(page.where(intents.c.number > after)):
            yield from found
            after = found[-1].number

    def recent(self, fingerprints: Collection[str] | None, limit_each: int = 20) -> dict[str, list[Entry]]:
        """The last entries of each fingerprint, oldest first; fingerprints without any are left out.

        Args:
            fingerprints: whose entries; None for all there are.
            limit_each: how many of each at most.
        """
        # One short walk along an index per fingerprint: unlike a window function over them all, it costs the same
        # however long the ledger has grown.
        if fingerprints is None:
            fingerprints = [row.fingerprint for row in self._rows(select(intents.c.fingerprint).distinct())]
        last = _entries().order_by(intents.c.number.desc()).limit(limit_each)
        found = {
            fingerprint: self._entries(last.where(intents.c.fingerprint == fingerprint))[::-1]
            for fingerprint in fingerprints
        }
        return {fingerprint: entries for fingerprint, entries in found.items() if entries}

    def touches(self, since: datetime | None, until: datetime | None, prefix: str | None = None) -> Iterator[Touch]:
        """Touches that started in [since, until), by start; None leaves an end open.

        They are read a page at a time as `entries` are; touches added after the first page are not among them.

        Args:
            prefix: only those that belong to the prefix of this name, or are almost like it.
        """
        wanted = [
            *([touches.c.started_at >= since] if since else []),
            *([touches.c.started_at < until] if until else []),
            *([touches.c.prefix == prefix] if prefix is not None else []),
        ]
        last = self._rows(select(func.max(touches.c.number)))[0][0]
        if last is None:
            return
        place = touches.c.started_at, touches.c.number
        page = select(touches).where(*wanted, touches.c.number <= last).order_by(*place).limit(_PAGE_ROWS)
        rows = self._rows(page)
        while rows:
            yield from _read(touch_from, rows)
            at, number = rows[-1].started_at, rows[-1].number
            after = or_(touches.c.started_at > at, and_(touches.c.started_at == at, touches.c.number > number))
            rows = self._rows(page.where(touches.c.started_at >= at, after))

    def recent_touches(self, fingerprints: Collection[str], limit_each: int = 20) -> dict[str, list[Touch]]:
        """The last touches of each fingerprint by start, oldest first; fingerprints without any are left out."""
        last = select(touches).order_by(touches.c.started_at.desc(), touches.c.number.desc()).limit(limit_each)
        found = {
            fingerprint: _read(touch_from, self._rows(last.where(touches.c.fingerprint == fingerprint)))[::-1]
            for fingerprint in fingerprints
        }
        return {fingerprint: told for fingerprint, told in found.items() if told}

    def cursor(self, source: str) -> str | None:
        """How far a source of touches was read, as `set_cursor` was told; None before the first time."""
        rows = self._rows(select(cursors.c.value).where(cursors.c.source == source))
        return rows[0].value if rows else None

    def billed_ttls(self, fingerprints: Collection[str]) -> dict[str, Ttl]:
        """What the last write of each fingerprint was billed as; those whose writes never told it are left out."""
        told = (
            select(outcomes.c.billed_ttl)
            .join_from(intents, outcomes)
            .where(outcomes.c.billed_ttl.is_not(None))
            .order_by(intents.c.number.desc())
            .limit(1)
        )
        found = {
            fingerprint: self._rows(told.where(intents.c.fingerprint == fingerprint)) for fingerprint in fingerprints
        }
        return {fingerprint: Ttl(rows[0].billed_ttl) for fingerprint, rows in found.items() if rows}

    def orphans(self, not_run_id: str) -> list[Entry]:
        """Entries of other runs that have no outcome: their pings may have been billed.

        A ping that another living process has in flight is among them too.
        """
        return self._entries(
            _entries().where(outcomes.c.number.is_(None), intents.c.run_id != not_run_id).order_by(intents.c.number)
        )

    def latest_number(self) -> int:
        """The highest number given so far; 0 in an empty ledger."""
        return self._rows(select(func.max(intents.c.number)))[0][0] or 0

    def entries_after(self, number: int, not_run_id: str) -> list[Entry]:
        """Entries of other runs above a number, such as those of `keepwarm ping`.

        One still in flight has no outcome: ask again from below its number to learn what became of it.
        """
        return self._entries(
            _entries().where(intents.c.number > number, intents.c.run_id != not_run_id).order_by(intents.c.number)
        )

    def _entries(self, query: Select[Any]) -> list[Entry]:
        return _read(entry_from, self._rows(query))

    def _rows(self, query: Select[Any]) -> list[Any]:
        with _told("cannot read the ledger"), _held(self._read_lock), self._engine.connect() as connection:
            return list(connection.execute(query))


# -- queries ------------------------------------------------------------------------------------------------------


def _entries() -> Select[Any]:
    return select(*ENTRY_COLUMNS).select_from(intents.outerjoin(outcomes))


def _read(kind: Callable[[Row[Any]], Read], rows: Sequence[Row[Any]]) -> list[Read]:
    try:
        return [kind(row) for row in rows]
    except ValueError as error:
        raise LedgerError(f"an entry of the ledger cannot be read: {error}", hint=_NEWER_HINT) from None

    def spent(self, since: datetime, lately: datetime, up_to: int | None = None) -> list[Spent]:
        """What pings since a moment cost per prefix, and of that since a later moment; without provisioned throughput.

        Args:
            up_to: entries with higher numbers do not count; None for all.
        """
        return spent_from(self._rows(spent_query(since, lately, up_to)))


def _known_requests(connection: Connection, request_ids: Sequence[str]) -> set[str]:
    """Which of these are written already; asked in parts, since databases limit the parameters of a statement."""
    query = select(touches.c.request_id)
    parts = (request_ids[start : start + _PAGE_ROWS] for start in range(0, len(request_ids), _PAGE_ROWS))
    return {row.request_id for part in parts for row in connection.execute(query.where(touches.c.request_id.in_(part)))}


# -- connecting ---------------------------------------------------------------------------------------------------

_OPEN_HINT = "check KEEPWARM_LEDGER_URL, that the database is up, and that this user may write to it"
_NEWER_HINT = "run the newer keepwarm that wrote it, or give this one another KEEPWARM_LEDGER_URL"
_TROUBLE_HINT = "check that the ledger's disk has room, that its database is up, and that nobody changed its tables"
_DRIVER_HINT = "install the driver that KEEPWARM_LEDGER_URL names, or correct it"


_BUSY_TIMEOUT = timedelta(seconds=30)
_WAL_PAUSE = timedelta(milliseconds=20)


def _connect(url: URL, *, in_memory: bool) -> Engine:
    options: dict[str, Any] = {"hide_parameters": True}
    if in_memory:
        options |= {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    elif url.get_backend_name() != "sqlite":
        options |= {"poolclass": QueuePool, "pool_size": 10, "max_overflow": 20, "pool_pre_ping": True}
    try:
        engine = create_engine(url, **options)
    except (SQLAlchemyError, ImportError) as error:
        raise LedgerError(f"no driver for the ledger's database: {error}", hint=_DRIVER_HINT) from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


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


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        if _is_current(connection, script):
            return
        connection.rollback()
        if connection.dialect.name == "sqlite":
            # Two processes may open an empty ledger at once: one migrates, the other waits and then finds it done.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
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
            hint=_NEWER_HINT,
        )
    return found == set(script.get_heads())


@contextmanager
def _held(lock: threading.Lock | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    with lock:
        yield


@contextmanager
def _told(trouble: str, *, hint: str = _TROUBLE_HINT) -> Iterator[None]:
    """Turn what SQLAlchemy raises into a `LedgerError` without its statement and parameters."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise LedgerError(f"{trouble}: {_reason(error)}", hint=hint) from None


def _reason(error: Exception) -> str:
    return str(error.orig if isinstance(error, StatementError) else error)
