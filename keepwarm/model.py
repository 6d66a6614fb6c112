"""The words of keepwarm as frozen data: prefixes, busy hours, prices, usage, decisions, ledger entries.

It does not decide, read, write or know a clock; it imports nothing of the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum


class Ttl(StrEnum):
    """The two lifetimes that Bedrock sells for a cache entry."""

    FIVE_MINUTES = "5m"
    ONE_HOUR = "1h"

    @property
    def duration(self) -> timedelta:
        """How long an entry lives from the start of the request that last touched it."""
        return timedelta(minutes=5) if self is Ttl.FIVE_MINUTES else timedelta(hours=1)


class Api(StrEnum):
    """The API family a prefix is sent through; entries are not assumed to be shared between the two."""

    CONVERSE = "converse"
    INVOKE_MODEL = "invoke_model"


class Family(StrEnum):
    """Who made the model; it decides the shape of an InvokeModel body."""

    ANTHROPIC = "anthropic"
    NOVA = "nova"


class Section(StrEnum):
    """The three parts of a prompt, in the order in which the cache reads them."""

    TOOLS = "tools"
    SYSTEM = "system"
    MESSAGES = "messages"


# -- busy hours ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """A weekly stretch of busy time on the wall clock.

    Attributes:
        weekdays: days on which it starts, Monday is 0.
        start_minute: minutes after 00:00 of the starting day, 0 to 1439.
        end_minute: minutes after 00:00 of the *starting* day, above start_minute; past 1440 for an overnight window.
    """

    weekdays: frozenset[int]
    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class BusyHours:
    """When a prefix is worth keeping warm.

    Attributes:
        name: as the registry calls it.
        timezone: IANA name.
        windows: weekly windows; they may overlap or touch.
        holidays: `country` or `country-subdivision` of python-holidays, None for no holidays.
        closed: inclusive ranges of local dates on which no window starts.
    """

    name: str
    timezone: str
    windows: tuple[Window, ...]
    holidays: str | None = None
    closed: tuple[tuple[date, date], ...] = ()


ALWAYS = BusyHours(name="always", timezone="UTC", windows=(Window(frozenset(range(7)), 0, 24 * 60),))


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open stretch of time [start, end), both aware UTC."""

    start: datetime
    end: datetime

    @property
    def duration(self) -> timedelta:
        """Length of the stretch."""
        return self.end - self.start


# -- prices and models --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per 1,000,000 tokens.

    Attributes:
        cache_write_1h: None when the model sells no 1h entry.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal | None = None

    def cache_write(self, ttl: Ttl) -> Decimal:
        """Price of writing an entry of this ttl; a 1h write without a price of its own counts double input."""
        if ttl is Ttl.FIVE_MINUTES:
            return self.cache_write_5m
        return self.cache_write_1h if self.cache_write_1h is not None else 2 * self.input


