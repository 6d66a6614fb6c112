"""What is walked through: requests and pings; and where a walk stands when it is set down for a while."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from keepwarm.counterfactual.figures import Traffic
from keepwarm.model import Ttl, Usage, Verdict


class Request(NamedTuple):
    """What counts of a touch."""

    at: datetime
    usage: Usage | None
    latency_ms: int | None


class Ping(NamedTuple):
    """What counts of a ledger entry.

    Attributes:
        ready_at: from when on others can read what it wrote.
        tokens: read and written; 0 when not told.
    """

    at: datetime
    ready_at: datetime
    verdict: Verdict
    tokens: int
    billed_ttl: Ttl | None
    cost_usd: Decimal
    latency_ms: int


class Pending(NamedTuple):
    """Pings since the last request that found the entry alive.

    Attributes:
        at: when the first of them started.
        before: the touch before it if the entry still lived then; None when no answer depends on it.
    """

    at: datetime
    pings: int
    cost_usd: Decimal
    before: datetime | None


class Settling(NamedTuple):
    """A moment that tells which pending pings were wasted: the entry, then of this lifetime, was found warm or not."""

    at: datetime
    lifetime: timedelta
    warm: bool


class Owed(NamedTuple):
    """What a request that found the entry warm, or not, costs at the prices of reading and of writing."""

    at: datetime
    lifetime: timedelta
    read_usd: Decimal
    write_usd: Decimal
    warm: bool


@dataclass(slots=True)
class Measured:
    """How often each latency in milliseconds was met: of organic requests and of pings, warm and cold."""

    organic_warm: Counter[int] = field(default_factory=Counter)
    organic_cold: Counter[int] = field(default_factory=Counter)
    ping_warm: Counter[int] = field(default_factory=Counter)
    ping_cold: Counter[int] = field(default_factory=Counter)

    def merge(self, other: Measured) -> None:
        """Add the counts of another."""
        self.organic_warm.update(other.organic_warm)
        self.organic_cold.update(other.organic_cold)
        self.ping_warm.update(other.ping_warm)
        self.ping_cold.update(other.ping_cold)


class Standing(NamedTuple):
    """How things stand with a cache entry at a moment, for those who go on from there.

    Attributes:
        last_ping: its start, and from when on others could read what it wrote.
        told_tokens: size of the prefix as a ping's usage told it, 0 without.
        heard_at: when the last request of any kind started that was told.
    """

    name: str
    last_request: datetime | None = None
    last_ping: tuple[datetime, datetime] | None = None
    billed_ttl: Ttl | None = None
    told_tokens: int = 0
    heard_at: datetime | None = None


@dataclass(slots=True)
class Stage:
    """A stretch of the way of one cache entry, walked once and for all; it can be put behind any other.

    Attributes:
        found: all that does not depend on what was before; waiting saved is not told.
        first_settling: what tells of the pings that were pending before it.
        first_owed: of its first request, whose best price depends on the touch before it.
        last_request: that touched the entry.
        left: its pings that are pending at its end.
    """

    found: Traffic
    measured: Measured
    first_settling: Settling | None = None
    first_owed: Owed | None = None
    last_request: datetime | None = None
    left: tuple[Pending, ...] = ()


@dataclass(slots=True)
class Stages:
    """What was walked before of one cache entry: whole stretches, one behind the other.

    Attributes:
        since: where they begin; given requests and pings of before it are walked first.
        until: where they end; given ones from then on are walked last.
        before: how things stood when the given ones begin; None when nothing was known.
        after: how things stood at the end.
    """

    since: datetime
    until: datetime
    before: Standing | None = None
    after: Standing | None = None
    stages: list[Stage] = field(default_factory=list)

    def heard(self, since: datetime) -> bool:
        """Whether a request was told of in them, or at a moment or later before them."""
        told = any(stage.found.requests for stage in self.stages)
        return told or bool(self.before and self.before.heard_at and self.before.heard_at >= since)
