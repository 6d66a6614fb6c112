"""What n identical requests, sent one after the other, say of a model's prompt cache: speed, counts, money.

It sends nothing, prints nothing and reads no clock; whoever measured brings the ledger entries and the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from math import floor
from statistics import median

from keepwarm import planner, pricing, verdicts
from keepwarm.model import Answer, Api, Entry, ModelFacts, Prefix, PrefixState, Ttl, Usage, Verdict


class Witness(StrEnum):
    """Where an answer told its input token count."""

    BODY = "body"
    HEADERS = "headers"
    BOTH = "both"
    NEITHER = "neither"
    NO_ANSWER = "no_answer"


class Finding(StrEnum):
    """What a reader must know to take the figures for no more than they are; closed, so that each has its words."""

    ALL_FAILED = "all_failed"
    SOME_FAILED = "some_failed"
    ENDED_EARLY = "ended_early"  # fewer requests were sent than asked for
    SINGLE_REQUEST = "single_request"  # one alone compares with nothing
    FIRST_FAILED = "first_failed"
    FIRST_WARM = "first_warm"  # request 1 read what somebody had written before
    FIRST_PARTLY_WARM = "first_partly_warm"
    FIRST_UNCACHED = "first_uncached"  # and a later one was not
    BELOW_MINIMUM = "below_minimum"  # nothing was cached: the prompt is too short
    NOT_CACHED = "not_cached"  # nothing was cached, though the prompt is long enough
    LATER_NOT_WARM = "later_not_warm"  # some after the first answered request did not read the entry
    COUNTS_DIFFER = "counts_differ"  # body and headers disagree
    TTL_DIFFERS = "ttl_differs"  # billed for another ttl than was asked for
    PRICE_ASSUMED = "price_assumed"  # no write price is published
    PROVISIONED = "provisioned"  # not billed by the token


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    Attributes:
        number: 1 for the first.
        usage: None without an answer that told one.
        latency_ms: as the client saw it.
        server_latency_ms: as Bedrock measured it; None when not told.
    """

    number: int
    entry_number: int
    verdict: Verdict
    told_in: Witness
    usage: Usage | None
    cost_usd: Decimal
    latency_ms: int
    server_latency_ms: int | None
    request_id: str = ""
    error_code: str = ""
    error_message: str = ""
    error_hint: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Request 1 against another latency."""

    first_ms: int
    other_ms: float

    @property
    def gain(self) -> float | None:
        """Cache speed ROI: which part of request 1's time the other one saved; below 0 when it took longer.

        None when request 1 took no measurable time.
        """
        return (self.first_ms - self.other_ms) / self.first_ms if self.first_ms else None


@dataclass(frozen=True, slots=True)
class Speed:
    """Request 1 against request 2 and against the median of requests 2 to n, by one clock; None where one failed."""

    second: Comparison | None
    rest: Comparison | None


@dataclass(frozen=True, slots=True)
class Money:
    """What the requests cost, and what their cache entry is worth.

    Attributes:
        cost_usd: of all requests; those without a usage count as the ledger counts them.
        measured_usd: of the requests whose usage was told.
        without_cache_usd: the same requests with every prompt token at the plain input price.
        cached_tokens: size of the cached part; 0 when nothing was cached, and then all below is None.
        write_usd: price of writing the cached part: a cold request.
        read_usd: price of reading it: a warm request, and a ping.
        input_usd: price of sending it uncached.
        break_even_requests: requests within the entry's life, the writing one included, from which caching is cheaper
            than none; None when it never is.
        pings_paid: pings for which one warm request in place of a cold one pays.
    """

    cost_usd: Decimal
    measured_usd: Decimal
    without_cache_usd: Decimal
    cached_tokens: int
    write_usd: Decimal | None = None
    read_usd: Decimal | None = None
    input_usd: Decimal | None = None
    break_even_requests: int | None = None
    pings_paid: int | None = None

    @property
    def saved_usd(self) -> Decimal:
        """What caching saved over these requests; below 0 when it cost more than it saved."""
        return self.without_cache_usd - self.measured_usd

    @property
    def warm_saves_usd(self) -> Decimal | None:
        """What one warm request saves against a cold one."""
        return None if self.write_usd is None or self.read_usd is None else self.write_usd - self.read_usd


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What was measured.

    Attributes:
        ttl: what was asked for.
        billed_ttl: what was billed; None when nothing was written or the usage does not tell.
        wanted: how many requests were asked for.
        min_tokens: from which size on the model caches.
        client: speeds on the client's clock, in which request 1 also opens the connection.
        server: speeds as Bedrock measured them.
        cold_ms: median client latency of the requests that wrote the whole entry; None without one.
        warm_ms: median client latency of the requests that read it; None without one.
    """

    prefix: str
    model_id: str
    region: str
    api: Api
    ttl: Ttl
    billed_ttl: Ttl | None
    wanted: int
    min_tokens: int
    samples: tuple[Sample, ...]
    client: Speed
    server: Speed
    cold_ms: float | None
    warm_ms: float | None
    money: Money
    findings: tuple[Finding, ...]

    @property
    def answered(self) -> tuple[Sample, ...]:
        """The requests whose usage was told."""
        return tuple(sample for sample in self.samples if sample.usage)

    @property
    def warm_saves_ms(self) -> float | None:
        """What one warm request saves against a cold one, as the client saw it."""
        return None if self.cold_ms is None or self.warm_ms is None else self.cold_ms - self.warm_ms