@dataclass(frozen=True, slots=True)
class Prices:
    """What the tokens of one model cost through one model id.

    Attributes:
        base: rates of ordinary prompts.
        steps: `(above_tokens, rates)`, ascending; the whole request is billed at the rates of the highest step that
            its prompt (uncached + read + written tokens) exceeds.
        write_assumed: True when no write price is published and the input price stands in for it (Nova).
        source: where the figures are from, with the date they were read.
    """

    base: Rates
    steps: tuple[tuple[int, Rates], ...] = ()
    write_assumed: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What keepwarm must know of the model behind a prefix.

    Attributes:
        base_id: model id without geography, such as `anthropic.claude-sonnet-4-5-20250929-v1:0`.
        min_tokens: shortest prefix that is cached; where sources disagree the larger figure.
        ttls: lifetimes that the model sells.
        min_max_tokens: smallest output limit that the model accepts.
        tools_cacheable: whether a cache point may stand in the tools section.
    """

    base_id: str
    family: Family
    min_tokens: int
    ttls: frozenset[Ttl]
    prices: Prices
    min_max_tokens: int = 1
    tools_cacheable: bool = True


# -- prefixes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BusyHoursPolicy:
    """Ping all through the busy hours."""

    name: str = "busy_hours"


@dataclass(frozen=True, slots=True)
class IdleLimitPolicy:
    """Ping at most `pings` times after the last touch that was not a ping, or after the opening write."""

    pings: int
    name: str = "idle_limit"


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """Ping only while it is expected to pay, as learnt from the organic requests; blind, all through the busy hours."""

    name: str = "adaptive"


Policy = BusyHoursPolicy | IdleLimitPolicy | AdaptivePolicy


@dataclass(frozen=True, slots=True)
class Opening:
    """What writing a cold entry at the opening of busy hours is worth, as shares of the input price of the prefix.

    Attributes:
        saving: what it is expected to save, a cold start included.
        price: of the write.
        held: whether it must not be risked: what was spent before has not paid yet.
    """

    saving: float
    price: float
    held: bool = False

    @property
    def pays(self) -> bool:
        """Whether it should be written."""
        return self.saving > self.price and not self.held


@dataclass(frozen=True, slots=True)
class Course:
    """What the adaptive policy wants of a prefix until its next organic request.

    Attributes:
        pings: at most so many after the last touch that was not a ping.
        ttl: what the next write should ask for, where keepwarm may choose it.
        saving: what the first ping beyond them is expected to save, as a share of the input price of the prefix.
        price: what that ping costs, in the same unit, rewrites included.
        held: whether it might pay, but must not be risked: the pings before it have not paid yet.
        opening: what a write is worth at this moment, when busy hours open on a cold entry; None at any other.
    """

    pings: int
    ttl: Ttl
    saving: float = 0.0
    price: float = 0.0
    held: bool = False
    opening: Opening | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the guards on money let spending go; a cap of 0 means that no ping is sent at all.

    Attributes:
        ping_cap_usd: what one ping may cost at most, if everything is written.
        day_cap_usd: of a calendar day in UTC, as AWS bills.
        month_cap_usd: of a calendar month in UTC.
        tripwire_usd: what may be lost in seven days, by the low bound of the net.
    """

    ping_cap_usd: Decimal = Decimal(10)
    day_cap_usd: Decimal = Decimal(25)
    month_cap_usd: Decimal = Decimal(500)
    tripwire_usd: Decimal = Decimal(5)


