"""The tripwire: a proven loss trips it, blindness never does, and only traffic ends it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from keepwarm.guards.tripwire import Net, can_trip, detail_of, judge
from keepwarm.model import GuardState

LIMIT = Decimal(5)


def net(lost: object, requests: int = 10, told: int | None = None) -> Net:
    cost = Decimal(20)
    return Net(cost, cost - Decimal(lost), requests, requests if told is None else told)


@pytest.mark.parametrize(
    ("lost", "before", "state"),
    [
        ("5", False, GuardState.OK),
        ("5.01", False, GuardState.TRIPPED),
        ("-3", False, GuardState.OK),
        ("2.51", True, GuardState.TRIPPED),
        ("2.5", True, GuardState.OK),
    ],
)
def test_a_loss_above_the_limit_trips_it_and_only_less_than_half_ends_that(lost, before, state):
    assert judge(LIMIT, net(lost), tripped=before) is state


@pytest.mark.parametrize(("requests", "told"), [(0, 0), (10, 4)])
def test_a_blind_prefix_never_trips_and_a_tripped_one_that_falls_silent_stays(requests, told):
    assert judge(LIMIT, net(20, requests, told), tripped=False) is GuardState.BLIND
    assert judge(LIMIT, net(0, requests, told), tripped=True) is GuardState.TRIPPED


def test_requests_of_which_half_told_their_usage_can_prove_a_loss():
    assert judge(LIMIT, net(20, 10, 5), tripped=False) is GuardState.TRIPPED


def test_a_tripwire_of_0_allows_no_loss_at_all():
    assert judge(Decimal(0), net("0.0001"), tripped=False) is GuardState.TRIPPED
    assert judge(Decimal(0), net(0), tripped=False) is GuardState.OK


def test_only_who_spent_more_than_the_limit_or_has_tripped_is_worth_a_closer_look():
    assert not can_trip(LIMIT, Decimal(5), tripped=False)
    assert can_trip(LIMIT, Decimal("5.01"), tripped=False)
    assert can_trip(LIMIT, Decimal(0), tripped=True)


def test_the_words_have_the_figures():
    told = detail_of(LIMIT, net(8))
    assert told == "tripwire $5.00: pings cost $20.00 in seven days and are proven to have saved $12.00"
    assert "no organic requests" in detail_of(LIMIT, net(8, 0))
