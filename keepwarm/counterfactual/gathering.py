"""Gathers the touches and pings of each cache entry, and tells what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from keepwarm.counterfactual.figures import Terms, Traffic, total
from keepwarm.counterfactual.stages import Ping, Request, Stages
from keepwarm.counterfactual.walk import weigh
from keepwarm.model import Entry, Touch, Verdict

_ZERO = Decimal(0)


@dataclass(slots=True)
class _Gathered:
    """Requests and pings of one cache entry; the name is that of its latest touch."""

    name: str = ""
    requests: dict[str, Request] = field(default_factory=dict)
    pings: list[Ping] = field(default_factory=list)


class Gathering:
    """Gathers touches, then the pings of the same cache entries, and tells what they mean.

    Args:
        touches: in any order, also from a lifetime before the stretch on; those told twice count once, and those that
            belong to no prefix not at all.
        walked: what was walked before, by fingerprint; touches and pings of its time must not be given again.
    """

    def __init__(self, touches: Iterable[Touch], walked: Mapping[str, Stages] | None = None) -> None:
        self._walked = walked or {}
        self._gathered: dict[str, _Gathered] = {
            fingerprint: _Gathered(known.name)
            for fingerprint, stages in self._walked.items()
            if (known := stages.after or stages.before)
        }
        for touch in touches:
            if touch.matched:
                gathered = self._gathered.setdefault(touch.fingerprint, _Gathered())
                gathered.requests.setdefault(touch.request_id, request_of(touch))
                gathered.name = touch.prefix

    def add(self, entry: Entry) -> None:
        """Take a ping, in any order; of a prefix without touches it is passed over."""
        gathered = self._gathered.get(entry.intent.fingerprint)
        if gathered:
            gathered.pings.append(ping_of(entry))

    def figures(self, terms: Mapping[str, Terms], since: datetime, until: datetime) -> dict[str, Traffic]:
        """What happened in [since, until), by name of prefix; names without terms are left out."""
        found: dict[str, list[Traffic]] = {}
        for fingerprint, gathered in self._gathered.items():
            own, walked = terms.get(gathered.name), self._walked.get(fingerprint)
            if own and (gathered.requests or (walked and walked.heard(since - own.longest_lifetime))):
                traffic = weigh(own, gathered.requests.values(), gathered.pings, since, until, walked)
                found.setdefault(gathered.name, []).append(traffic)
        return {name: total(parts) for name, parts in found.items()}


def request_of(touch: Touch) -> Request:
    """What counts of a touch."""
    return Request(touch.started_at, touch.usage, touch.latency_ms)


def ping_of(entry: Entry) -> Ping:
    """What counts of a ledger entry."""
    outcome = entry.outcome
    wrote = entry.verdict in {Verdict.PARTIAL, Verdict.REWRITE}
    return Ping(
        at=entry.intent.started_at,
        ready_at=outcome.completed_at if outcome and wrote else entry.intent.started_at,
        verdict=entry.verdict,
        tokens=outcome.usage.cache_read_tokens + outcome.usage.cache_write_tokens if outcome and outcome.usage else 0,
        billed_ttl=outcome.billed_ttl if outcome else None,
        cost_usd=_ZERO if entry.intent.provisioned else entry.cost_usd,
        latency_ms=outcome.latency_ms if outcome else 0,
    )
