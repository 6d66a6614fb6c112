"""Virtual time for tests: a prefix on its way through days, with a cache and answers of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from keepwarm import busyhours, planner
from keepwarm.model import Action, Entry, Prefix, PrefixState, Reason, Span, Verdict
from tests.builders import make_entry


@dataclass(frozen=True)
class Sent:
    """One ping of a walk.

    Attributes:
        life: what the entry truly had left to live when the ping left; None when it was dead.
        touched: whether it lives for another lifetime from here on.
    """

    at: datetime
    reason: Reason
    life: timedelta | None
    touched: bool
    entry: Entry


def walk(
    prefix: Prefix,
    since: datetime,
    until: datetime,
    *,
    state: PrefixState | None = None,
    answer: Callable[[datetime], Verdict | None] = lambda _: None,
    jitter: Callable[[], float] = lambda: 0.5,
    entry_changes: Callable[[], dict[str, object]] = dict,
) -> list[Sent]:
    """What the daemon would send in [since, until).

    Args:
        answer: verdict of a ping sent at a moment; None for what the cache says: a hit or a rewrite.
        entry_changes: further fields of its outcome, such as `retryable`.
    """
    now, state, sent = since, state or PrefixState(), list[Sent]()
    expiry = planner.expiry_of(prefix, state) or since
    while now < until:
        decision = planner.decide(prefix, state, now)
        if decision.at is None or decision.at >= until:
            return sent
        if decision.action is not Action.PING or decision.at > now:
            assert decision.at > now, f"no progress: {decision}"
            now = decision.at
            continue
        life = expiry - now if now < expiry else None
        told = answer(now) or (Verdict.HIT if life else Verdict.REWRITE)
        entry = make_entry(
            prefix, told, started_at=now, reason=decision.reason, attempt=state.failures + 1, **entry_changes()
        )
        touched = told in {Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE}
        sent.append(Sent(now, decision.reason, life, touched, entry))
        if touched:
            expiry = now + planner.lifetime_of(prefix, state)
        before, state = state, planner.absorb(prefix, state, entry, jitter())
        assert state != before, f"nothing learned at {now}"
        now += timedelta(microseconds=1)
    return sent


def warm_spans(pings: list[datetime], lifetime: timedelta) -> list[Span]:
    """When an entry lives that is touched at these moments, in order."""
    found: list[Span] = []
    for ping in pings:
        if found and ping <= found[-1].end:
            found[-1] = replace(found[-1], end=max(found[-1].end, ping + lifetime))
        else:
            found.append(Span(ping, ping + lifetime))
    return found


def cold_gaps(prefix: Prefix, pings: list[datetime], since: datetime, until: datetime) -> list[Span]:
    """The stretches of busy hours in [since, until) in which the entry was dead."""
    gaps = []
    for busy in busyhours.spans(prefix.busy_hours, since, until):
        reached = busy.start
        for warm in warm_spans(pings, prefix.lifetime):
            if warm.end <= reached or warm.start >= busy.end:
                continue
            if warm.start > reached:
                gaps.append(Span(reached, warm.start))
            reached = warm.end
        if reached < busy.end:
            gaps.append(Span(reached, busy.end))
    return gaps


def outside(prefix: Prefix, pings: list[datetime]) -> list[datetime]:
    """The pings that were sent outside busy hours."""
    return [ping for ping in pings if busyhours.span_at(prefix.busy_hours, ping) is None]


def local(year: int, month: int, day: int, hour: int = 0, minute: int = 0, zone: str = "Europe/Berlin") -> datetime:
    """A moment on the wall clock of a zone, as UTC."""
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone)).astimezone(UTC)
