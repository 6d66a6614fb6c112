"""The least that known requests can cost, against every plan there is."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.clairvoyant import Request, Toll, optimum, pings_for, unpinged
from keepwarm.model import Ttl

M5, H1 = Ttl.FIVE_MINUTES, Ttl.ONE_HOUR
P = Toll(0.1, {M5: 1.25, H1: 2.0})
LIFE = {M5: 300, H1: 3600}


def at(*moments: float, toll: Toll = P) -> list[Request]:
    return [Request(moment, toll) for moment in moments]


@pytest.mark.parametrize(
    ("gap", "ttl", "pings"),
    [(0, M5, 0), (300, M5, 0), (300.001, M5, 1), (600, M5, 1), (3600, M5, 11), (3600, H1, 0), (7201, H1, 2)],
)
def test_a_gap_needs_a_ping_for_each_full_lifetime_that_ends_in_it(gap, ttl, pings):
    assert pings_for(gap, ttl) == pings


def test_no_requests_cost_nothing():
    assert optimum([], Ttl) == (0, 0)
    assert unpinged([], M5) == (0, 0)


def test_one_request_is_written_with_the_cheaper_ttl():
    assert optimum(at(0), Ttl) == (1.25, 1)
    assert optimum(at(0), [H1]) == (2.0, 1)


def test_two_idle_hours_are_bridged_with_two_pings_of_an_hour():
    assert optimum(at(0, 7201), Ttl) == (pytest.approx(2.0 + 3 * 0.1), 1)
    assert optimum(at(0, 7201), [M5]) == (2.5, 2)


def test_a_weekend_is_not_bridged():
    assert optimum(at(0, 60 * 3600), Ttl) == (2.5, 2)


def test_never_pinging_reads_within_a_lifetime_and_writes_after_it():
    cost, cold = unpinged(at(0, 300, 700), M5)
    assert (cost, cold) == (pytest.approx(1.25 + 0.1 + 1.25), 2)


def test_a_request_that_was_paid_for_before_leaves_its_entry():
    before = Request(0, P)
    assert unpinged(at(200), M5, before) == (pytest.approx(0.1), 0)
    assert optimum(at(200), Ttl, (before, M5)) == (pytest.approx(0.1), 0)
    assert optimum(at(3700), [M5], (before, H1)) == (pytest.approx(0.2), 0)
    assert optimum(at(200), [H1], (before, M5)) == (pytest.approx(0.1), 0)  # a living entry is read, not written anew


def every_plan(requests: list[Request], ttls: list[Ttl]) -> float:
    """The cheapest of all plans: a ttl for each write, and in each gap no ping, one, or as many as a ttl needs."""
    gaps = [after.at - each.at for each, after in itertools.pairwise(requests)]
    useful = [{0, 1, *(pings_for(gap, ttl) for ttl in ttls)} for gap in gaps]
    best = math.inf
    for chosen in itertools.product(ttls, repeat=len(requests)):
        for counts in itertools.product(*useful):
            cost, expiry, ttl = 0.0, -math.inf, chosen[0]
            for number, request in enumerate(requests):
                if request.at <= expiry:
                    cost += request.toll.read
                else:
                    ttl = chosen[number]
                    cost += request.toll.writes[ttl]
                pings = counts[number] if number < len(counts) else 0
                cost += pings * request.toll.read
                expiry = request.at + (pings + 1) * LIFE[ttl]
            best = min(best, cost)
    return best


GAPS = st.lists(st.sampled_from([0, 120, 300, 301, 600, 900, 1_000, 3_600, 3_601, 7_200, 9_000]), max_size=3)
TOLLS = st.sampled_from([P, Toll(0.05, {M5: 1.25, H1: 2.0}), Toll(0.25, {M5: 1.0, H1: 2.0}), Toll(3, {M5: 1, H1: 2})])


@given(GAPS, st.lists(TOLLS, min_size=4, max_size=4), st.sampled_from([[M5], [H1], [M5, H1]]))
def test_no_plan_is_cheaper_than_the_optimum_and_one_costs_as_much(gaps, tolls, ttls):
    moments = list(itertools.accumulate(gaps, initial=0))
    requests = [Request(moment, toll) for moment, toll in zip(moments, tolls, strict=False)]
    assert optimum(requests, ttls)[0] == pytest.approx(every_plan(requests, ttls))


@given(st.lists(st.floats(0, 1e5), max_size=30))
def test_knowing_more_and_choosing_more_never_costs_more(moments):
    requests = at(*sorted(moments))
    free, five, hour = (optimum(requests, ttls)[0] for ttls in (Ttl, [M5], [H1]))
    assert free <= min(five, hour) + 1e-9
    assert five <= unpinged(requests, M5)[0] + 1e-9
    assert hour <= unpinged(requests, H1)[0] + 1e-9