# Of all prefixes together, where the settings say nothing; only day and month count.
LIMITS_IN_ALL = Limits(day_cap_usd=Decimal(100), month_cap_usd=Decimal(2000))


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes and on whose account: one boto3 client serves one route.

    Attributes:
        profile: name of an AWS profile, None for the default credential chain.
        role_arn: role to assume on top, None for none.
    """

    region: str
    profile: str | None = None
    role_arn: str | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Prefix:
    """A registered prefix, ready to be pinged.

    Attributes:
        name: unique in the registry.
        ping_request: keyword arguments of the boto3 call (`converse` or `invoke_model`, whose `body` is bytes) without
            `modelId` and `requestMetadata`; holds prompt text, so it never goes into a log or a repr.
        fingerprint: keyed digest of everything that names the cache entry; two prefixes never share one.
        ttl: what the last cache point of the request asks for.
        lifetime: how long an entry is taken to live; the ttl unless the registry says otherwise.
        margin: how long before expiry the ping goes out.
        estimated_tokens: rough size of the cached part, for plans made before the first usage is seen.
        metrics: whether the CloudWatch metrics of its model id tell of its traffic, and of nothing else.
        line: where its entry starts in the registry file.
        prewarm_lead: how long before busy hours open a cold entry is written, so that the first request finds it warm.
        auto_ttl: whether keepwarm chooses the ttl of each coming write (`ttl: auto`); `ttl` is then what is asked for
            until it has chosen.
        other: the same prefix asking for the other ttl, with the request, lifetime and margin for that; None unless
            `auto_ttl`.
        cold_start_usd: what it is worth, beyond the tokens, that a request does not find the entry cold.
        limits: how far its guards on money let it go.
        sketch: the digests (`fingerprint.Sketch`) of its request up to the last cache point, by which organic requests
            are known; None for a prefix that is not from a registry.
    """

    name: str
    model_id: str
    route: Route
    api: Api
    facts: ModelFacts
    ttl: Ttl
    lifetime: timedelta
    margin: timedelta
    busy_hours: BusyHours
    policy: Policy
    prewarm: bool
    fingerprint: str
    estimated_tokens: int
    ping_request: Mapping[str, object] = field(repr=False, compare=False)
    provisioned: bool = False
    metrics: bool = False
    prewarm_lead: timedelta = timedelta(0)
    auto_ttl: bool = False
    other: Prefix | None = field(default=None, repr=False, compare=False)
    cold_start_usd: Decimal = Decimal(0)
    limits: Limits = Limits()
    tags: tuple[tuple[str, str], ...] = ()
    line: int = 0
    sketch: object = field(default=None, repr=False, compare=False)

    def asking(self, ttl: Ttl) -> Prefix:
        """This prefix as it asks for a ttl; itself where keepwarm may not choose."""
        return self if self.other is None or self.ttl is ttl else self.other


# -- pings and the ledger -----------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What a ping turned out to be."""

    HIT = "hit"  # read > 0, write = 0: the entry was alive, and lives on
    PARTIAL = "partial"  # read > 0 and write > 0: a shorter entry was alive
    REWRITE = "rewrite"  # write > 0, read = 0: it was cold, and is warm now
    UNCACHED = "uncached"  # both 0: below the minimum, or not cached at all
    ERROR = "error"  # Bedrock refused; nothing was billed
    UNKNOWN = "unknown"  # sent, and no answer told what it did: counted at the high price


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that Bedrock says it billed for one request.

    Attributes:
        input_tokens: the uncached rest only; the whole prompt is input + read + write.
        cache_write_1h_tokens: the part of cache_write_tokens written for 1h; None when the answer does not split it.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """Everything that was sent: uncached, read and written."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def verdict(self) -> Verdict:
        """What these counters say about the cache entry."""
        if self.cache_read_tokens and self.cache_write_tokens:
            return Verdict.PARTIAL
        if self.cache_read_tokens:
            return Verdict.HIT
        return Verdict.REWRITE if self.cache_write_tokens else Verdict.UNCACHED


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a ping.

    Attributes:
        usage: None when neither body nor headers told any token count.
        header_usage: the second witness, from the InvokeModel headers; None when they are absent.
        server_latency_ms: as Bedrock measured it; None when not told.
        request_id: AWS request id, empty when not told.
        usage_in_body: whether the body told token counts; if not, `usage` is that of the headers.
    """

    usage: Usage | None
    header_usage: Usage | None = None
    server_latency_ms: int | None = None
    request_id: str = ""
    usage_in_body: bool = False


class Action(StrEnum):
    """What a decision asks for."""

    PING = "ping"  # send at `at`
    WAIT = "wait"  # nothing to send; decide again at `at`
    LEAVE = "leave"  # nothing to do until something changes


