"""Days that are summed up, and the deletion of what they were summed up from.

It sums nothing itself (see `rollups` and `rolling`): values are text here.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, Table, and_, delete, func, insert, not_, or_, select, update

from keepwarm.errors import LedgerError
from keepwarm.ledger.database import NEWER_HINT, held, worded
from keepwarm.ledger.tables import (
    ENTRY_COLUMNS,
    entry_from,
    intents,
    outcomes,
    rolled_days,
    rolled_parts,
    rolled_standings,
    touch_from,
    touches,
)
from keepwarm.model import Entry, Touch

_DAY = timedelta(days=1)
# Databases limit the parameters of a statement.
_MOST_NAMES = 500


class RolledState(NamedTuple):
    """Which days are summed up.

    Attributes:
        until: the end of the last one.
        touches_seen: touches with higher numbers were not looked at.
        details_since: entries and touches of before are deleted; None when none were.
    """

    until: datetime
    touches_seen: int
    details_since: datetime | None


class RolledRow(NamedTuple):
    """What was summed up of a prefix on a day."""

    prefix: str
    fingerprint: str
    value: str


class Rolls:
    """The part of the ledger that keeps summed up days; safe to use from many threads."""

    def __init__(self, engine: Engine, write_lock: threading.Lock | None, read_lock: threading.Lock | None) -> None:
        self._engine = engine
        self._write_lock = write_lock
        self._read_lock = read_lock

    def state(self) -> RolledState | None:
        """Which days are summed up; None when none is."""
        row = self._rows(select(func.max(rolled_days.c.day), func.max(rolled_days.c.touches_seen)))[0]
        if row[0] is None:
            return None
        gone = self._rows(select(func.max(rolled_days.c.day)).where(rolled_days.c.details.is_(False)))[0][0]
        return RolledState(row[0] + _DAY, row[1], gone + _DAY if gone else None)

    def next_start(self, since: datetime | None) -> datetime | None:
        """When the first entry or touch started, at a moment or later; None without any."""
        moments = []
        for column in (intents.c.started_at, touches.c.started_at):
            query = select(func.min(column))
            moments.append(self._rows(query.where(column >= since) if since else query)[0][0])
        return min(filter(None, moments), default=None)

    def first_late(self, state: RolledState, entries_seen: int) -> datetime | None:
        """When the first touch or entry started that came after its day was summed up; None without any.

        Args:
            entries_seen: entries with higher numbers were not looked at.
        """
        moments = []
        for table, seen in ((touches, state.touches_seen), (intents, entries_seen)):
            # As an expression: by the index on it, a database would walk through all rows of years to find none.
            started_at = func.coalesce(table.c.started_at, table.c.started_at)
            wanted = [table.c.number > seen, started_at < state.until]
            if state.details_since:
                wanted.append(started_at >= state.details_since)
            moments.append(self._rows(select(func.min(started_at)).where(*wanted))[0][0])
        return min(filter(None, moments), default=None)

    def names(self, day: datetime) -> dict[str, int]:
        """How many entries and touches each prefix has on a day, by name."""
        found: dict[str, int] = {}
        for table in (intents, touches):
            wanted = table.c.started_at >= day, table.c.started_at < day + _DAY
            for row in self._rows(select(table.c.prefix, func.count()).where(*wanted).group_by(table.c.prefix)):
                found[row[0]] = found.get(row[0], 0) + row[1]
        return found

    def details(self, day: datetime, names: Collection[str]) -> tuple[list[Entry], list[Touch]]:
        """All entries of some prefixes on a day, by number, and touches, by start."""
        entries: list[Any] = []
        told: list[Any] = []
        wanted = sorted(names)
        for some in (wanted[first : first + _MOST_NAMES] for first in range(0, len(wanted), _MOST_NAMES)):
            entries += self._rows(
                select(*ENTRY_COLUMNS)
                .select_from(intents.outerjoin(outcomes))
                .where(*_on(intents, day), intents.c.prefix.in_(some))
                .order_by(intents.c.number)
            )
            told += self._rows(
                select(touches)
                .where(*_on(touches, day), touches.c.prefix.in_(some))
                .order_by(touches.c.started_at, touches.c.number)
            )
        try:
            return [entry_from(row) for row in entries], [touch_from(row) for row in told]
        except ValueError as error:
            raise LedgerError(f"an entry of the ledger cannot be read: {error}", hint=NEWER_HINT) from None

    def keep(
        self, day: datetime, parts: Iterable[RolledRow], standings: Iterable[RolledRow], touches_seen: int
    ) -> None:
        """Keep a day, in place of what was kept of it before; all of it or nothing."""
        part_rows = [{"day": day, "days": 1, **row._asdict()} for row in parts]
        standing_rows = [{"day": day, **row._asdict()} for row in standings]
        with (
            worded("cannot keep a summed up day in the ledger"),
            held(self._write_lock),
            self._engine.begin() as connection,
        ):
            _forget(connection, day, day + _DAY)
            mark = {"day": day, "touches_seen": touches_seen, "details": True}
            _insert(connection, {rolled_parts: part_rows, rolled_standings: standing_rows, rolled_days: [mark]})

    def months(self, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
        """The months of which all days are kept together, among those that lie in [since, until), in their order."""
        columns = rolled_parts.c.day, rolled_parts.c.days
        wanted = rolled_parts.c.days > 1, rolled_parts.c.day >= since, rolled_parts.c.day < until
        rows = self._rows(select(*columns).distinct().where(*wanted).order_by(*columns))
        spans = [(row.day, row.day + row.days * _DAY) for row in rows]
        return [(start, end) for start, end in spans if end <= until]

    def last_day(self, before: datetime) -> datetime | None:
        """The last day before another of which anything is kept; None without any."""
        wanted = rolled_parts.c.days == 1, rolled_parts.c.day < before
        found: datetime | None = self._rows(select(func.max(rolled_parts.c.day)).where(*wanted))[0][0]
        return found

    def keep_month(self, first: datetime, days: int, parts: Iterable[RolledRow]) -> None:
        """Keep all days of a month together, in place of what was kept of it before, besides each of them."""
        rows = [{"day": first, "days": days, **row._asdict()} for row in parts]
        with self._writing("cannot keep a summed up month in the ledger") as connection:
            connection.execute(delete(rolled_parts).where(rolled_parts.c.day == first, rolled_parts.c.days > 1))
            _insert(connection, {rolled_parts: rows})

    def drop(self, since: datetime) -> None:
        """Forget the days from one on, and the months that they belong to."""
        with (
            worded("cannot forget summed up days of the ledger"),
            held(self._write_lock),
            self._engine.begin() as connection,
        ):
            _forget(connection, since, None)

    def parts(
        self,
        since: datetime,
        until: datetime,
        prefixes: Collection[str] | None = None,
        *,
        whole_months: bool = True,
    ) -> list[RolledRow]:
        """What was summed up of the days in [since, until), in their order.

        Args:
            whole_months: whether months that lie in the stretch are given as one.
            prefixes: of these names only, 500 at most; None for all.
        """
        columns = rolled_parts.c.prefix, rolled_parts.c.fingerprint, rolled_parts.c.value
        months = self.months(since, until) if whole_months else []
        of_a_day = and_(
            rolled_parts.c.days == 1,
            *(not_(and_(rolled_parts.c.day >= start, rolled_parts.c.day < end)) for start, end in months),
        )
        of_a_month = and_(rolled_parts.c.days > 1, rolled_parts.c.day.in_([start for start, _ in months]))
        wanted = [rolled_parts.c.day >= since, rolled_parts.c.day < until, or_(of_a_day, of_a_month)]
        if prefixes is not None:
            wanted.append(rolled_parts.c.prefix.in_(prefixes))
        return [RolledRow(*row) for row in self._rows(select(*columns).where(*wanted).order_by(rolled_parts.c.day))]

    def standings(self, at: datetime, prefixes: Collection[str] | None = None) -> list[RolledRow]:
        """How things stood with each cache entry at the beginning of a day."""
        own = rolled_standings
        last = (
            select(own.c.fingerprint, func.max(own.c.day).label("day"))
            .where(own.c.day < at)
            .group_by(own.c.fingerprint)
            .subquery()
        )
        same = (own.c.fingerprint == last.c.fingerprint) & (own.c.day == last.c.day)
        query = select(own.c.prefix, own.c.fingerprint, own.c.value).join(last, same)
        if prefixes is not None:
            query = query.where(own.c.prefix.in_(prefixes))
        return [RolledRow(*row) for row in self._rows(query)]

    def delete_details(self, before: datetime, limit: int) -> int:
        """Delete some of the entries and touches that started before a moment, the oldest first.

        Args:
            before: a midnight; days after the last summed up one stay, whatever it is.
            limit: how many of each at most.

        Returns:
            How many were deleted; 0 when none is left.
        """
        state = self.state()
        if state is None:
            return 0
        before = min(before, state.until)
        with (
            worded("cannot delete old entries of the ledger"),
            held(self._write_lock),
            self._engine.begin() as connection,
        ):
            # First of all: from now on these days must not be summed up again.
            connection.execute(update(rolled_days).where(rolled_days.c.day < before).values(details=False))
            return sum(_delete_oldest(connection, table, before, limit) for table in (intents, touches))

    @contextmanager
    def _writing(self, trouble: str) -> Iterator[Connection]:
        with worded(trouble), held(self._write_lock), self._engine.begin() as connection:
            yield connection

    def _rows(self, query: Select[Any]) -> list[Any]:
        with worded("cannot read the ledger"), held(self._read_lock), self._engine.connect() as connection:
            return list(connection.execute(query))


def _on(table: Table, day: datetime) -> tuple[Any, Any]:
    return table.c.started_at >= day, table.c.started_at < day + _DAY


def _forget(connection: Connection, since: datetime, until: datetime | None) -> None:
    for table in (rolled_parts, rolled_standings, rolled_days):
        wanted = [table.c.day >= since, *([table.c.day < until] if until else [])]
        connection.execute(delete(table).where(*wanted))
    month = since.astimezone(UTC).replace(day=1)
    connection.execute(delete(rolled_parts).where(rolled_parts.c.days > 1, rolled_parts.c.day == month))


def _insert(connection: Connection, rows: Mapping[Table, list[dict[str, Any]]]) -> None:
    for table, some in rows.items():
        if some:
            connection.execute(insert(table), some)


def _delete_oldest(connection: Connection, table: Table, before: datetime, limit: int) -> int:
    oldest = select(table.c.number).where(table.c.started_at < before).order_by(table.c.started_at).limit(limit)
    numbers = [row.number for row in connection.execute(oldest)]
    for first in range(0, len(numbers), _MOST_NAMES):
        some = numbers[first : first + _MOST_NAMES]
        if table is intents:
            connection.execute(delete(outcomes).where(outcomes.c.number.in_(some)))
        connection.execute(delete(table).where(table.c.number.in_(some)))
    return len(numbers)
