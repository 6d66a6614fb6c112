"""Decides when a prefix is pinged next, and what a finished ping changes in what is known of it.

It does not send, wait, log or read a clock: the daemon, `plan`, and simulated weeks in tests all call the same two
pure functions, `decide` and `absorb`.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from keepwarm import busyhours, policies, pricing
from keepwarm.guards import breaker
from keepwarm.model import (
    ALWAYS,
    Action,
    Decision,
    Entry,
    Intent,
    Outcome,
    Prefix,
    PrefixState,
    Reason,
    Span,
    Stop,
    Touch,
    Ttl,
    TtlChoice,
    TtlReason,
    Verdict,
)

# An `uncached` ping costs the full input price and warms nothing; caching "does not guarantee a hit" (Bedrock user
# guide, read 2026-11-22), so one of them is forgiven.
UNCACHED_LIMIT = 2

_TOUCHING = frozenset({Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE})

# So many idle pings are remembered with their starts; a touch told later than that finds them counted already.
_IDLE_KEPT = 32

# Ping this share of the margin early, differently for each prefix, so that prefixes that fall due together spread.
_SPREAD = 0.5

# Why the keeper lets a ping wait that had no turn. Turns may be reserved hours ahead, so unlike the pause after a
# failure this one has no upper bound; it is asked for anew whenever the prefix is tended.
RATE_LIMITED = "rate_limited"

# A touch from further in the future than this means that the clock was set back: when the entry dies is not known.
_CLOCK_TOLERANCE = timedelta(seconds=10)

# The pause after the first failure, as a share of the margin; it doubles with each further one.
_FIRST_PAUSE = 0.25


def decide(prefix: Prefix, state: PrefixState, now: datetime) -> Decision:
    """When to ping this prefix next, and why; pure.

    Args:
        now: aware; a decision to ping at or before `now` means: send at once.
    """
    if state.stop:
        return Decision(Action.LEAVE, None, Reason.STOPPED, detail=f"{state.stop.code}: {state.stop.message}")
    state = _without_the_future(prefix, state, now)
    window = _window_at(prefix, now)
    expiry = expiry_of(prefix, state)
    warm_until = expiry if expiry and expiry > now else None
    if window is None:
        return _wait_for_opening(prefix, now, warm_until, Reason.OUTSIDE_BUSY_HOURS)
    held_until = breaker.held_until(state, lifetime_of(prefix, state), now)
    if held_until:
        return Decision(Action.WAIT, held_until, Reason.BREAKER_OPEN, warm_until, breaker.detail_of(state))
    if warm_until is None:
        return _decide_cold(prefix, state, now, window, expiry)
    return _decide_warm(prefix, state, now, window, warm_until)


def absorb(prefix: Prefix, state: PrefixState, entry: Entry, jitter: float) -> PrefixState:
    """What is known after a ping has ended, well or badly; pure.

    Replaying a prefix's ledger entries through this function gives its state back after a restart.

    Args:
        entry: a completed entry, or an orphan. An orphan counts as a touch: the daemon died between sending and
            reading, and pinging the same slot again would more often pay twice than save the entry.
        jitter: in [0, 1), spreads the pause after a failure (full jitter).
    """
    outcome, state = entry.outcome, breaker.count(state, entry)
    if outcome is None or outcome.verdict in _TOUCHING:
        usage = outcome.usage if outcome else None
        state = _without_the_impossible(state, outcome.completed_at if outcome else entry.intent.started_at)
        idle_pings, idle_pings_at = _idle_after(state, entry.intent)
        touched = PrefixState(
            touched_at=_later(state.touched_at, entry.intent.started_at),
            stop=state.stop if outcome is None else None,  # an orphan proves nothing
            idle_pings=idle_pings,
            idle_pings_at=idle_pings_at,
            billed_ttl=state.billed_ttl,
            billed_at=state.billed_at,
            cached_tokens=usage.cache_read_tokens + usage.cache_write_tokens if usage else state.cached_tokens,
            organic_at=state.organic_at,
            course=state.course,
            closed_at=state.closed_at,
            rewrites=state.rewrites,
            unknowns=state.unknowns,
            broken_at=state.broken_at,
        )
        return _bill(touched, _written_by_ping(prefix, state, entry), entry.intent.started_at)
    if outcome.verdict is Verdict.UNCACHED:
        return _absorb_uncached(prefix, state, entry, outcome)
    if outcome.verdict is Verdict.ERROR and not outcome.retryable:
        return replace(state, stop=Stop(outcome.error_code, outcome.error_message, outcome.error_hint))
    return hold_back(prefix, state, outcome.completed_at, outcome.error_code, jitter)


def without_turn(state: PrefixState) -> PrefixState:
    """The state of a prefix that does not wait for its turn under the rate limit any more."""
    return replace(state, retry_at=None, retry_reason="") if state.retry_reason == RATE_LIMITED else state


def absorb_touch(prefix: Prefix, state: PrefixState, touch: Touch) -> PrefixState:
    """What is known after an organic request of this prefix; pure, and the same in whatever order touches are told.

    A touch told late moves no expiry back, and takes back only the idle pings before it. It ends no stop and no pause
    after a failure: those are about our own requests, and the pause never reaches beyond the life that it renewed.

    Args:
        touch: of this prefix; that of another changes nothing. Without usage it counts as a touch; with usage that
            neither read nor wrote it does not.
    """
    if touch.fingerprint != prefix.fingerprint or (touch.usage and touch.usage.verdict not in _TOUCHING):
        return state
    idle_pings, idle_pings_at = _idle_before(state, touch.started_at)
    touched = replace(
        without_turn(state),  # it may lie far beyond the life that was renewed
        touched_at=_later(state.touched_at, touch.started_at),
        idle_pings=idle_pings,
        idle_pings_at=idle_pings_at,
        organic_at=_later(state.organic_at, touch.started_at),
        closed_at=state.closed_at if state.closed_at and touch.started_at <= state.closed_at else None,
    )
    return _bill(touched, _written_by(prefix, state, touch), touch.started_at)


def close(state: PrefixState, at: datetime) -> PrefixState:
    """What is known after somebody said that no more requests come; pure. An organic request after `at` knew better."""
    if state.organic_at and state.organic_at > at:
        return state
    return replace(state, closed_at=_later(state.closed_at, at))


def choose_ttl(prefix: Prefix, state: PrefixState, now: datetime) -> TtlChoice:
    """What a request of this moment should ask for: the ttl of the living entry, else that of the next write; pure.

    Whether a read with another ttl than the entry's leaves it as it is, is not documented.
    """
    if not prefix.auto_ttl:
        return TtlChoice(prefix.ttl, TtlReason.FIXED)
    if state.billed_ttl and _lives(prefix, state, now):
        return TtlChoice(state.billed_ttl, TtlReason.LIVING, expiry_of(prefix, state))
    if state.course:
        return TtlChoice(state.course.ttl, TtlReason.LEARNT)
    return TtlChoice(prefix.ttl, TtlReason.DEFAULT)


def hold_back(prefix: Prefix, state: PrefixState, failed_at: datetime, code: str, jitter: float) -> PrefixState:
    """One more failure: the next attempt waits, exponentially longer and jittered, at most one ping period."""
    cap = ping_period(prefix, state)
    pause = min(cap, margin_of(prefix, state) * _FIRST_PAUSE * 2 ** min(state.failures, 16))
    retry_at = failed_at + pause * max(jitter, 0.1)
    return replace(state, failures=state.failures + 1, retry_at=retry_at, retry_reason=code)


def lifetime_of(prefix: Prefix, state: PrefixState) -> timedelta:
    """How long an entry lives: the registered lifetime, for the ttl that was really billed."""
    if state.billed_ttl is None or state.billed_ttl is prefix.ttl:
        return prefix.lifetime
    if prefix.other:
        return prefix.other.lifetime
    return prefix.lifetime * (state.billed_ttl.duration / prefix.ttl.duration)


def margin_of(prefix: Prefix, state: PrefixState) -> timedelta:
    """How long before expiry the ping goes out; scaled like the lifetime."""
    if state.billed_ttl is None or state.billed_ttl is prefix.ttl:
        return prefix.margin
    if prefix.other:
        return prefix.other.margin
    return prefix.margin * (state.billed_ttl.duration / prefix.ttl.duration)


def ping_period(prefix: Prefix, state: PrefixState) -> timedelta:
    """The longest time between two pings of a living entry."""
    return lifetime_of(prefix, state) - margin_of(prefix, state)


def mean_ping_period(prefix: Prefix, state: PrefixState) -> timedelta:
    """The time between two pings of a living entry on average: each goes out a little early."""
    period = ping_period(prefix, state)
    return period - min(margin_of(prefix, state), period) * _SPREAD / 2


def expiry_of(prefix: Prefix, state: PrefixState) -> datetime | None:
    """When the entry dies if nobody touches it; counted from the start of the last touch, None if none is known."""
    return state.touched_at + lifetime_of(prefix, state) if state.touched_at else None


def quiet_time(prefix: Prefix, state: PrefixState) -> timedelta:
    """How long after a touch no decision asks for a ping, whatever the spread; 0 where busy hours may end.

    A replay of dense traffic need not ask in the meantime.
    """
    if prefix.busy_hours is not ALWAYS:
        return timedelta(0)
    period = ping_period(prefix, state)
    return period - min(margin_of(prefix, state), period) * _SPREAD


def due_at(prefix: Prefix, state: PrefixState) -> datetime | None:
    """When the ping of a living entry is due that is always busy; None where busy hours or nothing known say it."""
    expiry = expiry_of(prefix, state)
    return _due(prefix, state, expiry) if expiry and prefix.busy_hours is ALWAYS else None


def tokens_of(prefix: Prefix, state: PrefixState) -> int:
    """Size of the cached part in tokens: as last billed, or estimated before the first usage."""
    return state.cached_tokens or prefix.estimated_tokens


def default_margin(ttl: Ttl, lifetime: timedelta) -> timedelta:
    """30 s of a 5m entry, 2 min of a 1h one, and the same share of any other lifetime.

    A wider margin costs money: with 40 s and 5 min, adaptive pings on real streams save 2 to 4 points less of what can
    be saved. A narrower one leaves a ping that failed no time to be tried again.
    """
    share = timedelta(seconds=30) if ttl is Ttl.FIVE_MINUTES else timedelta(minutes=2)
    return lifetime * (share / ttl.duration)


def _later(known: datetime | None, moment: datetime) -> datetime:
    return max(known, moment) if known else moment


def _without_the_impossible(state: PrefixState, ended_at: datetime) -> PrefixState:
    """The state without touches after the end of a ping: they were stamped by a clock that has been set back."""
    if state.touched_at is None or state.touched_at <= ended_at + _CLOCK_TOLERANCE:
        return state
    return replace(state, touched_at=None, organic_at=None, billed_at=None)


def _bill(state: PrefixState, billed: Ttl | None, at: datetime) -> PrefixState:
    """Remember the ttl of the latest write that told it; of two at the same moment, the shorter one."""
    if billed is None or (state.billed_at and state.billed_at > at):
        return state
    if state.billed_at == at and state.billed_ttl is Ttl.FIVE_MINUTES:
        return state
    return replace(state, billed_ttl=billed, billed_at=at)


def _lives(prefix: Prefix, state: PrefixState, at: datetime) -> bool:
    expiry = expiry_of(prefix, state)
    return expiry is not None and expiry > at


def _written_by_ping(prefix: Prefix, state: PrefixState, entry: Entry) -> Ttl | None:
    """The ttl at which a ping wrote the entry; None when it wrote none, or nobody can tell.

    Args:
        state: before it.
    """
    outcome = entry.outcome
    told = outcome.billed_ttl if outcome else None
    if told or not prefix.auto_ttl:
        return told
    wrote = outcome.verdict is not Verdict.HIT if outcome else not _lives(prefix, state, entry.intent.started_at)
    return entry.intent.ttl if wrote else None


def _written_by(prefix: Prefix, state: PrefixState, touch: Touch) -> Ttl | None:
    """The ttl at which an organic request wrote the entry; None when it wrote none, or nobody can tell.

    Where keepwarm chooses the ttl and no usage tells it, the entry of which nothing else is known is what the request's
    own cache point asked for, and if that is not told either, what keepwarm advised.

    Args:
        state: before it.
    """
    told = pricing.whole_write_ttl(touch.usage) if touch.usage else None
    if told or not prefix.auto_ttl:
        return told
    rewrote = touch.usage is not None and touch.usage.verdict is Verdict.REWRITE
    if not rewrote and state.billed_ttl and _lives(prefix, state, touch.started_at):
        return None
    return touch.ttl or (state.course.ttl if state.course else prefix.ttl)


def _idle_after(state: PrefixState, ping: Intent) -> tuple[int, tuple[datetime, ...]]:
    """One more idle ping, unless an organic request came after it had started; none after an opening write."""
    if ping.reason is Reason.COLD_IN_BUSY_HOURS:
        return 0, ()
    if state.organic_at and state.organic_at >= ping.started_at:
        return state.idle_pings, state.idle_pings_at
    return state.idle_pings + 1, (*state.idle_pings_at, ping.started_at)[-_IDLE_KEPT:]


def _idle_before(state: PrefixState, at: datetime) -> tuple[int, tuple[datetime, ...]]:
    """The idle pings after an organic request only; one older than all that are remembered changes nothing."""
    if state.touched_at is None or at >= state.touched_at:
        return 0, ()
    later = tuple(ping for ping in state.idle_pings_at if ping > at)
    return (state.idle_pings, later) if later == state.idle_pings_at else (len(later), later)


def _without_the_future(prefix: Prefix, state: PrefixState, now: datetime) -> PrefixState:
    """The state without moments that only a clock that was set back can explain."""
    if state.touched_at and state.touched_at > now + _CLOCK_TOLERANCE:
        state = replace(state, touched_at=None)
    if state.retry_at and state.retry_at > now + ping_period(prefix, state) + _CLOCK_TOLERANCE:
        return state if state.retry_reason == RATE_LIMITED else replace(state, retry_at=None)
    return state


def _decide_cold(
    prefix: Prefix, state: PrefixState, now: datetime, window: Span, expired_at: datetime | None
) -> Decision:
    if not prefix.prewarm:
        return Decision(Action.LEAVE, None, Reason.NO_TRAFFIC_YET)
    if window.end - now < min(margin_of(prefix, state), window.duration / 2):
        return _wait_for_opening(prefix, now, None, Reason.CLOSING_SOON)
    if refusal := policies.refusal_to_write(prefix.policy, state, expired_at, window):
        return _wait_for_opening(prefix, now, None, refusal)
    if state.retry_at and state.retry_at > now:
        return Decision(Action.WAIT, state.retry_at, Reason.BACKING_OFF, detail=_failures(state))
    early = "ahead of the opening" if now < window.start else ""
    return Decision(Action.PING, now, Reason.COLD_IN_BUSY_HOURS, detail=early)


def _decide_warm(prefix: Prefix, state: PrefixState, now: datetime, window: Span, warm_until: datetime) -> Decision:
    if refusal := policies.refusal(prefix.policy, state):
        return _wait_for_opening(prefix, now, warm_until, refusal)
    due = _due(prefix, state, warm_until)
    reason = Reason.KEEP_WARM
    if warm_until >= window.end:
        due, reason = _last_chance(prefix, state, window, due), Reason.BRIDGE_PAUSE
        if not _bridges(prefix, state, window, warm_until, due):
            return _wait_for_opening(prefix, now, warm_until, Reason.OUTLIVES_BUSY_HOURS)
    if state.retry_at and state.retry_at > due:
        # A retry that would come too late is a new decision after the entry's death, taken when it is there.
        if state.retry_at >= min(warm_until, window.end):
            return Decision(Action.WAIT, state.retry_at, Reason.BACKING_OFF, warm_until, _failures(state))
        due, reason = state.retry_at, Reason.RETRY
    return Decision(Action.PING, max(due, now), reason, warm_until, _failures(state) if state.failures else "")


def _due(prefix: Prefix, state: PrefixState, warm_until: datetime) -> datetime:
    """A margin before expiry, and a little earlier; a margin of nearly the whole lifetime leaves little to spread."""
    margin = margin_of(prefix, state)
    return warm_until - margin - min(margin, ping_period(prefix, state)) * _SPREAD * _spread(prefix, state)


def _last_chance(prefix: Prefix, state: PrefixState, window: Span, due: datetime) -> datetime:
    """The due time, but in the busy hours: a ping after their end is never sent."""
    return min(due, window.end - margin_of(prefix, state) * (1 - _SPREAD * _spread(prefix, state)))


def _bridges(prefix: Prefix, state: PrefixState, window: Span, warm_until: datetime, due: datetime) -> bool:
    """Whether one more ping carries the entry over a pause that would otherwise cost a write."""
    after = busyhours.next_span(prefix.busy_hours, window.end)
    if after is None or warm_until > after.start:
        return False
    return due + lifetime_of(prefix, state) > after.start


def _window_at(prefix: Prefix, now: datetime) -> Span | None:
    """The busy hours of this moment, or those that open so soon that the entry is to be warm for them."""
    window = busyhours.span_at(prefix.busy_hours, now)
    if window or not prefix.prewarm_lead:
        return window
    return busyhours.span_at(prefix.busy_hours, now + prefix.prewarm_lead)


def _wait_for_opening(prefix: Prefix, now: datetime, warm_until: datetime | None, reason: Reason) -> Decision:
    following = busyhours.next_span(prefix.busy_hours, now)
    if following is None:
        never = Reason.NEVER_BUSY if reason is Reason.OUTSIDE_BUSY_HOURS else reason
        return Decision(Action.LEAVE, None, never, warm_until)
    early = following.start - prefix.prewarm_lead
    return Decision(Action.WAIT, early if early > now else following.start, reason, warm_until)


def _absorb_uncached(prefix: Prefix, state: PrefixState, entry: Entry, outcome: Outcome) -> PrefixState:
    count = state.uncached + 1
    if count < UNCACHED_LIMIT:
        retry_at = entry.intent.started_at + ping_period(prefix, state)
        return replace(state, uncached=count, failures=0, retry_at=retry_at, retry_reason=Verdict.UNCACHED.value)
    tokens = outcome.usage.prompt_tokens if outcome.usage else 0
    message = (
        f"{count} pings in a row were neither read nor written; the prompt has {tokens} tokens, "
        f"and {prefix.facts.base_id} caches from {prefix.facts.min_tokens} on"
    )
    hint = "make the prefix longer, or remove it from the registry"
    return replace(state, uncached=count, retry_at=None, stop=Stop(Verdict.UNCACHED.value, message, hint))


def _failures(state: PrefixState) -> str:
    attempts = "attempt" if state.failures == 1 else "attempts"
    return f"{state.failures} failed {attempts}, last {state.retry_reason}" if state.failures else state.retry_reason


def _spread(prefix: Prefix, state: PrefixState) -> float:
    """A number in [0, 1) that differs from prefix to prefix and touch to touch, and is the same after a restart."""
    seed = f"{prefix.fingerprint}{state.touched_at}".encode()
    return int.from_bytes(hashlib.blake2b(seed, digest_size=4).digest()) / 2**32
