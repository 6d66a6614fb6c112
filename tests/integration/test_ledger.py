"""The ledger on SQLite and PostgreSQL: what is written is read back, by this process, by others and by later ones."""

from __future__ import annotations

import pickle
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from keepwarm.errors import LedgerError
from keepwarm.ledger import Ledger
from keepwarm.model import Api, Entry, Intent, Outcome, Reason, Ttl, Usage, Verdict

START = datetime(2026, 11, 23, 8, 0, 0, 123_456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

INTENT = Intent(
    prefix="support-bot",
    fingerprint="f00d",
    model_id="arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc",
    region="eu-central-1",
    api=Api.INVOKE_MODEL,
    ttl=Ttl.ONE_HOUR,
    reason=Reason.RETRY,
    attempt=2,
    started_at=START,
    high_cost_usd=Decimal("0.0123456789012345678901234567890123456789"),
    provisioned=True,
)
OUTCOME = Outcome(
    completed_at=START + timedelta(seconds=1, microseconds=1),
    verdict=Verdict.PARTIAL,
    cost_usd=Decimal("0.00000000000000000001"),
    avoidable_usd=Decimal("0.10"),
    usage=Usage(3, 1, 5000, 200, 150),
    latency_ms=431,
    server_latency_ms=400,
    billed_ttl=Ttl.FIVE_MINUTES,
    request_id="b9d1",
)
FAILURE = Outcome(
    completed_at=START + MINUTE,
    verdict=Verdict.ERROR,
    cost_usd=Decimal(0),
    error_code="throttled",
    error_message="Too many requests, ütf-8",
    error_hint="ask for more quota",
    retryable=True,
)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with Ledger.open(ledger_url) as opened:
        yield opened


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a SQLite file, for tests that are about the file."""
    return f"sqlite:///{tmp_path}/state/ledger.db"


@pytest.fixture
def file_ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url) as opened:
        yield opened


def change(url: str, statement: str) -> None:
    """Do behind the ledger's back what keepwarm never does."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def fill(ledger: Ledger, count: int, *, prefixes: int = 1, run_id: str = "run") -> None:
    for index in range(count):
        name = f"p{index % prefixes}"
        intent = replace(INTENT, prefix=name, fingerprint=f"f-{name}", started_at=START + index * MINUTE)
        ledger.close_entry(ledger.open_entry(intent, run_id), OUTCOME)


# -- writing and reading back -------------------------------------------------------------------------------------


def test_an_entry_comes_back_as_it_was_written(ledger: Ledger):
    number = ledger.open_entry(INTENT, "run")
    ledger.close_entry(number, OUTCOME)
    assert list(ledger.entries(None, None)) == [Entry(number, INTENT, OUTCOME)]


def test_an_error_without_usage_comes_back_without_usage(ledger: Ledger):
    number = ledger.open_entry(INTENT, "run")
    ledger.close_entry(number, FAILURE)
    assert [entry.outcome for entry in ledger.entries(None, None)] == [FAILURE]


def test_an_entry_in_flight_has_no_outcome(ledger: Ledger):
    number = ledger.open_entry(INTENT, "run")
    assert list(ledger.entries(None, None)) == [Entry(number, INTENT, None)]


def test_an_intent_is_seen_by_others_as_soon_as_it_is_opened(ledger: Ledger, ledger_url: str):
    number = ledger.open_entry(INTENT, "run")
    with Ledger.open(ledger_url) as other:
        assert other.latest_number() == number


def test_a_ledger_lasts_beyond_its_process(ledger_url: str):
    with Ledger.open(ledger_url) as first:
        fill(first, 3)
    with Ledger.open(ledger_url) as second:
        assert second.open_entry(INTENT, "later") == 4
        assert len(list(second.entries(None, None))) == 4


@given(st.decimals(min_value=0, max_value=10**12, places=24), st.integers(min_value=0, max_value=23))
def test_money_comes_back_to_the_last_digit(amount: Decimal, shift: int):
    high_cost_usd = amount.scaleb(-shift)
    with Ledger.open("sqlite://") as ledger:
        number = ledger.open_entry(replace(INTENT, high_cost_usd=high_cost_usd), "run")
        ledger.close_entry(number, replace(OUTCOME, cost_usd=amount, avoidable_usd=amount))
        (entry,) = ledger.entries(None, None)
    assert entry.intent.high_cost_usd.compare_total(high_cost_usd) == 0
    assert (entry.outcome.cost_usd, entry.outcome.avoidable_usd) == (amount, amount)


def test_money_lies_in_the_file_as_plain_text(url: str, tmp_path: Path):
    with Ledger.open(url) as ledger:
        ledger.open_entry(replace(INTENT, high_cost_usd=Decimal("1E-9")), "run")
    (row,) = sqlite3.connect(tmp_path / "state/ledger.db").execute(
        "SELECT high_cost_usd, typeof(high_cost_usd) FROM intents"
    )
    assert row == ("0.000000001", "text")


def test_moments_of_other_zones_come_back_as_the_same_moment_in_utc(ledger: Ledger):
    local = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    ledger.open_entry(replace(INTENT, started_at=local), "run")
    (entry,) = ledger.entries(None, None)
    assert (entry.intent.started_at, entry.intent.started_at.tzinfo) == (START, UTC)


@pytest.mark.parametrize(
    "wrong",
    [{"started_at": START.replace(tzinfo=None)}, {"high_cost_usd": Decimal("NaN")}],
    ids=["naive", "nan"],
)
def test_what_has_no_meaning_is_not_written(ledger: Ledger, wrong: dict[str, object]):
    with pytest.raises(LedgerError):
        ledger.open_entry(replace(INTENT, **wrong), "run")
    assert ledger.latest_number() == 0


def test_an_entry_is_closed_only_once_and_only_after_it_was_opened(ledger: Ledger):
    number = ledger.open_entry(INTENT, "run")
    ledger.close_entry(number, OUTCOME)
    with pytest.raises(LedgerError, match=f"entry {number}"):
        ledger.close_entry(number, FAILURE)
    with pytest.raises(LedgerError, match="entry 99"):
        ledger.close_entry(99, FAILURE)
    assert [entry.outcome for entry in ledger.entries(None, None)] == [OUTCOME]


def test_an_error_tells_nothing_of_the_row_that_failed(ledger: Ledger):
    with pytest.raises(LedgerError) as caught:
        ledger.close_entry(99, replace(FAILURE, error_message="words of a prompt"))
    assert "words of a prompt" not in str(caught.value)
    assert "INSERT" not in str(caught.value)
    assert "DETAIL" not in str(caught.value)


# -- queries ------------------------------------------------------------------------------------------------------


def test_entries_start_in_the_stretch_from_since_up_to_but_without_until(ledger: Ledger):
    fill(ledger, 10, prefixes=2)
    since, until = START + 2 * MINUTE, START + 6 * MINUTE
    assert [entry.number for entry in ledger.entries(since, until)] == [3, 4, 5, 6]
    assert [entry.number for entry in ledger.entries(since, None)] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert [entry.number for entry in ledger.entries(None, until, "p1")] == [2, 4, 6]
    assert list(ledger.entries(None, None, "nobody")) == []


def test_entries_over_many_pages_come_once_each_and_in_order(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keepwarm.ledger._PAGE_ROWS", 7)
    fill(ledger, 30, prefixes=2)
    assert [entry.number for entry in ledger.entries(None, None)] == list(range(1, 31))
    assert [entry.number for entry in ledger.entries(START + MINUTE, None, "p0")] == list(range(3, 31, 2))


def test_entries_can_be_written_while_others_are_being_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keepwarm.ledger._PAGE_ROWS", 2)
    fill(ledger, 5)
    reading = ledger.entries(None, None)
    first = next(reading)
    fill(ledger, 5)
    assert [first.number, *(entry.number for entry in reading)] == [1, 2, 3, 4, 5]


def test_recent_gives_the_last_entries_of_each_fingerprint_oldest_first(ledger: Ledger):
    fill(ledger, 12, prefixes=3)
    last = ledger.recent(["f-p0", "f-p2", "unknown"], limit_each=2)
    assert {key: [entry.number for entry in entries] for key, entries in last.items()} == {
        "f-p0": [7, 10],
        "f-p2": [9, 12],
    }
    assert {key: len(entries) for key, entries in ledger.recent(None).items()} == {"f-p0": 4, "f-p1": 4, "f-p2": 4}


def test_recent_takes_thousands_of_fingerprints(ledger: Ledger):
    fill(ledger, 4, prefixes=2)
    asked = [f"f-p{index}" for index in range(3000)]
    assert set(ledger.recent(asked)) == {"f-p0", "f-p1"}


def test_orphans_are_the_open_entries_of_other_runs(ledger: Ledger):
    fill(ledger, 2, run_id="old")
    orphan = ledger.open_entry(INTENT, "old")
    ledger.open_entry(INTENT, "new")
    (found,) = ledger.orphans("new")
    assert (found.number, found.outcome, found.verdict) == (orphan, None, Verdict.UNKNOWN)
    ledger.close_entry(orphan, replace(FAILURE, verdict=Verdict.UNKNOWN))
    assert ledger.orphans("new") == []


def test_entries_of_other_processes_are_found_by_number(ledger: Ledger, ledger_url: str):
    assert ledger.latest_number() == 0
    fill(ledger, 2, run_id="daemon")
    seen = ledger.latest_number()
    with Ledger.open(ledger_url) as other:
        other.open_entry(INTENT, "keepwarm ping")
    fill(ledger, 1, run_id="daemon")
    assert [entry.number for entry in ledger.entries_after(seen, "daemon")] == [3]
    assert ledger.entries_after(3, "daemon") == []


def test_a_word_that_only_a_newer_keepwarm_knows_is_told_as_such(ledger: Ledger, ledger_url: str):
    ledger.open_entry(INTENT, "run")
    change(ledger_url, "UPDATE intents SET reason = 'full_moon'")
    with pytest.raises(LedgerError, match="full_moon") as caught:
        list(ledger.entries(None, None))
    assert "newer keepwarm" in caught.value.hint


# -- many at once -------------------------------------------------------------------------------------------------


def test_many_threads_write_at_once_and_nothing_is_lost(ledger: Ledger):
    gate = threading.Barrier(32)

    def work(worker: int) -> list[int]:
        gate.wait()
        numbers = []
        for index in range(10):
            number = ledger.open_entry(replace(INTENT, prefix=f"w{worker}", attempt=index), "run")
            ledger.close_entry(number, replace(OUTCOME, latency_ms=number))
            numbers.append(number)
        return numbers

    with ThreadPoolExecutor(32) as pool:
        numbers = [number for found in pool.map(work, range(32)) for number in found]
    entries = list(ledger.entries(None, None))
    assert sorted(numbers) == [entry.number for entry in entries] == list(range(1, 321))
    assert all(entry.outcome.latency_ms == entry.number for entry in entries)


def test_a_ledger_in_memory_is_one_for_all_threads():
    with Ledger.open("sqlite://") as ledger, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: fill(ledger, 5), range(8)))
        counts = list(pool.map(lambda _: len(list(ledger.entries(None, None))), range(8)))
    assert counts == [40] * 8


