"""What a report says of a handful of pings that can be summed up by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from keepwarm.accounting import (
    NO_TRAFFIC_SIGNAL,
    Background,
    Bounds,
    Percentiles,
    break_even_requests_per_day,
    make_report,
    to_json,
)
from keepwarm.model import Api, Entry, Intent, Outcome, Reason, Span, Ttl, Usage, Verdict

SINCE = datetime(2026, 11, 23, 8, tzinfo=UTC)
UNTIL = datetime(2026, 11, 23, 18, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_PINGS = {"hit": 0, "partial": 0, "rewrite": 0, "uncached": 0, "error": 0, "unknown": 0}

NO_TRAFFIC = {
    "organic_requests": None, "warm": None, "cold": None, "uncached": None, "unknown": None,
    "would_have_been_cold": None, "misses": None, "wasted_pings": None, "wasted_usd": None, "regret_usd": None,
    "avoided_writes": {"low": None, "high": None}, "waiting_saved_seconds": {"low": None, "high": None},
}  # fmt: skip

USAGES = {
    Verdict.HIT: Usage(3, 1, 5000, 0),
    Verdict.PARTIAL: Usage(3, 1, 2000, 3000),
    Verdict.REWRITE: Usage(3, 1, 0, 5000),
    Verdict.UNCACHED: Usage(5003, 1, 0, 0),
}


def intent(prefix: str = "support-bot", hours: float = 0, **changes: object) -> Intent:
    made = Intent(
        prefix=prefix,
        fingerprint="f00d",
        model_id="anthropic.claude-haiku-4-5-20251001-v1:0",
        region="us-east-1",
        api=Api.CONVERSE,
        ttl=Ttl.ONE_HOUR,
        reason=Reason.KEEP_WARM,
        attempt=1,
        started_at=SINCE + hours * HOUR,
        high_cost_usd=Decimal("0.01"),
    )
    return replace(made, **changes)


def ping(
    verdict: Verdict, hours: float = 0, *, cost: str = "0.0005", prefix: str = "support-bot", **more: object
) -> Entry:
    sent = intent(prefix, hours, provisioned=more.pop("provisioned", False))
    outcome = Outcome(
        completed_at=sent.started_at + timedelta(seconds=1),
        verdict=verdict,
        cost_usd=Decimal(cost),
        avoidable_usd=Decimal("0.0095") if verdict is Verdict.HIT else Decimal(0),
        usage=USAGES.get(verdict),
        latency_ms=more.pop("latency_ms", 400),
        billed_ttl=more.pop("billed_ttl", None),
    )
    return Entry(number=1, intent=sent, outcome=outcome)


def test_pings_are_counted_by_verdict_and_their_tokens_and_costs_summed():
    entries = [
        ping(Verdict.REWRITE, 0, cost="0.0100"),
        ping(Verdict.HIT, 0.5),
        ping(Verdict.HIT, 1),
        ping(Verdict.PARTIAL, 1.5, cost="0.0062"),
        ping(Verdict.UNCACHED, 2, cost="0.005"),
        ping(Verdict.ERROR, 3, cost="0"),
        ping(Verdict.UNKNOWN, 4, cost="0.01"),
    ]
    (account,) = make_report(entries, SINCE, UNTIL).prefixes
    assert account.name == "support-bot"
    assert account.pings == {verdict: 2 if verdict is Verdict.HIT else 1 for verdict in Verdict}
    assert account.refresh_cost_usd == Decimal("0.0322")
    assert account.avoided_write_usd == Bounds(Decimal(0), Decimal("0.0190"))
    assert account.net_usd == Bounds(Decimal("-0.0322"), Decimal("-0.0132"))
    assert account.basis == NO_TRAFFIC_SIGNAL
    assert account.tokens == (12_000, 8_000, 5_015, 5)
    assert account.capacity_freed_tokens is None


def test_an_orphan_is_unknown_and_priced_at_the_high_side():
    report = make_report([Entry(1, intent())], SINCE, UNTIL)
    assert report.total.pings[Verdict.UNKNOWN] == 1
    assert report.total.refresh_cost_usd == Decimal("0.01")
    assert report.total.net_usd == Bounds(Decimal("-0.01"), Decimal("-0.01"))


def test_an_answer_without_usage_is_counted_without_tokens():
    entry = ping(Verdict.HIT)
    report = make_report([replace(entry, outcome=replace(entry.outcome, usage=None))], SINCE, UNTIL)
    assert report.total.pings[Verdict.HIT] == 1
    assert report.total.tokens == (0, 0, 0, 0)


def test_the_stretch_holds_its_start_and_not_its_end():
    report = make_report([ping(Verdict.HIT, hours) for hours in (-0.001, 0, 9.999, 10)], SINCE, UNTIL)
    assert report.total.pings[Verdict.HIT] == 2


def test_prefixes_are_sorted_and_those_only_in_the_ledger_or_only_in_the_registry_show():
    entries = [
        ping(Verdict.HIT, prefix="zebra"),
        ping(Verdict.HIT, prefix="gone"),
        ping(Verdict.HIT, -1, prefix="before"),
    ]
    report = make_report(entries, SINCE, UNTIL, {"zebra": Background(), "new": Background()})
    assert [account.name for account in report.prefixes] == ["gone", "new", "zebra"]
    assert report.prefixes[1].pings == dict.fromkeys(Verdict, 0)


def test_latencies_are_nearest_rank_percentiles_of_hits_and_of_cold_pings():
    hits = [ping(Verdict.HIT, latency_ms=latency) for latency in range(1, 21)]
    cold = [ping(Verdict.REWRITE, latency_ms=900), ping(Verdict.UNCACHED, latency_ms=700)]
    others = [ping(Verdict.PARTIAL, latency_ms=5), ping(Verdict.ERROR, latency_ms=5), Entry(1, intent())]
    report = make_report([*hits[::-1], *cold, *others], SINCE, UNTIL)
    assert report.total.latency_warm_ms == Percentiles(10, 19)
    assert report.total.latency_cold_ms == Percentiles(700, 900)


def test_without_pings_there_are_no_percentiles():
    assert make_report([], SINCE, UNTIL).total.latency_warm_ms == Percentiles(None, None)


def test_warm_share_is_the_part_of_busy_time_within_a_lifetime_of_a_touch():
    busy = [Span(SINCE, SINCE + 2 * HOUR), Span(SINCE + 6 * HOUR, SINCE + 8 * HOUR)]
    entries = [
        ping(Verdict.REWRITE, -0.5),  # before the report: not counted, but warm for its first half hour
        ping(Verdict.HIT, 1),
        ping(Verdict.HIT, 1.5),
        ping(Verdict.UNCACHED, 6),
        ping(Verdict.ERROR, 6),
        Entry(1, intent(hours=6)),
        ping(Verdict.PARTIAL, 7.5),
    ]
    report = make_report(entries, SINCE, UNTIL, {"support-bot": Background(busy=busy)})
    assert report.total.warm_share_of_busy_time == 2 / 4
    assert report.total.pings[Verdict.REWRITE] == 0


def test_pings_written_out_of_order_overlap_as_if_they_were_in_order():
    background = {"support-bot": Background(busy=[Span(SINCE, SINCE + 4 * HOUR)])}
    entries = [ping(Verdict.HIT, 1), ping(Verdict.HIT, 0.5), ping(Verdict.HIT, 2.5)]
    assert make_report(entries, SINCE, UNTIL, background).prefixes[0].warm_share_of_busy_time == 2.5 / 4


def test_lifetimes_follow_the_billed_ttl_unless_the_registry_says_otherwise():
    busy = [Span(SINCE, SINCE + HOUR)]
    entries = [ping(Verdict.REWRITE, billed_ttl=Ttl.FIVE_MINUTES), ping(Verdict.REWRITE, prefix="short")]
    backgrounds = {
        "support-bot": Background(busy=busy),
        "short": Background(busy=busy, lifetime=lambda _: timedelta(minutes=30)),
        "unknown": Background(),
        "closed": Background(busy=[]),
    }
    report = make_report(entries, SINCE, UNTIL, backgrounds)
    shares = {account.name: account.warm_share_of_busy_time for account in report.prefixes}
    assert shares == {"support-bot": 5 / 60, "short": 0.5, "unknown": None, "closed": None}
    assert report.total.warm_share_of_busy_time == 35 / 120


def test_break_even_is_the_first_whole_number_of_requests_that_pays():
    assert break_even_requests_per_day(Decimal("0.95"), Decimal("0.1")) == 10
    assert break_even_requests_per_day(Decimal("1.0"), Decimal("0.1")) == 10
    assert break_even_requests_per_day(Decimal(0), Decimal("0.1")) == 0


def test_break_even_is_unknown_without_figures_and_when_no_request_ever_saves():
    assert break_even_requests_per_day(None, Decimal("0.1")) is None
    assert break_even_requests_per_day(Decimal(1), None) is None
    assert break_even_requests_per_day(Decimal(1), Decimal(0)) is None
    assert break_even_requests_per_day(Decimal(1), Decimal(-1)) is None


def test_break_even_stands_with_its_prefix_and_not_in_the_total():
    background = Background(daily_refresh_cost_usd=Decimal("0.01"), avoided_write_usd=Decimal("0.004"))
    report = make_report([ping(Verdict.HIT)], SINCE, UNTIL, {"support-bot": background})
    assert report.prefixes[0].break_even_requests_per_day == 3
    assert report.total.break_even_requests_per_day is None


def test_provisioned_prefixes_tell_freed_tokens_and_stay_out_of_the_money():
    background = Background(
        provisioned=True, daily_refresh_cost_usd=Decimal("0.01"), avoided_write_usd=Decimal("0.004")
    )
    entries = [
        ping(Verdict.HIT, prefix="reserved", provisioned=True),
        ping(Verdict.HIT, prefix="reserved", provisioned=True),
        ping(Verdict.REWRITE, prefix="reserved", provisioned=True),
        Entry(1, intent("reserved", provisioned=True)),
        ping(Verdict.HIT),
    ]
    report = make_report(entries, SINCE, UNTIL, {"reserved": background})
    reserved, paid = report.prefixes
    assert reserved.capacity_freed_tokens == (0, 10_000)
    assert (reserved.refresh_cost_usd, reserved.avoided_write_usd, reserved.net_usd) == (None, None, None)
    assert reserved.break_even_requests_per_day is None
    assert paid.capacity_freed_tokens is None
    assert report.total.capacity_freed_tokens == (0, 10_000)
    assert report.total.refresh_cost_usd == Decimal("0.0005")
    assert report.total.avoided_write_usd == Bounds(Decimal(0), Decimal("0.0095"))
    assert report.total.pings[Verdict.HIT] == 3


def test_a_provisioned_prefix_that_left_the_registry_is_known_by_its_pings():
    (account,) = make_report([ping(Verdict.HIT, provisioned=True)], SINCE, UNTIL).prefixes
    assert account.refresh_cost_usd is None
    assert account.capacity_freed_tokens == (0, 5_000)


def test_a_prefix_that_moved_to_provisioned_throughput_keeps_what_it_cost_before():
    entries = [ping(Verdict.HIT, 0), ping(Verdict.HIT, 1, provisioned=True)]
    report = make_report(entries, SINCE, UNTIL, {"support-bot": Background(provisioned=True)})
    assert report.prefixes[0].refresh_cost_usd == report.total.refresh_cost_usd == Decimal("0.0005")
    assert report.prefixes[0].capacity_freed_tokens == (0, 5_000)


def test_json_has_the_promised_shape_and_order():
    background = Background(
        busy=[Span(SINCE, SINCE + 3 * HOUR)],
        daily_refresh_cost_usd=Decimal("0.01"),
        avoided_write_usd=Decimal("0.004"),
    )
    data = to_json(make_report([ping(Verdict.HIT)], SINCE, UNTIL, {"support-bot": background}))
    account = {
        "pings": NO_PINGS | {"hit": 1},
        "refresh_cost_usd": "0.0005",
        "avoided_write_usd": {"low": "0", "high": "0.0095", "basis": NO_TRAFFIC_SIGNAL},
        "net_usd": {"low": "-0.0005", "high": "0.009"},
        "warm_share_of_busy_time": 0.3333,
        "latency_ms": {"warm": {"p50": 400, "p95": 400}, "cold": {"p50": None, "p95": None}},
        "tokens": {"read": 5000, "written": 0, "input": 3, "output": 1},
        "break_even_requests_per_day": 3,
        "capacity_freed_tokens": None,
        "traffic": NO_TRAFFIC,
    }
    expected = {
        "since": "2026-11-23T08:00:00Z",
        "until": "2026-11-23T18:00:00Z",
        "prefixes": [{"name": "support-bot"} | account],
        "total": account | {"break_even_requests_per_day": None},
    }
    assert json.dumps(data) == json.dumps(expected)


def test_json_of_a_provisioned_prefix_has_null_for_money():
    background = {"reserved": Background(provisioned=True)}
    data = to_json(make_report([ping(Verdict.HIT, prefix="reserved", provisioned=True)], SINCE, UNTIL, background))
    (account,) = data["prefixes"]
    assert (account["refresh_cost_usd"], account["avoided_write_usd"], account["net_usd"]) == (None, None, None)
    assert account["capacity_freed_tokens"] == {"low": 0, "high": 5000}
    assert data["total"]["refresh_cost_usd"] == "0"


def test_money_in_json_has_neither_exponent_nor_idle_zeros():
    report = make_report([ping(Verdict.REWRITE, cost=cost) for cost in ("1E-9", "100", "0.10")], SINCE, UNTIL)
    assert to_json(report)["total"]["refresh_cost_usd"] == "100.100000001"
    hundred = make_report([ping(Verdict.REWRITE, cost="1E+2")], SINCE, UNTIL)
    assert to_json(hundred)["total"]["refresh_cost_usd"] == "100"
    nothing = make_report([ping(Verdict.ERROR, cost="0E-9")], SINCE, UNTIL)
    assert to_json(nothing)["total"]["net_usd"] == {"low": "0", "high": "0"}
