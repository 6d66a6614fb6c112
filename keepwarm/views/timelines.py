"""What happened to a prefix, as stretches and marks to draw.

Warm is what is known of starts and answers; an entry that was lost early looks warm until the ping that found it gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from keepwarm import busyhours, planner, pricing
from keepwarm.model import Entry, Prefix, PrefixState, Span, Touch, Ttl, Verdict
from keepwarm.views.shapes import PingMark, RequestMark, Timeline

_TOUCHING = frozenset({Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE})
_BILLED = tuple(PrefixState(billed_ttl=ttl) for ttl in Ttl)


def longest_life(prefix: Prefix) -> timedelta:
    """How long an entry of this prefix lives at most: what happened so long ago may still count."""
    return max(planner.lifetime_of(prefix, state) for state in _BILLED)


def draw(
    prefix: Prefix,
    entries: Sequence[Entry],
    touches: Sequence[Touch],
    stretch: Span,
    *,
    truncated: bool = False,
) -> Timeline:
    """The timeline of a stretch.

    Args:
        entries: of the stretch and the longest life before it, in any order.
        touches: likewise.
        truncated: whether there were more before the stretch that was asked for could be filled.
    """
    since, until = stretch.start, stretch.end
    pings = sorted(entries, key=lambda entry: entry.intent.started_at)
    requests = sorted(touches, key=lambda touch: touch.started_at)
    return Timeline(
        since=since,
        until=until,
        busy=[(span.start, span.end) for span in busyhours.spans(prefix.busy_hours, since, until)],
        warm=_cut(_lives(prefix, pings, requests), stretch),
        pings=[_mark(entry) for entry in pings if since <= entry.intent.started_at < until],
        requests=[
            RequestMark(touch.started_at, touch.usage.verdict.value if touch.usage else None, touch.latency_ms)
            for touch in requests
            if since <= touch.started_at < until
        ],
        truncated=truncated,
    )


def _mark(entry: Entry) -> PingMark:
    latency = entry.outcome.latency_ms if entry.outcome else None
    return PingMark(entry.intent.started_at, entry.verdict.value, float(entry.cost_usd), latency)


def _lives(prefix: Prefix, pings: Iterable[Entry], requests: Iterable[Touch]) -> list[Span]:
    """From each touch of the entry on, as long as it lives by the ttl of its last write."""
    touching: list[tuple[datetime, Ttl | None]] = [
        (entry.intent.started_at, _written_by_ping(prefix, entry)) for entry in pings if entry.verdict in _TOUCHING
    ]
    touching += [
        (touch.started_at, pricing.whole_write_ttl(touch.usage) if touch.usage else None)
        for touch in requests
        if touch.usage is None or touch.usage.verdict in _TOUCHING
    ]
    spans = []
    billed: Ttl | None = None
    for at, written in sorted(touching, key=lambda one: one[0]):
        billed = written or billed
        spans.append(Span(at, at + planner.lifetime_of(prefix, PrefixState(billed_ttl=billed))))
    return spans


def _written_by_ping(prefix: Prefix, entry: Entry) -> Ttl | None:
    told = entry.outcome.billed_ttl if entry.outcome else None
    return told or (entry.intent.ttl if prefix.auto_ttl else None)


def _cut(spans: Iterable[Span], stretch: Span) -> list[tuple[datetime, datetime]]:
    """Spans that are ascending by start, joined, and cut to the stretch."""
    found: list[tuple[datetime, datetime]] = []
    for span in spans:
        start, end = max(span.start, stretch.start), min(span.end, stretch.end)
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
