"""Organic requests as keepwarm is told of them, and what it tells those who send them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from keepwarm.model.facts import Api, Ttl
from keepwarm.model.pings import Usage


class Source(StrEnum):
    """Who told of an organic request."""

    REPORTER = "reporter"  # keepwarm.reporter inside the application
    HTTP = "http"  # anything else that posts touches
    INVOCATION_LOG = "invocation_log"  # model invocation logging: the same, minutes later
    METRICS = "metrics"  # CloudWatch metrics of an application inference profile: coarse, per minute


@dataclass(frozen=True, slots=True)
class Touch:
    """One organic request that keepwarm was told of; never one of our own pings.

    Attributes:
        request_id: names the request once; a request that bears the cache points of several prefixes is one touch for
            each of them, with the same id.
        prefix: name of the prefix that it belongs to, or with `drift` that it is almost like; empty when unknown.
        fingerprint: of the prefix that it belongs to; empty unless it reads or writes exactly that prefix.
        group: keyed digest of its last cache point with model, region and api, to group unknown ones; empty when the
            request was told without its sketch.
        started_at: aware UTC, start of the request; the entry's life counts from here.
        usage: None when the source does not tell it.
        latency_ms: until the answer began; None when not told.
        ttl: what its cache point on this prefix asked for; None when not told.
        drift: what differs from the prefix that it is almost like, such as `tool_choice` or `system[0] after 2 equal
            blocks`; no content. Empty when it belongs to a prefix or resembles none.
    """

    request_id: str
    prefix: str
    fingerprint: str
    group: str
    model_id: str
    region: str
    api: Api
    started_at: datetime
    usage: Usage | None
    latency_ms: int | None
    source: Source
    drift: str = ""
    ttl: Ttl | None = None

    @property
    def matched(self) -> bool:
        """Whether it belongs to a registered prefix."""
        return bool(self.fingerprint)


@dataclass(frozen=True, slots=True)
class Closing:
    """Somebody said that no more requests of a prefix come: its session is over, its users are away.

    Attributes:
        at: aware UTC; organic requests that start later know better.
        reason: in the words of whoever said it; may be empty.
    """

    prefix: str
    fingerprint: str
    at: datetime
    reason: str = ""


class TtlReason(StrEnum):
    """Why a request should ask for a ttl; closed."""

    FIXED = "fixed"  # the registry names it
    DEFAULT = "default"  # keepwarm may choose, and knows nothing yet
    LEARNT = "learnt"  # what the next write should ask for
    LIVING = "living"  # the ttl of the entry as it is


@dataclass(frozen=True, slots=True)
class TtlChoice:
    """What a request of this moment should ask for.

    Attributes:
        until: when a living entry dies, after which the next write may ask for another ttl; None without one.
    """

    ttl: Ttl
    reason: TtlReason
    until: datetime | None = None
