"""Running sums of the pings of a prefix: verdicts, money, tokens and latencies; a ping or a day at a time.

It knows no traffic (see `counterfactual`) and rounds no money. Latencies are counted by value: those of a day that is
over by a value less than one percent away, so that a year of them stays small.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from keepwarm.counterfactual import EXACT, ranked
from keepwarm.model import Entry, Outcome, Span, Usage, Verdict

TOUCHING = frozenset({Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE})

_COLD = frozenset({Verdict.REWRITE, Verdict.UNCACHED})
_ZERO = Decimal(0)
_BITS = 7  # of a latency that a rolled day keeps


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles of ping latencies in milliseconds; None without a ping."""

    p50: int | None
    p95: int | None


class Tokens(NamedTuple):
    """Tokens that Bedrock billed for the pings: read from and written to the cache, uncached input, output."""

    read: int
    written: int
    input: int
    output: int


_NO_TOKENS = Tokens(0, 0, 0, 0)


@dataclass(slots=True)
class Sums:
    """Running sums of the pings of one prefix, or of all."""

    pings: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    entries: int = 0
    paid_entries: int = 0
    cost_usd: Decimal = _ZERO
    avoidable_usd: Decimal = _ZERO
    freed_tokens: int = 0
    tokens: Tokens = _NO_TOKENS
    warm_ms: Counter[int] = field(default_factory=Counter)
    cold_ms: Counter[int] = field(default_factory=Counter)

    @property
    def provisioned(self) -> bool:
        """Whether any ping ran on provisioned throughput."""
        return self.paid_entries < self.entries

    def add(self, entry: Entry) -> None:
        """Add one ping."""
        outcome = entry.outcome
        self.entries += 1
        self.pings[entry.verdict] += 1
        if not entry.intent.provisioned:
            self.paid_entries += 1
            self.add_money(entry.cost_usd, outcome.avoidable_usd if outcome else _ZERO)
        if outcome:
            self.add_outcome(outcome, provisioned=entry.intent.provisioned)

    def add_money(self, cost_usd: Decimal, avoidable_usd: Decimal) -> None:
        """Add exactly."""
        self.cost_usd = EXACT.add(self.cost_usd, cost_usd)
        self.avoidable_usd = EXACT.add(self.avoidable_usd, avoidable_usd)

    def add_outcome(self, outcome: Outcome, *, provisioned: bool) -> None:
        """Add tokens and latency of one ping."""
        if outcome.usage:
            self.tokens = _add_usage(self.tokens, outcome.usage)
            if provisioned and outcome.verdict is Verdict.HIT:
                self.freed_tokens += outcome.usage.cache_read_tokens
        if outcome.verdict is Verdict.HIT:
            self.warm_ms[outcome.latency_ms] += 1
        elif outcome.verdict in _COLD:
            self.cold_ms[outcome.latency_ms] += 1

    def merge(self, other: Sums) -> None:
        """Add the sums of another."""
        for verdict, count in other.pings.items():
            self.pings[verdict] += count
        self.entries += other.entries
        self.paid_entries += other.paid_entries
        self.add_money(other.cost_usd, other.avoidable_usd)
        self.freed_tokens += other.freed_tokens
        self.tokens = Tokens(*(mine + its for mine, its in zip(self.tokens, other.tokens, strict=True)))
        self.warm_ms.update(other.warm_ms)
        self.cold_ms.update(other.cold_ms)


def put(spans: list[Span], span: Span) -> None:
    """Put a span behind others; unbroken runs are kept as one: a week of pings is then a handful of them."""
    last = spans[-1] if spans else None
    if last and last.start <= span.start <= last.end:
        spans[-1] = Span(last.start, max(last.end, span.end))
    else:
        spans.append(span)


def percentiles(latencies_ms: Counter[int]) -> Percentiles:
    """The nearest-rank percentiles of counted latencies."""
    count = latencies_ms.total()
    if not count:
        return Percentiles(None, None)
    return Percentiles(*(ranked(latencies_ms, -(-count * percent // 100) - 1) for percent in (50, 95)))


def coarse(latencies_ms: Counter[int]) -> Counter[int]:
    """The same with values less than one percent away, of which there are few; those below 128 stay as they are."""
    found: Counter[int] = Counter()
    for value, count in latencies_ms.items():
        found[_coarse(value)] += count
    return found


def _coarse(value: int) -> int:
    lost = value.bit_length() - _BITS
    return value if lost <= 0 else (value >> lost << lost) + (1 << lost >> 1)


def _add_usage(tokens: Tokens, usage: Usage) -> Tokens:
    return Tokens(
        read=tokens.read + usage.cache_read_tokens,
        written=tokens.written + usage.cache_write_tokens,
        input=tokens.input + usage.input_tokens,
        output=tokens.output + usage.output_tokens,
    )
