"""The ledger: every ping, written before it leaves and completed when its answer is in, and every touch it was told of.

It prices nothing and sums nothing up (see `accounting`); it only ever inserts, cursors and what was learnt apart, and
deletes only what is older than anybody wants it and summed up (`rolls`). This is the one room that knows SQLAlchemy;
nothing but `LedgerError` leaves it.
"""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Self, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

from keepwarm.clock import steady_seconds, utc_now
from keepwarm.errors import LedgerError
from keepwarm.guards.spending import Spent
from keepwarm.ledger.database import NEWER_HINT, held, open_engine, single_engine, worded
from keepwarm.ledger.files import identity, sqlite_file
from keepwarm.ledger.lease import Lease, fenced
from keepwarm.ledger.lock import Holder, hold
from keepwarm.ledger.rolls import RolledRow, RolledState, Rolls
from keepwarm.ledger.sums import spent_from, spent_query
from keepwarm.ledger.tables import (
    ENTRY_COLUMNS,
    closing_from,
    closing_row,
    closings,
    cursors,
    entry_from,
    intent_row,
    intents,
    learnt,
    outcome_row,
    outcomes,
    pause_from,
    pause_row,
    pauses,
    touch_from,
    touch_row,
    touches,
)
from keepwarm.ledger.together import Together
from keepwarm.model import Closing, Entry, Intent, Outcome, PauseOrder, Reason, Touch, Ttl, Verdict

__all__ = ["Holder", "Lease", "Ledger", "RolledRow", "RolledState", "hold"]

_PAGE_ROWS = 1_000
_LEADER_HINT = "another daemon on this ledger leads now, or will in a moment; ask that one"
_DELETED_HINT = (
    "nothing is sent until the same file is back, or keepwarm is started again; an empty ledger knows neither the "
    "entries that live nor what was spent, so put a copy there first"
)

Read = TypeVar("Read")


