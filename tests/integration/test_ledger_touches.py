"""Touches on SQLite and PostgreSQL: each request once, whoever tells it first, and read back by start."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone

import pytest
from sqlalchemy import create_engine, text

from keepwarm.errors import LedgerError
from keepwarm.ledger import Ledger
from keepwarm.model import Api, Source, Touch, Usage
from tests.builders import MONDAY, make_prefix, make_touch

MINUTE = timedelta(minutes=1)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with Ledger.open(ledger_url) as opened:
        yield opened


def numbered(count: int, **changes: object) -> list[Touch]:
    return [make_touch(number=n, started_at=MONDAY + n * MINUTE, **changes) for n in range(count)]


@pytest.mark.parametrize(
    "touch",
    [
        make_touch(),
        make_touch(usage=Usage(3, 100, 5_000, 200, 150), latency_ms=812, source=Source.INVOCATION_LOG),
        make_touch(usage=Usage(0, 0, 0, 0), latency_ms=0, api=Api.CONVERSE),
        make_touch(fingerprint="", drift="system[0] after 2 equal blocks"),
        make_touch(started_at=MONDAY.astimezone(timezone(timedelta(hours=5))) + timedelta(microseconds=1)),
    ],
)
def test_a_touch_is_read_back_as_it_was_written(ledger: Ledger, touch: Touch):
    assert ledger.add_touches([touch]) == {"request-0"}
    assert list(ledger.touches(None, None)) == [touch]


def test_a_request_counts_once_however_often_and_by_whomever_it_is_told(ledger: Ledger):
    first = make_touch(source=Source.REPORTER, usage=Usage(1, 1, 5, 0))
    assert ledger.add_touches([first, make_touch(source=Source.HTTP)]) == {"request-0"}
    again = make_touch(source=Source.INVOCATION_LOG, fingerprint="feed")
    assert ledger.add_touches([again, make_touch(number=1)]) == {"request-1"}
    assert ledger.add_touches([again]) == set()
    assert ledger.add_touches([]) == set()
    assert list(ledger.touches(None, None)) == [first, make_touch(number=1)]


def test_a_request_of_two_prefixes_is_written_for_both(ledger: Ledger):
    both = [make_touch(fingerprint=name) for name in ("aa", "bb")]
    assert ledger.add_touches(both) == {"request-0"}
    assert ledger.recent_touches(["aa", "bb", "cc"]) == {"aa": both[:1], "bb": both[1:]}


def test_touches_come_by_start_whenever_they_were_told_and_the_end_is_not_among_them(ledger: Ledger):
    told = numbered(10)
    ledger.add_touches(told[5:])
    ledger.add_touches(told[:5])
    assert list(ledger.touches(MONDAY + 2 * MINUTE, MONDAY + 8 * MINUTE)) == told[2:8]


def test_touches_can_be_asked_for_by_prefix(ledger: Ledger):
    ledger.add_touches([make_touch(number=0), make_touch(number=1, fingerprint="", drift="tool_choice")])
    ledger.add_touches([make_touch(make_prefix(name="other"), 2)])
    assert [touch.request_id for touch in ledger.touches(None, None, "support-bot")] == ["request-0", "request-1"]
    assert list(ledger.touches(None, None, "nobody")) == []


def test_an_empty_ledger_has_no_touches(ledger: Ledger):
    assert list(ledger.touches(None, None)) == []
    assert ledger.recent_touches(["aa"]) == {}


def test_thousands_of_one_moment_are_all_read_once(ledger: Ledger):
    told = [make_touch(number=n, started_at=MONDAY + (n // 1_500) * MINUTE) for n in range(3_001)]
    assert len(ledger.add_touches(told)) == 3_001
    assert len(ledger.add_touches(told)) == 0
    assert [touch.request_id for touch in ledger.touches(None, None)] == [touch.request_id for touch in told]


def test_what_is_told_while_somebody_reads_is_left_for_the_next_time(ledger: Ledger):
    ledger.add_touches([make_touch(number=n, started_at=MONDAY + n * MINUTE) for n in range(1_001)])
    reading = ledger.touches(None, None)
    next(reading)
    ledger.add_touches([make_touch(number=5_000, started_at=MONDAY + 5_000 * MINUTE)])
    assert len(list(reading)) == 1_000
    assert len(list(ledger.touches(None, None))) == 1_002


def test_the_last_touches_are_those_that_started_last_oldest_first(ledger: Ledger):
    told = numbered(30)
    ledger.add_touches(told[::-1])
    fingerprint = told[0].fingerprint
    assert ledger.recent_touches([fingerprint]) == {fingerprint: told[10:]}
    assert ledger.recent_touches([fingerprint], limit_each=3) == {fingerprint: told[-3:]}


def test_many_threads_and_two_processes_tell_the_same_request_once(ledger_url: str):
    with Ledger.open(ledger_url) as one, Ledger.open(ledger_url) as other:
        batches = [numbered(50)] * 16
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda at: (one, other)[at % 2].add_touches(batches[at]), range(16)))
        assert sum(map(len, found)) == 50
        assert len(list(one.touches(None, None))) == 50


def test_touches_outlive_a_restart(ledger_url: str):
    with Ledger.open(ledger_url) as before:
        before.add_touches(numbered(3))
    with Ledger.open(ledger_url) as after:
        assert after.add_touches(numbered(4)) == {"request-3"}


def test_a_source_of_a_newer_keepwarm_is_told(ledger: Ledger, ledger_url: str):
    ledger.add_touches(numbered(1))
    engine = create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE touches SET source = 'telepathy'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="telepathy") as caught:
        list(ledger.touches(None, None))
    assert "newer keepwarm" in caught.value.hint


def test_touches_that_cannot_be_written_are_told_and_none_is_kept(ledger: Ledger):
    broken = make_touch(number=1, started_at=MONDAY.replace(tzinfo=None))
    with pytest.raises(LedgerError, match="touches"):
        ledger.add_touches([make_touch(), broken])
    assert list(ledger.touches(None, None)) == []


def test_what_others_heard_is_found_by_number_and_what_we_heard_is_not(ledger_url: str):
    with Ledger.open(ledger_url) as one, Ledger.open(ledger_url) as other:
        one.add_touches(numbered(3))
        seen = one.latest_touch()
        other.add_touches([*numbered(5), make_touch(number=9, fingerprint="")])
        found = one.others_touches(0)
        assert [(number > seen, touch.request_id) for number, touch in found] == [
            (True, "request-3"),
            (True, "request-4"),
        ]
        assert one.others_touches(found[-1][0]) == []
        assert [touch.request_id for _, touch in other.others_touches(0)] == ["request-0", "request-1", "request-2"]
