"""The breaker: three rewrites in a row where a hit was due, or three lost answers, pause a prefix for one lifetime.

It is part of what is known of a prefix, so that replaying the ledger opens it again after a restart. It sums no money.
After the lifetime it is half-open: what the planner then asks for may go, and the next rewrite or lost answer in that
row opens it anew, for twice as long each time; a hit closes it. With the same pause each time it would save next to
nothing: half-open, a write and the ping that finds it gone cost as much as pinging on.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from keepwarm.model import Entry, GuardState, PrefixState, Reason, Verdict

LIMIT = 3

# The longest pause is so many doublings of the first: at 5m nearly a day.
_DOUBLINGS = 8

# Pings of an entry that should be alive; neither an opening write, nor a ping by hand, which comes at any time.
HIT_DUE = frozenset({Reason.KEEP_WARM, Reason.BRIDGE_PAUSE, Reason.RETRY})


def count(state: PrefixState, entry: Entry) -> PrefixState:
    """What a ping that ended changes in the rows that the breaker counts.

    A refusal was not billed and ends no row; neither does an orphan, which tells nothing.
    """
    if entry.outcome is None:
        return state
    verdict = entry.outcome.verdict
    if verdict is Verdict.HIT and not state.rewrites and not state.unknowns:
        return state  # nearly always
    rewrites = _rewrites(state.rewrites, verdict, due=entry.intent.reason in HIT_DUE)
    unknowns = _unknowns(state.unknowns, verdict)
    broken_at = state.broken_at if max(rewrites, unknowns) >= LIMIT else None
    if (rewrites > state.rewrites and rewrites >= LIMIT) or (unknowns > state.unknowns and unknowns >= LIMIT):
        broken_at = entry.intent.started_at
    return replace(state, rewrites=rewrites, unknowns=unknowns, broken_at=broken_at)


def held_until(state: PrefixState, lifetime: timedelta, now: datetime) -> datetime | None:
    """When the open breaker lets the next ping through; None when it does already.

    A moment in the future, which only a clock that was set back explains, holds nothing back.
    """
    if state.broken_at is None or state.broken_at > now:
        return None
    again = max(state.rewrites, state.unknowns) - LIMIT
    until = state.broken_at + lifetime * 2 ** min(max(again, 0), _DOUBLINGS)
    return until if until > now else None


def state_of(state: PrefixState, lifetime: timedelta, now: datetime) -> GuardState:
    """Whether it is closed (ok), open (tripped) or half-open."""
    if state.broken_at is None:
        return GuardState.OK
    return GuardState.TRIPPED if held_until(state, lifetime, now) else GuardState.HALF_OPEN


def detail_of(state: PrefixState) -> str:
    """Why it opened, in words; empty while it is closed."""
    if state.broken_at is None:
        return ""
    if state.rewrites >= LIMIT:
        return f"{state.rewrites} rewrites in a row where a hit was due"
    return f"{state.unknowns} pings in a row were sent and told nothing; they may be billed"


def _rewrites(before: int, verdict: Verdict, *, due: bool) -> int:
    if verdict is Verdict.HIT:
        return 0
    return before + (verdict is Verdict.REWRITE and due)


def _unknowns(before: int, verdict: Verdict) -> int:
    if verdict is Verdict.UNKNOWN:
        return before + 1
    return before if verdict is Verdict.ERROR else 0
