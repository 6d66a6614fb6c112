"""What happened, as events: names, severities and fields, and never a word of a prompt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from keepwarm.events import of_billed_ttl, of_decision, of_ping, of_witnesses
from keepwarm.model import Action, Answer, Decision, PrefixState, Reason, Stop, Ttl, Usage, Verdict
from keepwarm.planner import decide
from tests.builders import MONDAY, make_entry, make_prefix

MINUTE = timedelta(minutes=1)
CANARY = "the merger closes on Friday"
PREFIX = make_prefix(ping_request={"body": CANARY.encode()})
ONE_HOUR = make_prefix(ttl=Ttl.ONE_HOUR)
NOTHING = (Decimal(0), Decimal(0))


# -- pings --------------------------------------------------------------------------------------------------------


def test_a_ping_that_succeeded_tells_verdict_tokens_cost_latency_and_the_sums_so_far():
    before = PrefixState(touched_at=MONDAY - 4 * MINUTE)
    event = of_ping(make_entry(latency_ms=120), before, Decimal("0.5"), Decimal(7))
    assert (event.name, event.severity, event.at) == ("ping_succeeded", "info", MONDAY + timedelta(seconds=1))
    assert event.fields == {
        "prefix": "support-bot",
        "verdict": "hit",
        "reason": "keep_warm",
        "attempt": 1,
        "entry": 1,
        "cost_usd": Decimal("0.0015"),
        "idle_seconds": 240.0,
        "read_tokens": 5_000,
        "written_tokens": 0,
        "input_tokens": 3,
        "output_tokens": 1,
        "latency_ms": 120,
        "refresh_cost_usd_so_far": Decimal("0.5"),
        "avoided_write_usd_so_far_at_most": Decimal(7),
    }


@pytest.mark.parametrize(
    ("verdict", "reason", "name", "severity"),
    [
        (Verdict.HIT, Reason.KEEP_WARM, "ping_succeeded", "info"),
        (Verdict.REWRITE, Reason.COLD_IN_BUSY_HOURS, "ping_succeeded", "info"),
        (Verdict.REWRITE, Reason.MANUAL, "ping_succeeded", "info"),
        (Verdict.REWRITE, Reason.KEEP_WARM, "ping_succeeded", "warning"),
        (Verdict.REWRITE, Reason.BRIDGE_PAUSE, "ping_succeeded", "warning"),
        (Verdict.PARTIAL, Reason.RETRY, "ping_succeeded", "warning"),
        (Verdict.UNCACHED, Reason.COLD_IN_BUSY_HOURS, "ping_failed", "warning"),
        (Verdict.ERROR, Reason.MANUAL, "ping_failed", "warning"),
        (Verdict.UNKNOWN, Reason.KEEP_WARM, "ping_failed", "warning"),
        (None, Reason.KEEP_WARM, "ping_failed", "warning"),
    ],
)
def test_a_loss_where_a_hit_was_due_wants_to_be_seen(verdict, reason, name, severity):
    event = of_ping(make_entry(verdict=verdict, reason=reason), PrefixState(), *NOTHING)
    assert (event.name, event.severity) == (name, severity)


def test_a_failed_ping_tells_the_error_and_what_to_do():
    entry = make_entry(
        verdict=Verdict.ERROR,
        error_code="access_denied",
        error_message="no",
        error_hint="grant it",
        cost_usd=Decimal(0),
    )
    fields = of_ping(entry, PrefixState(), *NOTHING).fields
    assert (fields["error_code"], fields["error"], fields["hint"]) == ("access_denied", "no", "grant it")
    assert not {"read_tokens", "idle_seconds"} & set(fields)


def test_an_orphan_is_told_at_the_moment_it_left():
    event = of_ping(make_entry(verdict=None), PrefixState(), *NOTHING)
    assert event.at == MONDAY
    assert (event.fields["verdict"], event.fields["cost_usd"]) == ("unknown", Decimal("0.02"))
    assert "latency_ms" not in event.fields


# -- decisions ----------------------------------------------------------------------------------------------------


def test_a_warm_prefix_says_until_when_and_when_the_next_ping_goes_out():
    state = PrefixState(touched_at=MONDAY)
    decision = decide(PREFIX, state, MONDAY)
    event = of_decision(PREFIX, state, decision, MONDAY)
    assert (event.name, event.severity, event.at) == ("prefix_warmed", "info", MONDAY)
    assert event.fields == {
        "prefix": "support-bot",
        "reason": "keep_warm",
        "warm_until": MONDAY + 5 * MINUTE,
        "next_ping": decision.at,
    }


def test_a_cold_prefix_says_when_it_is_looked_at_again():
    decision = Decision(Action.WAIT, MONDAY + MINUTE, Reason.BACKING_OFF, detail="2 failed attempts, last throttled")
    event = of_decision(PREFIX, PrefixState(), decision, MONDAY)
    assert (event.name, event.severity) == ("prefix_left_cold", "info")
    assert event.fields == {
        "prefix": "support-bot",
        "reason": "backing_off",
        "decides_again": MONDAY + MINUTE,
        "detail": "2 failed attempts, last throttled",
    }


def test_a_stopped_prefix_is_an_error_with_its_hint():
    state = PrefixState(stop=Stop("access_denied", "no", "grant it"))
    event = of_decision(PREFIX, state, decide(PREFIX, state, MONDAY), MONDAY)
    assert (event.name, event.severity) == ("prefix_stopped", "error")
    assert event.fields == {
        "prefix": "support-bot", "reason": "stopped", "detail": "access_denied: no", "hint": "grant it",
    }  # fmt: skip


# -- billed ttl and witnesses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (None, None, None),
        (None, Ttl.ONE_HOUR, None),
        (Ttl.ONE_HOUR, Ttl.ONE_HOUR, None),
        (Ttl.FIVE_MINUTES, Ttl.FIVE_MINUTES, None),
        (Ttl.FIVE_MINUTES, None, None),
        (None, Ttl.FIVE_MINUTES, "ttl_not_honoured"),
        (Ttl.ONE_HOUR, Ttl.FIVE_MINUTES, "ttl_not_honoured"),
        (Ttl.FIVE_MINUTES, Ttl.ONE_HOUR, "ttl_honoured_again"),
    ],
)
def test_a_billed_ttl_is_told_once_when_it_changes(before, after, name):
    event = of_billed_ttl(ONE_HOUR, PrefixState(billed_ttl=before), PrefixState(billed_ttl=after), MONDAY)
    assert (event and event.name) == name


def test_a_ttl_that_is_not_honoured_tells_the_lifetime_that_is_reckoned_with():
    event = of_billed_ttl(ONE_HOUR, PrefixState(), PrefixState(billed_ttl=Ttl.FIVE_MINUTES), MONDAY)
    assert event.severity == "warning"
    assert event.fields == {"prefix": "support-bot", "asked": "1h", "billed": "5m", "lifetime_seconds": 300.0}


BODY = Usage(3, 1, 5_000, 0)


@pytest.mark.parametrize("answer", [Answer(BODY), Answer(None, BODY), Answer(BODY, replace(BODY, input_tokens=9))])
def test_witnesses_that_agree_or_are_silent_are_no_event(answer):
    assert of_witnesses(PREFIX, answer, MONDAY) is None


def test_witnesses_that_disagree_about_the_cache_are_told():
    event = of_witnesses(PREFIX, Answer(BODY, Usage(3, 1, 0, 5_000), request_id="r-1"), MONDAY)
    assert (event.name, event.severity) == ("usage_disagreed", "warning")
    assert event.fields == {
        "prefix": "support-bot",
        "body": {"read_tokens": 5_000, "written_tokens": 0},
        "headers": {"read_tokens": 0, "written_tokens": 5_000},
        "request_id": "r-1",
    }


def test_no_event_holds_prompt_text():
    state = PrefixState(touched_at=MONDAY, billed_ttl=Ttl.ONE_HOUR)
    told = [
        of_ping(make_entry(PREFIX), state, *NOTHING),
        of_decision(PREFIX, state, decide(PREFIX, state, MONDAY), MONDAY),
        of_billed_ttl(PREFIX, PrefixState(), state, MONDAY),
        of_witnesses(PREFIX, Answer(BODY, Usage(0, 0, 0, 1)), MONDAY),
    ]
    assert CANARY not in repr(told)
