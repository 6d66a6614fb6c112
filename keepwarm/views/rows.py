"""Rows of the ledger, decisions, events and pauses as they are shown.

It takes them as they are and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from keepwarm.model import Decision, Entry, Event, PauseOrder, Prefix, PrefixState, Scope, Touch
from keepwarm.pauses import Past
from keepwarm.views import cursors, words
from keepwarm.views.shapes import DecisionShown, EventShown, LedgerRow, PastPause

PING, REQUEST = "ping", "request"


def of_entry(entry: Entry) -> LedgerRow:
    """A ping."""
    outcome, usage = entry.outcome, entry.outcome.usage if entry.outcome else None
    return LedgerRow(
        number=entry.number,
        kind=PING,
        at=entry.intent.started_at,
        completed_at=outcome.completed_at if outcome else None,
        verdict=entry.verdict.value,
        reason=entry.intent.reason.value,
        ttl=(outcome.billed_ttl if outcome and outcome.billed_ttl else entry.intent.ttl).value,
        read_tokens=usage.cache_read_tokens if usage else None,
        written_tokens=usage.cache_write_tokens if usage else None,
        input_tokens=usage.input_tokens if usage else None,
        cost_usd=float(entry.cost_usd),
        latency_ms=outcome.latency_ms if outcome else None,
        error=(outcome.error_message or outcome.error_code or None) if outcome else None,
    )


def of_touch(number: int, touch: Touch) -> LedgerRow:
    """An organic request; what it cost is the application's."""
    usage = touch.usage
    return LedgerRow(
        number=number,
        kind=REQUEST,
        at=touch.started_at,
        completed_at=None,
        verdict=usage.verdict.value if usage else None,
        reason=None,
        ttl=touch.ttl.value if touch.ttl else None,
        read_tokens=usage.cache_read_tokens if usage else None,
        written_tokens=usage.cache_write_tokens if usage else None,
        input_tokens=usage.input_tokens if usage else None,
        cost_usd=None,
        latency_ms=touch.latency_ms,
        error=None,
    )


def places_before(cursor: str, until: datetime) -> tuple[tuple[datetime, int], tuple[datetime, int]]:
    """Before which entry and before which touch a page of the ledger begins; pings come before requests of a moment.

    Raises:
        BadCursor: it is not of the ledger.
    """
    if not cursor:
        return (until, 0), (until, 0)
    at_text, kind, number = cursors.read("ledger", cursor, (str, str, int))
    try:
        at = datetime.fromisoformat(str(at_text))
    except ValueError:
        raise cursors.BadCursor from None
    if at.tzinfo is None or not isinstance(number, int) or not 0 <= number < 2**62:
        raise cursors.BadCursor
    if kind == PING:
        return (at, number), (at, 2**62)
    return (at, 0), (at, number)


def page(rows: Iterable[LedgerRow], limit: int) -> tuple[list[LedgerRow], str | None]:
    """The newest rows, and where the next page begins; None when these are all."""
    found = sorted(rows, key=lambda row: (row.at, row.kind == PING, row.number), reverse=True)
    shown = found[:limit]
    if len(found) <= limit:
        return shown, None
    last = shown[-1]
    return shown, cursors.write("ledger", last.at.isoformat(), last.kind, last.number)


def of_decision(prefix: Prefix, state: PrefixState, decision: Decision, at: datetime) -> DecisionShown:
    """A decision that was taken at a moment."""
    said = words.describe(prefix, state, decision, None, at)
    return DecisionShown(at, decision.action.value, decision.reason.value, said, decision.at, decision.warm_until)


def of_event(event: Event) -> EventShown:
    """An event, its fields as plain values."""
    fields = {name: plain(value) for name, value in event.fields.items()}
    return EventShown(event.at, event.name, event.severity, fields)


def plain(value: object) -> object:
    """A value of an event as JSON knows it."""
    if isinstance(value, Decimal):
        return float(value)
    if value is None or isinstance(value, str | int | float | datetime):
        return value
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value)


def of_pauses(past: Sequence[Past]) -> list[PastPause]:
    """Every pause with its end."""
    return [
        PastPause(
            number=one.order.number,
            scope=one.order.scope.value,
            prefix=target(one.order, Scope.PREFIX),
            tag=target(one.order, Scope.TAG),
            since=one.order.at,
            until=one.order.until,
            why=one.order.why,
            by=one.order.by,
            resumed_at=one.resumed_at,
        )
        for one in past
    ]


def target(order: PauseOrder, scope: Scope) -> str | None:
    """What an order is about, if it is of this scope."""
    return order.target if order.scope is scope else None
