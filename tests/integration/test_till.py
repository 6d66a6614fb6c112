"""Money added up in stretches is what a report over the whole says, also when requests are told days late."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from keepwarm import accounting, simulate
from keepwarm.accounting import Background
from keepwarm.answers.till import Till
from keepwarm.errors import LedgerError
from keepwarm.ledger import Ledger
from keepwarm.model import PrefixState, Usage, Verdict
from keepwarm.rolling import Roller
from keepwarm.views.shapes import Money
from tests.builders import make_entry, make_prefix, make_touch

NOON = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BOT, OTHER = make_prefix(), make_prefix(name="other", fingerprint="f" * 32)
READ = Usage(9, 9, 5_000, 0)


def fill(ledger: Ledger) -> None:
    """A ping every four hours for forty days, and a request three minutes after every second one."""
    for number in range(240):
        at = NOON - 4 * MINUTE - number * timedelta(hours=4)
        for prefix in (BOT, OTHER):
            verdict = Verdict.REWRITE if number % 5 == 0 else Verdict.HIT
            entry = make_entry(prefix, verdict, started_at=at, cost_usd=Decimal("0.001"), avoidable_usd=Decimal("0.01"))
            assert entry.outcome is not None
            ledger.close_entry(ledger.open_entry(entry.intent, "run"), replace(entry.outcome, completed_at=at))
        if number % 2:
            ledger.add_touches([make_touch(BOT, number, started_at=at + 3 * MINUTE, usage=READ)])


def whole(ledger: Ledger, since: datetime, now: datetime) -> tuple[int, float, float, float]:
    terms = {each.name: Background(terms=simulate.terms_of(each, PrefixState())) for each in (BOT, OTHER)}
    before = since - timedelta(hours=1)
    total = accounting.make_report(ledger.entries(before, now), since, now, terms, ledger.touches(before, now)).total
    assert total.avoided_write_usd is not None
    saved = total.avoided_write_usd
    return sum(total.pings.values()), float(total.refresh_cost_usd or 0), float(saved.low), float(saved.high)


def figures(money: Money | None) -> tuple[int, float, float, float]:
    assert money is not None
    return money.pings, money.refresh_cost_usd, money.avoided_low_usd, money.avoided_high_usd


def test_the_sums_of_the_stretches_are_those_of_a_report_whatever_is_told_late(ledger_url: str):
    now = [NOON]
    with Ledger.open(ledger_url) as ledger:
        fill(ledger)
        till = Till(ledger, lambda: (BOT, OTHER), lambda _: PrefixState(), lambda: now[0])
        assert till.folded.takings("").today is None
        till.look()

        def compare() -> None:
            shown = till.folded.takings("")
            for money in (shown.today, shown.seven_days, shown.thirty_days):
                assert money is not None
                assert figures(money) == pytest.approx(whole(ledger, money.since, now[0]))

        compare()
        assert till.folded.early_loss_rate(BOT.name) == pytest.approx(1 / 5, rel=0.05)
        low = till.folded.takings(BOT.name).seven_days
        assert low is not None
        assert low.avoided_low_usd > 0

        late = NOON - 2 * DAY - 2 * MINUTE  # after a ping of two days ago, of which nobody had told
        ledger.add_touches([make_touch(OTHER, 999, started_at=late, usage=READ)])
        now[0] = NOON + MINUTE
        till.look()
        compare()
        told = till.folded.takings("other")
        assert told.seven_days is not None
        assert told.today is not None
        assert told.seven_days.avoided_low_usd > told.today.avoided_low_usd == 0

        now[0] = NOON + DAY  # today is another day
        till.look()
        compare()
        assert till.folded.as_of == now[0]


@pytest.mark.parametrize("retention", [None, timedelta(days=10)])
def test_days_that_are_summed_up_add_up_to_the_same_also_when_their_pings_are_gone(tmp_path: Path, retention):
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        fill(ledger)
        since = NOON.replace(hour=0, minute=0)
        wanted = [whole(ledger, since - DAY * days, NOON) for days in (0, 6, 29)]
        roller = Roller(ledger, lambda: (BOT, OTHER), lambda _: PrefixState(), lambda: NOON, retention)
        while roller.step():
            pass
        assert len(list(ledger.entries(None, None))) == (480 if retention is None else 128)
        till = Till(ledger, lambda: (BOT, OTHER), lambda _: PrefixState(), lambda: NOON)
        till.look()
        shown = till.folded.takings("")
        found = [figures(money) for money in (shown.today, shown.seven_days, shown.thirty_days)]
        assert [pytest.approx(each) for each in wanted] == found


def test_what_cannot_be_read_leaves_the_figures_as_they_were(tmp_path: Path):
    now = [NOON]
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        fill(ledger)
        till = Till(ledger, lambda: (BOT, OTHER), lambda _: PrefixState(), lambda: now[0])
        till.look()
        before = till.folded
        with ledger._engine.begin() as connection:  # noqa: SLF001 - as if the disk had gone
            connection.exec_driver_sql("ALTER TABLE outcomes RENAME TO gone")
        now[0] = NOON + MINUTE
        with pytest.raises(LedgerError):
            till.look()
        assert till.folded is before
