"""Prefixes and touches in the units of the learner: prices, times, who wrote what, and which part of the week it is."""

from __future__ import annotations

import weakref
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from keepwarm.courses import ALL, Courses, terms_of
from keepwarm.model import AdaptivePolicy, Prefix, PrefixState, Ttl, Usage, Verdict
from keepwarm.planner import absorb_touch
from tests.builders import MONDAY, NOVA, make_entry, make_hours, make_prefix, make_touch

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
READ, UNCACHED = Usage(3, 1, 5_000, 0), Usage(900, 1, 0, 0)
WROTE_5M, WROTE_1H = Usage(3, 1, 0, 5_000), Usage(3, 1, 0, 5_000, 5_000)


def adaptive(**changes: object) -> Prefix:
    return make_prefix(policy=AdaptivePolicy(), **changes)


def auto() -> Prefix:
    return adaptive(auto_ttl=True, other=adaptive(ttl=Ttl.ONE_HOUR, auto_ttl=True))


class Told:
    """Courses of one prefix that are told its touches."""

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix
        self.state = PrefixState()
        self.courses = Courses()
        self.now = MONDAY

    def ask(self, after: timedelta, usage: Usage | None = None, ttl: Ttl | None = None) -> None:
        self.now += after
        touch = make_touch(self.prefix, started_at=self.now, usage=usage, ttl=ttl)
        self.courses.hear(self.prefix, self.state, touch)
        self.state = absorb_touch(self.prefix, self.state, touch)

    @property
    def cost(self) -> tuple[float, float]:
        """What it cost so far, and would have cost without pings."""
        own, shadow = self.courses.learnt(self.prefix.fingerprint)["account"]
        return own, shadow


def test_an_input_price_is_the_unit_and_a_period_ends_a_little_before_the_margin():
    terms = terms_of(adaptive(), 5_000)
    assert (terms.read, terms.writes, terms.cold_start) == (0.1, (1.25, 2.0), 0.0)
    assert terms.lifetimes == (300, 3600)
    assert terms.periods == (250, 3000)  # a quarter of the margins of 40 s and 8 min early on average


def test_a_cold_start_is_worth_more_units_the_smaller_the_prefix():
    prefix = adaptive(cold_start_usd=Decimal("0.01"))
    input_usd = float(prefix.facts.prices.base.input) / 1_000_000
    assert terms_of(prefix, 5_000).cold_start == pytest.approx(0.01 / (5_000 * input_usd))
    assert terms_of(prefix, 10_000).cold_start == pytest.approx(0.005 / (5_000 * input_usd))


def test_prefixes_that_are_alike_share_their_terms():
    assert terms_of(adaptive(name="a"), 5_000) is terms_of(adaptive(name="b"), 5_000)


def test_a_model_with_dear_reads_has_its_own_threshold():
    assert terms_of(adaptive(model_id=NOVA), 5_000).read == 0.25


def test_before_any_request_it_is_blind_and_wants_nothing_to_be_known():
    courses = Courses()
    assert courses.blind
    assert courses.course(adaptive(), PrefixState(), MONDAY) is None
    assert courses.choose_ttl(auto(), PrefixState(), MONDAY) is Ttl.FIVE_MINUTES
    assert courses.curve(adaptive(), PrefixState()) == []
    assert courses.learnt("0123") == {}
    assert courses.changed() == set()


def test_a_request_that_could_not_be_cached_teaches_nothing():
    told = Told(adaptive())
    told.ask(MINUTE, UNCACHED)
    assert told.courses.blind


@pytest.mark.parametrize(
    ("usage", "ttl", "own"),
    [(READ, None, 0.1), (WROTE_5M, None, 1.25), (WROTE_1H, None, 2.0), (None, None, 1.25), (None, Ttl.ONE_HOUR, 2.0)],
    ids=["read", "wrote 5m", "wrote 1h", "nobody told: cold", "cold, and its cache point was told"],
)
def test_a_first_request_costs_what_it_was_billed(usage, ttl, own):
    told = Told(auto())
    told.ask(MINUTE, usage, ttl)
    assert told.cost == pytest.approx((own, 1.25))


