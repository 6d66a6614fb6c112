"""What holds for every decision, whatever the busy hours, lifetimes, policies, clocks and answers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from keepwarm import busyhours, simulate
from keepwarm.model import (
    ALWAYS,
    Action,
    BusyHours,
    BusyHoursPolicy,
    IdleLimitPolicy,
    Policy,
    Prefix,
    PrefixState,
    Reason,
    Stop,
    Ttl,
    Verdict,
    Window,
)
from keepwarm.planner import (
    RATE_LIMITED,
    UNCACHED_LIMIT,
    absorb,
    decide,
    lifetime_of,
    margin_of,
    ping_period,
    quiet_time,
)
from tests.builders import make_entry, make_prefix
from tests.walks import cold_gaps, outside, walk

DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)
TOLERANCE = 10 * SECOND
TOUCHING = {Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE}

MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"])


@st.composite
def some_hours(draw: st.DrawFn) -> BusyHours:
    """Windows of any length with any pauses, short ones among them, over midnight and over clock changes."""
    windows, minute = [], draw(st.integers(0, 1439))
    for _ in range(draw(st.integers(1, 4))):
        length = draw(st.integers(1, 12) | st.integers(10, 900))
        windows.append(
            Window(draw(st.frozensets(st.integers(0, 6), min_size=1)), minute % 1440, minute % 1440 + length)
        )
        minute += length + draw(st.integers(1, 12) | st.integers(1, 90))
    closed = draw(st.lists(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=2))
    holidays = draw(st.sampled_from([None, "DE-BE"]))
    return BusyHours("some", draw(ZONES), tuple(windows), holidays, tuple((day, day + 3 * DAY) for day in closed))


HOURS = some_hours() | st.just(ALWAYS)
EITHER = st.booleans()
POLICIES = st.just(BusyHoursPolicy()) | st.integers(0, 4).map(IdleLimitPolicy)


@st.composite
def prefixes(
    draw: st.DrawFn,
    *,
    hours: st.SearchStrategy[BusyHours] = HOURS,
    policies: st.SearchStrategy[Policy] = POLICIES,
    prewarm: st.SearchStrategy[bool] = EITHER,
) -> Prefix:
    ttl = draw(st.sampled_from(Ttl))
    lifetime = draw(st.sampled_from([ttl.duration, 3 * MINUTE, 37 * MINUTE]))
    changes: dict[str, object] = {"ttl": ttl, "lifetime": lifetime}
    if draw(st.booleans()):
        changes["margin"] = lifetime * draw(st.floats(0.01, 0.99))
    return make_prefix(
        busy_hours=draw(hours),
        policy=draw(policies),
        prewarm=draw(prewarm),
        fingerprint=draw(st.sampled_from("abcdefgh")),
        **changes,
    )


def seconds_from(now: datetime, least: int, most: int) -> st.SearchStrategy[datetime]:
    return st.integers(least, most).map(lambda seconds: now + seconds * SECOND)


@st.composite
def moments_for(draw: st.DrawFn, hours: BusyHours) -> datetime:
    """Mostly inside busy hours or near an edge of them, now and then anywhere."""
    now = draw(MOMENTS)
    span = busyhours.next_span(hours, now) or busyhours.span_at(hours, now)
    if span is None or draw(st.integers(0, 9)) == 0:
        return now
    inside = st.floats(0, 0.999).map(lambda share: span.start + span.duration * share)
    return draw(inside | st.sampled_from([span.start, span.end]).flatmap(lambda edge: seconds_from(edge, -4000, 4000)))


@st.composite
def states(draw: st.DrawFn, prefix: Prefix, now: datetime, *, sane_clock: bool = False) -> PrefixState:
    """What may be known at `now`; the clock may have been set by hours, unless it is sane."""
    ahead, lifetime = 0 if sane_clock else 4 * 3600, round(prefix.lifetime.total_seconds())
    touches = st.none() | seconds_from(now, -lifetime, 0) | seconds_from(now, -4 * 3600, ahead)
    retries = st.none() | seconds_from(now, -600, 120) | seconds_from(now, -3600, ahead)
    return PrefixState(
        touched_at=draw(touches),
        idle_pings=draw(st.integers(0, 5)),
        billed_ttl=draw(st.sampled_from([None, *Ttl])),
        failures=draw(st.integers(0, 40)),
        uncached=draw(st.integers(0, 1)),
        retry_at=draw(retries),
        retry_reason=draw(st.sampled_from(["throttled", RATE_LIMITED])),
        stop=Stop("access_denied", "no access") if draw(st.integers(0, 9)) == 9 else None,
        cached_tokens=draw(st.integers(0, 10_000)),
    )


@st.composite
def situations(draw: st.DrawFn, *, sane_clock: bool = False) -> tuple[Prefix, PrefixState, datetime]:
    prefix = draw(prefixes())
    now = draw(moments_for(prefix.busy_hours))
    return prefix, draw(states(prefix, now, sane_clock=sane_clock)), now


# -- one decision -------------------------------------------------------------------------------------------------


@given(situations())
def test_a_decision_is_about_now_or_later(situation):
    prefix, state, now = situation
    decision = decide(prefix, state, now)
    match decision.action:
        case Action.PING:
            assert decision.at >= now
        case Action.WAIT:
            assert decision.at > now
        case Action.LEAVE:
            assert decision.at is None
    assert decision.warm_until is None or decision.warm_until > now


@given(situations())
def test_no_ping_is_planned_outside_busy_hours_or_after_the_death_of_a_living_entry(situation):
    prefix, state, now = situation
    decision = decide(prefix, state, now)
    if decision.action is Action.PING:
        assert not outside(prefix, [decision.at])
        assert decision.warm_until is None or decision.at < decision.warm_until


@given(situations())
def test_a_decision_is_the_same_every_time(situation):
    prefix, state, now = situation
    assert decide(prefix, state, now) == decide(prefix, state, now)


@given(situations())
def test_without_prewarm_no_cold_entry_is_written_and_when_stopped_nothing_is_pinged(situation):
    prefix, state, now = situation
    decision = decide(prefix, state, now)
    if state.stop:
        assert (decision.action, decision.reason) == (Action.LEAVE, Reason.STOPPED)
    if not prefix.prewarm and decision.action is Action.PING:
        assert decision.warm_until is not None


@given(situations(sane_clock=True), st.floats(0, 1))
def test_a_decision_taken_again_before_its_time_is_no_earlier(situation, share):
    """A wake-up, a reload or a restart on the way changes nothing: nothing is sent before the told moment."""
    prefix, state, now = situation
    decision = decide(prefix, state, now)
    later = now + (decision.at - now) * share if decision.at else now
    assume(decision.at and later < decision.at)
    again = decide(prefix, state, later)
    assert again.at is None or again.at >= decision.at
    if decision.action is Action.PING:
        assert again == decision


@given(situations())
def test_no_clock_makes_a_prefix_wait_longer_than_for_a_ping_period_or_an_opening(situation):
    prefix, state, now = situation
    decision = decide(prefix, state, now)
    if decision.reason is not Reason.BACKING_OFF:
        following = busyhours.next_span(prefix.busy_hours, now)
        assert decision.action is not Action.WAIT or decision.at == following.start
    elif state.retry_reason != RATE_LIMITED:
        assert decision.at <= now + ping_period(prefix, state) + TOLERANCE


# -- what a ping teaches ------------------------------------------------------------------------------------------

VERDICTS = st.sampled_from([*Verdict, None])


@given(situations(), VERDICTS, st.booleans(), st.floats(0, 0.999))
def test_after_a_ping_the_next_one_is_later_or_never(situation, verdict, retryable, jitter):
    prefix, state, now = situation
    decision = decide(prefix, state, now)
    if decision.action is not Action.PING:
        return
    changes = {} if verdict is None else {"retryable": retryable, "completed_at": decision.at}
    entry = make_entry(prefix, verdict, started_at=decision.at, reason=decision.reason, **changes)
    after = absorb(prefix, state, entry, jitter)
    following = decide(prefix, after, decision.at)
    assert following.at is None or following.at > decision.at
    if verdict in TOUCHING:
        assert (after.failures, after.uncached, after.retry_at) == (0, 0, None)
        assert decision.at <= after.touched_at <= decision.at + TOLERANCE


@given(situations(), st.floats(0, 0.999))
def test_the_pause_after_a_failure_never_exceeds_a_ping_period(situation, jitter):
    prefix, state, now = situation
    entry = make_entry(prefix, Verdict.ERROR, started_at=now, retryable=True, completed_at=now)
    pause = absorb(prefix, state, entry, jitter).retry_at - now
    assert timedelta(0) < pause <= ping_period(prefix, state)


# -- days on end, when every ping succeeds ------------------------------------------------------------------------


@st.composite
def journeys(draw: st.DrawFn, prefix: st.SearchStrategy[Prefix], days: int = 3) -> tuple[Prefix, datetime, datetime]:
    found = draw(prefix)
    since = draw(moments_for(found.busy_hours))
    return found, since, since + min(days * DAY, 150 * (found.lifetime - found.margin))


KEPT = prefixes(policies=st.just(BusyHoursPolicy()), prewarm=st.just(True))


@given(journeys(KEPT))
def test_inside_busy_hours_the_entry_never_dies(journey):
    prefix, since, until = journey
    pings = [ping.at for ping in simulate.project(prefix, PrefixState(), since, until)]
    assert not outside(prefix, pings)
    for gap in cold_gaps(prefix, pings, since, until):
        # Started within a margin of closing, when a write comes too late to be of use.
        assert gap.start == since
        assert gap.duration < prefix.margin


@given(journeys(KEPT))
def test_a_cold_entry_is_written_once_and_only_at_an_opening(journey):
    prefix, since, until = journey
    openings = {span.start for span in busyhours.spans(prefix.busy_hours, since, until)}
    pings = list(simulate.project(prefix, PrefixState(), since, until))
    writes = [ping.at for ping in pings if ping.reason is Reason.COLD_IN_BUSY_HOURS]
    assert set(writes) <= openings | {since}
    assert len(writes) == len(set(writes))
    assert [ping.at for ping in pings if ping.verdict is Verdict.REWRITE] == writes


@given(journeys(prefixes()))
def test_pings_keep_their_distance(journey):
    prefix, since, until = journey
    pings = list(simulate.project(prefix, PrefixState(touched_at=since), since, until))
    least = prefix.lifetime - 1.5 * prefix.margin - timedelta(microseconds=10)
    for before, ping in pairwise(pings):
        if ping.reason is Reason.KEEP_WARM:
            assert ping.at - before.at >= max(least, (prefix.lifetime - prefix.margin) / 2 - SECOND)


@given(prefixes(), MOMENTS, st.sampled_from([None, *Ttl]))
def test_a_living_entry_is_not_pinged_in_its_quiet_time(prefix, touched_at, billed_ttl):
    state = PrefixState(touched_at=touched_at, billed_ttl=billed_ttl)
    decision = decide(prefix, state, touched_at)
    if decision.action is Action.PING:
        assert decision.at >= touched_at + quiet_time(prefix, state)


@given(journeys(prefixes()))
def test_a_pause_is_bridged_by_one_ping(journey):
    prefix, since, until = journey
    pings = simulate.project(prefix, PrefixState(), since, until)
    bridged = [busyhours.span_at(prefix.busy_hours, ping.at) for ping in pings if ping.reason is Reason.BRIDGE_PAUSE]
    assert len(bridged) == len(set(bridged))


@given(journeys(prefixes()))
def test_a_bridge_lives_until_the_next_opening(journey):
    prefix, since, until = journey
    for ping in simulate.project(prefix, PrefixState(), since, until):
        if ping.reason is Reason.BRIDGE_PAUSE:
            pause = busyhours.span_at(prefix.busy_hours, ping.at).end
            assert ping.at + prefix.lifetime > busyhours.next_span(prefix.busy_hours, pause).start


@given(journeys(prefixes(policies=st.integers(0, 4).map(IdleLimitPolicy))))
def test_an_idle_limit_is_never_exceeded_after_an_opening(journey):
    prefix, since, until = journey
    idle = 0
    for ping in simulate.project(prefix, PrefixState(touched_at=since), since, until):
        idle = 0 if ping.reason is Reason.COLD_IN_BUSY_HOURS else idle + 1
        assert idle <= prefix.policy.pings


# -- days on end, when pings fail ---------------------------------------------------------------------------------


@given(journeys(prefixes(), days=1), st.randoms(use_true_random=False), st.floats(0, 1))
def test_failing_pings_break_no_promise(journey, randomness, failing):
    """Attempts have to grow rarer, stay inside busy hours, and end for good after what is permanent."""
    prefix, since, until = journey
    kinds = [Verdict.ERROR, Verdict.UNKNOWN, Verdict.UNCACHED]
    sent = walk(
        prefix, since, until,
        state=PrefixState(touched_at=since),
        answer=lambda _: randomness.choice(kinds) if randomness.random() < failing else None,
        jitter=randomness.random,
        entry_changes=lambda: {"retryable": True},
    )  # fmt: skip
    assert not outside(prefix, [ping.at for ping in sent])
    if not prefix.prewarm:
        assert all(ping.life for ping in sent)
    least = 0.1 * min(ping_period(prefix, PrefixState()), prefix.margin / 4) - timedelta(microseconds=2)
    uncached = 0
    for before, ping in pairwise(sent):
        uncached = 0 if before.touched else uncached + (before.entry.verdict is Verdict.UNCACHED)
        assert before.touched or ping.at - before.at >= least
        assert uncached < UNCACHED_LIMIT


@given(journeys(KEPT, days=1), st.randoms(use_true_random=False))
def test_one_refusal_of_a_ping_never_costs_the_entry(journey, randomness):
    prefix, since, until = journey
    refused = [False]

    def answer(_: datetime) -> Verdict | None:
        refused.append(not refused[-1] and randomness.random() < 0.3)
        return Verdict.ERROR if refused[-1] else None

    sent = walk(
        prefix, since, until, answer=answer, jitter=randomness.random, entry_changes=lambda: {"retryable": True}
    )  # fmt: skip
    for before, ping in pairwise(sent):
        if before.life and before.life >= prefix.margin and before.reason is Reason.KEEP_WARM and not before.touched:
            assert ping.reason is Reason.RETRY
            assert ping.life


@given(st.sampled_from(Ttl), st.sampled_from(Ttl))
def test_a_billed_ttl_scales_lifetime_and_margin_alike(asked, billed):
    prefix, state = make_prefix(ttl=asked), PrefixState(billed_ttl=billed)
    assert lifetime_of(prefix, state) == billed.duration
    assert margin_of(prefix, state) / lifetime_of(prefix, state) == prefix.margin / prefix.lifetime
