"""Every guard on money is tripped once: the state that it shows, the spend that it stopped at, and what came after."""

from __future__ import annotations

import pytest

from keepwarm.model import Guard, GuardState
from tests.tour import STATIONS, Stop, Tour

HIGH = 0.021  # what a ping of these prefixes costs at most, in USD
# By station: what is shown, why the next ping is not sent, and between which sums the spend stopped.
EXPECTED = {
    "ping_cap": ("capped", 0.0, 0.0),
    "day_cap": ("capped", 0.1 - HIGH, 0.1),
    "day_cap_in_all": ("capped", 0.15 - HIGH, 0.15),
    "month_cap": ("capped", 0.4 - HIGH, 0.4),
    "month_cap_in_all": ("capped", 0.2 - HIGH, 0.2),
    "breaker": ("breaker_open", 3.9 * HIGH, 4 * HIGH),  # an opening write, and three where hits were due
    "tripwire": ("tripped", 0.3, 0.3 + 2 * 0.023),
    "stop_by_command": ("all_stopped", 0.03, 0.05),
    "stop_by_file": ("all_stopped", 0.03, 0.05),
    "stop_by_setting": ("all_stopped", 0.0, 0.0),
    "stop_over_http": ("all_stopped", 1.9 * HIGH, 3 * HIGH),
}


@pytest.fixture
def tour(tmp_path, aws, monkeypatch) -> Tour:
    return Tour(tmp_path, lambda url: monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url))


def test_the_tour_has_a_station_for_every_guard():
    assert {station.__name__ for station in STATIONS} == set(EXPECTED)
    assert {name.removesuffix("_in_all") for name in EXPECTED if "stop" not in name} == set(Guard) - {Guard.STOP_ALL}


@pytest.mark.parametrize("station", STATIONS, ids=lambda station: station.__name__)
def test_a_guard_that_trips_says_so_and_stops_the_spending(tour, station):
    stop: Stop = station(tour)
    reason, least, most = EXPECTED[station.__name__]
    assert (stop.status.state, stop.reason) == (GuardState.TRIPPED, reason)
    assert stop.status.detail
    assert least <= float(stop.spent_usd) <= most
    pauses = 7 if stop.guard is Guard.BREAKER else 0  # 5, 10, 20, ... minutes; after each a write, and a ping in vain
    assert float(stop.later_usd) <= pauses * 2 * HIGH
    assert (stop.later_usd == 0) == (not pauses)