def test_a_request_of_which_nobody_tells_is_taken_to_have_found_a_living_entry_alive():
    told = Told(adaptive())
    for gap in (MINUTE, MINUTE, 2 * HOUR):
        told.ask(gap)
    assert told.cost == pytest.approx((1.25 + 0.1 + 1.25, 1.25 + 0.1 + 1.25))


def test_an_entry_that_pings_kept_alive_is_a_saving():
    told = Told(adaptive(ttl=Ttl.ONE_HOUR))
    told.ask(MINUTE, WROTE_1H)
    told.ask(2 * HOUR, READ)
    assert told.cost == pytest.approx((2.1, 4.0))


@pytest.mark.parametrize(
    ("verdict", "cost"),
    [
        (Verdict.HIT, 0.1),
        (Verdict.PARTIAL, 0.1),
        (Verdict.REWRITE, 1.25),
        (Verdict.UNCACHED, 1.25),
        (None, 1.25),
        (Verdict.ERROR, 0),
    ],
)
def test_a_ping_costs_at_least_what_was_billed(verdict, cost):
    told = Told(adaptive())
    told.ask(MINUTE, WROTE_5M)
    told.courses.pinged(told.prefix, make_entry(told.prefix, verdict))
    assert told.cost[0] == pytest.approx(1.25 + cost)


def test_what_is_wanted_is_learnt_from_the_requests():
    told = Told(auto())
    for _ in range(60):
        told.ask(40 * MINUTE, READ)
    course = told.courses.course(told.prefix, told.state, told.now)
    assert course.ttl is Ttl.ONE_HOUR is told.courses.choose_ttl(told.prefix, told.state, told.now + 2 * HOUR)
    assert len(told.courses.curve(told.prefix, told.state)) > 20
    assert told.courses.changed() == {told.prefix.fingerprint}
    assert told.courses.changed() == set()


def test_another_size_of_the_prefix_changes_what_a_cold_start_is_worth():
    told = Told(adaptive(cold_start_usd=Decimal("0.01")))
    told.ask(MINUTE, WROTE_5M)
    before = told.courses.learnt(told.prefix.fingerprint)["terms"].cold_start
    told.state = replace(told.state, cached_tokens=50_000)
    told.ask(HOUR, WROTE_5M)
    assert told.courses.learnt(told.prefix.fingerprint)["terms"].cold_start == pytest.approx(before / 10)


def silence(prefix: Prefix, at: timedelta) -> tuple[float, int]:
    """Until when a silence may be pinged, in hours, and for which part of the week it counts."""
    told = Told(prefix)
    told.ask(at)
    _, _, _, reach, (_, _, slot), *_ = told.courses.learnt(prefix.fingerprint)["silences"][0]
    return reach / 3600, slot


def test_pings_reach_to_the_end_of_the_busy_hours():
    office = adaptive(busy_hours=make_hours("Mon-Fri 08:00-18:00"))
    assert silence(office, 0 * HOUR)[0] == 8  # it is ten in Berlin
    assert silence(office, 9 * HOUR)[0] == 0
    assert silence(adaptive(), 9 * HOUR)[0] > 1_000_000


def test_the_part_of_the_week_is_that_of_the_wall_clock_where_the_prefix_is_used():
    berlin = adaptive(busy_hours=make_hours("Mon-Sun 00:00-24:00"))
    assert [silence(berlin, at)[1] for at in (0 * HOUR, 2 * HOUR, 9 * HOUR, 14 * HOUR)] == [1, 2, 3, 0]
    assert silence(berlin, 5 * DAY)[1] == 5
    assert silence(adaptive(), 2 * HOUR)[1] == 1  # where it is always busy nobody said where: UTC


def test_what_was_learnt_is_plain_data():
    told = Told(adaptive())
    told.ask(MINUTE, WROTE_5M)
    again = Courses({name: told.courses.learnt(name) for name in (ALL, told.prefix.fingerprint)})
    assert not again.blind
    assert again.learnt(told.prefix.fingerprint) == told.courses.learnt(told.prefix.fingerprint)


def test_a_prefix_that_a_reload_replaced_is_let_go_of():
    told = Told(adaptive())
    told.ask(MINUTE, WROTE_5M)
    before = weakref.ref(told.prefix)
    told.prefix = adaptive(margin=timedelta(seconds=42))
    assert before() is None