def make_report(prefix: Prefix, measured: Sequence[tuple[Entry, Answer | None]], wanted: int) -> TrackReport:
    """Analyse what was sent.

    Args:
        prefix: what was sent.
        measured: every request's ledger entry with its answer, None without one; in the order in which they were sent.
        wanted: how many requests were asked for, at least as many as there are.
    """
    samples = tuple(_sample(number, entry, answer) for number, (entry, answer) in enumerate(measured, 1))
    billed_ttl = _billed_ttl(measured)
    return TrackReport(
        prefix=prefix.name,
        model_id=prefix.model_id,
        region=prefix.route.region,
        api=prefix.api,
        ttl=prefix.ttl,
        billed_ttl=billed_ttl,
        wanted=wanted,
        min_tokens=prefix.facts.min_tokens,
        samples=samples,
        client=_speed(samples, lambda sample: sample.latency_ms),
        server=_speed(samples, lambda sample: sample.server_latency_ms),
        cold_ms=_median(sample.latency_ms for sample in samples if sample.verdict is Verdict.REWRITE),
        warm_ms=_median(sample.latency_ms for sample in samples if sample.verdict is Verdict.HIT),
        money=_money(samples, prefix.facts, billed_ttl or prefix.ttl),
        findings=tuple(_findings(prefix, measured, samples, wanted)),
    )


def at_most_usd(prefix: Prefix, state: PrefixState, requests: int) -> Decimal:
    """What this many requests can cost: each writes everything, and an estimate of tokens is doubled."""
    return requests * verdicts.high_cost_usd(prefix, state)


def expected_usd(prefix: Prefix, state: PrefixState, requests: int) -> Decimal:
    """What this many requests cost when the first writes the entry and the others read it."""
    tokens, prices = planner.tokens_of(prefix, state), prefix.facts.prices
    written = pricing.write_cost_usd(prices, tokens, prefix.ttl)
    return written + (requests - 1) * pricing.read_cost_usd(prices, tokens)


