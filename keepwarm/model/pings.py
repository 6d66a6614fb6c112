"""A ping from the decision to its entry in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from keepwarm.model.facts import Api, Ttl


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
