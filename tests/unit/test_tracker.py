"""What a handful of identical requests says, recomputed by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from keepwarm import pricing, tracker
from keepwarm.errors import Throttled, Unavailable
from keepwarm.model import Answer, Entry, PrefixState, Ttl, Usage, Verdict
from keepwarm.tracker import Finding, TrackReport, Witness, make_report
from keepwarm.verdicts import failed, judge
from tests.builders import NOVA, facts_of, make_intent, make_prefix

# Sonnet 4.5 through its European profile: a tenth above the plain price.
INPUT, READ, WRITE_5M, WRITE_1H = Decimal("3.3"), Decimal("0.33"), Decimal("4.125"), Decimal("6.6")
MILLION = 1_000_000

COLD = Usage(3, 1, 0, 5_000, 0)
WARM = Usage(3, 1, 5_000, 0, 0)
NOTHING = Usage(503, 1, 0, 0, 0)
PREFIX = make_prefix()


def sent(
    usage: Usage | None, latency_ms: int = 400, *, number: int = 1, prefix: object = PREFIX, **answer: object
) -> tuple[Entry, Answer]:
    """A request that was answered, judged as the keeper judges it."""
    came = Answer(usage, **{"usage_in_body": True, "server_latency_ms": latency_ms - 10} | answer)
    outcome = judge(prefix, make_intent(prefix), came)
    return Entry(number, make_intent(prefix), replace(outcome, latency_ms=latency_ms)), came


def refused(error: Exception) -> tuple[Entry, None]:
    """A request that was not answered."""
    return Entry(1, make_intent(PREFIX), failed(make_intent(PREFIX), error)), None


def report(*measured: tuple[Entry, Answer | None], wanted: int | None = None, prefix: object = PREFIX) -> TrackReport:
    """The report of these requests, as many as were asked for."""
    return make_report(prefix, measured, wanted or len(measured))


def test_the_prices_of_these_tests_are_the_catalogs():
    rates = PREFIX.facts.prices.base
    assert (rates.input, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h) == (
        INPUT,
        READ,
        WRITE_5M,
        WRITE_1H,
    )


def test_request_1_is_compared_with_request_2_and_with_the_median_of_the_later_ones():
    found = report(sent(COLD, 800), sent(WARM, 500), sent(WARM, 300), sent(WARM, 400))
    assert found.client.second.gain == pytest.approx(0.375)
    assert found.client.rest.other_ms == 400
    assert found.client.rest.gain == pytest.approx(0.5)
    assert found.server.second.gain == pytest.approx(300 / 790)
    assert (found.cold_ms, found.warm_ms, found.warm_saves_ms) == (800, 400, 400)
    assert found.findings == ()


def test_a_request_1_that_was_faster_has_a_negative_gain():
    assert report(sent(COLD, 300), sent(WARM, 450)).client.second.gain == pytest.approx(-0.5)


def test_no_measurable_time_gives_no_gain_instead_of_a_division_by_zero():
    assert report(sent(COLD, 0, server_latency_ms=None), sent(WARM, 0)).client.second.gain is None


def test_a_server_that_tells_no_latency_is_not_compared():
    found = report(sent(COLD, server_latency_ms=None), sent(WARM, server_latency_ms=None))
    assert found.server == tracker.Speed(None, None)
    assert found.client.second is not None


def test_the_money_is_what_the_tokens_cost_with_and_without_the_cache():
    money = report(sent(COLD), sent(WARM), sent(WARM)).money
    output = 3 * PREFIX.facts.prices.base.output
    assert money.cost_usd == money.measured_usd == (5_000 * WRITE_5M + 10_000 * READ + 9 * INPUT + output) / MILLION
    assert money.without_cache_usd == (15_009 * INPUT + output) / MILLION
    assert money.saved_usd == money.without_cache_usd - money.cost_usd
    assert money.warm_saves_usd == 5_000 * (WRITE_5M - READ) / MILLION
    assert money.pings_paid == 11


@pytest.mark.parametrize(("ttl", "requests"), [(Ttl.FIVE_MINUTES, 2), (Ttl.ONE_HOUR, 3)])
def test_break_even_is_the_first_request_at_which_caching_is_cheaper(ttl: Ttl, requests: int):
    written = replace(COLD, cache_write_1h_tokens=5_000 if ttl is Ttl.ONE_HOUR else 0)
    prefix = make_prefix(ttl=ttl)
    money = report(sent(written, prefix=prefix), sent(WARM, prefix=prefix), prefix=prefix).money
    assert money.break_even_requests == requests

    def with_cache(count: int) -> Decimal:
        return money.write_usd + (count - 1) * money.read_usd

    assert with_cache(requests) < requests * money.input_usd
    assert with_cache(requests - 1) >= (requests - 1) * money.input_usd


def test_caching_that_reads_at_the_input_price_never_breaks_even_and_free_reads_pay_no_pings():
    rates = PREFIX.facts.prices.base
    dear = replace(rates, cache_read=rates.input)
    free = replace(rates, cache_read=Decimal(0))
    for changed, break_even, pings in ((dear, None, 0), (free, 2, None)):
        facts = replace(PREFIX.facts, prices=replace(PREFIX.facts.prices, base=changed))
        prefix = make_prefix(facts=facts)
        money = report(sent(COLD, prefix=prefix), sent(WARM, prefix=prefix), prefix=prefix).money
        assert (money.break_even_requests, money.pings_paid) == (break_even, pings)


def test_an_entry_billed_for_another_ttl_is_priced_as_billed_and_said():
    prefix = make_prefix(ttl=Ttl.ONE_HOUR)
    found = report(sent(COLD, prefix=prefix), sent(WARM, prefix=prefix), prefix=prefix)
    assert Finding.TTL_DIFFERS in found.findings
    assert found.billed_ttl is Ttl.FIVE_MINUTES
    assert found.money.write_usd == 5_000 * WRITE_5M / MILLION


@pytest.mark.parametrize(
    ("measured", "finding"),
    [
        ([sent(WARM), sent(WARM)], Finding.FIRST_WARM),
        ([sent(Usage(3, 1, 2_000, 3_000, 0)), sent(WARM)], Finding.FIRST_PARTLY_WARM),
        ([sent(Usage(5_003, 1, 0, 0)), sent(COLD), sent(WARM)], Finding.FIRST_UNCACHED),
        ([sent(NOTHING), sent(NOTHING)], Finding.BELOW_MINIMUM),
        ([sent(Usage(5_003, 1, 0, 0)), sent(Usage(5_003, 1, 0, 0))], Finding.NOT_CACHED),
        ([sent(COLD), sent(COLD), sent(WARM)], Finding.LATER_NOT_WARM),
        ([sent(COLD)], Finding.SINGLE_REQUEST),
        ([refused(Throttled("slow down")), sent(COLD), sent(WARM)], Finding.FIRST_FAILED),
        ([sent(COLD), refused(Throttled("slow down")), sent(WARM)], Finding.SOME_FAILED),
        ([refused(Throttled("slow down"))], Finding.ALL_FAILED),
        ([sent(None, usage_in_body=False)], Finding.ALL_FAILED),
    ],
)
def test_what_spoils_the_figures_is_said(measured: list[tuple[Entry, Answer | None]], finding: Finding):
    assert finding in report(*measured).findings


def test_a_failed_request_before_the_cold_one_does_not_make_the_later_ones_look_cold():
    found = report(refused(Throttled("slow down")), sent(COLD, 800), sent(WARM, 300))
    assert Finding.LATER_NOT_WARM not in found.findings
    assert found.client == tracker.Speed(None, None)
    assert found.warm_saves_ms == 500


def test_fewer_requests_than_asked_for_are_said_to_have_ended_early():
    assert report(sent(COLD), sent(WARM), wanted=10).findings == (Finding.ENDED_EARLY,)


def test_nothing_sent_at_all_is_a_report_too():
    found = report(wanted=3)
    assert found.findings == (Finding.ALL_FAILED, Finding.ENDED_EARLY)
    assert found.money.cost_usd == 0
    json.dumps(tracker.to_json(found))


def test_an_orphan_counts_at_its_high_price_and_stands_outside_the_comparison():
    orphan = (Entry(2, make_intent(PREFIX)), None)
    found = report(sent(COLD), orphan)
    assert found.money.cost_usd - found.money.measured_usd == Decimal("0.02")
    assert found.samples[1].told_in is Witness.NO_ANSWER
    assert found.client.second is None


def test_a_request_that_may_have_been_billed_is_in_the_cost_but_not_in_the_comparison():
    lost = refused(Unavailable("no answer", maybe_billed=True))
    found = report(sent(COLD), lost, sent(WARM))
    assert found.samples[1].verdict is Verdict.UNKNOWN
    assert found.money.cost_usd - found.money.measured_usd == Decimal("0.02")
    assert found.client.second is None
    assert found.client.rest is not None


@pytest.mark.parametrize(
    ("answer", "witness"),
    [
        ({"usage_in_body": True}, Witness.BODY),
        ({"usage_in_body": True, "header_usage": COLD}, Witness.BOTH),
        ({"usage_in_body": False, "header_usage": COLD}, Witness.HEADERS),
        ({"usage_in_body": False}, Witness.NEITHER),
    ],
)
def test_where_the_input_token_count_stood_is_told(answer: dict[str, object], witness: Witness):
    assert report(sent(COLD, **answer)).samples[0].told_in is witness


def test_body_and_headers_that_disagree_are_told_and_the_split_by_ttl_is_no_disagreement():
    agreed = replace(COLD, cache_write_1h_tokens=None)
    assert Finding.COUNTS_DIFFER not in report(sent(COLD, header_usage=agreed)).findings
    other = replace(COLD, cache_write_tokens=4_999)
    assert Finding.COUNTS_DIFFER in report(sent(COLD, header_usage=other)).findings


def test_prices_that_are_assumed_or_not_billed_by_the_token_are_told():
    nova = make_prefix(model_id=NOVA, facts=facts_of(NOVA, "us-east-1"), provisioned=True)
    found = report(sent(COLD, prefix=nova), sent(WARM, prefix=nova), prefix=nova).findings
    assert found == (Finding.PRICE_ASSUMED, Finding.PROVISIONED)


def test_at_most_is_never_below_what_is_expected():
    unknown, known = PrefixState(), PrefixState(cached_tokens=5_000)
    for requests in (1, 2, 10):
        for state in (unknown, known):
            assert tracker.at_most_usd(PREFIX, state, requests) > tracker.expected_usd(PREFIX, state, requests)
    assert tracker.at_most_usd(PREFIX, unknown, 10) == 10 * pricing.cost_usd(
        PREFIX.facts.prices, Usage(100, 1, 0, 10_000), Ttl.FIVE_MINUTES
    )


def test_the_json_says_money_as_plain_decimals_that_add_up():
    found = report(sent(COLD), sent(WARM), refused(Throttled("slow down", hint="wait")), wanted=4)
    told = json.loads(json.dumps(tracker.to_json(found)))
    costs = [Decimal(sample["cost_usd"]) for sample in told["samples"]]
    assert sum(costs) == Decimal(told["money"]["cost_usd"]) == found.money.cost_usd
    assert told["requests"] == {"wanted": 4, "sent": 3, "answered": 2}
    assert told["samples"][2]["error"] == {"code": "throttled", "message": "slow down", "hint": "wait"}
    assert told["findings"] == ["some_failed", "ended_early"]
    assert "E" not in told["money"]["read_usd"]