def test_processes_that_open_an_empty_ledger_at_once_all_succeed(ledger_url: str):
    program = "import sys; from keepwarm.ledger import Ledger; sys.stdin.read(1); Ledger.open(sys.argv[1]).close()"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, ledger_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    assert [child.communicate()[1] for child in children] == [""] * 6


def test_opening_waits_for_whoever_keeps_a_new_file_to_itself(url: str, tmp_path: Path):
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state/ledger.db")) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN EXCLUSIVE")
        opening = pool.submit(Ledger.open, url)
        with pytest.raises(TimeoutError):
            opening.result(timeout=0.3)
        other.rollback()
        opening.result().close()


def test_opening_does_not_wait_for_ever(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keepwarm.ledger.database._BUSY_TIMEOUT", timedelta(milliseconds=60))
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state/ledger.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="another process"):
            Ledger.open(url)


def test_two_processes_write_to_one_ledger(ledger: Ledger, ledger_url: str):
    program = (
        "import pickle, sys; from keepwarm.ledger import Ledger\n"
        "intent, outcome = pickle.load(sys.stdin.buffer)\n"
        "with Ledger.open(sys.argv[1]) as ledger:\n"
        "    for _ in range(100): ledger.close_entry(ledger.open_entry(intent, 'child'), outcome)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, ledger_url], stdin=subprocess.PIPE) as child:
        child.stdin.write(pickle.dumps((INTENT, OUTCOME)))
        child.stdin.close()
        fill(ledger, 100, run_id="parent")
    assert child.returncode == 0
    assert len(ledger.entries_after(0, "child")) == len(ledger.entries_after(0, "parent")) == 100


# -- the file -----------------------------------------------------------------------------------------------------


def test_the_file_is_made_for_its_owner_only_and_kept_durable(url: str, tmp_path: Path):
    with Ledger.open(url) as ledger:
        fill(ledger, 1)
        files = sorted((tmp_path / "state").iterdir())
        assert [file.name for file in files] == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        with ledger._engine.connect() as connection:  # noqa: SLF001 the promise is about this very connection
            pragmas = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas] == ["wal", 2, 30_000, 1]


