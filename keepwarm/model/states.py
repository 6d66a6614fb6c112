"""How a prefix, its guards, its pauses and the registry are at one moment, and what happens to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from keepwarm.model.facts import Ttl
from keepwarm.model.prefixes import Course


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a prefix is no longer pinged until its entry in the registry changes.

    Attributes:
        code: error code, or `uncached`.
    """

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class PrefixState:
    """What is known of one prefix; the planner's second argument.

    Attributes:
        touched_at: start of the last request known to have read or written the entry.
        idle_pings: our pings since the last organic touch or opening write.
        billed_ttl: the ttl of the last write whose usage told it; where keepwarm chooses, that of the last write as far
            as it is known: as billed, else as its cache point asked, else as keepwarm advised.
        failures: attempts without a usable answer since the last one with it.
        uncached: `uncached` verdicts in a row.
        retry_at: not before this moment; None when nothing holds the next ping back.
        cached_tokens: size of the cached part as the last usage told it, 0 before the first.
        organic_at: start of the last organic request known to have read or written the entry.
        billed_at: start of the request that told billed_ttl.
        idle_pings_at: starts of the last pings that idle_pings counts, oldest first: a touch told late takes back only
            those before it.
        course: what the adaptive policy wants; None while nothing is known of the traffic.
        closed_at: when somebody said that no more requests come; the next organic request ends it.
        rewrites: in a row where a hit was due; a hit ends the row.
        unknowns: pings in a row that were sent and told nothing; any usage ends the row.
        broken_at: start of the last ping that opened the breaker; None while it is closed.
    """

    touched_at: datetime | None = None
    idle_pings: int = 0
    billed_ttl: Ttl | None = None
    failures: int = 0
    uncached: int = 0
    retry_at: datetime | None = None
    retry_reason: str = ""
    stop: Stop | None = None
    cached_tokens: int = 0
    organic_at: datetime | None = None
    billed_at: datetime | None = None
    idle_pings_at: tuple[datetime, ...] = ()
    course: Course | None = None
    closed_at: datetime | None = None
    rewrites: int = 0
    unknowns: int = 0
    broken_at: datetime | None = None


class Scope(StrEnum):
    """What a pause is about."""

    PREFIX = "prefix"
    TAG = "tag"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class PauseOrder:
    """Somebody paused a prefix, a tag or all of them, or resumed what had been paused so; never changed afterwards.

    Attributes:
        target: name of the prefix, tag as `key:value`, or empty for all.
        at: aware UTC; when it was said.
        until: when pings go on by themselves; None for not before somebody resumes. None for a resumption.
        why: in the words of whoever said it.
        by: who that was, as far as told; may be empty.
        resumes: whether it ends the pause of the same scope and target.
        number: ascending in the order in which they were written; 0 before that.
    """

    scope: Scope
    target: str
    at: datetime
    until: datetime | None
    why: str
    by: str
    resumes: bool = False
    number: int = 0


class Guard(StrEnum):
    """The guards on money."""

    PING_CAP = "ping_cap"
    DAY_CAP = "day_cap"
    MONTH_CAP = "month_cap"
    BREAKER = "breaker"
    TRIPWIRE = "tripwire"
    STOP_ALL = "stop_all"


class GuardState(StrEnum):
    """What a guard does at this moment."""

    OK = "ok"
    TRIPPED = "tripped"  # it holds pings back
    HALF_OPEN = "half_open"  # the breaker: what it lets through decides
    BLIND = "blind"  # the tripwire: no traffic signal, so it cannot judge


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a guard lets a ping not go.

    Attributes:
        prefix: whose guard it is; empty for that of all prefixes together.
        detail: in words, with the figures.
        until: when it may be tried again; None when only a person can change it.
        in_flight: True when there may be room as soon as pings in flight have ended at less than their high price.
    """

    guard: Guard
    prefix: str
    detail: str
    until: datetime | None = None
    in_flight: bool = False


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """One guard as it is shown.

    Attributes:
        prefix: empty for the guard of all prefixes together.
        limit_usd: None where a guard has none.
        spent_usd: what counts against the limit: spent, or for the tripwire lost, so far; None where nothing does.
        detail: why it is in this state; empty when there is nothing to say.
    """

    guard: Guard
    prefix: str
    limit_usd: Decimal | None
    spent_usd: Decimal | None
    state: GuardState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RegistryStatus:
    """The registry in force, and one that was refused since.

    Attributes:
        path: of the file.
        generation: 1 at the start, counting up with each that was applied.
        loaded_at: when the one in force was applied.
        refused_at: when a later one was refused; None when none was.
        problems: what was wrong with that, in words.
    """

    path: str
    generation: int
    loaded_at: datetime
    refused_at: datetime | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for log, metrics and page; never holds prompt text.

    Attributes:
        name: constant snake_case, past tense.
        severity: `debug`, `info`, `warning` or `error`.
        fields: plain values, Decimals, and datetimes.
    """

    name: str
    at: datetime
    severity: str = "info"
    fields: dict[str, object] = field(default_factory=dict)
