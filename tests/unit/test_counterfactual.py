"""What pings were worth, on days of a few requests that can be weighed by hand.

The prefix has 5,000 tokens, lives 5 minutes, costs 0.01 to write and 0.001 to read; a ping that hits costs 0.002.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from keepwarm import simulate
from keepwarm.accounting import NO_TRAFFIC_SIGNAL, PARTLY_TRAFFIC, TRAFFIC, Background, Bounds, make_report, to_json
from keepwarm.counterfactual import Gathering, Terms, Traffic, total
from keepwarm.model import Entry, Prefix, PrefixState, Prices, Rates, Touch, Ttl, Usage, Verdict
from tests.builders import MONDAY, make_entry, make_prefix, make_touch

MINUTE = timedelta(minutes=1)
UNTIL = MONDAY + timedelta(hours=10)
PREFIX = make_prefix()
RATES = Rates(
    input=Decimal("1.6"),
    output=Decimal(8),
    cache_read=Decimal("0.2"),
    cache_write_5m=Decimal(2),
    cache_write_1h=Decimal(4),
)
READ, WRITTEN, NEITHER = Usage(3, 9, 5_000, 0), Usage(3, 9, 0, 5_000), Usage(5_003, 9, 0, 0)


def lifetime(billed: Ttl | None) -> timedelta:
    return (billed or Ttl.FIVE_MINUTES).duration


TERMS = Terms(Prices(RATES), Ttl.FIVE_MINUTES, lifetime)


def asked(minutes: float, usage: Usage | None = None, **changes: object) -> Touch:
    number = changes.pop("number", int(minutes * 1000))
    return make_touch(PREFIX, number, started_at=MONDAY + minutes * MINUTE, usage=usage, **changes)


def pinged(minutes: float, verdict: Verdict = Verdict.HIT, **changes: object) -> Entry:
    cost = {Verdict.HIT: "0.002", Verdict.REWRITE: "0.011"}.get(verdict, "0.005")
    moment = MONDAY + minutes * MINUTE
    return make_entry(PREFIX, verdict, started_at=moment, completed_at=moment, cost_usd=Decimal(cost), **changes)


def weighed(*events: Touch | Entry, terms: Terms = TERMS) -> Traffic:
    gathering = Gathering(event for event in events if isinstance(event, Touch))
    for event in events:
        if isinstance(event, Entry):
            gathering.add(event)
    return gathering.figures({PREFIX.name: terms}, MONDAY, UNTIL)[PREFIX.name]


def avoided(found: Traffic) -> tuple[int, int]:
    return found.avoided_low, found.avoided_high


# -- credit -------------------------------------------------------------------------------------------------------


def test_a_request_that_only_a_ping_kept_warm_is_credited_with_one_write():
    found = weighed(asked(0, WRITTEN), pinged(4), asked(8, READ))
    assert (found.requests, found.warm, found.cold, found.would_have_been_cold) == (2, 1, 1, 2)
    assert avoided(found) == (1, 1)
    assert (found.avoided_low_usd, found.avoided_high_usd) == (Decimal("0.009"), Decimal("0.009"))
    assert (found.avoided_low_tokens, found.avoided_high_tokens) == (5_000, 5_000)
    assert (found.misses, found.wasted_pings) == (0, 0)


def test_a_request_that_traffic_alone_would_have_kept_warm_is_credited_with_nothing():
    found = weighed(asked(0, WRITTEN), pinged(2), asked(4, READ), asked(8, READ))
    assert (avoided(found), found.would_have_been_cold, found.warm) == ((0, 0), 1, 2)


def test_one_ping_is_credited_once_however_many_requests_follow():
    found = weighed(pinged(0, Verdict.REWRITE), *(asked(1 + second / 60, READ) for second in range(20)))
    assert (avoided(found), found.warm) == ((1, 1), 20)


def test_a_request_without_usage_counts_only_for_the_high_bound():
    found = weighed(asked(0, WRITTEN), pinged(4), asked(8))
    assert (avoided(found), found.unknown) == ((0, 1), 1)
    assert (found.avoided_low_usd, found.avoided_high_usd) == (0, Decimal("0.009"))


def test_a_request_that_went_cold_although_we_pinged_is_a_miss():
    found = weighed(asked(0, WRITTEN), pinged(4), asked(8, WRITTEN))
    assert (avoided(found), found.misses, found.cold) == ((0, 0), 1, 2)
    assert found.wasted_pings == 1


def test_an_entry_that_outlived_its_lifetime_by_itself_is_not_our_merit():
    assert avoided(weighed(asked(0, WRITTEN), asked(8, READ))) == (0, 0)
    assert avoided(weighed(pinged(0), asked(5, READ))) == (0, 0)
    assert avoided(weighed(pinged(0), asked(4.999, READ))) == (1, 1)


def test_a_request_behind_our_cache_point_reads_ours_and_writes_its_own():
    """A conversation marks its latest message too: it always writes that."""
    deeper, shorter = Usage(3, 9, 5_000, 800), Usage(3, 9, 2_000, 3_800)
    found = weighed(asked(0, WRITTEN), pinged(4), asked(8, deeper), asked(20, deeper), pinged(24), asked(28, shorter))
    assert (avoided(found), found.warm, found.cold, found.misses) == ((1, 1), 2, 2, 1)


def test_how_much_of_a_partial_read_was_ours_is_unknown_before_any_ping_told_the_size():
    partial = Usage(3, 9, 5_000, 800)
    silent = pinged(4, usage=None)
    found = weighed(asked(0, partial), silent, asked(8, partial))
    assert (avoided(found), found.unknown) == ((0, 1), 2)
    found = weighed(asked(0, partial), silent, asked(8, partial), terms=replace(TERMS, measured_tokens=5_000))
    assert (avoided(found), found.warm) == ((1, 1), 2)


def test_a_request_that_neither_read_nor_wrote_touches_nothing():
    found = weighed(asked(0, WRITTEN), asked(4, NEITHER), pinged(4.5), asked(8, READ))
    assert (found.requests, found.uncached, found.would_have_been_cold) == (3, 1, 2)
    assert avoided(found) == (1, 1)


def test_a_ping_that_touched_nothing_covers_nothing():
    for verdict in (Verdict.UNCACHED, Verdict.ERROR, Verdict.UNKNOWN):
        found = weighed(asked(0, WRITTEN), pinged(4, verdict), asked(8, WRITTEN))
        assert (avoided(found), found.misses, found.wasted_pings) == ((0, 0), 0, 0)


def test_a_write_of_ours_covers_only_from_its_answer_on():
    slow = pinged(0, Verdict.REWRITE)
    slow = replace(slow, outcome=replace(slow.outcome, completed_at=MONDAY + MINUTE))
    assert weighed(slow, asked(0.5, WRITTEN)).misses == 0
    assert weighed(slow, asked(1, WRITTEN)).misses == 1
    orphan = replace(slow, outcome=None)
    assert weighed(orphan, asked(1, WRITTEN)).misses == 0


def test_a_ping_of_the_very_moment_of_a_request_comes_after_it():
    assert avoided(weighed(pinged(8), asked(8, READ))) == (0, 0)


def test_what_came_before_the_stretch_counts_for_what_is_in_it_and_not_by_itself():
    found = weighed(asked(-4, WRITTEN), pinged(-2), asked(0, READ), asked(600, READ), pinged(601))
    assert (found.requests, avoided(found), found.wasted_pings) == (1, (0, 0), 0)
    found = weighed(asked(-9, WRITTEN), pinged(-4), asked(0.5, READ))
    assert (found.requests, avoided(found), found.would_have_been_cold) == (1, (1, 1), 1)


def test_touches_told_twice_late_or_of_no_prefix_change_nothing():
    events = [asked(0, WRITTEN), pinged(4), asked(8, READ)]
    late = [asked(8, READ), asked(5, READ, fingerprint="", drift="tool_choice"), *events[::-1], asked(8, None)]
    assert weighed(*late) == weighed(*events)


def test_what_was_billed_tells_how_long_an_entry_lives():
    long = Usage(3, 9, 0, 5_000, 5_000)
    assert weighed(asked(0, long), asked(50, READ)).would_have_been_cold == 1
    assert weighed(asked(0, WRITTEN), asked(50, READ)).would_have_been_cold == 2
    assert weighed(asked(0), asked(50), terms=replace(TERMS, billed_ttl=Ttl.ONE_HOUR)).would_have_been_cold == 1
    billed = pinged(0, Verdict.REWRITE, billed_ttl=Ttl.ONE_HOUR)
    found = weighed(billed, asked(50, READ))
    assert (avoided(found), found.avoided_low_usd) == ((1, 1), Decimal("0.019"))


# -- waste --------------------------------------------------------------------------------------------------------


def wasted(*events: Touch | Entry) -> int:
    return weighed(asked(0, WRITTEN), *events).wasted_pings


def test_a_ping_that_a_request_would_have_made_needless_is_wasted():
    assert wasted(pinged(2), asked(4, READ)) == 1
    assert wasted(pinged(4), pinged(8), asked(8.5, READ)) == 1
    assert wasted(pinged(4), pinged(8), asked(9, READ)) == 0


def test_a_ping_after_which_nobody_came_in_time_is_wasted():
    assert wasted(pinged(4)) == 1
    assert wasted(pinged(4), pinged(8)) == 2
    assert wasted(pinged(4), pinged(8), asked(14, WRITTEN)) == 2
    assert wasted(pinged(4), pinged(20), asked(21, READ)) == 1
    assert wasted(pinged(4), pinged(8, Verdict.REWRITE), asked(9, READ)) == 1


def test_an_opening_write_that_somebody_reads_is_not_wasted():
    found = weighed(pinged(0, Verdict.REWRITE), pinged(4), asked(8, READ), pinged(30, Verdict.REWRITE))
    assert (found.wasted_pings, found.wasted_usd) == (1, Decimal("0.011"))


def test_a_request_without_usage_is_taken_for_warm_while_the_entry_should_live():
    assert wasted(pinged(4), asked(8)) == 0
    assert wasted(pinged(4), asked(10)) == 1


# -- waiting ------------------------------------------------------------------------------------------------------


def test_waiting_saved_is_the_difference_of_the_medians_for_every_avoided_write():
    warm = [asked(8 + 8 * n, READ, latency_ms=ms) for n, ms in enumerate((400, 500, 900))]
    cold = [asked(100 + 8 * n, WRITTEN, latency_ms=ms) for n, ms in enumerate((2_000, 3_000))]
    pings = [pinged(4 + 8 * n) for n in range(3)]
    found = weighed(asked(0), *warm, *cold, *pings, asked(160), pinged(164), asked(168))
    assert (avoided(found), found.waiting_saved_seconds) == ((3, 4), (6.0, 8.0))


def test_where_no_request_was_cold_our_pings_tell_both_latencies():
    pings = [pinged(0, Verdict.REWRITE, latency_ms=2_400), pinged(4, latency_ms=400)]
    assert weighed(*pings, asked(8, READ, latency_ms=900)).waiting_saved_seconds == (2.0, 2.0)


def test_waiting_that_was_not_measured_is_not_guessed():
    assert weighed(pinged(4), asked(8, READ, latency_ms=900)).waiting_saved_seconds is None
    assert weighed(asked(8, READ)).waiting_saved_seconds is None


# -- regret -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "regret"),
    [
        ([asked(0, WRITTEN)], "0"),  # the first write is nobody's fault
        ([asked(0, WRITTEN), asked(4, READ)], "0"),
        ([asked(0, WRITTEN), pinged(4), asked(8, READ)], "0.001"),  # only what a ping costs beyond a read
        ([asked(0, WRITTEN), asked(8, WRITTEN)], "0.008"),  # one ping would have saved a write
        ([asked(0, WRITTEN), asked(5, WRITTEN)], "0.008"),
        ([asked(0, WRITTEN), asked(60, WRITTEN)], "0"),  # 12 pings cost more than a write
        ([asked(0, WRITTEN), pinged(4), asked(60, WRITTEN)], "0.002"),
        ([asked(0, WRITTEN), asked(44, WRITTEN)], "0.001"),  # 8 pings and a read
        ([asked(0, WRITTEN), asked(45, WRITTEN)], "0"),
        ([asked(-4, WRITTEN), asked(0, READ)], "0"),
        ([pinged(-4), asked(0, READ)], "0"),
        ([pinged(0, Verdict.REWRITE), asked(4, READ)], "0.002"),  # its first write, and the read after it
        ([asked(0, WRITTEN), asked(8, READ)], "-0.001"),  # it outlived its lifetime
        ([asked(0), asked(8)], "0.008"),
        ([asked(0, NEITHER)], "0"),
        ([pinged(0, Verdict.ERROR), asked(1, WRITTEN)], "0.005"),
    ],
)
def test_regret_is_what_was_paid_beyond_the_cheapest(events, regret):
    assert weighed(*events, terms=replace(TERMS, estimated_tokens=5_000)).regret_usd == Decimal(regret)


# -- sums and reports ---------------------------------------------------------------------------------------------


def test_the_total_is_the_sum_and_waits_only_for_what_is_measured():
    one = weighed(asked(0, WRITTEN, latency_ms=2_000), pinged(4), asked(8, READ, latency_ms=1_000))
    other = weighed(asked(0), pinged(4), asked(8))
    summed = total([one, other, Traffic()])
    assert (summed.requests, summed.avoided_low, summed.avoided_high) == (4, 1, 2)
    assert summed.avoided_high_usd == Decimal("0.018")
    assert summed.waiting_saved_seconds == (1.0, 1.0)
    assert total([one, one]).waiting_saved_seconds == (2.0, 2.0)
    assert total([]) == Traffic()


def report(*events: Touch | Entry, background: Background | None = None):
    background = background or Background(terms=TERMS)
    entries = [event for event in events if isinstance(event, Entry)]
    touches = [event for event in events if isinstance(event, Touch)]
    return make_report(entries, MONDAY, UNTIL, {PREFIX.name: background}, touches)


def test_a_report_rests_on_touches_where_there_are_any():
    found = report(asked(0, WRITTEN), pinged(4), asked(8, READ), pinged(12), asked(16))
    (account,) = found.prefixes
    assert account.basis == found.total.basis == TRAFFIC
    assert account.avoided_write_usd == Bounds(Decimal("0.009"), Decimal("0.018"))
    assert account.net_usd == Bounds(Decimal("0.005"), Decimal("0.014"))
    assert found.total.net_usd == account.net_usd
    assert found.total.traffic == account.traffic


def test_a_prefix_without_touches_keeps_the_old_bounds_and_the_total_says_so():
    silent = replace(PREFIX, name="silent", fingerprint="feed")
    entry = make_entry(silent, cost_usd=Decimal("0.002"), avoidable_usd=Decimal("0.009"), started_at=MONDAY)
    found = report(asked(0, WRITTEN), pinged(4), asked(8, READ), entry)
    assert [account.basis for account in found.prefixes] == [NO_TRAFFIC_SIGNAL, TRAFFIC]
    assert found.total.basis == PARTLY_TRAFFIC
    assert found.total.avoided_write_usd == Bounds(Decimal("0.009"), Decimal("0.018"))
    assert found.prefixes[0].traffic is None


def test_touches_of_a_prefix_whose_prices_are_not_known_are_left_out():
    found = report(asked(0, WRITTEN), pinged(4), asked(8, READ), background=Background())
    assert found.total.basis == NO_TRAFFIC_SIGNAL
    assert found.total.traffic is None


def test_a_provisioned_prefix_frees_capacity_instead_of_money():
    events = [asked(0, WRITTEN), asked(8, READ), asked(16)]
    pings = [replace(pinged(at), intent=replace(pinged(at).intent, provisioned=True)) for at in (4, 12)]
    background = Background(provisioned=True, terms=replace(TERMS, prices=None))
    found = report(*events, *pings, background=background)
    (account,) = found.prefixes
    assert account.avoided_write_usd is None
    assert account.capacity_freed_tokens == found.total.capacity_freed_tokens == (5_000, 10_000)
    traffic = to_json(found)["prefixes"][0]["traffic"]
    assert (traffic["wasted_usd"], traffic["regret_usd"]) == (None, None)
    assert traffic["avoided_writes"] == {"low": 1, "high": 2}


def test_the_figures_stand_in_the_json():
    found = report(
        asked(0, WRITTEN, latency_ms=2_500),
        pinged(4),
        asked(8, READ, latency_ms=1_000),
        pinged(12),
        asked(16),
        pinged(17),
    )
    (account,) = to_json(found)["prefixes"]
    assert account["traffic"] == {
        "organic_requests": 3,
        "warm": 1,
        "cold": 1,
        "uncached": 0,
        "unknown": 1,
        "would_have_been_cold": 3,
        "misses": 0,
        "wasted_pings": 1,
        "wasted_usd": "0.002",
        "regret_usd": "0.004",
        "avoided_writes": {"low": 1, "high": 2},
        "waiting_saved_seconds": {"low": 1.5, "high": 3.0},
    }
    assert account["avoided_write_usd"] == {"low": "0.009", "high": "0.018", "basis": TRAFFIC}


def test_two_entries_under_one_name_are_weighed_apart_and_summed():
    """The registered request was changed: what kept the old entry warm says nothing of the new one."""
    old, new = make_prefix(fingerprint="aa"), make_prefix(fingerprint="bb")

    def one(prefix: Prefix, number: int, minutes: float, usage: Usage) -> Touch:
        return make_touch(prefix, number, started_at=MONDAY + minutes * MINUTE, usage=usage)

    found = report(one(old, 0, 0, WRITTEN), one(new, 1, 2, WRITTEN), one(new, 2, 4, READ))
    assert found.total.traffic.would_have_been_cold == 2


def test_the_registry_tells_what_touches_are_weighed_with():
    prefix = make_prefix(ttl=Ttl.ONE_HOUR)
    state = PrefixState(billed_ttl=Ttl.FIVE_MINUTES, cached_tokens=4_321)
    terms = simulate.background_of(prefix, state, MONDAY, UNTIL).terms
    assert (terms.ttl, terms.billed_ttl, terms.measured_tokens, terms.estimated_tokens) == (
        Ttl.ONE_HOUR, Ttl.FIVE_MINUTES, 4_321, 5_000,
    )  # fmt: skip
    assert (terms.lifetime(None), terms.lifetime(Ttl.FIVE_MINUTES)) == (60 * MINUTE, 5 * MINUTE)
    assert terms.prices is prefix.facts.prices
    provisioned = make_prefix(provisioned=True)
    assert simulate.background_of(provisioned, PrefixState(), MONDAY, UNTIL).terms.prices is None