def to_json(report: TrackReport) -> dict[str, object]:
    """The report as plain data for `json.dumps`: money as decimal strings without exponent, latencies in ms."""
    money = report.money
    return {
        "prefix": report.prefix,
        "model_id": report.model_id,
        "region": report.region,
        "api": report.api.value,
        "ttl": report.ttl.value,
        "billed_ttl": report.billed_ttl.value if report.billed_ttl else None,
        "min_tokens": report.min_tokens,
        "requests": {
            "wanted": report.wanted,
            "sent": len(report.samples),
            "answered": len(report.answered),
        },
        "samples": [_sample_json(sample) for sample in report.samples],
        "speed": {
            "client": _speed_json(report.client),
            "server": _speed_json(report.server),
            "cold_ms": report.cold_ms,
            "warm_ms": report.warm_ms,
            "warm_saves_ms": report.warm_saves_ms,
        },
        "money": {
            "cost_usd": _plain(money.cost_usd),
            "measured_usd": _plain(money.measured_usd),
            "without_cache_usd": _plain(money.without_cache_usd),
            "saved_usd": _plain(money.saved_usd),
            "cached_tokens": money.cached_tokens,
            "write_usd": _plain(money.write_usd),
            "read_usd": _plain(money.read_usd),
            "input_usd": _plain(money.input_usd),
            "warm_saves_usd": _plain(money.warm_saves_usd),
            "break_even_requests": money.break_even_requests,
            "pings_paid": money.pings_paid,
        },
        "findings": [finding.value for finding in report.findings],
    }


# -- one request --------------------------------------------------------------------------------------------------


def _sample(number: int, entry: Entry, answer: Answer | None) -> Sample:
    outcome = entry.outcome
    if outcome is None:
        return Sample(number, entry.number, entry.verdict, Witness.NO_ANSWER, None, entry.cost_usd, 0, None)
    return Sample(
        number=number,
        entry_number=entry.number,
        verdict=outcome.verdict,
        told_in=_witness(answer),
        usage=outcome.usage,
        cost_usd=outcome.cost_usd,
        latency_ms=outcome.latency_ms,
        server_latency_ms=outcome.server_latency_ms,
        request_id=outcome.request_id,
        error_code=outcome.error_code,
        error_message=outcome.error_message,
        error_hint=outcome.error_hint,
    )


def _witness(answer: Answer | None) -> Witness:
    if answer is None:
        return Witness.NO_ANSWER
    if answer.usage_in_body:
        return Witness.BOTH if answer.header_usage else Witness.BODY
    return Witness.HEADERS if answer.header_usage else Witness.NEITHER


# -- speed --------------------------------------------------------------------------------------------------------


def _speed(samples: Sequence[Sample], clock: Callable[[Sample], int | None]) -> Speed:
    read = [clock(sample) if sample.usage else None for sample in samples]
    first, second = [*read, None, None][:2]
    rest = _median(value for value in read[1:] if value is not None)
    if first is None:
        return Speed(None, None)
    return Speed(
        second=None if second is None else Comparison(first, second),
        rest=None if rest is None else Comparison(first, rest),
    )


def _median(values: Iterable[int]) -> float | None:
    found = list(values)
    return float(median(found)) if found else None


# -- money --------------------------------------------------------------------------------------------------------


def _money(samples: Sequence[Sample], facts: ModelFacts, ttl: Ttl) -> Money:
    prices, usages = facts.prices, [sample.usage for sample in samples if sample.usage]
    cost = sum((sample.cost_usd for sample in samples), Decimal(0))
    measured = sum((sample.cost_usd for sample in samples if sample.usage), Decimal(0))
    plain = (Usage(usage.prompt_tokens, usage.output_tokens, 0, 0) for usage in usages)
    without_cache = sum((pricing.cost_usd(prices, usage, ttl) for usage in plain), Decimal(0))
    tokens = max((usage.cache_read_tokens + usage.cache_write_tokens for usage in usages), default=0)
    if not tokens:
        return Money(cost, measured, without_cache, 0)
    write, read = pricing.write_cost_usd(prices, tokens, ttl), pricing.read_cost_usd(prices, tokens)
    uncached = pricing.cost_usd(prices, Usage(tokens, 0, 0, 0), ttl)
    return Money(
        cost_usd=cost,
        measured_usd=measured,
        without_cache_usd=without_cache,
        cached_tokens=tokens,
        write_usd=write,
        read_usd=read,
        input_usd=uncached,
        # The smallest whole k with write + (k - 1) * read < k * uncached.
        break_even_requests=floor((write - read) / (uncached - read)) + 1 if uncached > read else None,
        pings_paid=floor((write - read) / read) if read else None,
    )


# -- what to be told ----------------------------------------------------------------------------------------------


