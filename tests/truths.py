"""Compares what `keepwarm discover` prints with the truth of a made-up history."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from keepwarm import pricing
from keepwarm.discovery.tally import cell_of, seconds_of
from keepwarm.model import Ttl, Usage
from tests.builders import facts_of
from tests.histories import CLAUDE, DAYS, SECOND, History, True_


def differences(found: dict[str, Any], history: History, records: int) -> Iterator[str]:
    """What is printed and not true, in words; nothing when all is true."""
    yield from _differing("records", found["records"], records)
    yield from _differing("skipped", found["skipped"], dict(history.skipped))
    shown = {(row["tokens"], row["api"]): row for row in found["prefixes"] if row["requests"] > 1}
    marked = [prefix for prefix in history.prefixes if prefix.marked]
    yield from _differing("repeating prefixes", len(shown), len(marked))
    weeks = _weeks(found, history)
    for prefix in marked:
        row = shown.get((prefix.tokens, prefix.api))
        if row is None:
            yield f"{prefix.text[:12]}: is missing"
            continue
        yield from _compare(prefix, row, weeks)
    bare = [prefix for prefix in history.prefixes if not prefix.marked]
    yield from _differing(
        "unmarked", sorted(row["requests"] for row in found["unmarked"]), sorted(len(one.moments) for one in bare)
    )
    for prefix in bare:
        row = next((row for row in found["unmarked"] if row["requests"] == len(prefix.moments)), None)
        if row:
            yield from _differing(f"{prefix.text[:12]} saves", row["saved_usd"], _hint(prefix, row["tokens"], weeks))


def _compare(prefix: True_, row: dict[str, Any], weeks: Decimal) -> Iterator[str]:
    name = prefix.text[:12]
    yield from _differing(f"{name} requests", row["requests"], len(prefix.moments))
    cold = prefix.cold(prefix.ttl)
    yield from _differing(f"{name} cold writes", row["cold_writes"], cold)
    prices = facts_of(CLAUDE).prices
    paid = cold * pricing.write_cost_usd(prices, prefix.tokens, Ttl(prefix.ttl))
    yield from _differing(f"{name} paid", Decimal(row["cold_writes_usd"]), paid)
    for share, told in ((0.5, row["gap_seconds"]["p50"]), (0.9, row["gap_seconds"]["p90"])):
        gap = prefix.gap_seconds(share)
        yield from _differing(f"{name} gap {share}", told, seconds_of(cell_of(round(gap * SECOND))))
    saved = prefix.cold(prefix.ttl) * pricing.avoided_write_usd(prices, prefix.tokens, Ttl(prefix.ttl))
    for outlook in row["weekly"]:
        ttl = Ttl(outlook["ttl"])
        pings, writes = prefix.kept(ttl.value)
        read = pricing.cost_usd(prices, Usage(1, 1, prefix.tokens, 0), ttl)
        written = pricing.cost_usd(prices, Usage(1, 1, 0, prefix.tokens), ttl)
        yield from _differing(f"{name} {ttl} pings", outlook["pings"], round(float(pings * weeks), 1))
        yield from _differing(
            f"{name} {ttl} cost", outlook["cost_usd"], _plain((pings * read + writes * written) * weeks)
        )
        yield from _differing(f"{name} {ttl} saved", outlook["saved_usd"], _plain(saved * weeks))


def _hint(prefix: True_, tokens: int, weeks: Decimal) -> str:
    rates = facts_of(CLAUDE).prices.base
    best = Decimal(0)
    for ttl in Ttl:
        cold = prefix.cold(ttl.value)
        warm = len(prefix.moments) - cold
        saved = warm * (rates.input - rates.cache_read) - cold * (rates.cache_write(ttl) - rates.input)
        best = max(best, saved * tokens / 1_000_000 * weeks)
    return _plain(best)


def _weeks(found: dict[str, Any], history: History) -> Decimal:
    """A week over the span from the first request to the last; of one-off requests only the output knows."""
    span = Decimal(found["history_us"])
    first = min(prefix.moments[0] for prefix in history.prefixes)
    last = max(prefix.moments[-1] for prefix in history.prefixes)
    assert last - first <= span <= timedelta(days=DAYS) // timedelta(microseconds=1)
    return Decimal(timedelta(weeks=1) // timedelta(microseconds=1)) / span


def _plain(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal('0.000001')):f}"


def _differing(what: str, told: Any, true: Any) -> Iterator[str]:
    if told != true:
        yield f"{what}: {told} instead of {true}"