def test_a_file_that_is_there_keeps_its_mode(url: str, tmp_path: Path):
    Ledger.open(url).close()
    (tmp_path / "state/ledger.db").chmod(0o640)
    Ledger.open(url).close()
    assert stat.S_IMODE((tmp_path / "state/ledger.db").stat().st_mode) == 0o640


@pytest.mark.parametrize("form", ["sqlite:///file:{path}?uri=true", "sqlite+pysqlite:///{path}"])
def test_other_spellings_of_a_sqlite_url_work_too(form: str, tmp_path: Path):
    with Ledger.open(form.format(path=tmp_path / "new/ledger.db")) as ledger:
        fill(ledger, 1)
    assert (tmp_path / "new/ledger.db").exists()


def test_a_named_ledger_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with Ledger.open("sqlite:///file:ledger?mode=memory&cache=shared&uri=true") as ledger:
        fill(ledger, 1)
    assert list(tmp_path.iterdir()) == []


# -- trouble ------------------------------------------------------------------------------------------------------


def refused(url: str) -> LedgerError:
    with pytest.raises(LedgerError) as caught:
        Ledger.open(url)
    assert caught.value.hint
    assert caught.value.__suppress_context__
    return caught.value


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path):
    (tmp_path / "ledger.db").write_text("these are my notes, not a database\n" * 200)
    assert "not a database" in str(refused(f"sqlite:///{tmp_path}/ledger.db"))
    assert (tmp_path / "ledger.db").read_text().startswith("these are my notes")


