"""Arrivals replayed through the daemon's planner: what is paid, and that nothing is known in advance."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm import clairvoyant
from keepwarm.clairvoyant import Request
from keepwarm.courses import Courses
from keepwarm.model import (
    AdaptivePolicy,
    BusyHoursPolicy,
    Course,
    Entry,
    IdleLimitPolicy,
    Prefix,
    PrefixState,
    Touch,
    Ttl,
)
from keepwarm.planner import default_margin
from keepwarm.simulate import (
    Candidate,
    Measure,
    Rules,
    Setting,
    candidates,
    name_of,
    parse_policy,
    project,
    replay,
    run,
)
from keepwarm.simulate.figures import units_of
from keepwarm.simulate.replay import Happening, Kind
from keepwarm.simulate.traces import MONDAY, Arrival, Trace, seconds_of
from tests.builders import facts_of, make_hours, make_prefix

M5, H1 = Ttl.FIVE_MINUTES, Ttl.ONE_HOUR
FACTS = facts_of("anthropic.claude-sonnet-4-6")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Parrot:
    """A learner that says the same course every time, and counts what it is told."""

    def __init__(self, course: Course) -> None:
        self.said = course
        self.told: Counter[str] = Counter()

    def hear(self, _: Prefix, before: PrefixState, touch: Touch) -> None:
        assert before.touched_at is None or before.touched_at < touch.started_at
        self.told[touch.usage.verdict.value] += 1

    def pinged(self, _: Prefix, entry: Entry) -> None:
        self.told[f"ping {entry.verdict.value}"] += 1

    def course(self, _: Prefix, state: PrefixState, now: datetime) -> Course:
        assert state.touched_at <= now
        return self.said

    def choose_ttl(self, _: Prefix, state: PrefixState, __: datetime) -> Ttl:
        return state.course.ttl if state.course else M5


class Counting:
    """A learner whose courses depend on all that it has heard of all prefixes, pings too, and in which order."""

    def __init__(self) -> None:
        self.heard = 0

    def hear(self, _: Prefix, __: PrefixState, touch: Touch) -> None:
        self.heard = (self.heard * 3 + touch.started_at.minute) % 1_000

    def pinged(self, _: Prefix, entry: Entry) -> None:
        self.heard = (self.heard * 5 + entry.intent.started_at.second) % 1_000

    def course(self, _: Prefix, __: PrefixState, ___: datetime) -> Course:
        return Course(self.heard % 5, H1)

    def choose_ttl(self, _: Prefix, __: PrefixState, ___: datetime) -> Ttl:
        return M5 if self.heard % 2 else H1


def at(*moments: float, prefix_id: str = "a", tokens: int = 1_000) -> list[Arrival]:
    return [Arrival(MONDAY + timedelta(seconds=moment), prefix_id, tokens) for moment in moments]


def played(arrivals: list[Arrival], rules: Rules) -> list[Happening]:
    found: list[Happening] = []
    replay(arrivals, rules, found.append)
    return found


def kinds(found: list[Happening]) -> list[str]:
    return [each.kind.value for each in found]


def test_nothing_is_paid_when_nobody_comes():
    assert played([], Rules(BusyHoursPolicy(), M5, FACTS)) == []


def test_a_tiny_trace_by_hand():
    """Two pings carry the entry over ten minutes; the third comes after two more and its death, and nobody after it."""
    found = played(at(0, 600, 1_800), Rules(IdleLimitPolicy(2), M5, FACTS))
    assert kinds(found) == ["write", "ping", "ping", "read", "ping", "ping", "write", "ping", "ping"]
    pings = [seconds_of(each.at) for each in found if each.kind is Kind.PING]
    for before, ping in zip((0, pings[0], 600, pings[2], 1_800, pings[4]), pings, strict=True):
        assert 255 <= ping - before <= 270
    trace = Trace("tiny", tuple(at(0, 600, 1_800)))
    setting = Setting(FACTS)
    total = run(trace, Measure(trace, FACTS, 0), Candidate("x", IdleLimitPolicy(2), M5), setting).total
    assert total.spent.cost.units == pytest.approx(2 * 1.25 + 7 * 0.1)
    assert total.spent.cost.usd == pytest.approx((2 * 3.75 + 7 * 0.3) / 1_000)
    assert (total.spent.pings, total.spent.cost.cold, total.cold_rate) == (6, 2, pytest.approx(2 / 3))
    assert total.never.units == pytest.approx(3 * 1.25)
    assert total.best.units == pytest.approx(1.25 + 0.1 + 3 * 0.1 + 0.1 + 0.1)
    assert total.yardstick.best[None].units == pytest.approx(1.25 + 6 * 0.1)


@pytest.mark.parametrize(("ttl", "seconds"), [(M5, 300), (H1, 3600)])
def test_a_request_at_the_very_end_of_a_lifetime_still_reads(ttl, seconds):
    assert kinds(played(at(0, seconds), Rules(IdleLimitPolicy(0), ttl, FACTS))) == ["write", "read"]
    assert kinds(played(at(0, seconds + 0.001), Rules(IdleLimitPolicy(0), ttl, FACTS))) == ["write", "write"]


@pytest.mark.parametrize("ttl", Ttl)
def test_pings_go_out_when_the_daemon_would_send_them(ttl):
    prefix = make_prefix(ttl=ttl, fingerprint="a", prewarm=False, margin=default_margin(ttl, ttl.duration))
    until = MONDAY + 30 * HOUR
    planned = [ping.at for ping in project(prefix, PrefixState(touched_at=MONDAY), MONDAY, until)]
    found = played([*at(0), Arrival(until, "b", 1)], Rules(BusyHoursPolicy(), ttl, FACTS))
    assert [each.at for each in found if each.kind is Kind.PING and each.prefix_id == "a"] == planned


@pytest.mark.parametrize("lead", [timedelta(0), 2 * MINUTE])
def test_an_entry_is_written_before_each_opening_where_that_is_asked_for(lead):
    office = make_hours("Mon-Wed 08:00-08:30", timezone="UTC")
    arrivals = at(8 * 3_600, (24 + 8) * 3_600 + 60, (48 + 8) * 3_600 + 60)
    cold = played(arrivals, Rules(IdleLimitPolicy(0), M5, FACTS, busy_hours=office))
    assert kinds(cold) == ["write", "write", "write"]
    found = played(arrivals, Rules(IdleLimitPolicy(0), M5, FACTS, busy_hours=office, prewarm=lead))
    assert kinds(found)[:5] == ["write", "rewrite", "read", "rewrite", "read"]
    openings = [each.at - MONDAY for each in found if each.kind is Kind.REWRITE]
    assert openings[:2] == [24 * HOUR + 8 * HOUR - lead, 48 * HOUR + 8 * HOUR - lead]


@pytest.mark.parametrize(("worth", "early"), [(Decimal(0), 0), (Decimal(10), 11)])
def test_adaptive_writes_at_openings_only_for_what_a_cold_start_is_worth(worth, early):
    office = make_hours("Mon-Sun 08:00-09:00", timezone="UTC")
    arrivals = at(*(day * 86_400 + 8 * 3_600 + 60 for day in range(14)))
    rules = Rules(AdaptivePolicy(), M5, FACTS, learner=lambda _: Courses(), busy_hours=office, cold_start_usd=worth,
                  prewarm=timedelta(0))  # fmt: skip
    written = [each for each in played(arrivals, rules) if each.kind is Kind.REWRITE and each.at <= arrivals[-1].at]
    assert len(written) >= early
    assert all(each.at.hour == 8 and each.at.minute == 0 for each in written)
    assert bool(written) == bool(worth)


def test_busy_hours_hold_pings_back_on_the_day_that_clocks_change_too():
    office = make_hours("Mon-Fri 08:00-18:00")
    rules = Rules(BusyHoursPolicy(), M5, FACTS, busy_hours=office)
    spring = 83 * 86_400  # Sunday, 25 March 2001: clocks went forward in Berlin
    found = played(at(9 * 3_600, spring - 2 * 86_400 + 9 * 3_600, spring + 86_400 + 9 * 3_600), rules)
    hours = {each.at.astimezone().hour for each in found}
    pings = [each.at for each in found if each.kind is Kind.PING]
    assert pings
    assert hours
    winter = [ping for ping in pings if ping < MONDAY + timedelta(seconds=spring)]
    assert all(7 <= ping.hour < 17 for ping in winter)
    assert all(6 <= ping.hour < 16 for ping in pings if ping not in winter)


def test_a_change_of_clocks_changes_nothing_where_it_is_always_busy():
    spring = 83 * 86_400
    steps = [hour * 1_800.0 for hour in range(96)]
    first = played(at(*steps), Rules(IdleLimitPolicy(3), H1, FACTS))
    later = played(at(*(spring - 86_400 + step for step in steps)), Rules(IdleLimitPolicy(3), H1, FACTS))
    assert kinds(first) == kinds(later)


@pytest.mark.parametrize(("limit", "pings"), [(0, 0), (1, 1), (9, 9)])
def test_a_replay_pays_for_the_pings_after_the_last_request_until_the_policy_gives_up(limit, pings):
    found = played([*at(0), *at(10_000, prefix_id="b")], Rules(IdleLimitPolicy(limit), H1, FACTS))
    for name in "ab":
        assert kinds([each for each in found if each.prefix_id == name]) == ["write", *["ping"] * pings]


def test_busy_hours_never_give_up_and_end_with_the_last_request_of_all():
    found = played([*at(0), *at(10_000, prefix_id="b")], Rules(BusyHoursPolicy(), H1, FACTS))
    assert kinds(found) == ["write", "ping", "ping", "write"]


def test_an_idle_limit_that_is_as_good_as_none_is_replayed_for_a_week():
    found = played(at(0), Rules(IdleLimitPolicy(999_999), H1, FACTS))
    assert 6.9 < (found[-1].at - MONDAY) / timedelta(days=1) <= 7


def test_an_idle_limit_gives_up_with_the_busy_hours_too():
    rules = Rules(IdleLimitPolicy(30), H1, FACTS, busy_hours=make_hours("Mon-Fri 08:00-18:00", timezone="UTC"))
    found = played(at(9 * 3_600), rules)
    assert kinds(found) == ["write", *["ping"] * 9]


def test_a_learner_steers_pings_and_the_ttl_of_the_next_write():
    parrots: list[Parrot] = []

    def learner(_: object) -> Parrot:
        parrots.append(Parrot(Course(1, H1)))
        return parrots[0]

    found = played(at(0, 30_000, 30_100, 50_000), Rules(AdaptivePolicy(), None, FACTS, learner=learner))
    assert [(each.kind, each.ttl) for each in found] == [
        (Kind.WRITE, M5), (Kind.PING, M5), (Kind.WRITE, H1), (Kind.READ, H1), (Kind.PING, H1), (Kind.WRITE, H1),
        (Kind.PING, H1),
    ]  # fmt: skip
    assert parrots[0].told == {"rewrite": 3, "hit": 1, "ping hit": 3}
    assert 255 <= seconds_of(found[1].at) <= 270
    assert 57 * 60 <= seconds_of(found[4].at) - 30_100 <= 58 * 60  # the margin of an entry of 1h


def test_where_the_ttl_is_fixed_a_learner_steers_only_pings():
    rules = Rules(AdaptivePolicy(), M5, FACTS, learner=lambda _: Parrot(Course(2, H1)))
    found = played(at(0, 30_000), rules)
    assert {each.ttl for each in found} == {M5}
    assert kinds(found) == ["write", "ping", "ping", "write", "ping", "ping"]


def test_the_first_write_asks_for_what_the_learner_chooses():
    found = played(at(0), Rules(AdaptivePolicy(), None, FACTS, learner=lambda _: Counting()))
    assert found[0].ttl is H1


def test_a_share_of_pings_rewrites_and_pays_for_it_every_time_the_same_ones():
    rules = Rules(IdleLimitPolicy(2), H1, FACTS, rewrite_rate=0.25)
    trace = Trace("x", tuple(at(*(hour * 3_600.0 for hour in range(0, 3_000, 2)))))
    found = played(list(trace.arrivals), rules)
    counted = Counter(each.kind for each in found)
    pings = counted[Kind.REWRITE] + counted[Kind.PING]
    assert pings > 2_000
    assert counted[Kind.REWRITE] / pings == pytest.approx(0.25, abs=0.03)
    assert played(list(trace.arrivals), rules) == found
    total = run(trace, Measure(trace, FACTS, 0), Candidate("x", rules.policy, H1), Setting(FACTS, 0.25)).total
    assert (total.spent.pings, total.spent.rewrites) == (pings, counted[Kind.REWRITE])
    writes = counted[Kind.REWRITE] + counted[Kind.WRITE]
    assert total.spent.cost.units == pytest.approx(2.0 * writes + 0.1 * (len(found) - writes))


# -- causality ----------------------------------------------------------------------------------------------------


TRACES = st.lists(
    st.tuples(st.sampled_from([0, 1, 250, 300, 301, 900, 3_600, 3_700, 20_000]), st.sampled_from("abc")),
    min_size=2, max_size=25,
)  # fmt: skip
RULES = st.sampled_from([
    Rules(IdleLimitPolicy(0), M5, FACTS),
    Rules(IdleLimitPolicy(3), M5, FACTS),
    Rules(IdleLimitPolicy(2), H1, FACTS, rewrite_rate=0.3),
    Rules(BusyHoursPolicy(), H1, FACTS),
    Rules(AdaptivePolicy(), None, FACTS, learner=lambda _: Counting()),
    Rules(AdaptivePolicy(), M5, FACTS, learner=lambda _: Courses()),
    Rules(AdaptivePolicy(), H1, FACTS, rewrite_rate=0.3, learner=lambda _: Courses()),
    Rules(AdaptivePolicy(), None, FACTS, learner=lambda _: Courses()),
])  # fmt: skip


def arrivals_of(steps: list[tuple[int, str]]) -> list[Arrival]:
    now, found = 0.0, []
    for step, prefix_id in steps:
        now += step
        found.append(Arrival(MONDAY + timedelta(seconds=now), prefix_id, 1_000))
    return found


def by_time(found: list[Happening]) -> list[Happening]:
    assert [each.at for each in found] == sorted(each.at for each in found)
    return sorted(found, key=lambda each: (each.at, each.prefix_id))


@given(TRACES, RULES, st.data())
def test_what_comes_later_changes_nothing_before(steps, rules, data):
    arrivals = arrivals_of(steps)
    cut = data.draw(st.integers(1, len(arrivals) - 1))
    whole, early = by_time(played(arrivals, rules)), by_time(played(arrivals[:cut], rules))
    end, moment = arrivals[cut - 1].at, arrivals[cut].at
    upto = end if isinstance(rules.policy, BusyHoursPolicy) else moment  # after its end it is silent, whatever comes
    seen = [[each for each in found if each.at < moment and each.at <= upto] for found in (early, whole)]
    assert seen[0] == seen[1]


@given(TRACES, st.sampled_from(Ttl))
def test_never_pinging_costs_what_the_pure_shadow_says(steps, ttl):
    arrivals = arrivals_of(steps)
    found = played(arrivals, Rules(IdleLimitPolicy(0), ttl, FACTS))
    toll = units_of(FACTS)
    shadow = [
        clairvoyant.unpinged([Request(seconds_of(each.at), toll) for each in arrivals if each.prefix_id == name], ttl)
        for name in "abc"
    ]
    assert sum(each.kind is Kind.WRITE for each in found) == sum(cold for _, cold in shadow)


@given(TRACES, RULES, st.sampled_from([0.0, 0.3, 0.9]))
def test_nobody_is_better_than_the_clairvoyant_beyond_the_entry_that_he_brought(steps, rules, share):
    trace = Trace("x", tuple(arrivals_of(steps)))
    measure = Measure(trace, FACTS, share)
    setting = Setting(FACTS, rules.rewrite_rate, rules.learner)
    result = run(trace, measure, Candidate("x", rules.policy, rules.ttl), setting)
    spanning = 3 if share else 0
    assert result.total.spent.cost.units >= result.total.yardstick.best[None].units - spanning * 2.0 - 1e-9
    assert result.total.spent.cost.units == pytest.approx(
        sum(each.spent.cost.units for each in result.prefixes.values())
    )
    assert result.worst is not None
    assert result.worst.loss == max(each.loss for each in result.prefixes.values())


# -- figures and names --------------------------------------------------------------------------------------------


def test_only_the_later_part_is_counted_and_carries_its_entries_over():
    trace = Trace("x", tuple(at(0, 200, 400, 2_000)))
    total = run(trace, Measure(trace, FACTS, 0.5), Candidate("x", IdleLimitPolicy(1), M5), Setting(FACTS)).total
    assert total.yardstick.requests == 2
    assert total.spent.cost.units == pytest.approx(0.1 + 0.1 + 1.25 + 0.1)  # a read, its ping, a write, its ping
    assert total.never.units == pytest.approx(0.1 + 1.25)
    assert total.best.units == pytest.approx(0.1 + 5 * 0.1 + 0.1)


def test_a_policy_on_one_request_has_no_share_of_a_saving():
    trace = Trace("x", tuple(at(0)))
    total = run(trace, Measure(trace, FACTS, 0), Candidate("x", IdleLimitPolicy(0), M5), Setting(FACTS)).total
    assert (total.saving_captured, total.cost_to_never, total.cold_rate) == (None, 1, 1)


def test_without_arrivals_there_is_nothing_to_say():
    trace = Trace("x", ())
    result = run(trace, Measure(trace, FACTS, 0.3), Candidate("x", IdleLimitPolicy(3), M5), Setting(FACTS))
    assert (result.worst, result.total.cost_to_never, result.total.cold_rate) == (None, None, None)


@pytest.mark.parametrize("text", ["never", "busy_hours", "adaptive", "idle_limit:3"])
def test_a_policy_is_named_as_it_is_read(text):
    assert name_of(parse_policy(text)) == text


@pytest.mark.parametrize("text", ["idle_limit=3", "idle_limit: 3", " idle_limit:3 "])
def test_an_idle_limit_is_read_in_the_forms_that_people_write(text):
    assert parse_policy(text) == IdleLimitPolicy(3)


@pytest.mark.parametrize("text", ["", "often", "idle_limit", "idle_limit:-1", "idle_limit:x"])
def test_other_words_are_no_policy(text):
    with pytest.raises(ValueError, match="is not a policy"):
        parse_policy(text)


def test_the_largest_idle_limit_is_worth_one_avoided_write_at_the_prices_of_the_model():
    names = [(each.name, each.ttl) for each in candidates(FACTS)]
    assert ("idle_limit:11", M5) in names
    assert ("idle_limit:19", H1) in names
    nova = [(each.name, each.ttl) for each in candidates(facts_of("amazon.nova-lite-v1:0"))]
    assert ("idle_limit:3", M5) in nova
    assert not any(ttl is not M5 for _, ttl in nova)
