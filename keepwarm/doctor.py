"""Judges what a few paid requests have shown of one prefix: does its ping warm what production reads?

It sends nothing and reads no clock; `keepwarm doctor` does, through the keeper, so that every request has its entry in
the ledger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from keepwarm import planner, pricing, verdicts
from keepwarm.errors import AccessDenied, CredentialsRejected, KeepwarmError, RequestRefused, Throttled, Unavailable
from keepwarm.model import Entry, Outcome, Prefix, PrefixState, Ttl, Usage, Verdict

# AWS refuses signatures that are older or younger than this (SigV4, read 2026-11-22).
MAX_SKEW = timedelta(minutes=5)
_NOTABLE_SKEW = timedelta(seconds=30)

_CACHED = frozenset({Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE})
_WROTE = frozenset({Verdict.PARTIAL, Verdict.REWRITE})
_MAX_TOKENS = re.compile(r"max_?(new_)?_?tokens", re.IGNORECASE)
_WITHOUT_CACHING = re.compile(r"prompt caching", re.IGNORECASE)
_CHARACTERS_PER_TOKEN = 4


class Check(StrEnum):
    """What is looked at, in the order in which it is shown; closed."""

    CREDENTIALS = "credentials"
    CLOCK = "clock"
    MODEL_ACCESS = "model_access"
    CAPACITY = "capacity"
    MAX_TOKENS = "max_tokens"
    USAGE = "usage"
    CACHING = "caching"
    MINIMUM = "minimum"
    TTL = "ttl"
    REGIONS = "regions"
    PING_TO_PRODUCTION = "ping_to_production"
    PRODUCTION_TO_PING = "production_to_ping"


class Status(StrEnum):
    """How a check has ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNTESTED = "not tested"


@dataclass(frozen=True, slots=True)
class Line:
    """One check.

    Attributes:
        message: what was seen.
        advice: what to do about it; empty when there is nothing to do.
    """

    check: Check
    status: Status
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that was sent.

    Attributes:
        production: True for the production-shaped one, False for a ping.
    """

    production: bool
    entry: Entry


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known of one prefix.

    Attributes:
        before: its state before the first request.
        credentials: where they are from, or what went wrong with them.
        skew: this machine's clock minus AWS's; None when no answer told.
        sent: in order.
    """

    prefix: Prefix
    before: PrefixState
    credentials: str | KeepwarmError
    skew: timedelta | None
    sent: tuple[Sent, ...]

    @property
    def outcomes(self) -> list[Outcome]:
        """Of every request that was sent."""
        return [sent.entry.outcome for sent in self.sent if sent.entry.outcome]

    @property
    def measured(self) -> list[Usage]:
        """The token counts that were told."""
        return [outcome.usage for outcome in self.outcomes if outcome.usage]

    @property
    def pings(self) -> list[Verdict]:
        """What the pings with a usage were."""
        return [sent.entry.verdict for sent in self.sent if not sent.production and _usage(sent)]

    @property
    def production(self) -> Sent | None:
        """The production-shaped request, if its usage was told."""
        return next((sent for sent in self.sent if sent.production and _usage(sent)), None)

    def errors(self, *kinds: type[KeepwarmError]) -> list[Outcome]:
        """The outcomes that are errors of these kinds."""
        codes = {kind.code for kind in kinds}
        return [outcome for outcome in self.outcomes if outcome.error_code in codes]


def judge(evidence: Evidence) -> tuple[Line, ...]:
    """One line for each check, in their order."""
    return tuple(_JUDGES[check](evidence) for check in Check)


def worst(lines: Sequence[Line]) -> Status:
    """The status that the whole has; what was not tested does not count."""
    found = {line.status for line in lines}
    return next((status for status in (Status.FAILED, Status.WARNING) if status in found), Status.OK)


def worth_another(sent: Sequence[Sent], min_tokens: int) -> bool:
    """Whether one more request can show anything: not after a refusal, a second failure, or below the minimum."""
    if not sent:
        return True
    *earlier, last = (found.entry.outcome for found in sent[-2:])
    if last is None or last.error_code == "no_usage":
        return False
    first_of_its_kind = not earlier or earlier[0] is None or earlier[0].verdict is not last.verdict
    if last.usage is None:
        return last.retryable and first_of_its_kind
    short = last.usage.prompt_tokens < min_tokens
    return last.verdict is not Verdict.UNCACHED or (first_of_its_kind and not short)