class Reason(StrEnum):
    """Why a decision was taken; closed, so that a page or an alert can name every one."""

    KEEP_WARM = "keep_warm"  # ping: the entry would die in busy hours
    BRIDGE_PAUSE = "bridge_pause"  # ping: one more before a pause that the entry can outlive
    COLD_IN_BUSY_HOURS = "cold_in_busy_hours"  # ping: no living entry, and prewarm is on
    RETRY = "retry"  # ping: the last attempt failed, the entry still lives
    MANUAL = "manual"  # ping: somebody asked for it
    OUTSIDE_BUSY_HOURS = "outside_busy_hours"
    OUTLIVES_BUSY_HOURS = "outlives_busy_hours"
    CLOSING_SOON = "closing_soon"  # cold, and the busy hours end before a write could be of use
    BACKING_OFF = "backing_off"  # cold, and the last attempts failed
    IDLE_LIMIT = "idle_limit"
    NOT_WORTH_IT = "not_worth_it"  # one more ping is expected to save less than it costs
    CLOSED = "closed"  # somebody said that no more requests come
    NO_TRAFFIC_YET = "no_traffic_yet"  # cold, and prewarm is off
    NEVER_BUSY = "never_busy"
    STOPPED = "stopped"
    CAPPED = "capped"  # a cap on money leaves no room for this ping
    BREAKER_OPEN = "breaker_open"  # rewrites where hits were due, or lost answers, in a row
    TRIPPED = "tripped"  # its net of seven days is below its tripwire
    ALL_STOPPED = "all_stopped"  # somebody stopped all pings
    PAUSED = "paused"  # somebody paused it, its tag, or all
    DRAINING = "draining"
    STANDING_BY = "standing_by"  # another daemon leads
    IN_FLIGHT = "in_flight"  # somebody else is pinging it at this moment


@dataclass(frozen=True, slots=True)
class Decision:
    """The planner's answer for one prefix at one moment.

    Attributes:
        at: aware UTC; when to ping (PING) or to decide again (WAIT); None for LEAVE.
        warm_until: when the living entry dies if nobody touches it; None when it is cold or unknown.
        detail: the reason's particulars in words, such as the error that stopped the prefix.
    """

    action: Action
    at: datetime | None
    reason: Reason
    warm_until: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """The first half of a ledger entry, written before a ping leaves.

    Attributes:
        started_at: aware UTC, stamped before sending; the entry's life counts from here.
        attempt: 1 for the first try of a touch, counting up with its retries.
        high_cost_usd: what the ping costs if everything is written: the price of an orphan.
    """

    prefix: str
    fingerprint: str
    model_id: str
    region: str
    api: Api
    ttl: Ttl
    reason: Reason
    attempt: int
    started_at: datetime
    high_cost_usd: Decimal
    provisioned: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The second half of a ledger entry, written when the answer is in.

    Attributes:
        cost_usd: what this ping cost (refresh cost); the high price for `unknown`, 0 for `error`.
        avoidable_usd: what one organic request saves by reading this entry instead of writing it: (w - r) x tokens
            read; 0 unless the verdict is `hit`.
        billed_ttl: the ttl that the usage says was written; None when nothing was written or the split is not told.
        error_code: code of the KeepwarmError, empty without one.
        error_message: what Bedrock said, cleared of prompt text.
    """

    completed_at: datetime
    verdict: Verdict
    cost_usd: Decimal
    avoidable_usd: Decimal = Decimal(0)
    usage: Usage | None = None
    latency_ms: int = 0
    server_latency_ms: int | None = None
    billed_ttl: Ttl | None = None
    request_id: str = ""
    error_code: str = ""
    error_message: str = ""
    error_hint: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One ping in the ledger.

    Attributes:
        number: ascending in the order in which intents were written.
        outcome: None while the ping is in flight, and for ever when the daemon died with it (an orphan).
    """

    number: int
    intent: Intent
    outcome: Outcome | None = None

    @property
    def verdict(self) -> Verdict:
        """The outcome's verdict; `unknown` for an orphan."""
        return self.outcome.verdict if self.outcome else Verdict.UNKNOWN

    @property
    def cost_usd(self) -> Decimal:
        """Refresh cost; an orphan is counted at its high price."""
        return self.outcome.cost_usd if self.outcome else self.intent.high_cost_usd


# -- organic requests ---------------------------------------------------------------------------------------------


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


# -- state --------------------------------------------------------------------------------------------------------


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


# -- guards -------------------------------------------------------------------------------------------------------


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


# -- the registry -------------------------------------------------------------------------------------------------


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


# -- events -------------------------------------------------------------------------------------------------------


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
