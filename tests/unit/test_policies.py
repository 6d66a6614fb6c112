"""Whether one more ping or a write is wanted, by policy alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keepwarm.model import BusyHoursPolicy, IdleLimitPolicy, PrefixState, Span
from keepwarm.policies import wants_ping, wants_write
from tests.builders import MONDAY

HOUR = timedelta(hours=1)
WINDOW = Span(MONDAY, MONDAY + 8 * HOUR)


@pytest.mark.parametrize("pings", [0, 1, 1_000])
def test_busy_hours_always_want_another_ping(pings):
    assert wants_ping(BusyHoursPolicy(), PrefixState(idle_pings=pings))


@pytest.mark.parametrize(("pings", "wanted"), [(0, True), (2, True), (3, False), (4, False)])
def test_an_idle_limit_wants_so_many_pings_and_no_more(pings, wanted):
    assert wants_ping(IdleLimitPolicy(3), PrefixState(idle_pings=pings)) is wanted


def test_an_idle_limit_of_none_wants_no_ping_at_all():
    assert not wants_ping(IdleLimitPolicy(0), PrefixState())


@pytest.mark.parametrize("expired_at", [None, MONDAY - HOUR, MONDAY + HOUR])
def test_busy_hours_write_whatever_is_cold(expired_at):
    assert wants_write(BusyHoursPolicy(), expired_at, WINDOW)


@pytest.mark.parametrize(
    ("expired_at", "wanted"),
    [(None, True), (MONDAY - HOUR, True), (MONDAY, True), (MONDAY + HOUR, False)],
    ids=["never written", "died before the opening", "died at the opening", "died inside the window"],
)
def test_an_idle_limit_writes_only_what_the_opening_found_cold(expired_at, wanted):
    assert wants_write(IdleLimitPolicy(3), expired_at, WINDOW) is wanted
