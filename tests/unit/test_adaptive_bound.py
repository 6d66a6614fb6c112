"""The adaptive policy never costs more than its bound allows, whoever asks; through the replay that the figures use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm import clairvoyant
from keepwarm.clairvoyant import Request
from keepwarm.courses import Courses
from keepwarm.model import AdaptivePolicy, ModelFacts, Ttl
from keepwarm.policies import learner
from keepwarm.simulate import Rules, replay
from keepwarm.simulate.figures import units_of
from keepwarm.simulate.replay import Happening, Kind
from keepwarm.simulate.traces import MONDAY, Arrival, seconds_of
from tests.builders import CLAUDE, NOVA, facts_of

M5, H1 = Ttl.FIVE_MINUTES, Ttl.ONE_HOUR
SONNET, NOVA_LITE = facts_of(CLAUDE), facts_of(NOVA)
KNOWN = {
    "sonnet, 5m": (SONNET, M5),
    "sonnet, 1h": (SONNET, H1),
    "sonnet, auto": (SONNET, None),
    "nova": (NOVA_LITE, M5),
}
MICROSECOND, SECOND, DAY = timedelta(microseconds=1), timedelta(seconds=1), timedelta(days=1)


def played(arrivals: Iterable[Arrival], facts: ModelFacts, ttl: Ttl | None, rewrite_rate: float) -> list[Happening]:
    found: list[Happening] = []
    rules = Rules(AdaptivePolicy(), ttl, facts, rewrite_rate, lambda _: Courses())
    replay(list(arrivals), rules, found.append)
    return found


def excesses(arrivals: list[Arrival], facts: ModelFacts, ttl: Ttl | None, rewrite_rate: float) -> tuple[float, float]:
    """By how much the bound is exceeded: of the worst prefix, and of all together; in input prices."""
    toll = units_of(facts)
    cost: defaultdict[str, float] = defaultdict(float)
    for each in played(arrivals, facts, ttl, rewrite_rate):
        cost[each.prefix_id] += toll.writes[each.ttl] if each.kind in {Kind.WRITE, Kind.REWRITE} else toll.read
    never = {
        name: clairvoyant.unpinged([Request(seconds_of(at), toll) for at, of, _ in arrivals if of == name], ttl or M5)[
            0
        ]
        for name in cost
    }
    # One rewrite may cost more than the read that was allowed; the next ping is held then.
    surprise = max(toll.writes[each] for each in ([ttl] if ttl else Ttl)) - toll.read if rewrite_rate else 0.0
    worst = max(cost[name] - 1.05 * never[name] for name in cost) - 1.15 - surprise
    return worst, sum(cost.values()) - 1.02 * sum(never.values()) - 10.0 - surprise


def after_its_death(
    arrivals: list[Arrival], name: str, late: timedelta, rules: tuple[ModelFacts, Ttl | None]
) -> Arrival:
    """The request of an adversary: he has seen all that was sent, and when the entry died."""
    facts, ttl = rules
    touches = [each for each in played(arrivals, facts, ttl, 0.0) if each.prefix_id == name]
    died = touches[-1].at + touches[-1].ttl.duration if touches else MONDAY
    return Arrival(max(arrivals[-1].at if arrivals else MONDAY, died + late), name, 1_000)


GAPS = st.sampled_from(
    [0, 1, 262.5, 270, 290, 300, 301, 310, 600.5, 1_500, 3_450, 3_600, 3_601, 7_000, 40_000, 200_000]
)
NAMES = st.sampled_from("abc")
RULES = pytest.mark.parametrize("rules", KNOWN.values(), ids=KNOWN)
RATES = st.sampled_from([0.0, 0.0, 0.1, 1.0])


@RULES
@settings(max_examples=40)
@given(st.lists(st.tuples(GAPS, st.integers(0, 999_999), NAMES, st.integers(1, 20)), min_size=1, max_size=12), RATES)
def test_whatever_comes_costs_hardly_more_than_never_pinging(rules, steps, rate):
    now, arrivals = MONDAY, []
    for gap, microseconds, name, times in steps:
        for _ in range(times):
            now += timedelta(seconds=gap) + microseconds * MICROSECOND
            arrivals.append(Arrival(now, name, 1_000))
    prefix, everything = excesses(arrivals, *rules, rate)
    assert prefix <= 1e-6
    assert everything <= 1e-6


@RULES
@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(NAMES, st.sampled_from([-SECOND, -MICROSECOND, 0 * SECOND, MICROSECOND, SECOND, DAY])), max_size=12
    )
)
def test_who_looks_at_what_is_sent_before_he_asks_gains_nothing(rules, moves):
    arrivals = [Arrival(MONDAY, "a", 1_000)]
    for name, late in moves:
        arrivals.append(after_its_death(arrivals, name, late, rules))
    prefix, everything = excesses(arrivals, *rules, 0.0)
    assert prefix <= 1e-6
    assert everything <= 1e-6


def teased(rules: tuple[ModelFacts, Ttl | None]) -> list[Arrival]:
    """He teaches that one ping more pays, with short gaps of many prefixes, and then asks right after pings stopped."""
    period = 270 if rules[1] is not H1 else 3_500
    arrivals: list[Arrival] = []
    now = MONDAY
    for day in range(8):
        for _ in range(12):
            now += timedelta(seconds=3 * period)
            arrivals += [Arrival(now, f"{day}-{number}", 1_000) for number in range(12)]
        now += timedelta(days=4)
    return arrivals


def tempted(rules: tuple[ModelFacts, Ttl | None], times: int = 110) -> list[Arrival]:
    """He asks right after the entry has died, every time, after he has asked often."""
    period = timedelta(seconds=300 if rules[1] is not H1 else 3_600) * 1.5
    arrivals = [Arrival(MONDAY + number * period, "a", 1_000) for number in range(25)]
    for _ in range(times):
        arrivals.append(after_its_death(arrivals, "a", SECOND, rules))
    return arrivals


@RULES
@pytest.mark.parametrize("make", [teased, tempted])
def test_who_teaches_hope_and_then_disappoints_gains_nothing(rules, make):
    prefix, everything = excesses(make(rules), *rules, 0.0)
    assert prefix <= 1e-6
    assert everything <= 1e-6


@pytest.mark.parametrize("name", ["sonnet, 5m", "sonnet, 1h", "sonnet, auto"])
def test_without_the_guard_the_bound_is_broken(name, monkeypatch):
    """So that the tests above are known to be able to fail."""
    monkeypatch.setattr(learner, "affordable", lambda *_, **__: True)
    prefix, everything = excesses(tempted(KNOWN[name]), *KNOWN[name], 0.0)
    assert prefix > 10.0
    assert everything > 10.0


def test_requests_at_the_very_end_of_a_lifetime_are_not_mistaken_for_savings():
    """Moments in floats differ by less than a microsecond from what the clock said."""
    for late in (0.1, 0.3, 0.000001, 0.700003):
        arrivals = [Arrival(MONDAY + timedelta(seconds=late) + 300 * number * SECOND, "a", 1) for number in range(300)]
        arrivals += [Arrival(arrivals[-1].at + number * DAY, name, 1) for number in range(1, 40) for name in "ab"]
        assert max(excesses(arrivals, SONNET, M5, 0.0)) <= 1e-6