def at_most_usd(prefix: Prefix, state: PrefixState, pings: int, production_characters: int) -> Decimal:
    """What an examination can cost: every request writes everything, and an estimate of tokens is doubled.

    Args:
        production_characters: size of the whole production-shaped request.
    """
    high = verdicts.high_cost_usd(prefix, state)
    behind = max(0, 2 * production_characters // _CHARACTERS_PER_TOKEN - 2 * prefix.estimated_tokens)
    tail = pricing.cost_usd(prefix.facts.prices, Usage(behind, 0, 0, 0), prefix.ttl)
    return pings * high + high + tail


# -- the checks ---------------------------------------------------------------------------------------------------


def _credentials(evidence: Evidence) -> Line:
    check = Check.CREDENTIALS
    if isinstance(evidence.credentials, KeepwarmError):
        return Line(check, Status.FAILED, str(evidence.credentials), evidence.credentials.hint)
    rejected = evidence.errors(CredentialsRejected)
    if rejected and _is_skewed(evidence):
        return Line(check, Status.UNTESTED, "they were rejected, as any are with a clock that is wrong")
    if rejected:
        return Line(check, Status.FAILED, rejected[-1].error_message, rejected[-1].error_hint)
    return Line(check, Status.OK, f"found ({evidence.credentials})")


def _clock(evidence: Evidence) -> Line:
    check, skew = Check.CLOCK, evidence.skew
    if skew is None:
        return Line(check, Status.UNTESTED, "no answer told the time")
    seconds = abs(skew).total_seconds()
    way = "ahead of" if skew > timedelta(0) else "behind"
    message = f"{seconds:,.0f} s {way} AWS"
    if _is_skewed(evidence):
        advice = f"set it, and keep it with NTP: from {MAX_SKEW.total_seconds():.0f} s on AWS refuses signatures"
        return Line(check, Status.FAILED, message, advice)
    if abs(skew) > _NOTABLE_SKEW:
        return Line(check, Status.WARNING, message, "keep it with NTP; busy hours open and close by it")
    return Line(check, Status.OK, f"within {max(1, round(seconds))} s of AWS")


def _model_access(evidence: Evidence) -> Line:
    check = Check.MODEL_ACCESS
    denied = [outcome for outcome in evidence.errors(AccessDenied) if not _is_without_caching(outcome)]
    refused = [outcome for outcome in evidence.errors(RequestRefused) if not _is_about_max_tokens(outcome)]
    if denied or refused:
        last = [*denied, *refused][-1]
        return Line(check, Status.FAILED, last.error_message, last.error_hint)
    if evidence.measured or any(map(_was_read, evidence.outcomes)):
        return Line(check, Status.OK, f"{evidence.prefix.model_id} answers in {evidence.prefix.route.region}")
    return _untested(check)


def _capacity(evidence: Evidence) -> Line:
    check, lost = Check.CAPACITY, evidence.errors(Throttled, Unavailable)
    if not lost:
        return Line(check, Status.OK, "no request was throttled") if evidence.measured else _untested(check)
    last, all_of = lost[-1], len(lost) == len(evidence.outcomes)
    message = f"{len(lost)} of {len(evidence.outcomes)} requests: {last.error_message}"
    advice = last.error_hint or "try again later, and look at the AWS Health Dashboard"
    return Line(check, Status.FAILED if all_of else Status.WARNING, message, advice)


def _max_tokens(evidence: Evidence) -> Line:
    check, limit = Check.MAX_TOKENS, evidence.prefix.facts.min_max_tokens
    refused = [outcome for outcome in evidence.errors(RequestRefused) if _is_about_max_tokens(outcome)]
    if refused:
        advice = "give the model's real minimum as min_max_tokens in a file that KEEPWARM_MODELS names"
        return Line(check, Status.FAILED, f"{limit} is not accepted: {refused[-1].error_message}", advice)
    return Line(check, Status.OK, f"{limit} is accepted") if evidence.measured else _untested(check)


def _usage_told(evidence: Evidence) -> Line:
    check = Check.USAGE
    silent = [outcome for outcome in evidence.outcomes if outcome.error_code == "no_usage"]
    if silent:
        advice = "look what stands between here and Bedrock (a gateway, a proxy): it takes the usage out of the answers"
        return Line(check, Status.FAILED, "the answers tell no token counts, so no hit can be seen or priced", advice)
    return Line(check, Status.OK, "every answer tells its token counts") if evidence.measured else _untested(check)


def _caching(evidence: Evidence) -> Line:
    check = Check.CACHING
    without = [outcome for outcome in evidence.errors(AccessDenied) if _is_without_caching(outcome)]
    if without:
        advice = "choose a model with prompt caching, or take its cache points out"
        return Line(check, Status.FAILED, without[-1].error_message, advice)
    verdict = _best(evidence)
    if verdict in _CACHED:
        return Line(check, Status.OK, "the prefix is cached")
    if verdict is None or _is_short(evidence):
        return _untested(check, "too short to be cached" if verdict else "")
    message = f"{_size(evidence):,} tokens were neither read nor written"
    advice = "check that this model caches through this API and region, and that the cache points arrive unchanged"
    return Line(check, Status.FAILED, message, advice)


def _minimum(evidence: Evidence) -> Line:
    check, least = Check.MINIMUM, evidence.prefix.facts.min_tokens
    if _best(evidence) is None:
        return _untested(check)
    size = _size(evidence)
    message = f"{size:,} tokens, and {evidence.prefix.facts.base_id} caches from {least:,} on"
    if _best(evidence) in _CACHED or size >= least:
        return Line(check, Status.OK, message)
    return Line(check, Status.FAILED, message, "make the prefix longer, or remove it from the registry")


def _ttl(evidence: Evidence) -> Line:
    check, asked = Check.TTL, evidence.prefix.ttl
    billed = next((outcome.billed_ttl for outcome in evidence.outcomes if outcome.billed_ttl), None)
    since = "was billed"
    if billed is None and evidence.before.billed_ttl:
        billed, since = evidence.before.billed_ttl, "was billed at its last write"
    if billed is asked:
        return Line(check, Status.OK, f"{asked.value} {since}")
    if billed is not None:
        advice = f"mark it {billed.value} in application and registry, or ask AWS; until then it is pinged by that"
        return Line(check, Status.FAILED, f"{asked.value} was asked for, and {billed.value} {since}", advice)
    if any(usage.cache_write_tokens for usage in evidence.measured):
        if asked is Ttl.FIVE_MINUTES:
            return Line(check, Status.OK, "5m, the default; the usage does not say which ttl was written")
        advice = "compare the 1h write tokens on the bill (CacheWrite1hInputTokenCount)"
        return Line(check, Status.WARNING, "the usage does not say which ttl was written", advice)
    why = "nothing was written; run it again when the entry is cold" if evidence.measured else ""
    return _untested(check, why)


def _regions(evidence: Evidence) -> Line:
    check, pings = Check.REGIONS, evidence.pings
    if len(pings) < 2 or not _CACHED & set(pings):
        return _untested(check)
    again = sum(verdict in _WROTE for verdict in pings[1:])
    if not again:
        return Line(check, Status.OK, f"{len(pings)} pings in a row met the same entry")
    message = f"{again} of {len(pings) - 1} pings right after another wrote it again"
    if pricing.parse_model_id(evidence.prefix.model_id).geography or "profile/" in evidence.prefix.model_id:
        advice = (
            "the inference profile spreads requests over regions, each with a cache of its own: expect extra writes, "
            "or use the model id of one region where there is one"
        )
        return Line(check, Status.WARNING, f"{message}: more than one home", advice)
    return Line(
        check, Status.WARNING, message, "the entry is lost early; look at `keepwarm report` before you rely on it"
    )


def _ping_to_production(evidence: Evidence) -> Line:
    check, sent = Check.PING_TO_PRODUCTION, evidence.production
    usage = _usage(sent) if sent else None
    if sent is None or usage is None or not evidence.pings or evidence.pings[-1] not in _CACHED:
        return _untested(check)
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    if sent.entry.verdict is Verdict.HIT:
        return Line(check, Status.OK, f"production read {read:,} tokens that the ping had written, and wrote nothing")
    if any(verdict in _WROTE for verdict in evidence.pings[1:]):
        return _untested(check, "the entry has more than one home, so a miss would prove nothing; run it again")
    message = f"production read {read:,} tokens and wrote {written:,}"
    advice = (
        "the ping warms another entry than production reads: import the request that production sends today "
        "(`keepwarm import ... --force`), with its cache points where they are"
    )
    return Line(check, Status.FAILED, message, advice)


def _production_to_ping(evidence: Evidence) -> Line:
    check, prefix, pings = Check.PRODUCTION_TO_PING, evidence.prefix, evidence.pings
    first = evidence.sent[0].entry.intent.started_at if evidence.sent else None
    if pings and first and pings[0] is Verdict.HIT and _is_long_cold(prefix, evidence.before, first):
        return Line(check, Status.OK, "the first ping read an entry that no ping has written: production had")
    why = (
        "only time makes an entry cold; run it again when production has written this one and no ping did "
        f"for {2 * prefix.lifetime.total_seconds():g} s"
    )
    return _untested(check, why)


_JUDGES: dict[Check, Callable[[Evidence], Line]] = {
    Check.CREDENTIALS: _credentials,
    Check.CLOCK: _clock,
    Check.MODEL_ACCESS: _model_access,
    Check.CAPACITY: _capacity,
    Check.MAX_TOKENS: _max_tokens,
    Check.USAGE: _usage_told,
    Check.CACHING: _caching,
    Check.MINIMUM: _minimum,
    Check.TTL: _ttl,
    Check.REGIONS: _regions,
    Check.PING_TO_PRODUCTION: _ping_to_production,
    Check.PRODUCTION_TO_PING: _production_to_ping,
}


# -- small questions ----------------------------------------------------------------------------------------------


def _untested(check: Check, why: str = "") -> Line:
    return Line(check, Status.UNTESTED, why or "nothing was answered that tells")


def _is_skewed(evidence: Evidence) -> bool:
    return evidence.skew is not None and abs(evidence.skew) > MAX_SKEW


def _is_about_max_tokens(outcome: Outcome) -> bool:
    return bool(_MAX_TOKENS.search(outcome.error_message))


def _is_without_caching(outcome: Outcome) -> bool:
    return bool(_WITHOUT_CACHING.search(outcome.error_message))


def _was_read(outcome: Outcome) -> bool:
    return outcome.error_code == "no_usage"


def _usage(sent: Sent) -> Usage | None:
    return sent.entry.outcome.usage if sent.entry.outcome else None


def _best(evidence: Evidence) -> Verdict | None:
    """The verdict that shows most: any with the cache, else `uncached`; None when nothing was measured."""
    found = [usage.verdict for usage in evidence.measured]
    return next((verdict for verdict in found if verdict in _CACHED), Verdict.UNCACHED if found else None)


def _size(evidence: Evidence) -> int:
    """Tokens of the cached part, or of the shortest whole prompt where nothing was cached."""
    cached = [usage.cache_read_tokens + usage.cache_write_tokens for usage in evidence.measured]
    return max(cached) or min(usage.prompt_tokens for usage in evidence.measured)


def _is_short(evidence: Evidence) -> bool:
    return _size(evidence) < evidence.prefix.facts.min_tokens


def _is_long_cold(prefix: Prefix, state: PrefixState, at: datetime) -> bool:
    """Whether our own last touch is so long ago that nothing of it can be left, also if Bedrock kept it a while."""
    return state.touched_at is None or at - state.touched_at > 2 * planner.lifetime_of(prefix, state)


# -- plain data ---------------------------------------------------------------------------------------------------


def to_json(evidence: Evidence, lines: Sequence[Line]) -> dict[str, object]:
    """An examination as plain data for `json.dumps`: money as decimal strings."""
    return {
        "prefix": evidence.prefix.name,
        "status": worst(lines).value,
        "lines": [
            {"check": line.check.value, "status": line.status.value, "message": line.message, "advice": line.advice}
            for line in lines
        ],
        "cost_usd": f"{sum((sent.entry.cost_usd for sent in evidence.sent), Decimal(0)):f}",
        "requests": list(_requests(evidence)),
    }


def _requests(evidence: Evidence) -> Iterator[dict[str, object]]:
    for sent in evidence.sent:
        yield {
            "entry": sent.entry.number,
            "kind": "production" if sent.production else "ping",
            "verdict": sent.entry.verdict.value,
            "cost_usd": f"{sent.entry.cost_usd:f}",
        }
