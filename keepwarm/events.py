"""Puts what happened into events: constant names, plain fields, no prompt text.

It observes nothing itself and writes no log; the keeper hands these values to its observers.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from keepwarm import planner
from keepwarm.guards import breaker
from keepwarm.model import (
    Action,
    Answer,
    Decision,
    Entry,
    Event,
    Guard,
    Prefix,
    PrefixState,
    Usage,
    Verdict,
)

_SUCCESS = frozenset({Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE})


def of_ping(entry: Entry, before: PrefixState, refresh_cost_usd: Decimal, avoidable_usd: Decimal) -> Event:
    """A ping that ended: `ping_succeeded` or `ping_failed`.

    Args:
        before: what was known when it was sent.
        refresh_cost_usd: of all pings of this run so far.
        avoidable_usd: the most that these pings can have saved the traffic so far.
    """
    succeeded = entry.verdict in _SUCCESS
    fields = _ping_fields(entry, before) | {
        "refresh_cost_usd_so_far": refresh_cost_usd,
        "avoided_write_usd_so_far_at_most": avoidable_usd,
    }
    at = entry.outcome.completed_at if entry.outcome else entry.intent.started_at
    return Event("ping_succeeded" if succeeded else "ping_failed", at, _severity(entry, succeeded=succeeded), fields)


def of_decision(prefix: Prefix, state: PrefixState, decision: Decision, now: datetime) -> Event:
    """The state that a decision leaves a prefix in: `prefix_warmed`, `prefix_left_cold` or `prefix_stopped`."""
    fields: dict[str, object] = {"prefix": prefix.name, "reason": decision.reason.value}
    if decision.warm_until:
        fields["warm_until"] = decision.warm_until
    if decision.at:
        fields["next_ping" if decision.action is Action.PING else "decides_again"] = decision.at
    if decision.detail:
        fields["detail"] = decision.detail
    if state.stop:
        return Event("prefix_stopped", now, "error", fields | {"hint": state.stop.hint})
    return Event("prefix_warmed" if decision.warm_until else "prefix_left_cold", now, "info", fields)


def of_billed_ttl(prefix: Prefix, before: PrefixState, after: PrefixState, now: datetime) -> Event | None:
    """The billed ttl began to differ from the one asked for, or stopped to; None when nothing changed.

    Args:
        prefix: as its ping asked for it.
    """
    if prefix.auto_ttl and after.billed_at == before.billed_at:
        return None
    known = None if prefix.auto_ttl else before.billed_ttl  # where keepwarm chooses, an earlier write tells nothing
    if after.billed_ttl is None or after.billed_ttl is known:
        return None
    fields: dict[str, object] = {
        "prefix": prefix.name,
        "asked": prefix.ttl.value,
        "billed": after.billed_ttl.value,
        "lifetime_seconds": planner.lifetime_of(prefix, after).total_seconds(),
    }
    if after.billed_ttl is not prefix.ttl:
        return Event("ttl_not_honoured", now, "warning", fields)
    return Event("ttl_honoured_again", now, "info", fields) if known else None


def of_guard(guard: Guard, prefix: str, detail: str, now: datetime) -> Event:
    """A guard on money began to hold pings back, or with an empty detail stopped to: `guard_tripped` or the way back.

    Args:
        prefix: empty for the guard of all prefixes together.
    """
    fields: dict[str, object] = {"guard": guard.value, "prefix": prefix or "all"}
    if detail:
        return Event("guard_tripped", now, "warning", fields | {"detail": detail})
    return Event("guard_recovered", now, "info", fields)


def of_breaker(prefix: Prefix, before: PrefixState, after: PrefixState, now: datetime) -> Event | None:
    """The breaker of a prefix opened or closed; None when it did neither. Half-open it is still on its way."""
    if bool(before.broken_at) == bool(after.broken_at):
        return None
    return of_guard(Guard.BREAKER, prefix.name, breaker.detail_of(after), now)


def of_witnesses(prefix: Prefix, answer: Answer, now: datetime) -> Event | None:
    """Body and headers of an answer told different cache counts; None when they agree or one is silent."""
    body, headers = answer.usage, answer.header_usage
    if body is None or headers is None or _cache_counts(body) == _cache_counts(headers):
        return None
    fields: dict[str, object] = {
        "prefix": prefix.name,
        "body": _cache_counts(body),
        "headers": _cache_counts(headers),
        "request_id": answer.request_id,
    }
    return Event("usage_disagreed", now, "warning", fields)


def _severity(entry: Entry, *, succeeded: bool) -> str:
    """A rewrite, or worse, where a hit was due wants to be seen."""
    early_loss = entry.verdict is not Verdict.HIT and entry.intent.reason in breaker.HIT_DUE
    return "info" if succeeded and not early_loss else "warning"


def _ping_fields(entry: Entry, before: PrefixState) -> dict[str, object]:
    intent, outcome = entry.intent, entry.outcome
    fields: dict[str, object] = {
        "prefix": intent.prefix,
        "verdict": entry.verdict.value,
        "reason": intent.reason.value,
        "attempt": intent.attempt,
        "entry": entry.number,
        "cost_usd": entry.cost_usd,
    }
    if before.touched_at:
        fields["idle_seconds"] = round((intent.started_at - before.touched_at).total_seconds(), 3)
    if outcome and outcome.usage:
        fields |= {
            "read_tokens": outcome.usage.cache_read_tokens,
            "written_tokens": outcome.usage.cache_write_tokens,
            "input_tokens": outcome.usage.input_tokens,
            "output_tokens": outcome.usage.output_tokens,
        }
    if outcome:
        fields["latency_ms"] = outcome.latency_ms
    if outcome and outcome.error_code:
        fields |= {"error_code": outcome.error_code, "error": outcome.error_message, "hint": outcome.error_hint}
    return fields


def _cache_counts(usage: Usage) -> dict[str, int]:
    return {"read_tokens": usage.cache_read_tokens, "written_tokens": usage.cache_write_tokens}
