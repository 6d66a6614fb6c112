"""A made-up past of 30 days in a ledger: pings, what they saved, and the requests of an application.

It writes rows in bulk, as the ledger would one by one; it asks no policy, so its figures prove nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import create_engine, insert

from keepwarm import busyhours, pricing
from keepwarm.ledger import Ledger
from keepwarm.ledger.tables import intent_row, intents, outcome_row, outcomes, touch_row, touches
from keepwarm.model import Intent, Outcome, Prefix, Reason, Source, Touch, Ttl, Usage, Verdict

DAYS = 30
_HELD_PINGS = 14  # after so many without a request it is left cold
_LOST = 0.004


@dataclass(frozen=True, slots=True)
class Happened:
    """One ping or request of the past; `found` says whether the entry was alive."""

    at: datetime
    ours: bool
    found: bool


def live_through(prefix: Prefix, per_hour: float, until: datetime, seed: int) -> Iterator[Happened]:
    """What happened to a prefix that is asked for so often in its busy hours, until then."""
    chance = random.Random(f"{prefix.name}-{seed}")
    period = prefix.ttl.duration * 0.9
    for span in busyhours.spans(prefix.busy_hours, until - timedelta(days=DAYS), until):
        end, at, touched, idle = span.end, span.start, None, 0
        asked = at + timedelta(hours=chance.expovariate(per_hour))
        while at < end:
            due = touched + period if touched and idle < _HELD_PINGS else end
            at = min(due, asked)
            if at >= end:
                break
            alive = bool(touched) and at - touched < prefix.ttl.duration and chance.random() > _LOST
            yield Happened(at, at != asked, alive)
            idle = 0 if at == asked else idle + 1
            touched = at
            if at == asked:
                asked = at + timedelta(hours=chance.expovariate(per_hour))


def write_past(ledger: Path, prefixes: dict[Prefix, float], until: datetime, seed: int = 7) -> None:
    """Fill a ledger.

    Args:
        prefixes: each with its requests an hour.
        until: when the past ends.
    """
    url = f"sqlite:///{ledger}"
    with Ledger.open(url):
        pass
    chance = random.Random(seed)
    opened, closed, heard = [], [], []
    for prefix, per_hour in prefixes.items():
        for happened in live_through(prefix, per_hour, until, seed):
            if happened.ours:
                opened.append(intent_row(_intent(prefix, happened), "past") | {"number": len(opened) + 1})
                closed.append(outcome_row(len(opened), _outcome(prefix, happened, chance)))
            else:
                heard.append(touch_row(_touch(prefix, happened, len(heard), chance), "past"))
    engine = create_engine(url)
    with engine.begin() as connection:
        for table, rows in ((intents, opened), (outcomes, closed), (touches, heard)):
            if rows:
                connection.execute(insert(table), rows)
    engine.dispose()


def _usage(prefix: Prefix, happened: Happened, output: int) -> Usage:
    tokens = prefix.estimated_tokens
    return Usage(12, output, tokens, 0) if happened.found else Usage(12, output, 0, tokens)


def _latency_ms(happened: Happened, chance: random.Random) -> int:
    return round(chance.lognormvariate(6.4 if happened.found else 7.6, 0.22))


def _intent(prefix: Prefix, happened: Happened) -> Intent:
    reason = Reason.KEEP_WARM
    facts = (prefix.name, prefix.fingerprint, prefix.model_id, prefix.route.region, prefix.api, prefix.ttl, reason, 1)
    high = pricing.cost_usd(prefix.facts.prices, Usage(12, 1, 0, prefix.estimated_tokens), prefix.ttl)
    return Intent(*facts, happened.at, high)


def _outcome(prefix: Prefix, happened: Happened, chance: random.Random) -> Outcome:
    usage = _usage(prefix, happened, 1)
    cost = pricing.cost_usd(prefix.facts.prices, usage, prefix.ttl)
    written = pricing.cost_usd(prefix.facts.prices, Usage(12, 1, 0, prefix.estimated_tokens), prefix.ttl)
    latency = _latency_ms(happened, chance)
    return Outcome(
        completed_at=happened.at + timedelta(milliseconds=latency),
        verdict=Verdict.HIT if happened.found else Verdict.REWRITE,
        cost_usd=cost,
        avoidable_usd=written - cost if happened.found else written - written,
        usage=usage,
        latency_ms=latency,
        billed_ttl=None if happened.found else Ttl(prefix.ttl),
    )


def _touch(prefix: Prefix, happened: Happened, number: int, chance: random.Random) -> Touch:
    return Touch(
        request_id=f"past-{prefix.name}-{number}",
        prefix=prefix.name,
        fingerprint=prefix.fingerprint,
        group="past",
        model_id=prefix.model_id,
        region=prefix.route.region,
        api=prefix.api,
        started_at=happened.at,
        usage=_usage(prefix, happened, 300),
        latency_ms=_latency_ms(happened, chance),
        source=Source.REPORTER,
        ttl=prefix.ttl,
    )
