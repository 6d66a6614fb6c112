"""What a prefix is advised to be registered with, from weeks of arrivals whose best treatment is known."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from keepwarm.model import (
    ALWAYS,
    BusyHoursPolicy,
    Course,
    Entry,
    IdleLimitPolicy,
    Prefix,
    PrefixState,
    Reason,
    Touch,
    Ttl,
    Verdict,
)
from keepwarm.simulate import Arrival, Setting, Trace
from keepwarm.simulate.advice import Advice, Advised, advise, busy_hours_seen, rewrite_rate_of
from tests.builders import make_entry, make_hours, make_prefix

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WORK = [MONDAY + day * DAY + 9 * HOUR for day in range(14) if day % 7 < 5]
OFFICE = make_hours("Mon-Fri 08:00-18:00", timezone="UTC")


def trace(*moments: datetime) -> Trace:
    return Trace("test", tuple(Arrival(moment, "support-bot", 20_000) for moment in sorted(moments)))


def advised(prefix: Prefix, *moments: datetime) -> Advice:
    return advise(prefix, trace(*moments) if moments else None, Setting(prefix.facts))


def every(gap: timedelta, lasting: timedelta = 8 * HOUR) -> list[datetime]:
    """Requests so far apart on each day of work."""
    return [start + step * gap for start in WORK for step in range(int(lasting / gap))]


# -- too little ---------------------------------------------------------------------------------------------------


def test_nothing_is_advised_on_too_few_requests_or_too_few_days():
    assert advised(make_prefix()).advised is Advised.TOO_LITTLE_KNOWN
    assert advised(make_prefix(), *WORK).requests == 10
    assert advised(make_prefix(), *WORK).advised is Advised.TOO_LITTLE_KNOWN
    a_day = [MONDAY + step * MINUTE for step in range(1000)]
    assert advised(make_prefix(), *a_day).advised is Advised.TOO_LITTLE_KNOWN
    assert advised(make_prefix(), *a_day, MONDAY + 7 * DAY).advised is not Advised.TOO_LITTLE_KNOWN


def test_provisioned_throughput_has_no_price_to_advise_on():
    assert advised(make_prefix(provisioned=True), *every(10 * MINUTE)).advised is Advised.NO_PRICE


# -- what is best -------------------------------------------------------------------------------------------------


def test_requests_ten_minutes_apart_want_two_or_three_pings_at_5m_or_1h_without_any():
    found = advised(make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(0)), *every(10 * MINUTE))
    assert found.advised is Advised.CHANGE
    assert (found.best.name, found.best.ttl, found.best.cold) == ("idle_limit:3", Ttl.FIVE_MINUTES, 10)
    assert found.now.saved_usd_per_week == 0
    assert (found.other.ttl, found.other.name) == (Ttl.ONE_HOUR, "never")
    assert found.other.saved_usd_per_week > found.best.saved_usd_per_week > 0


def test_the_money_saved_is_that_of_the_weeks_by_hand():
    prefix = make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(0))
    found = advised(prefix, *every(10 * MINUTE))
    write, read = 20_000 * 4.125e-6, 20_000 * 0.33e-6
    weeks = (WORK[-1] + 47 * 10 * MINUTE - WORK[0]) / timedelta(days=7)
    # 48 requests a day: 47 of them read after two pings each; three pings are sent after the last one.
    saved = 10 * (47 * (write - read) - 47 * 2 * read) - 10 * 3 * read
    assert found.best.saved_usd_per_week == pytest.approx(saved / weeks, rel=1e-6)
    assert found.never_usd_per_week == pytest.approx(10 * 48 * write / weeks, rel=1e-6)


def test_what_is_registered_is_kept_when_nothing_saves_much_more():
    found = advised(make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(3)), *every(10 * MINUTE))
    assert found.advised is Advised.KEEP
    assert found.now == found.best


def test_a_limit_of_ones_own_is_replayed_too():
    found = advised(make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(2)), *every(10 * MINUTE))
    assert found.now.name == "idle_limit:2"
    assert (found.advised, found.best) == (Advised.KEEP, found.now)


class AlwaysTwo:
    """A learner that knows already: two pings, at 5m."""

    def hear(self, _prefix: Prefix, _before: PrefixState, _touch: Touch) -> None:
        pass

    def pinged(self, _prefix: Prefix, _entry: Entry) -> None:
        pass

    def course(self, _prefix: Prefix, _state: PrefixState, _now: datetime) -> Course:
        return Course(2, Ttl.FIVE_MINUTES)

    def choose_ttl(self, _prefix: Prefix, _state: PrefixState, _now: datetime) -> Ttl:
        return Ttl.FIVE_MINUTES


def test_a_learner_is_tried_too_and_preferred_to_a_limit_that_saves_hardly_more():
    prefix = make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(0))
    found = advise(prefix, trace(*every(6 * MINUTE)), Setting(prefix.facts, learner=lambda _: AlwaysTwo()))
    assert found.best.name == "adaptive"
    assert found.advised is Advised.CHANGE


def test_where_the_daemon_chooses_the_ttl_the_better_one_is_its_own():
    prefix = make_prefix(busy_hours=OFFICE, auto_ttl=True, policy=IdleLimitPolicy(0))
    found = advised(prefix, *every(10 * MINUTE))
    assert found.best.ttl is Ttl.ONE_HOUR
    assert found.other is None


def test_hours_that_nobody_needs_are_told_by_what_they_cost():
    prefix = make_prefix(busy_hours=ALWAYS, policy=BusyHoursPolicy())
    found = advised(prefix, *every(10 * MINUTE, lasting=HOUR))
    assert found.now.saved_usd_per_week < 0
    assert found.advised is Advised.CHANGE
    assert found.best.saved_usd_per_week > 0


def test_dense_requests_need_no_ping():
    found = advised(make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(0)), *every(2 * MINUTE))
    assert found.advised is Advised.NO_PINGS_NEEDED
    assert found.best.cold == 10
    assert found.best.name == "never"


def test_sparse_jobs_are_left_cold_and_told_what_bundling_them_would_save():
    dice = random.Random(3)
    jobs = [MONDAY + day * DAY + dice.uniform(0, 24) * HOUR for day in range(28) for _ in range(3)]
    found = advised(make_prefix(ttl=Ttl.FIVE_MINUTES, busy_hours=OFFICE), *jobs)
    assert found.advised is Advised.LEAVE_COLD
    write, read = 20_000 * 4.125e-6, 20_000 * 0.33e-6
    weeks = (max(jobs) - min(jobs)) / timedelta(days=7)
    assert found.bundled_usd_per_week == pytest.approx((28 * write + 56 * read) / weeks, rel=1e-6)
    assert found.bundled_usd_per_week < found.never_usd_per_week / 2
    assert found.best.saved_usd_per_week >= 0


def test_what_a_cold_start_is_worth_counts_with_its_tokens():
    plain = make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(0))
    dear = replace(plain, cold_start_usd=Decimal("0.05"))
    hourly = every(HOUR)
    assert advised(plain, *hourly).best.name == "never"
    found = advised(dear, *hourly)
    assert (found.advised, found.cold_start_usd) == (Advised.CHANGE, Decimal("0.05"))
    assert found.best.cold == 10  # the first of each day
    weeks = (WORK[-1] + 7 * HOUR - WORK[0]) / timedelta(days=7)
    write, read = 20_000 * 4.125e-6, 20_000 * 0.33e-6
    assert found.never_usd_per_week == pytest.approx(80 * (write + 0.05) / weeks, rel=1e-6)
    spent = 10 * (write + 0.05) + 70 * read + found.best.pings * read
    assert found.best.saved_usd_per_week == pytest.approx((80 * (write + 0.05) - spent) / weeks, rel=1e-6)
    assert found.bundled_usd_per_week == pytest.approx((10 * (write + 0.05) + 70 * read) / weeks, rel=1e-6)


def test_pings_that_rewrite_make_pinging_worth_less():
    prefix, moments = make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(3)), every(10 * MINUTE)
    good = advise(prefix, trace(*moments), Setting(prefix.facts))
    bad = advise(prefix, trace(*moments), Setting(prefix.facts, rewrite_rate=0.3))
    assert bad.now.saved_usd_per_week < good.now.saved_usd_per_week


def test_a_model_that_sells_only_5m_has_no_other_ttl_to_advise():
    prefix = make_prefix(policy=IdleLimitPolicy(0))
    prefix = replace(prefix, facts=replace(prefix.facts, ttls=frozenset({Ttl.FIVE_MINUTES})))
    assert advised(prefix, *every(10 * MINUTE)).other is None


# -- what it rests on ---------------------------------------------------------------------------------------------


def test_the_rewrite_rate_counts_pings_where_a_hit_was_due_and_only_enough_of_them():
    hits, rewrites = [make_entry()] * 18, [make_entry(None, Verdict.REWRITE)] * 2
    opening = make_entry(None, Verdict.REWRITE, reason=Reason.COLD_IN_BUSY_HOURS)
    assert rewrite_rate_of([*hits, *rewrites, *[opening] * 50]) == 0.1
    assert rewrite_rate_of([*hits[1:], *rewrites]) == 0.0


def test_hours_are_seen_in_the_zone_of_the_prefix():
    moments = [moment.replace(minute=30) for moment in every(20 * MINUTE)]
    assert busy_hours_seen(moments, "UTC").name == "Mon-Fri 09:00-17:00"
    assert busy_hours_seen(moments, "Asia/Tokyo").windows[0].start_minute == 18 * 60