def _findings(
    prefix: Prefix, measured: Sequence[tuple[Entry, Answer | None]], samples: Sequence[Sample], wanted: int
) -> list[Finding]:
    answered = [sample for sample in samples if sample.usage]
    told = {
        Finding.ALL_FAILED: not answered,
        Finding.SOME_FAILED: 0 < len(answered) < len(samples),
        Finding.ENDED_EARLY: len(samples) < wanted,
        Finding.SINGLE_REQUEST: wanted == 1 and bool(answered),
        **_of_first(samples, answered),
        **_of_caching(answered, prefix.facts.min_tokens),
        Finding.COUNTS_DIFFER: any(map(_differs, (answer for _, answer in measured))),
        Finding.TTL_DIFFERS: _billed_ttl(measured) not in {None, prefix.ttl},
        Finding.PRICE_ASSUMED: prefix.facts.prices.write_assumed,
        Finding.PROVISIONED: prefix.provisioned,
    }
    return [finding for finding in Finding if told[finding]]


def _of_first(samples: Sequence[Sample], answered: Sequence[Sample]) -> dict[Finding, bool]:
    verdict = samples[0].verdict if samples else Verdict.ERROR
    cached = any(sample.verdict is not Verdict.UNCACHED for sample in answered)
    return {
        Finding.FIRST_FAILED: bool(answered) and not samples[0].usage,
        Finding.FIRST_WARM: verdict is Verdict.HIT,
        Finding.FIRST_PARTLY_WARM: verdict is Verdict.PARTIAL,
        Finding.FIRST_UNCACHED: verdict is Verdict.UNCACHED and cached,
    }


def _of_caching(answered: Sequence[Sample], min_tokens: int) -> dict[Finding, bool]:
    uncached = bool(answered) and all(sample.verdict is Verdict.UNCACHED for sample in answered)
    short = all(sample.usage.prompt_tokens < min_tokens for sample in answered if sample.usage)
    later_cold = any(sample.verdict is not Verdict.HIT for sample in answered[1:])
    return {
        Finding.BELOW_MINIMUM: uncached and short,
        Finding.NOT_CACHED: uncached and not short,
        Finding.LATER_NOT_WARM: not uncached and later_cold,
    }


def _differs(answer: Answer | None) -> bool:
    """Whether body and headers name different counts; the headers never split written tokens by ttl."""
    if answer is None or answer.usage is None or answer.header_usage is None or not answer.usage_in_body:
        return False
    return _counts(answer.usage) != _counts(answer.header_usage)


def _counts(usage: Usage) -> tuple[int, int, int]:
    return usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens


def _billed_ttl(measured: Sequence[tuple[Entry, Answer | None]]) -> Ttl | None:
    """The ttl of the last write whose usage told it."""
    told = [entry.outcome.billed_ttl for entry, _ in measured if entry.outcome and entry.outcome.billed_ttl]
    return told[-1] if told else None


# -- plain data ---------------------------------------------------------------------------------------------------


def _sample_json(sample: Sample) -> dict[str, object]:
    usage = sample.usage
    return {
        "number": sample.number,
        "entry": sample.entry_number,
        "verdict": sample.verdict.value,
        "input_count_in": sample.told_in.value,
        "tokens": None
        if usage is None
        else {
            "input": usage.input_tokens,
            "read": usage.cache_read_tokens,
            "written": usage.cache_write_tokens,
            "output": usage.output_tokens,
        },
        "cost_usd": _plain(sample.cost_usd),
        "latency_ms": sample.latency_ms,
        "server_latency_ms": sample.server_latency_ms,
        "request_id": sample.request_id,
        "error": {"code": sample.error_code, "message": sample.error_message, "hint": sample.error_hint}
        if sample.error_code
        else None,
    }


def _speed_json(speed: Speed) -> dict[str, object]:
    return {
        "first_to_second": _comparison_json(speed.second),
        "first_to_median_of_rest": _comparison_json(speed.rest),
    }


def _comparison_json(found: Comparison | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {"first_ms": found.first_ms, "other_ms": found.other_ms, "gain": found.gain}


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