class Ledger:
    """An open ledger, safe to use from many threads at once; a context manager that closes it.

    Every method raises `LedgerError` when the database does not do its part.
    """

    def __init__(self, engine: Engine, *, one_writer: bool) -> None:
        self._engine = engine
        self._file = sqlite_file(engine.url)
        self._identity = identity(self._file)
        # SQLite has one writer at a time, and its waiters poll: a lock hands over at once and in turn. In memory even
        # reads share the one connection. Other databases arrange their writers themselves.
        self._write_lock = threading.Lock() if one_writer else None
        self._read_lock = self._write_lock if isinstance(engine.pool, StaticPool) else None
        self._together = Together(engine, self._write_lock) if self._write_lock else None
        self.rolls = Rolls(engine, self._write_lock, self._read_lock)
        self._writer = uuid.uuid4().hex
        self._lease: Lease | None = None

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger at a SQLAlchemy URL and bring its tables up to date; a missing SQLite file is created.

        Raises:
            LedgerError: it cannot be opened or written, is not a database, or was migrated by a newer keepwarm.
        """
        engine = open_engine(url)
        return cls(engine, one_writer=engine.dialect.name == "sqlite")

    def close(self) -> None:
        """Close every connection; closing twice is fine."""
        with worded("cannot close the ledger"):
            self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- leading --------------------------------------------------------------------------------------------------

    def lead(self, holder: Holder, key_check: str, steady: Callable[[], float] = steady_seconds) -> Lease | None:
        """Claim to lead among the daemons on this ledger; from then on `open_entry` refuses while another leads.

        Args:
            key_check: the same for all daemons that have the same fingerprint key.
            steady: seconds of the machine's steady clock.

        Returns:
            The claim, asked once already; None on a database where `hold` keeps other daemons away.

        Raises:
            LedgerError: the database cannot be asked, or is led by a daemon with another key.
        """
        if self._engine.dialect.name != "postgresql":
            return None
        lease = Lease(single_engine(self._engine), holder, key_check, steady)
        try:
            lease.beat()
            lease.check_key()
        except BaseException:
            lease.give_up()
            raise
        self._lease = lease
        return lease

    # -- writing --------------------------------------------------------------------------------------------------

    def open_entry(self, intent: Intent, run_id: str) -> int:
        """Write that a ping is about to leave; it is on disk when this returns.

        Args:
            intent: what is about to be sent.
            run_id: names this run of this process, so that a later one can tell its orphans.

        Returns:
            The number of the entry, above every number given before.

        Raises:
            LedgerError: it cannot be written, its file is not there any more, or another daemon leads (see `lead`); the
                ping must not leave.
        """
        self._check_file()
        if self._lease is not None:
            return self._open_fenced(self._lease, intent, run_id)
        return self._insert(intents, intent_row(intent, run_id), "cannot write an intent to the ledger")

    def _open_fenced(self, lease: Lease, intent: Intent, run_id: str) -> int:
        term, trouble = lease.term, "cannot write an intent to the ledger"
        found = None
        if term is not None:
            with worded(trouble), self._engine.connect() as connection:
                alone = connection.execution_options(isolation_level="AUTOCOMMIT")
                found = alone.execute(fenced(intent_row(intent, run_id), term)).scalar_one_or_none()
        if found is None:
            raise LedgerError("not sent: this daemon does not lead (any more)", hint=_LEADER_HINT)
        number = int(found)
        if lease.term != term:  # stopped or cut off while it was written: another leads, or may at any moment
            message = "the lead was lost before it was sent"
            unsent = Outcome(utc_now(), Verdict.ERROR, Decimal(0), error_code=LedgerError.code, error_message=message)
            self.close_entry(number, replace(unsent, retryable=True))
            raise LedgerError(f"not sent: {message}", hint=_LEADER_HINT)
        return number

    def close_entry(self, number: int, outcome: Outcome) -> None:
        """Write what became of a ping; an entry is closed once, and only after it was opened."""
        self._insert(outcomes, outcome_row(number, outcome), f"cannot write the outcome of entry {number}")

    def add_touches(self, told: Collection[Touch]) -> set[str]:
        """Write the touches whose request id is not there yet, all or none of them.

        Args:
            told: a request that belongs to several prefixes has a touch for each; they are written together.

        Returns:
            The request ids that were new.
        """
        with worded("cannot write touches to the ledger"), held(self._write_lock):
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
                connection.execute(insert(touches), [touch_row(touch, self._writer) for touch in fresh.values()])
        return {request_id for request_id, _ in fresh}

    def add_closing(self, closing: Closing) -> None:
        """Write that no more requests of a prefix come; it is on disk when this returns."""
        self._insert(closings, closing_row(closing), "cannot write a closing to the ledger")

    def add_pause_order(self, order: PauseOrder) -> int:
        """Write that somebody paused or resumed; it is on disk when this returns its number."""
        return self._insert(pauses, pause_row(order), "cannot write a pause to the ledger")

    def set_cursor(self, source: str, value: str, at: datetime) -> None:
        """Remember how far a source of touches was read, in place of what was remembered before.

        Args:
            at: aware; when it was read.

        Raises:
            LedgerError: it cannot be written, or its file is not there any more.
        """
        self._check_file()
        with worded("cannot write a cursor to the ledger"), held(self._write_lock):
            try:
                self._set_cursor(source, value, at)
            except IntegrityError:  # another process wrote the first one in between
                self._set_cursor(source, value, at)

    def _check_file(self) -> None:
        """Raise where SQLite would go on writing what nobody can read any more."""
        if identity(self._file) != self._identity:
            raise LedgerError(f"{self._file} was deleted or replaced", hint=_DELETED_HINT)

    def _set_cursor(self, source: str, value: str, at: datetime) -> None:
        row = {"value": value, "updated_at": at}
        with self._engine.begin() as connection:
            if not connection.execute(update(cursors).where(cursors.c.source == source), row).rowcount:
                connection.execute(insert(cursors), {"source": source, **row})

    def keep_learnt(self, values: Mapping[str, str], at: datetime) -> None:
        """Keep what was learnt, in place of what was kept before; all of it or none.

        Args:
            values: text by fingerprint.
            at: aware; what came later was not learnt from yet.
        """
        if not values:
            return
        rows = [{"fingerprint": fingerprint, "value": value, "learnt_at": at} for fingerprint, value in values.items()]
        before = delete(learnt).where(learnt.c.fingerprint.in_(bindparam("fingerprints", expanding=True)))
        with (
            worded("cannot keep in the ledger what was learnt"),
            held(self._write_lock),
            self._engine.begin() as connection,
        ):
            connection.execute(before, {"fingerprints": list(values)})
            connection.execute(insert(learnt), rows)

    def learnt(self) -> tuple[dict[str, str], datetime | None]:
        """What was learnt, by fingerprint, and up to when; None when nothing was."""
        rows = self._rows(select(learnt))
        return {row.fingerprint: row.value for row in rows}, max((row.learnt_at for row in rows), default=None)

    def _insert(self, table: Table, row: Mapping[str, Any], trouble: str) -> int:
        with worded(trouble):
            if self._together:
                return self._together.insert(table, row)
            with self._engine.begin() as connection:
                return int(connection.execute(insert(table), row).inserted_primary_key[0])  # type: ignore[index]

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

    def told_of(self, since: datetime, until: datetime) -> frozenset[str]:
        """Names of the prefixes with entries or touches that started in [since, until)."""
        found = (
            self._rows(select(table.c.prefix).distinct().where(table.c.started_at >= since, table.c.started_at < until))
            for table in (intents, touches)
        )
        return frozenset(row.prefix for rows in found for row in rows)

    def verdicts(self, since: datetime, until: datetime, reasons: Collection[Reason]) -> dict[str, dict[Verdict, int]]:
        """How many entries that started in [since, until) for one of these reasons ended how, by name of prefix."""
        asked = (
            select(intents.c.prefix, outcomes.c.verdict, func.count())
            .select_from(intents.join(outcomes))
            .where(intents.c.started_at >= since, intents.c.started_at < until, intents.c.reason.in_(sorted(reasons)))
            .group_by(intents.c.prefix, outcomes.c.verdict)
        )
        found: defaultdict[str, dict[Verdict, int]] = defaultdict(dict)
        for prefix, verdict, count in self._rows(asked):
            found[prefix][Verdict(verdict)] = count
        return dict(found)

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
        found = self._rows_of_each(last.where(intents.c.fingerprint == bindparam("each")), fingerprints)
        return {fingerprint: _read(entry_from, rows[::-1]) for fingerprint, rows in found.items()}

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
        found = self._rows_of_each(last.where(touches.c.fingerprint == bindparam("each")), fingerprints)
        return {fingerprint: _read(touch_from, rows[::-1]) for fingerprint, rows in found.items()}

    def others_touches(self, after: int) -> list[tuple[int, Touch]]:
        """Touches of registered prefixes that others wrote, with their numbers above one, by number; 1,000 at most.

        One that is being written at this moment may come later than those with higher numbers.
        """
        wanted = touches.c.writer.is_not(None), touches.c.writer != self._writer, touches.c.fingerprint != ""
        query = select(touches).where(touches.c.number > after, *wanted).order_by(touches.c.number).limit(_PAGE_ROWS)
        rows = self._rows(query)
        return list(zip((row.number for row in rows), _read(touch_from, rows), strict=True))

    def latest_touch(self) -> int:
        """The highest number of a touch so far; 0 without any."""
        return self._rows(select(func.max(touches.c.number)))[0][0] or 0

    def last_closings(self, fingerprints: Collection[str]) -> dict[str, Closing]:
        """The latest closing of each fingerprint; those without any are left out."""
        last = select(closings).order_by(closings.c.closed_at.desc()).limit(1)
        found = self._rows_of_each(last.where(closings.c.fingerprint == bindparam("each")), fingerprints)
        return {each: closing_from(rows[0]) for each, rows in found.items()}

    def latest_closing(self) -> int:
        """The highest number of a closing so far; 0 without any."""
        return self._rows(select(func.max(closings.c.number)))[0][0] or 0

    def closings_after(self, number: int) -> list[tuple[int, Closing]]:
        """Closings above a number, whoever wrote them, with their numbers; 1,000 at most."""
        query = select(closings).where(closings.c.number > number).order_by(closings.c.number).limit(_PAGE_ROWS)
        return [(row.number, closing_from(row)) for row in self._rows(query)]

    def pause_orders(self) -> list[PauseOrder]:
        """Every order to pause or resume, in the order in which they were written."""
        return _read(pause_from, self._rows(select(pauses).order_by(pauses.c.number)))

    def pause_orders_seen(self) -> tuple[int, int]:
        """How many orders there are, and the highest number; 0 without any."""
        columns: tuple[ColumnElement[Any], ...] = func.count(pauses.c.number), func.max(pauses.c.number)
        count, last = self._rows(select(*columns))[0]
        return count, last or 0

    def touch_news(self, after: int) -> tuple[int, datetime | None, datetime | None]:
        """The highest number of a touch, and the first and last start of those above a number; None without any."""
        told = touches.c.started_at
        query = select(func.max(touches.c.number), func.min(told), func.max(told)).where(touches.c.number > after)
        last, first_at, last_at = self._rows(query)[0]
        return last or after, first_at, last_at

    def entries_back(
        self, prefix: str, since: datetime | None, before: tuple[datetime, int], limit: int
    ) -> list[Entry]:
        """Entries of a prefix, newest first: those that started before a moment, or at it with a lower number."""
        at, number = intents.c.started_at, intents.c.number
        wanted = intents.c.prefix == prefix, _back(at, number, before), *([at >= since] if since else [])
        return self._entries(_entries().where(*wanted).order_by(at.desc(), number.desc()).limit(limit))

    def touches_back(
        self, prefix: str, since: datetime | None, before: tuple[datetime, int], limit: int
    ) -> list[tuple[int, Touch]]:
        """Touches that belong to a prefix, with their numbers; ordered and bounded as by `entries_back`."""
        at, number = touches.c.started_at, touches.c.number
        wanted = touches.c.prefix == prefix, touches.c.fingerprint != "", _back(at, number, before)
        since_then = [at >= since] if since else []
        rows = self._rows(select(touches).where(*wanted, *since_then).order_by(at.desc(), number.desc()).limit(limit))
        return list(zip((row.number for row in rows), _read(touch_from, rows), strict=True))

    def cursor(self, source: str) -> str | None:
        """How far a source of touches was read, as `set_cursor` was told; None before the first time."""
        rows = self._rows(select(cursors.c.value).where(cursors.c.source == source))
        return rows[0].value if rows else None

    def cursors(self, sources: Collection[str]) -> dict[str, str]:
        """What `cursor` says of each; those of before the first time are left out."""
        wanted = sorted(sources)
        parts = (wanted[start : start + _PAGE_ROWS] for start in range(0, len(wanted), _PAGE_ROWS))
        query = select(cursors.c.source, cursors.c.value)
        return {row.source: row.value for part in parts for row in self._rows(query.where(cursors.c.source.in_(part)))}

    def billed_ttls(self, fingerprints: Collection[str]) -> dict[str, Ttl]:
        """What the last write of each fingerprint was billed as; those whose writes never told it are left out."""
        told = (
            select(outcomes.c.billed_ttl)
            .join_from(intents, outcomes)
            .where(outcomes.c.billed_ttl.is_not(None))
            .order_by(intents.c.number.desc())
            .limit(1)
        )
        found = self._rows_of_each(told.where(intents.c.fingerprint == bindparam("each")), fingerprints)
        return {fingerprint: Ttl(rows[0].billed_ttl) for fingerprint, rows in found.items()}

    def orphans(self, not_run_id: str) -> list[Entry]:
        """Entries of other runs that have no outcome: their pings may have been billed.

        A ping that another living process has in flight is among them too.
        """
        return self._entries(
            _entries().where(outcomes.c.number.is_(None), intents.c.run_id != not_run_id).order_by(intents.c.number)
        )

    def spent(self, since: datetime, lately: datetime, up_to: int | None = None) -> list[Spent]:
        """What pings since a moment cost per prefix, and of that since a later moment; without provisioned throughput.

        Args:
            up_to: entries with higher numbers do not count; None for all.
        """
        return spent_from(self._rows(spent_query(since, lately, up_to)))

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

    def _rows_of_each(self, query: Select[Any], fingerprints: Collection[str]) -> dict[str, list[Any]]:
        """The rows of each fingerprint, which the query names `each`; those without any are left out."""
        with worded("cannot read the ledger"), held(self._read_lock), self._engine.connect() as connection:
            found = ((each, list(connection.execute(query, {"each": each}))) for each in fingerprints)
            return {each: rows for each, rows in found if rows}

    def _rows(self, query: Select[Any]) -> list[Any]:
        with worded("cannot read the ledger"), held(self._read_lock), self._engine.connect() as connection:
            return list(connection.execute(query))


# -- queries ------------------------------------------------------------------------------------------------------


def _entries() -> Select[Any]:
    return select(*ENTRY_COLUMNS).select_from(intents.outerjoin(outcomes))


def _back(at: ColumnElement[Any], number: ColumnElement[Any], before: tuple[datetime, int]) -> ColumnElement[bool]:
    """Rows before a place in the order of time and number; the first condition lets an index find them."""
    return and_(at <= before[0], or_(at < before[0], number < before[1]))


def _read(kind: Callable[[Row[Any]], Read], rows: Sequence[Row[Any]]) -> list[Read]:
    try:
        return [kind(row) for row in rows]
    except ValueError as error:
        raise LedgerError(f"an entry of the ledger cannot be read: {error}", hint=NEWER_HINT) from None


def _known_requests(connection: Connection, request_ids: Sequence[str]) -> set[str]:
    """Which of these are written already; asked in parts, since databases limit the parameters of a statement."""
    query = select(touches.c.request_id)
    parts = (request_ids[start : start + _PAGE_ROWS] for start in range(0, len(request_ids), _PAGE_ROWS))
    return {row.request_id for part in parts for row in connection.execute(query.where(touches.c.request_id.in_(part)))}
