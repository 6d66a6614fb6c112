"""Writes of many threads into SQLite, committed together: whoever comes while the disk syncs goes with the next sync.

A commit costs a sync of the disk, milliseconds that no second writer can use; a daemon that pings hundreds of times a
second could not sync twice for each. It delays nobody: a write that finds nobody at work is committed at once. It puts
no errors into words (see `database`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert
from sqlalchemy.exc import OperationalError, SQLAlchemyError


@dataclass(slots=True, eq=False)
class _Write:
    """One row that a thread waits for.

    Attributes:
        number: its key once it is on the disk.
        error: why it will not be.
    """

    table: Table
    row: Mapping[str, Any]
    number: int = 0
    error: Exception | None = None


class Together:
    """Inserts rows, each of them on disk when its call returns; safe to use from many threads.

    Args:
        turn: held while something is written, also by others.
    """

    def __init__(self, engine: Engine, turn: threading.Lock) -> None:
        self._engine = engine
        self._turn = turn
        self._lock = threading.Lock()
        self._waiting: list[_Write] = []

    def insert(self, table: Table, row: Mapping[str, Any]) -> int:
        """Write a row; its number, which the database gives where the row names none.

        Raises:
            SQLAlchemyError, sqlite3.Error: it is not written.
        """
        own = _Write(table, row)
        with self._lock:
            self._waiting.append(own)
        with self._turn:
            if not own.number and not own.error:
                self._commit(self._take(own))
        if own.error:
            raise own.error
        return own.number

    def _take(self, own: _Write) -> list[_Write]:
        """All that wait; also the own one, should whoever took it have come to grief."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        return taken if own in taken else [*taken, own]

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
