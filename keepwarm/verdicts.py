"""Judges what came back for a ping: its verdict and what it cost.

It sends nothing and remembers nothing; times are filled in by the caller.
"""

from __future__ import annotations

from decimal import Decimal

from keepwarm import pricing
from keepwarm.errors import KeepwarmError, Unavailable
from keepwarm.model import Answer, Intent, Outcome, Prefix, PrefixState, Ttl, Usage, Verdict

# What a ping sends behind its last cache point, and a little more: a few tokens are never cached.
_UNCACHED_TOKENS = 100


def judge(prefix: Prefix, intent: Intent, answer: Answer, honoured: Ttl | None = None) -> Outcome:
    """What an answer means: verdict and money.

    Args:
        honoured: the ttl that earlier writes were billed at, by which a hit is valued; None for the one asked for.
    """
    usage = answer.usage
    if usage is None:
        return Outcome(
            completed_at=intent.started_at,
            verdict=Verdict.UNKNOWN,
            cost_usd=intent.high_cost_usd,
            server_latency_ms=answer.server_latency_ms,
            request_id=answer.request_id,
            error_code="no_usage",
            error_message="the answer told no token counts, in its body or its headers",
            retryable=True,
        )
    prices = prefix.facts.prices
    hit = usage.verdict is Verdict.HIT
    return Outcome(
        completed_at=intent.started_at,
        verdict=usage.verdict,
        cost_usd=pricing.cost_usd(prices, usage, prefix.ttl),
        avoidable_usd=pricing.avoided_write_usd(prices, usage.cache_read_tokens, honoured or prefix.ttl)
        if hit
        else Decimal(0),
        usage=usage,
        server_latency_ms=answer.server_latency_ms,
        billed_ttl=pricing.billed_ttl(usage),
        request_id=answer.request_id,
    )


def high_cost_usd(prefix: Prefix, state: PrefixState) -> Decimal:
    """What a ping costs at most, as far as is known before it is sent: everything is written.

    Before the first usage the estimate is doubled, since some languages take two tokens where English takes one.
    """
    tokens = state.cached_tokens or 2 * prefix.estimated_tokens
    usage = Usage(_UNCACHED_TOKENS, prefix.facts.min_max_tokens, 0, tokens)
    return pricing.cost_usd(prefix.facts.prices, usage, prefix.ttl)


def failed(intent: Intent, error: KeepwarmError) -> Outcome:
    """What an error means: nothing was billed, unless the request had left and its answer was lost."""
    lost = isinstance(error, Unavailable) and error.maybe_billed
    return Outcome(
        completed_at=intent.started_at,
        verdict=Verdict.UNKNOWN if lost else Verdict.ERROR,
        cost_usd=intent.high_cost_usd if lost else Decimal(0),
        error_code=error.code,
        error_message=str(error),
        error_hint=error.hint,
        retryable=error.retryable,
    )
