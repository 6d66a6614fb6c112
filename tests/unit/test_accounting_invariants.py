"""What holds of every report, whatever the ledger holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from keepwarm.accounting import Background, make_report, to_json
from keepwarm.model import Api, Entry, Intent, Outcome, Reason, Span, Ttl, Verdict

SINCE = datetime(2026, 11, 23, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=1)

amounts = st.decimals(min_value=0, max_value=Decimal("1e18"), places=30, allow_nan=False, allow_infinity=False)
minutes = st.integers(min_value=0, max_value=24 * 60 - 1)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    verdict = draw(st.sampled_from(Verdict))
    started_at = SINCE + timedelta(minutes=draw(minutes))
    outcome = Outcome(
        completed_at=started_at,
        verdict=verdict,
        cost_usd=draw(amounts),
        avoidable_usd=draw(amounts) if verdict is Verdict.HIT else Decimal(0),
    )
    intent = Intent(
        prefix=draw(st.sampled_from(["a", "b", "c"])),
        fingerprint="f00d",
        model_id="m",
        region="us-east-1",
        api=Api.CONVERSE,
        ttl=draw(st.sampled_from(Ttl)),
        reason=Reason.KEEP_WARM,
        attempt=1,
        started_at=started_at,
        high_cost_usd=draw(amounts),
    )
    return Entry(1, intent, draw(st.sampled_from([None, outcome])))


@given(st.lists(entries(), max_size=30))
def test_money_adds_up_to_the_last_decimal(ledger: list[Entry]):
    cost = sum((Fraction(entry.cost_usd) for entry in ledger), Fraction(0))
    avoidable = sum((Fraction(entry.outcome.avoidable_usd) for entry in ledger if entry.outcome), Fraction(0))
    data = to_json(make_report(ledger, SINCE, UNTIL))
    assert Fraction(data["total"]["refresh_cost_usd"]) == cost
    assert Fraction(data["total"]["avoided_write_usd"]["high"]) == avoidable
    assert Fraction(data["total"]["net_usd"]["low"]) == -cost
    assert Fraction(data["total"]["net_usd"]["high"]) == avoidable - cost
    assert sum(Fraction(account["refresh_cost_usd"]) for account in data["prefixes"]) == cost


@given(st.lists(entries(), max_size=30))
def test_every_ping_is_counted_once(ledger: list[Entry]):
    report = make_report(ledger, SINCE, UNTIL)
    assert sum(report.total.pings.values()) == len(ledger)
    assert sum(sum(account.pings.values()) for account in report.prefixes) == len(ledger)


@given(
    st.lists(st.tuples(minutes, st.integers(min_value=1, max_value=200)), max_size=30),
    st.lists(minutes, min_size=2, max_size=8, unique=True).filter(lambda edges: len(edges) % 2 == 0),
)
def test_warm_share_is_what_counting_minute_by_minute_gives(pings: list[tuple[int, int]], edges: list[int]):
    edges = sorted(edges)
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    lives = {number: timedelta(minutes=minutes) for number, (_, minutes) in enumerate(pings)}
    ledger = [_hit(number, minute) for number, (minute, _) in enumerate(pings)]
    background = Background(
        busy=[Span(SINCE + timedelta(minutes=start), SINCE + timedelta(minutes=end)) for start, end in spans],
        lifetime=lambda entry: lives[entry.number],
    )
    busy = {minute for start, end in spans for minute in range(start, end)}
    warm = {minute for start, life in pings for minute in range(start, start + life)}
    (account,) = make_report(ledger, SINCE, UNTIL, {"a": background}).prefixes
    assert account.warm_share_of_busy_time == len(busy & warm) / len(busy)


def _hit(number: int, minute: int) -> Entry:
    started_at = SINCE + timedelta(minutes=minute)
    intent = Intent(
        "a", "f00d", "m", "r", Api.CONVERSE, Ttl.ONE_HOUR, Reason.KEEP_WARM, 1, started_at, high_cost_usd=Decimal(0)
    )
    return Entry(number, intent, Outcome(started_at, Verdict.HIT, Decimal(0)))
