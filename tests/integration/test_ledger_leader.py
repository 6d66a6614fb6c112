"""One of many daemons on one PostgreSQL leads; it loses the lead with its session, and writes nothing afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from itertools import count

import psycopg
import pytest

from keepwarm.clock import steady_seconds
from keepwarm.errors import LedgerError
from keepwarm.ledger import Holder, Lease, Ledger
from keepwarm.model import Verdict
from tests.builders import make_intent
from tests.daemons import soon
from tests.postgresql import Postgres

INTENT = make_intent()


class Daemons:
    """Ledgers opened on one database, each with its claim to lead."""

    def __init__(self, server: Postgres, stack: ExitStack) -> None:
        self.server = server
        self.database = server.new_database()
        self._stack = stack
        self._pids = count(1)

    def open(self) -> Ledger:
        return self._stack.enter_context(Ledger.open(self.server.url(self.database)))

    def claim(self, ledger: Ledger, key_check: str = "key", steady=steady_seconds) -> Lease:
        lease = ledger.lead(Holder(next(self._pids), "host", "today"), key_check, steady)
        self._stack.callback(lease.give_up)
        return lease

    def __call__(self) -> tuple[Ledger, Lease]:
        ledger = self.open()
        return ledger, self.claim(ledger)

    def end_the_leaders_session(self) -> None:
        self.server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks JOIN pg_database ON oid = database "
            f"WHERE locktype = 'advisory' AND granted AND datname = '{self.database}'"
        )

    def somebody_waits(self) -> bool:
        """Whether a statement waits for a lock that another session holds."""
        url = self.server.url(self.database).replace("+psycopg", "")
        with psycopg.connect(url) as watching:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
            return watching.execute(waiting, [self.database]).fetchone() != (0,)


@pytest.fixture
def daemons(postgres: Postgres) -> Iterator[Daemons]:
    with ExitStack() as stack:
        yield Daemons(postgres, stack)


def test_the_first_leads_and_all_others_know_who_does(daemons: Daemons):
    (first, lead), (second, claim), (_, third) = daemons(), daemons(), daemons()
    assert (lead.term, claim.term, third.term) == (1, None, None)
    assert claim.leader == third.leader == lead.leader == "process 1 on host, since today"
    number = first.open_entry(INTENT, "first")
    with pytest.raises(LedgerError, match="does not lead") as caught:
        second.open_entry(INTENT, "second")
    assert caught.value.hint
    assert [entry.number for entry in second.entries(None, None)] == [number]


def test_whoever_gives_up_is_followed_by_one_other_with_a_higher_term(daemons: Daemons):
    (first, lead), (second, claim), (last, third) = daemons(), daemons(), daemons()
    lead.give_up()
    assert soon(
        lambda: any((lease.beat(), lease.term)[1] for lease in (claim, third))
    )  # PostgreSQL lets go in its time
    assert sorted([claim.term or 0, third.term or 0]) == [0, 2]
    assert lead.term is None
    with pytest.raises(LedgerError):
        first.open_entry(INTENT, "first")
    assert (second if claim.term else last).open_entry(INTENT, "second")
    lead.beat()  # it may claim again
    assert lead.term is None


def test_a_leader_that_goes_on_keeps_its_term(daemons: Daemons):
    _, lead = daemons()
    for _ in range(3):
        lead.beat()
    assert lead.term == 1


def test_one_that_does_not_know_yet_that_it_was_followed_writes_nothing(daemons: Daemons):
    (first, lead), (second, claim) = daemons(), daemons()
    daemons.end_the_leaders_session()
    claim.beat()
    assert (lead.term, claim.term) == (1, 2)  # so it believes
    with pytest.raises(LedgerError, match="does not lead"):
        first.open_entry(INTENT, "first")
    assert list(second.entries(None, None)) == []
    with pytest.raises(LedgerError):
        lead.beat()
    assert lead.term is None
    lead.beat()
    assert (lead.term, lead.leader) == (None, claim.leader)


def test_a_new_term_waits_for_an_intent_that_is_being_written_and_then_sees_it(daemons: Daemons):
    (_, lead), (second, claim) = daemons(), daemons()
    with psycopg.connect(daemons.server.url(daemons.database).replace("+psycopg", "")) as writing:
        writing.execute("SELECT term FROM leases WHERE term = 1 FOR KEY SHARE")  # as an intent takes it
        lead.beat()  # going on does not wait for it
        lead.give_up()

        def follow() -> None:
            while not claim.term:  # PostgreSQL lets go of a lead in its time
                claim.beat()

        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(follow)
            try:
                assert soon(daemons.somebody_waits)
                assert claim.term is None
            finally:
                writing.rollback()
            following.result()
    assert claim.term == 2
    assert second.open_entry(INTENT, "second")


def test_an_intent_that_waits_for_a_new_term_is_refused_by_it(daemons: Daemons):
    first, lead = daemons()
    with psycopg.connect(daemons.server.url(daemons.database).replace("+psycopg", "")) as following:
        following.execute("UPDATE leases SET term = 2")
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(first.open_entry, INTENT, "first")
            try:
                assert soon(daemons.somebody_waits)
            finally:
                following.commit()
            with pytest.raises(LedgerError, match="does not lead"):
                writing.result()
    assert list(first.entries(None, None)) == []
    with pytest.raises(LedgerError, match="another daemon leads"):
        lead.beat()


def test_a_leader_that_falls_silent_loses_the_lead_by_the_databases_clock(
    daemons: Daemons, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("keepwarm.ledger.lease.LIFE", timedelta(seconds=1))
    spoke_after = steady_seconds()
    (_, lead), (_, claim) = daemons(), daemons()

    def follow() -> bool:
        claim.beat()
        return claim.term == 2

    assert soon(follow, seconds=20)
    assert steady_seconds() - spoke_after >= 1
    assert lead.term is None
    with pytest.raises(LedgerError):
        lead.beat()


def test_one_that_slept_through_its_lease_does_not_even_ask(daemons: Daemons):
    moments = iter([0.0, 4.9, 4.9, 5.0])
    ledger = daemons.open()
    daemons.claim(ledger, steady=lambda: next(moments))
    assert ledger.open_entry(INTENT, "awake")
    with pytest.raises(LedgerError, match="does not lead"):
        ledger.open_entry(INTENT, "asleep")
    assert len(list(ledger.entries(None, None))) == 1


def test_one_that_slept_after_writing_does_not_send_and_says_so_in_the_entry(daemons: Daemons):
    moments = iter([0.0, 1.0, 60.0])
    ledger = daemons.open()
    daemons.claim(ledger, steady=lambda: next(moments))
    with pytest.raises(LedgerError, match="not sent"):
        ledger.open_entry(INTENT, "run")
    (entry,) = ledger.entries(None, None)
    assert (entry.verdict, entry.cost_usd) == (Verdict.ERROR, 0)
    assert entry.outcome.retryable


def test_a_daemon_with_another_key_is_refused_while_somebody_leads(daemons: Daemons):
    (_, lead), other = daemons(), daemons.open()
    with pytest.raises(LedgerError, match="another fingerprint key: process 1 on host") as caught:
        daemons.claim(other, key_check="another")
    assert "fingerprint.key" in caught.value.hint
    lead.give_up()
    assert daemons.claim(other, key_check="another").term == 2


def test_a_ledger_that_is_led_is_open_to_single_commands(daemons: Daemons):
    daemons()
    assert daemons.open().open_entry(INTENT, "keepwarm ping")


def test_a_database_that_goes_away_ends_the_lead_and_one_that_comes_back_is_led_again(daemons: Daemons):
    _, lead = daemons()
    daemons.server.execute(f"ALTER DATABASE {daemons.database} ALLOW_CONNECTIONS false")
    daemons.end_the_leaders_session()
    for _ in range(2):
        with pytest.raises(LedgerError, match="who leads") as caught:
            lead.beat()
        assert "secret" not in str(caught.value)
        assert lead.term is None
    daemons.server.execute(f"ALTER DATABASE {daemons.database} ALLOW_CONNECTIONS true")
    lead.beat()
    assert lead.term == 2


def test_sqlite_has_no_leader_but_a_lock(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        assert ledger.lead(Holder(1, "host", "today"), "key") is None
        assert ledger.open_entry(INTENT, "run")
