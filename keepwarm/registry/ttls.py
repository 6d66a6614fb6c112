"""The ttls of a registered prefix: which it may ask for, and how long its entries then live.

It reads no file and makes no request (see `requests`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from keepwarm import planner
from keepwarm.model import ModelFacts, Prefix, Ttl
from keepwarm.registry.findings import Findings, Place
from keepwarm.registry.requests import Ping, Request
from keepwarm.registry.schema import AUTO, PrefixEntry


def check_ttl(findings: Findings, entry: PrefixEntry, place: Place, facts: ModelFacts, request: Request) -> None:
    """Refuse a ttl that the model does not sell, or that the request does not ask for."""
    if entry.ttl == AUTO and len(facts.ttls) == 1:
        (sold,) = facts.ttls
        message = f"is auto, but {facts.base_id} sells only {sold.value}; write ttl: {sold.value}"
        findings.refuse_value(place, "ttl", message)
    fixed = fixed_ttl(entry)
    if fixed and fixed is not request.ttl:
        message = (
            f"is {fixed.value}, but the last cache point of {entry.request} says {request.ttl.value}; "
            f"write ttl: {request.ttl.value} if that is what production sends"
        )
        findings.refuse_value(place, "ttl", message)


def lifetime_and_margin(findings: Findings, entry: PrefixEntry, place: Place, ttl: Ttl) -> tuple[timedelta, timedelta]:
    """How long an entry lives, and how long before its death it is pinged, for the ttl that the request asks for."""
    lifetime = entry.lifetime or ttl.duration
    margin = entry.margin or planner.default_margin(ttl, lifetime)
    if margin >= lifetime and not place.broken & {"margin", "lifetime"}:
        seconds = f"{lifetime.total_seconds():g} s"
        message = f"is {margin.total_seconds():g} s, but must be shorter than the lifetime of {seconds}"
        findings.refuse_value(place, "margin", message)
    return lifetime, margin


def lead_of(findings: Findings, entry: PrefixEntry, place: Place, ping_period: timedelta) -> timedelta:
    """How long before an opening a cold entry is written."""
    lead = entry.prewarm if isinstance(entry.prewarm, timedelta) else timedelta(0)
    if lead >= ping_period > timedelta(0) and not place.broken & {"margin", "lifetime"}:
        message = (
            f"leads by {lead.total_seconds():g} s, but an entry is pinged again {ping_period.total_seconds():g} s "
            "after its write (lifetime less margin): use a shorter lead"
        )
        findings.refuse_value(place, "prewarm", message)
    return lead


def fixed_ttl(entry: PrefixEntry) -> Ttl | None:
    """The ttl that the registry names; None where it names none or keepwarm chooses."""
    return entry.ttl if isinstance(entry.ttl, Ttl) else None


def other_ttl(entry: PrefixEntry, facts: ModelFacts, request: Request) -> Ttl | None:
    """The ttl that the request does not ask for, where keepwarm may choose it."""
    others = facts.ttls - {request.ttl}
    return next(iter(others), None) if entry.ttl == AUTO else None


def asking(prefix: Prefix, ttl: Ttl, ping: Ping, margin: timedelta | None) -> Prefix:
    """The prefix as it asks for its other ttl: lifetime and margin are scaled, where they were given."""
    scale = ttl.duration / prefix.ttl.duration
    lifetime = prefix.lifetime * scale
    return replace(
        prefix,
        ttl=ttl,
        lifetime=lifetime,
        margin=margin * scale if margin else planner.default_margin(ttl, lifetime),
        ping_request=ping.request,
    )
