"""A ledger whose days are summed up tells what the walk over every ping tells, also after those are deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from keepwarm import accounting, losses, rolling, simulate
from keepwarm.accounting import Background
from keepwarm.errors import LedgerError
from keepwarm.ledger import Ledger
from keepwarm.model import Limits, PrefixState, Usage, Verdict
from keepwarm.rolling import Roller
from tests.builders import make_entry, make_prefix, make_touch

NOON = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
MIDNIGHT = NOON.replace(hour=0, minute=0)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BOT, OTHER = make_prefix(), make_prefix(name="other", fingerprint="f" * 32)
READ = Usage(9, 9, 5_000, 0)
DAYS = 7


def fill(ledger: Ledger, days: int = DAYS, every: timedelta = 2 * HOUR) -> None:
    """A ping every two hours, and a request three minutes after every seventh."""
    told = []
    for number in range(days * (DAY // every), 0, -1):
        at = NOON - 4 * MINUTE - number * every
        for prefix in (BOT, OTHER):
            verdict = Verdict.REWRITE if number % 5 == 0 else Verdict.HIT
            entry = make_entry(prefix, verdict, started_at=at, cost_usd=Decimal("0.001"), avoidable_usd=Decimal("0.01"))
            assert entry.outcome is not None
            outcome = replace(entry.outcome, completed_at=at, latency_ms=40 + number % 50)
            ledger.close_entry(ledger.open_entry(entry.intent, "run"), outcome)
        if number % 7 == 0:
            told.append(make_touch(BOT, number, started_at=at + 3 * MINUTE, usage=READ))
    ledger.add_touches(told)


def backgrounds() -> dict[str, Background]:
    return {each.name: Background(terms=simulate.terms_of(each, PrefixState())) for each in (BOT, OTHER)}


def walked(ledger: Ledger, since: datetime, until: datetime) -> dict[str, Any]:
    before = since - HOUR
    entries, touches = ledger.entries(before, until), ledger.touches(before, until)
    return accounting.to_json(accounting.make_report(entries, since, until, backgrounds(), touches))


def told(ledger: Ledger, since: datetime, until: datetime) -> tuple[dict[str, Any], bool]:
    found = rolling.told(ledger, since, until, HOUR)
    report = accounting.make_report(found.entries, found.since, found.until, backgrounds(), found.touches, found.rolled)
    return accounting.to_json(report), found.rolled is not None


def make_roller(ledger: Ledger, now: datetime = NOON, retention: timedelta | None = None) -> Roller:
    return Roller(ledger, lambda: (BOT, OTHER), lambda _: PrefixState(), lambda: now, retention)


def settle(roller: Roller) -> int:
    steps = 1
    while roller.step():
        steps += 1
    return steps


def count(url: str, table: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
    engine.dispose()
    return found


@pytest.mark.parametrize("back", [timedelta(hours=8), 2 * DAY, 5 * DAY + 7 * HOUR, NOON - MIDNIGHT + 4 * DAY, 40 * DAY])
def test_a_report_of_summed_up_days_says_what_the_walk_says(ledger_url: str, back: timedelta):
    with Ledger.open(ledger_url) as ledger:
        fill(ledger)
        expected = walked(ledger, NOON - back, NOON)
        assert settle(make_roller(ledger)) == DAYS + 1
        found, rolled = told(ledger, NOON - back, NOON)
        assert rolled == (back >= 2 * DAY)
        assert found == expected


def test_months_that_are_over_are_kept_as_one_and_say_the_same(ledger_url: str):
    with Ledger.open(ledger_url) as ledger:
        fill(ledger, days=80, every=DAY)
        stretches = [(NOON - back * DAY, NOON - until * DAY) for back, until in [(100, 0), (60, 0), (45, 9), (20, 15)]]
        expected = [walked(ledger, *stretch) for stretch in stretches]
        settle(make_roller(ledger))
        first = datetime(2026, 1, 1, tzinfo=UTC)
        months = ledger.rolls.months(first, NOON)
        assert [start.isoformat()[:7] for start, _ in months] == ["2026-01", "2026-02"]
        assert len(ledger.rolls.parts(first, NOON)) < len(ledger.rolls.parts(first, NOON, whole_months=False)) / 5
        assert [told(ledger, *stretch)[0] for stretch in stretches] == expected
        ledger.add_touches([make_touch(BOT, 10_001, started_at=NOON - 50 * DAY + 6 * HOUR, usage=READ)])
        expected = [walked(ledger, *stretch) for stretch in stretches]
        assert [told(ledger, *stretch)[0] for stretch in stretches] == expected
        settle(make_roller(ledger))
        assert [told(ledger, *stretch)[0] for stretch in stretches] == expected
        assert ledger.rolls.months(first, NOON) == months


def test_a_request_told_late_counts_at_once_and_is_summed_up_anew(ledger_url: str):
    since = NOON - 6 * DAY
    with Ledger.open(ledger_url) as ledger:
        fill(ledger)
        settle(make_roller(ledger))
        ledger.add_touches([make_touch(BOT, 10_001, started_at=NOON - 4 * DAY, usage=READ)])
        expected = walked(ledger, since, NOON)
        assert told(ledger, since, NOON) == (expected, True)
        assert settle(make_roller(ledger)) == 5  # the day that it belongs to, three since, and nothing more
        assert told(ledger, since, NOON) == (expected, True)


def test_a_day_is_summed_up_when_it_is_over_for_six_hours(ledger_url: str):
    with Ledger.open(ledger_url) as ledger:
        fill(ledger)
        settle(make_roller(ledger, MIDNIGHT + 5 * HOUR))
        state = ledger.rolls.state()
        assert state is not None
        assert state.until == MIDNIGHT - DAY
        settle(make_roller(ledger, MIDNIGHT + 6 * HOUR))
        assert ledger.rolls.state() == state._replace(until=MIDNIGHT)


def test_silent_days_are_passed_over_and_what_lived_before_them_is_known_after(ledger_url: str):
    with Ledger.open(ledger_url) as ledger:
        fill(ledger, days=3)
        later = NOON + 20 * DAY
        settle(make_roller(ledger, later))
        state = ledger.rolls.state()
        assert state is not None
        assert state.until == MIDNIGHT + 20 * DAY
        assert told(ledger, NOON - 40 * DAY, later) == (walked(ledger, NOON - 40 * DAY, later), True)


def test_old_pings_and_requests_are_deleted_and_their_sums_stay(ledger_url: str):
    since, cut = MIDNIGHT - 6 * DAY, MIDNIGHT - 3 * DAY
    with Ledger.open(ledger_url) as ledger:
        fill(ledger)
        expected = walked(ledger, since, NOON)
        settle(make_roller(ledger, retention=3 * DAY))
        assert next(ledger.entries(None, None)).intent.started_at >= cut
        assert next(ledger.touches(None, None)).started_at >= cut
        assert count(ledger_url, "outcomes") == count(ledger_url, "intents")
        assert told(ledger, since, NOON) == (expected, True)
        # Half a day is not there any more: the report is about all of it, and says so.
        assert told(ledger, since + 5 * HOUR, NOON) == (expected, True)
        until_a_noon, _ = told(ledger, since, since + DAY + 12 * HOUR)
        assert until_a_noon["until"] == "2026-03-06T00:00:00Z"
        make_roller(ledger).rebuild()
        settle(make_roller(ledger))
        assert told(ledger, since, NOON) == (expected, True)
        ledger.add_touches([make_touch(BOT, 10_002, started_at=cut - DAY, usage=READ)])
        assert told(ledger, since, NOON) == (expected, True), "too late: nobody knows the pings of then any more"


def test_nothing_is_deleted_that_is_not_summed_up(ledger_url: str):
    with Ledger.open(ledger_url) as ledger:
        fill(ledger, days=3)
        roller = make_roller(ledger, NOON + 400 * DAY, retention=70 * DAY)
        assert roller.trim() == 0
        assert roller.roll() == MIDNIGHT - 3 * DAY
        assert roller.trim() > 0
        assert next(ledger.entries(None, None)).intent.started_at >= MIDNIGHT - 2 * DAY


def test_an_empty_ledger_has_nothing_to_sum_up(ledger_url: str):
    with Ledger.open(ledger_url) as ledger:
        roller = make_roller(ledger, retention=DAY)
        assert not roller.step()
        roller.rebuild()
        assert told(ledger, NOON - DAY, NOON)[1] is False


def test_the_tripwire_sees_the_same_loss_with_days_summed_up(ledger_url: str):
    watched = [replace(each, limits=replace(Limits(), tripwire_usd=Decimal("0.01"))) for each in (BOT, OTHER)]
    with Ledger.open(ledger_url) as ledger:
        fill(ledger)
        before = losses.look(ledger, watched, lambda _: PrefixState(), NOON)
        settle(make_roller(ledger))
        assert losses.look(ledger, watched, lambda _: PrefixState(), NOON) == before
        assert [status.spent_usd for status in before if status.prefix == BOT.name] != [None]


def test_sums_in_words_of_another_version_are_told_and_can_be_built_anew(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with Ledger.open(url) as ledger:
        fill(ledger, days=3)
        settle(make_roller(ledger))
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE rolled_parts SET value = replace(value, 'hit', 'glance')"))
        engine.dispose()
        with pytest.raises(LedgerError, match="a summed up day of the ledger cannot be read") as caught:
            told(ledger, NOON - 2 * DAY, NOON)
        assert "keepwarm tidy --rebuild" in caught.value.hint
        make_roller(ledger).rebuild()
        settle(make_roller(ledger))
        assert told(ledger, NOON - 2 * DAY, NOON)[1]


def test_days_summed_up_by_a_clock_that_was_ahead_are_summed_up_again(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        fill(ledger)
        settle(make_roller(ledger, NOON + 3 * DAY))
        for hour in range(48):
            at = NOON + hour * HOUR
            entry = make_entry(BOT, Verdict.HIT, started_at=at, cost_usd=Decimal(1), avoidable_usd=Decimal(0))
            ledger.close_entry(ledger.open_entry(entry.intent, "run"), replace(entry.outcome, completed_at=at))
        now = NOON + 2 * DAY + 7 * HOUR
        settle(make_roller(ledger, now))
        found, rolled = told(ledger, MIDNIGHT - DAY, now)
        assert rolled
        expected = walked(ledger, MIDNIGHT - DAY, now)["total"]["refresh_cost_usd"]
        assert found["total"]["refresh_cost_usd"] == expected
        assert Decimal(expected) > 48


def test_what_may_be_late_is_looked_for_by_number_and_not_through_all_years(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        fill(ledger)
        settle(make_roller(ledger, NOON))
        asked: list[tuple[str, Any]] = []
        engine = vars(ledger.rolls)["_engine"]
        event.listen(engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
        state = ledger.rolls.state()
        asked.clear()
        assert ledger.rolls.first_late(state, 0)
        with engine.connect() as connection:
            plans = [
                connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all() for query, values in asked[:]
            ]
        assert len(plans) == 2
        assert all("PRIMARY KEY" in str(plan) for plan in plans)