def test_a_directory_in_the_place_of_the_file_is_refused(tmp_path: Path):
    assert str(tmp_path) in str(refused(f"sqlite:///{tmp_path}"))


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path):
    (tmp_path / "state").touch()
    assert "state" in str(refused(f"sqlite:///{tmp_path}/state/ledger.db"))
    assert "state" in str(refused(f"sqlite:///{tmp_path}/state/deeper/ledger.db"))


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a place that not even root may write to")
@pytest.mark.parametrize("place", ["/sys/kernel/ledger.db", "/sys/kernel/keepwarm/ledger.db"])
def test_a_directory_that_cannot_be_written_is_refused(place: str):
    assert "cannot create" in str(refused(f"sqlite:///{place}"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("my ledger: secret", "not a SQLAlchemy URL"),
        ("oracel://scott:secret@db/ledger", "no driver"),
        ("mysql+cymysql://scott:secret@db/ledger", "no driver"),
        ("postgresql+psycopg://scott:secret@127.0.0.1:1/ledger", "Connection refused"),
        ("postgresql+psycopg:///ledger?host=127.0.0.1&port=1&user=scott&password=secret", "Connection refused"),
        ("postgresql+psycopg://scott:secret@127.0.0.1:1/ledger?sslmood=secret", "invalid connection option"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused_without_its_password(url: str, words: str):
    error = refused(url)
    assert words in str(error)
    assert "secret" not in str(error) + error.hint


def test_a_ledger_that_vanishes_under_the_daemon_is_an_error_of_ours(ledger: Ledger, ledger_url: str):
    change(ledger_url, "DROP TABLE outcomes")
    with pytest.raises(LedgerError, match=r"cannot write the outcome of entry 1: .*outcomes"):
        ledger.close_entry(ledger.open_entry(INTENT, "run"), OUTCOME)
    with pytest.raises(LedgerError, match=r"cannot read the ledger: .*outcomes"):
        ledger.orphans("run")
