"""What must hold whatever broke, told from the embedded Bedrock's own log, the ledger's rows, and files.

It trusts no log line of keepwarm's and none of its code but the price list.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from keepwarm import pricing
from keepwarm.emulator import Request
from keepwarm.model import Prices, Ttl
from tests.daemons import started

Row = Mapping[str, Any]

# The log of the emulator and the ledger are stamped by one clock, in two processes.
CLOCKS = timedelta(milliseconds=50)
MINUTE = timedelta(minutes=1)
# From when somebody sets a clock until all pings that were stamped before are through.
_SETTING = timedelta(seconds=1)

ENTERED = "every request that reached Bedrock has an entry from before it"
NOT_TWICE = "no slot is pinged twice"
CAPPED = "never past a cap, at what Bedrock billed"
IN_HOURS = "never outside busy hours"
PACED = "never faster than KEEPWARM_REQUESTS_PER_MINUTE"
RECOVERED = "all warm again within one lifetime after a fault"
CALM = "no entry dies while nothing is broken"
SECRET = "no canary in log, ledger, HTTP answers, crash output"
HELD = "every scenario ends as its name says"
NO_CRASH = "no traceback, no crash, no exit that nobody asked for"


@dataclass(slots=True)
class Findings:
    """How often each invariant was looked at, and what broke it."""

    checks: Counter[str] = field(default_factory=Counter)
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def check(self, invariant: str, holds: object, told: str) -> None:
        """Count one look; tell what was seen where it does not hold."""
        self.checks[invariant] += 1
        if not holds:
            self.broken[invariant].append(told)


def ours(log: Iterable[Request]) -> list[Request]:
    """The pings; organic requests have another user agent."""
    return [request for request in log if "keepwarm/" in request.user_agent]


def check_entries(findings: Findings, log: Sequence[Request], rows: Sequence[Row]) -> None:
    """As many intents as requests, prefix by prefix, each written before its request came.

    A request that was refused before it was read bears no name: it must fit an entry that no other request needs.
    """
    by_name: dict[str, list[datetime]] = defaultdict(list)
    for row in rows:
        by_name[row["prefix"]].append(started(row))
    arrivals: dict[str, list[datetime]] = defaultdict(list)
    for request in ours(log):
        if "prefix" in request.metadata:
            arrivals[request.metadata["prefix"]].append(request.at)
    spare: list[datetime] = []
    for name in {*by_name, *arrivals}:
        stamps, came = sorted(by_name[name]), sorted(arrivals[name])
        taken = set()
        for at in came:
            fits = [index for index, stamp in enumerate(stamps) if index not in taken and stamp <= at + CLOCKS]
            findings.check(ENTERED, fits, f"{name} at {at:%H:%M:%S.%f}: no entry before it")
            taken.update(fits[-1:])
        spare += [stamp for index, stamp in enumerate(stamps) if index not in taken]
    spare.sort(reverse=True)
    for request in sorted((one for one in ours(log) if "prefix" not in one.metadata), key=lambda one: one.at):
        fits = spare and spare[-1] <= request.at + CLOCKS
        findings.check(ENTERED, fits, f"{request.error_code} at {request.at:%H:%M:%S.%f}: no entry before it")
        if fits:
            spare.pop()


def check_gaps(findings: Findings, rows: Sequence[Row], shortest: timedelta, steps: Sequence[datetime] = ()) -> None:
    """No ping sooner after another one of its prefix than any slot wants, unless that one failed or found it cold.

    One by hand comes when somebody wants it, and nobody knows what lives when the clock was set in between.

    Args:
        steps: when that was.
    """
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_name[row["prefix"]].append(row)
    for name, own in by_name.items():
        for early, late in pairwise(sorted(own, key=started)):
            if early["verdict"] in {"error", "unknown", "uncached"} or late["reason"] == "manual":
                continue
            if any(started(early) <= step + _SETTING and step - CLOCKS <= started(late) for step in steps):
                continue
            gap = started(late) - started(early)
            told = f"{name} at {started(late):%H:%M:%S.%f} ({late['reason']}), {gap.total_seconds():.2f} s after a "
            findings.check(NOT_TWICE, gap >= shortest, told + f"{early['verdict'] or 'ping without outcome'}")


def check_hours(findings: Findings, rows: Sequence[Row], closed_from: Mapping[str, datetime]) -> None:
    """Of the prefixes that are not always busy, none from the end of their hours on."""
    for row in rows:
        if row["prefix"] in closed_from:
            within = started(row) < closed_from[row["prefix"]]
            findings.check(IN_HOURS, within, f"{row['prefix']} at {started(row):%H:%M:%S.%f}")


def check_pace(
    findings: Findings, rows: Sequence[Row], per_minute: int, by_role: Collection[str] = frozenset()
) -> None:
    """The ledger's own stamps: at most so many of one model and account in any minute.

    Args:
        by_role: prefixes that a role pings, which is an account of its own.
    """
    by_lane: dict[str, list[datetime]] = defaultdict(list)
    for row in rows:
        by_lane[row["model_id"] + " by the role" * (row["prefix"] in by_role)].append(started(row))
    for model, stamps in by_lane.items():
        stamps.sort()
        for first, beyond in zip(stamps, stamps[per_minute:], strict=False):
            told = f"{model}: {per_minute + 1} pings in {(beyond - first).total_seconds():.1f} s at {beyond:%H:%M:%S}"
            findings.check(PACED, beyond - first >= MINUTE - CLOCKS, told)
        findings.checks[PACED] += len(stamps) <= per_minute


def check_caps(findings: Findings, log: Sequence[Request], caps: Mapping[str, Decimal], prices: Prices) -> None:
    """What Bedrock billed for each prefix with a cap, each day in UTC."""
    billed: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for request in ours(log):
        name = request.metadata.get("prefix", "")
        if name in caps and request.usage:
            billed[name, f"{request.at:%m-%d}"] += pricing.cost_usd(prices, request.usage, Ttl.FIVE_MINUTES)
    for (name, day), usd in billed.items():
        findings.check(CAPPED, usd <= caps[name], f"{name} on {day}: ${usd} of ${caps[name]}")


def check_files(findings: Findings, place: Path, canaries: Sequence[str]) -> None:
    """No canary in any file of a place, but in those that hold prompts and credentials because they should."""
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.suffix not in {".md", ".yaml"} and path.name != "credentials":
            check_content(findings, path.name, path.read_bytes(), canaries)


def check_content(findings: Findings, name: str, content: bytes, canaries: Sequence[str]) -> None:
    """No canary in what was written or answered."""
    for canary in canaries:
        findings.check(SECRET, canary.encode() not in content, f"{canary!r} in {name}")


def touched_since(log: Iterable[Request], since: datetime) -> set[str]:
    """The prefixes whose entries a ping has read or written since then, whoever waits for the answer."""
    return {request.metadata["prefix"] for request in ours(log) if request.at >= since and request.usage}
