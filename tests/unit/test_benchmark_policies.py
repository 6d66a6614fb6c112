"""The benchmark of policies: its rules of others, its kinds of streams, and the page that it writes."""

from __future__ import annotations

from datetime import timedelta
from itertools import accumulate

import pytest

from benchmarks import policies
from benchmarks.policies import BEGIN, END, HazardRule, busy_hours_of, group_of, measured, replaced, rivals, section
from benchmarks.streams import rows_of
from keepwarm import simulate
from keepwarm.busyhours import parse_window
from keepwarm.model import PrefixState, Ttl
from keepwarm.simulate import Arrival, Trace
from keepwarm.simulate.traces import MONDAY
from tests.builders import make_prefix, make_touch

HOUR = 3600.0


def trace(*seconds: float, prefix: str = "a", name: str = "test") -> Trace:
    return Trace(name, tuple(Arrival(MONDAY + timedelta(seconds=at), prefix, 20_000) for at in seconds))


def joined(*traces: Trace) -> Trace:
    return Trace("test", tuple(sorted(arrival for each in traces for arrival in each.arrivals)))


def stop_after(*gaps: float, threshold: float = 0.087, ttl: Ttl = Ttl.FIVE_MINUTES) -> int:
    """How many pings the hazard rule wants after these gaps of one prefix."""
    rule, prefix = HazardRule(ttl, threshold), make_prefix(ttl=ttl)
    for at in accumulate((0.0, *gaps)):
        touch = make_touch(prefix, started_at=MONDAY + timedelta(seconds=at))
        rule.hear(prefix, PrefixState(), touch)
    assert rule.choose_ttl(prefix, PrefixState(), MONDAY) is ttl
    return rule.course(prefix, PrefixState(), MONDAY).pings


def test_the_hazard_rule_pings_nothing_before_it_has_seen_gaps():
    assert stop_after() == 0
    assert stop_after(*[700.0] * 19) == 0


def test_the_hazard_rule_pings_as_far_as_gaps_end():
    assert stop_after(*[400.0] * 100) == 1
    assert stop_after(*[400.0, 700.0] * 100) == 2  # dead at 300; a ping every 250 s
    assert stop_after(*[700.0] * 100) == 0  # it never looks further than a period ahead
    assert stop_after(*[100.0] * 100) == 0
    assert stop_after(*[5 * HOUR] * 100) == 0  # every gap ends far beyond the first few pings


def test_the_hazard_rule_stops_where_too_few_gaps_end_in_the_coming_period():
    one_in_ten = ([400.0] + [20 * HOUR] * 9) * 50
    assert stop_after(*one_in_ten) == 1
    assert stop_after(*one_in_ten, threshold=0.2) == 0


def test_streams_are_told_apart_by_their_days():
    days = [day * 24 * HOUR for day in range(14)]
    assert group_of(trace(*(day + step * 60 for day in days for step in range(20)))) == "shared"
    assert group_of(trace(*(day + step * 60 for day in days for step in range(3)))) == "sparse"
    some = (trace(*(day + step for step in range(15)), prefix=str(day)) for day in days)
    assert group_of(joined(*some)) == "sessions"
    assert group_of(trace(1.0, name="adversarial_fixed")) == "adversarial"


@pytest.mark.parametrize("name", ["dense", "office_hours", "sessions", "sparse"])
def test_the_generated_streams_are_of_the_kind_that_they_are_named_for(name):
    found = next(each for each in policies.generated(1) if each.name == name)
    assert group_of(found) == policies.streams.STREAMS[name].group
    assert len(found.arrivals) == len(rows_of(name))


def test_busy_hours_are_the_shortest_that_hold_nine_tenths_of_what_is_not_counted():
    at_work = [day * 24 * HOUR + hour * HOUR for day in range(5) for hour in range(9, 17) for _ in range(5)]
    assert busy_hours_of(trace(*at_work, *[1e6] * 500)).windows == (parse_window("Mon-Fri 09:00-17:00"),)
    always = [hour * HOUR for hour in range(24 * 60)] * 3
    found = busy_hours_of(trace(*sorted(always))).windows[0]
    assert (found.end_minute - found.start_minute, len(found.weekdays)) == (16 * 60, 7)
    nights = [day * 24 * HOUR + hour * HOUR for day in range(7) for hour in (22, 23, 0, 1)]
    assert busy_hours_of(trace(*sorted(nights * 4))).windows[0].start_minute == 22 * 60


def test_the_page_has_every_rival_and_the_sum_of_its_streams():
    regular = trace(*(step * 600.0 for step in range(300)), name="regular")
    found = measured(regular)
    assert set(found.rows) == {rival.name for rival in rivals()}
    assert found.rows["5m, never a ping"].saving == pytest.approx(0)
    # At 5m: 0.3 for a request and its two pings instead of 1.25. At 1h: 0.1, and nobody can do better.
    assert found.rows["5m, 3 pings"].cost_to_never == pytest.approx(0.3 / 1.25, rel=0.01)
    assert found.rows["1h, never a ping"].saving == pytest.approx(1, abs=0.01)
    text = section([found], "python benchmarks/policies.py")
    assert "| 1h, never a ping | 10" in text
    assert "| regular | shared | 300 | 1 | 2 | 1h, never a ping | 10" in text


def test_a_page_keeps_what_is_not_about_policies_and_can_be_written_again():
    page = replaced("# Benchmarks\n\nFirst.\n", "one")
    assert page.startswith("# Benchmarks\n\nFirst.\n\n## Policies\n")
    page = replaced(page + "\n## After\n", "two")
    assert page.count(BEGIN) == page.count(END) == 1
    assert "two" in page
    assert "one" not in page
    assert page.endswith("\n## After\n")
    assert replaced("", "x").startswith("# Benchmarks\n")


def test_traces_of_a_directory_are_read_by_name(tmp_path):
    (tmp_path / "b.csv").write_text("t_seconds,prefix_id,prefix_tokens\n5,x,2000\n")
    (tmp_path / "a.csv").write_text("t_seconds,prefix_id,prefix_tokens\n7,x,2000\n")
    assert [each.name for each in policies.read([tmp_path])] == ["a", "b"]
    assert simulate.read_trace(tmp_path / "a.csv").arrivals[0].at == MONDAY + timedelta(seconds=7)
