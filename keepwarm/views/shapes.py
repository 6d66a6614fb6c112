"""The shapes of what the HTTP interface answers: their field names are a promise to the programs that read them.

Plain values only. Moments are aware UTC, money is float USD: it is to be looked at, exact sums are in `report`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Condition(StrEnum):
    """How a prefix is, in one word."""

    WARM = "warm"
    COLD = "cold"
    STOPPED = "stopped"  # something or somebody must act before it is pinged again
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Money:
    """What pings cost and saved since a moment."""

    since: datetime
    pings: int
    refresh_cost_usd: float
    avoided_low_usd: float
    avoided_high_usd: float
    net_low_usd: float
    net_high_usd: float


@dataclass(frozen=True, slots=True)
class Takings:
    """Money of three stretches, each from a midnight in UTC; None while it is being added up after a start."""

    today: Money | None = None
    seven_days: Money | None = None
    thirty_days: Money | None = None


@dataclass(frozen=True, slots=True)
class LastPing:
    """The last ping of a prefix that ended."""

    at: datetime
    verdict: str
    read_tokens: int | None
    written_tokens: int | None
    cost_usd: float
    latency_ms: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class PauseShown:
    """The pause that keeps a prefix longest."""

    until: datetime | None
    why: str
    by: str
    since: datetime


@dataclass(frozen=True, slots=True)
class PrefixShown:
    """One prefix in a list."""

    name: str
    model_id: str
    region: str
    ttl: str
    billed_ttl: str | None
    policy: str
    tags: dict[str, str]
    time_zone: str
    tokens: int
    state: Condition
    reason: str
    words: str
    hint: str | None
    warm_until: datetime | None
    next_at: datetime | None
    busy_now: bool
    pause: PauseShown | None
    last_ping: LastPing | None
    last_request_at: datetime | None
    money: Takings
    early_loss_rate: float | None


@dataclass(frozen=True, slots=True)
class GuardShown:
    """One guard on money."""

    guard: str
    prefix: str | None
    holding: bool
    state: str
    detail: str
    limit_usd: float | None
    spent_usd: float | None


@dataclass(frozen=True, slots=True)
class DriftShown:
    """What production sent that is almost this prefix."""

    at: datetime
    differs: str
    source: str
    hint: str


@dataclass(frozen=True, slots=True)
class LatencyShown:
    """Latencies of the pings of seven days."""

    count: int
    p50_ms: int | None
    p95_ms: int | None


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of pings that read, and of those that wrote."""

    warm: LatencyShown
    cold: LatencyShown


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One coming ping of a silence: its learnt chance to be of use, and the chance from which it pays."""

    ping: int
    chance: float
    pays_from: float


@dataclass(frozen=True, slots=True)
class PrefixPage(PrefixShown):
    """One prefix with all that is known of it."""

    fingerprint: str
    guards: list[GuardShown]
    drift: DriftShown | None
    latency: Latencies
    curve: list[CurvePoint]
    busy_hours: str
    margin_seconds: float
    lifetime_seconds: float


@dataclass(frozen=True, slots=True)
class PrefixList:
    """A page of prefixes."""

    as_of: datetime
    items: list[PrefixShown]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many prefixes are how."""

    total: int
    warm: int
    cold: int
    stopped: int
    paused: int


@dataclass(frozen=True, slots=True)
class RegistryRefused:
    """A registry that was not applied."""

    at: datetime
    problems: list[str]


@dataclass(frozen=True, slots=True)
class RegistryShown:
    """The registry in force, and one that was refused since."""

    path: str
    generation: int
    loaded_at: datetime
    refused: RegistryRefused | None


@dataclass(frozen=True, slots=True)
class AlertShown:
    """An alert that is open; its prefix is None where it is about all of them or about a daemon."""

    key: str
    kind: str
    severity: str
    prefix: str | None
    summary: str
    hint: str
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Summary:
    """The daemon in one look.

    Attributes:
        alerts: those that are open, gravest first; None where nobody is told of alerts, so that nothing is judged.
        may_act: whether this request's token would let it pause, resume, ping and close.
        has_token: whether there is an acting token; without one no web page may act.
    """

    as_of: datetime
    version: str
    role: str
    leader: str
    stopped: str | None
    started_at: datetime
    prefixes: Counts
    money: Takings
    money_as_of: datetime | None
    registry: RegistryShown
    guards: list[GuardShown]
    alerts: list[AlertShown] | None
    may_act: bool
    has_token: bool


@dataclass(frozen=True, slots=True)
class PingMark:
    """A ping on a timeline."""

    at: datetime
    verdict: str
    cost_usd: float
    latency_ms: int | None


@dataclass(frozen=True, slots=True)
class RequestMark:
    """An organic request on a timeline; its verdict is None when its usage is not known."""

    at: datetime
    verdict: str | None
    latency_ms: int | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened to a prefix; when truncated, `since` is where the oldest that is shown begins."""

    since: datetime
    until: datetime
    busy: list[tuple[datetime, datetime]]
    warm: list[tuple[datetime, datetime]]
    pings: list[PingMark]
    requests: list[RequestMark]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Timelines:
    """Timelines by name of prefix; names that the registry does not have are left out."""

    as_of: datetime
    since: datetime
    until: datetime
    items: dict[str, Timeline]


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One ping or one organic request of the ledger."""

    number: int
    kind: str
    at: datetime
    completed_at: datetime | None
    verdict: str | None
    reason: str | None
    ttl: str | None
    read_tokens: int | None
    written_tokens: int | None
    input_tokens: int | None
    cost_usd: float | None
    latency_ms: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class LedgerRows:
    """A page of the ledger, newest first."""

    items: list[LedgerRow]
    next: str | None


@dataclass(frozen=True, slots=True)
class DecisionShown:
    """A decision that this daemon took."""

    at: datetime
    action: str
    reason: str
    words: str
    next_at: datetime | None
    warm_until: datetime | None


@dataclass(frozen=True, slots=True)
class Decisions:
    """The last decisions of a prefix, newest first."""

    items: list[DecisionShown]


@dataclass(frozen=True, slots=True)
class Guards:
    """Every guard on money."""

    items: list[GuardShown]


@dataclass(frozen=True, slots=True)
class EventShown:
    """Something that happened."""

    at: datetime
    name: str
    severity: str
    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class Events:
    """A page of events, newest first."""

    items: list[EventShown]
    next: str | None


@dataclass(frozen=True, slots=True)
class PastPause:
    """A pause and its end."""

    number: int
    scope: str
    prefix: str | None
    tag: str | None
    since: datetime
    until: datetime | None
    why: str
    by: str
    resumed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PastPauses:
    """Every pause, newest first."""

    items: list[PastPause]


@dataclass(frozen=True, slots=True)
class Paused:
    """What became of an order to pause or resume.

    Attributes:
        paused: how many prefixes of the registry are paused now, by whatever pause.
        still: in words, what else keeps the prefix paused after a resumption; None when nothing does.
    """

    scope: str
    prefix: str | None
    tag: str | None
    at: datetime
    until: datetime | None
    paused: int
    still: str | None
