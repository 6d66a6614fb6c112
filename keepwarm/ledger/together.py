"""Writes of many threads into SQLite, committed together: whoever comes while the disk syncs goes with the next sync.

A commit costs a sync of the disk, milliseconds that no second writer can use; a daemon that pings hundreds of times a
second could not sync twice for each. It delays nobody: a write that finds nobody at work is committed at once. It puts
no errors into words (see `database`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert
from sqlalchemy.exc import OperationalError, SQLAlchemyError


@dataclass(slots=True, eq=False)
class _Write:
    """One row that a thread waits for.

    Attributes:
        gate: closed until the thread need not wait any more.
        number: the row's, once it is on the disk.
        error: why it will not be.
    """

    table: Table
    row: Mapping[str, Any]
    gate: threading.Lock = field(default_factory=threading.Lock)
    number: int = 0
    error: Exception | None = None

    @property
    def ended(self) -> bool:
        return bool(self.number or self.error)


class Together:
    """Inserts rows, each of them on disk when its call returns; safe to use from many threads.

    One thread at a time commits, first of all its own row. What has come meanwhile is committed by one of those who
    came, so that nobody works for others for long.

    Args:
        turn: held while something is written, also by others.
    """

    def __init__(self, engine: Engine, turn: threading.Lock) -> None:
        self._engine = engine
        self._turn = turn
        self._lock = threading.Lock()
        self._waiting: list[_Write] = []
        self._committing = False

    def insert(self, table: Table, row: Mapping[str, Any]) -> int:
        """Write a row; its number, which the database gives where the row names none.

        Raises:
            SQLAlchemyError, sqlite3.Error: it is not written.
        """
        own = _Write(table, row)
        own.gate.acquire()
        with self._lock:
            self._waiting.append(own)
            waits, self._committing = self._committing, True
        if waits:
            own.gate.acquire()
        if not own.ended:
            self._commit_all()
        if own.error:
            raise own.error
        return own.number

    def _commit_all(self) -> None:
        """Commit what waits now, and let one of those who come meanwhile commit the rest."""
        writes: list[_Write] = []
        try:
            with self._turn:
                with self._lock:
                    writes, self._waiting = self._waiting, []
                self._commit(writes)
        finally:
            with self._lock:
                # The first is the own one; others that something unforeseen left without an end come again.
                self._waiting[:0] = [write for write in writes[1:] if not write.ended]
                following = self._waiting[:1]
                self._committing = bool(following)
            for write in [*(write for write in writes if write.ended), *following]:
                write.gate.release()

    def _commit(self, writes: Sequence[_Write]) -> None:
        try:
            with self._engine.begin() as connection:
                numbers = _insert_all(connection, writes)
        except (SQLAlchemyError, sqlite3.Error) as error:
            if len(writes) > 1 and not isinstance(error, OperationalError):  # one row is at fault, and not the others
                for write in writes:
                    self._commit([write])
            else:
                for write in writes:
                    write.error = error
        else:
            for write in writes:
                write.number = numbers[write]


def _insert_all(connection: Connection, writes: Sequence[_Write]) -> dict[_Write, int]:
    by_table: dict[Table, list[_Write]] = {}
    for write in writes:
        by_table.setdefault(write.table, []).append(write)
    return {
        write: number
        for table, alike in by_table.items()
        for write, number in zip(alike, _insert(connection, table, alike), strict=True)
    }


def _insert(connection: Connection, table: Table, writes: Sequence[_Write]) -> list[int]:
    """Insert rows of one table; their numbers.

    Where the database gives the numbers, it gives the first one: from then on nobody else can write, so the numbers
    after it are free, and all other rows are one statement.
    """
    first, *others = (write.row for write in writes)
    if "number" in first:
        connection.execute(insert(table), [first, *others])
        return [int(write.row["number"]) for write in writes]
    number = int(connection.execute(insert(table), first).inserted_primary_key[0])  # type: ignore[index]
    if others:
        connection.execute(insert(table), [{**row, "number": number + ahead} for ahead, row in enumerate(others, 1)])
    return list(range(number, number + len(writes)))
