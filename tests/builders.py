"""Plain functions that build what many tests need, with facts from the shipped catalog."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import keepwarm
from keepwarm.busyhours import parse_window
from keepwarm.model import (
    ALWAYS,
    Api,
    BusyHours,
    BusyHoursPolicy,
    Entry,
    Intent,
    ModelFacts,
    Outcome,
    Prefix,
    Reason,
    Route,
    Source,
    Touch,
    Ttl,
    Usage,
    Verdict,
)
from keepwarm.pricing import Catalog, parse_catalog

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"  # at least 1,024 tokens, 5m and 1h
NOVA = "amazon.nova-lite-v1:0"  # 5m only, no cache point in tools
MARGINS = {Ttl.FIVE_MINUTES: timedelta(seconds=40), Ttl.ONE_HOUR: timedelta(minutes=5)}  # round, and not the defaults
MONDAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # 10:00 in Berlin, without holidays or clock changes near


@lru_cache(maxsize=1)
def shipped_catalog() -> Catalog:
    """The catalog in the package."""
    return parse_catalog(json.loads((Path(keepwarm.__file__).parent / "data" / "models.json").read_bytes()))


def facts_of(model_id: str, region: str = "eu-central-1") -> ModelFacts:
    """The facts of a model that the shipped catalog must know."""
    facts = shipped_catalog().find(model_id, region)
    assert facts, model_id
    return facts


def make_hours(*windows: str, timezone: str = "Europe/Berlin", **changes: Any) -> BusyHours:
    """Busy hours from windows as the registry writes them."""
    return BusyHours("test", timezone, tuple(map(parse_window, windows)), **changes)


def make_prefix(**changes: Any) -> Prefix:
    """A registered prefix that is always busy: 5m on Claude through InvokeModel, 5,000 tokens.

    Lifetime and margin follow `ttl` and `facts` follow `model_id` unless they are given too.
    """
    ttl = changes.get("ttl", Ttl.FIVE_MINUTES)
    lifetime = changes.get("lifetime", ttl.duration)
    model_id = changes.get("model_id", CLAUDE)
    route = changes.get("route", Route("eu-central-1"))
    defaults: dict[str, Any] = {
        "name": "support-bot",
        "model_id": model_id,
        "route": route,
        "api": Api.INVOKE_MODEL,
        "ttl": ttl,
        "lifetime": lifetime,
        "margin": lifetime * (MARGINS[ttl] / ttl.duration),
        "busy_hours": ALWAYS,
        "policy": BusyHoursPolicy(),
        "prewarm": True,
        "fingerprint": "0123456789abcdef0123456789abcdef",
        "estimated_tokens": 5_000,
        "ping_request": {},
    }
    if "facts" not in changes:
        defaults["facts"] = facts_of(model_id, route.region)
    return Prefix(**defaults | changes)


def make_intent(prefix: Prefix | None = None, **changes: Any) -> Intent:
    """The first half of a ledger entry: a ping of a living entry on a Monday morning."""
    prefix = prefix or make_prefix()
    intent = Intent(
        prefix=prefix.name,
        fingerprint=prefix.fingerprint,
        model_id=prefix.model_id,
        region=prefix.route.region,
        api=prefix.api,
        ttl=prefix.ttl,
        reason=Reason.KEEP_WARM,
        attempt=1,
        started_at=MONDAY,
        high_cost_usd=Decimal("0.02"),
        provisioned=prefix.provisioned,
    )
    return replace(intent, **changes)


def make_entry(prefix: Prefix | None = None, verdict: Verdict | None = Verdict.HIT, **changes: Any) -> Entry:
    """A ledger entry with this verdict, answered after a second; None leaves it without an outcome.

    `started_at`, `reason` and `attempt` go to its intent, all other changes to its outcome.
    """
    own = {name: changes.pop(name) for name in ("started_at", "reason", "attempt") if name in changes}
    intent = make_intent(prefix, **own)
    if verdict is None:
        return Entry(1, intent)
    read = 5_000 if verdict in {Verdict.HIT, Verdict.PARTIAL} else 0
    written = {Verdict.PARTIAL: 200, Verdict.REWRITE: 5_000}.get(verdict, 0)
    answered = verdict not in {Verdict.ERROR, Verdict.UNKNOWN}
    outcome = Outcome(
        completed_at=intent.started_at + timedelta(seconds=1),
        verdict=verdict,
        cost_usd=Decimal("0.0015"),
        usage=Usage(3 if read or written else 900, 1, read, written) if answered else None,
    )
    return Entry(1, intent, replace(outcome, **changes))


def make_touch(prefix: Prefix | None = None, number: int = 0, **changes: Any) -> Touch:
    """An organic request of this prefix without usage, on a Monday morning; `number` names it."""
    prefix = prefix or make_prefix()
    touch = Touch(
        request_id=f"request-{number}",
        prefix=prefix.name,
        fingerprint=prefix.fingerprint,
        group="feed",
        model_id=prefix.model_id,
        region=prefix.route.region,
        api=prefix.api,
        started_at=MONDAY,
        usage=None,
        latency_ms=None,
        source=Source.REPORTER,
    )
    return replace(touch, **changes)
