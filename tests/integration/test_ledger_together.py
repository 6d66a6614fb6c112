"""Writes of many threads that are committed together: each whole, each alone in its errors, none lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from keepwarm.errors import LedgerError
from keepwarm.ledger import Ledger
from keepwarm.model import Intent
from tests.builders import make_entry, make_intent, make_prefix

THREADS = 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{path}") as found:
        yield found


def at_once(path: Path, calls: list[Callable[[], Any]]) -> list[Future[Any]]:
    """What became of calls in threads of their own that all came while another program held the ledger."""
    begun = threading.Barrier(len(calls) + 1)

    def call(what: Callable[[], Any]) -> Any:
        begun.wait(20)
        return what()

    with closing(sqlite3.connect(path)) as other, ThreadPoolExecutor(len(calls)) as pool:
        other.execute("BEGIN IMMEDIATE")
        found = [pool.submit(call, what) for what in calls]
        begun.wait(20)
        other.rollback()
        return found


def commits(path: Path) -> int:
    """How many transactions lie in the write-ahead log: the last frame of each tells the size of the database."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    page = int.from_bytes(log[8:12])
    return sum(any(log[start + 4 : start + 8]) for start in range(32, len(log), page + 24))


def intent_of(number: int, **changes: Any) -> Intent:
    return make_intent(make_prefix(name=f"p{number}", fingerprint=f"f{number}"), **changes)


def test_intents_that_come_at_once_each_get_a_number_of_their_own(ledger: Ledger, path: Path) -> None:
    first = ledger.open_entry(intent_of(0), "before")
    before = commits(path)
    calls = [partial(ledger.open_entry, intent_of(each), "run") for each in range(1, THREADS + 1)]
    numbers = [future.result() for future in at_once(path, calls)]
    assert sorted(numbers) == list(range(first + 1, first + THREADS + 1))
    found = {entry.number: entry.intent.prefix for entry in ledger.entries(None, None)}
    assert [found[number] for number in numbers] == [f"p{each}" for each in range(1, THREADS + 1)]
    assert commits(path) - before < THREADS


def test_what_is_written_together_is_on_disk_for_other_programs(ledger: Ledger, path: Path) -> None:
    opened = [ledger.open_entry(intent_of(each), "run") for each in range(THREADS)]
    outcome = make_entry().outcome
    closes = [partial(ledger.close_entry, number, outcome) for number in opened]
    opens = [partial(ledger.open_entry, intent_of(each), "run") for each in range(100, 100 + THREADS)]
    for future in at_once(path, [*closes, *opens]):
        future.result()
    with closing(sqlite3.connect(path)) as other:
        counts = [other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("intents", "outcomes")]
    assert counts == [2 * THREADS, THREADS]


@pytest.mark.parametrize(("number", "cost"), [(1_000_000, Decimal(1)), (1, Decimal("NaN"))], ids=["number", "cost"])
def test_a_row_that_cannot_be_written_takes_no_other_with_it(
    ledger: Ledger, path: Path, number: int, cost: Decimal
) -> None:
    opened = [ledger.open_entry(intent_of(each), "run") for each in range(THREADS)]
    outcome = make_entry().outcome
    assert outcome
    bad = partial(ledger.close_entry, number, replace(outcome, cost_usd=cost))
    good = [partial(ledger.close_entry, each, outcome) for each in opened[1:]]
    found = at_once(path, [*good[:5], bad, *good[5:]])
    errors = [future.exception() for future in found]
    assert [type(error) for error in errors if error] == [LedgerError]
    assert str(number) in str(errors[5])
    assert sum(entry.outcome is not None for entry in ledger.entries(None, None)) == THREADS - 1


def test_when_the_ledger_cannot_be_written_everybody_is_told(ledger: Ledger, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE outcomes")
        other.execute("DROP TABLE intents")
    found = at_once(path, [partial(ledger.open_entry, intent_of(each), "run") for each in range(THREADS)])
    assert [type(future.exception()) for future in found] == [LedgerError] * THREADS
