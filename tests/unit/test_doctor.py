"""What a doctor's line says for every kind of evidence; the whole way is in the integration tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keepwarm.doctor import Check, Evidence, Line, Sent, Status, at_most_usd, judge, to_json, worst, worth_another
from keepwarm.errors import CredentialsRejected
from keepwarm.model import Entry, PrefixState, Ttl, Usage, Verdict
from tests.builders import MONDAY, make_entry, make_prefix

HIT, REWRITE, UNCACHED, PARTIAL = Verdict.HIT, Verdict.REWRITE, Verdict.UNCACHED, Verdict.PARTIAL
ONE_HOUR = make_prefix(ttl=Ttl.ONE_HOUR, model_id="eu.anthropic.claude-sonnet-4-5-20250929-v1:0")
PLAIN = make_prefix(model_id="amazon.nova-lite-v1:0")


def evidence(*pings: Any, production: Any = None, **changes: Any) -> Evidence:
    sent = [Sent(False, ping if isinstance(ping, Entry) else make_entry(verdict=ping)) for ping in pings]
    if production:
        sent.append(Sent(True, production if isinstance(production, Entry) else make_entry(verdict=production)))
    found = Evidence(make_prefix(), PrefixState(), "env", timedelta(0), tuple(sent))
    return replace(found, **changes)


def error(code: str, message: str = "said Bedrock", *, retryable: bool = False) -> Entry:
    return make_entry(verdict=Verdict.ERROR, error_code=code, error_message=message, retryable=retryable)


def line(found: Evidence, check: Check) -> Line:
    return next(line for line in judge(found) if line.check is check)


@pytest.mark.parametrize(
    ("found", "check", "status"),
    [
        (evidence(), Check.CAPACITY, Status.UNTESTED),
        (evidence(skew=None), Check.CLOCK, Status.UNTESTED),
        (evidence(skew=timedelta(seconds=40)), Check.CLOCK, Status.WARNING),
        (evidence(credentials=CredentialsRejected("none", hint="run aws login")), Check.CREDENTIALS, Status.FAILED),
        (evidence(HIT, error("throttled")), Check.CAPACITY, Status.WARNING),
        (evidence(error("access_denied", "did not allow prompt caching")), Check.CACHING, Status.FAILED),
        (evidence(error("access_denied", "did not allow prompt caching")), Check.MODEL_ACCESS, Status.UNTESTED),
        (evidence(error("request_refused", "max_tokens: too small")), Check.MAX_TOKENS, Status.FAILED),
        (evidence(error("request_refused", "inferenceConfig.maxTokens")), Check.MODEL_ACCESS, Status.UNTESTED),
        (evidence(make_entry(verdict=UNCACHED, usage=Usage(5_000, 1, 0, 0))), Check.CACHING, Status.FAILED),
        (evidence(make_entry(verdict=UNCACHED, usage=Usage(5_000, 1, 0, 0))), Check.MINIMUM, Status.OK),
        (evidence(make_entry(verdict=UNCACHED, usage=Usage(900, 1, 0, 0))), Check.CACHING, Status.UNTESTED),
        (evidence(make_entry(verdict=UNCACHED, usage=Usage(900, 1, 0, 0))), Check.MINIMUM, Status.FAILED),
        (evidence(REWRITE), Check.TTL, Status.OK),  # 5m, the default
        (evidence(REWRITE, prefix=ONE_HOUR), Check.TTL, Status.WARNING),
        (evidence(make_entry(verdict=REWRITE, billed_ttl=Ttl.FIVE_MINUTES), prefix=ONE_HOUR), Check.TTL, Status.FAILED),
        (evidence(HIT, prefix=ONE_HOUR), Check.TTL, Status.UNTESTED),
        (evidence(HIT, before=PrefixState(billed_ttl=Ttl.FIVE_MINUTES)), Check.TTL, Status.OK),
        (evidence(HIT), Check.REGIONS, Status.UNTESTED),
        (evidence(UNCACHED, UNCACHED), Check.REGIONS, Status.UNTESTED),
        (evidence(REWRITE, HIT), Check.REGIONS, Status.OK),
        (evidence(REWRITE, PARTIAL), Check.REGIONS, Status.WARNING),
        (evidence(HIT, production=HIT), Check.PING_TO_PRODUCTION, Status.OK),
        (evidence(HIT, production=PARTIAL), Check.PING_TO_PRODUCTION, Status.FAILED),
        (evidence(HIT, REWRITE, production=REWRITE), Check.PING_TO_PRODUCTION, Status.UNTESTED),
        (evidence(UNCACHED, production=UNCACHED), Check.PING_TO_PRODUCTION, Status.UNTESTED),
        (evidence(HIT, production=error("throttled")), Check.PING_TO_PRODUCTION, Status.UNTESTED),
        (evidence(HIT), Check.PRODUCTION_TO_PING, Status.OK),
        (evidence(REWRITE), Check.PRODUCTION_TO_PING, Status.UNTESTED),
        (evidence(HIT, before=PrefixState(touched_at=MONDAY - timedelta(minutes=9))), Check.PRODUCTION_TO_PING,
         Status.UNTESTED),
        (evidence(HIT, before=PrefixState(touched_at=MONDAY - timedelta(minutes=11))), Check.PRODUCTION_TO_PING,
         Status.OK),
    ],
)  # fmt: skip
def test_each_kind_of_evidence_has_its_status(found: Evidence, check: Check, status: Status):
    assert line(found, check).status is status


def test_what_fails_or_warns_says_what_to_do():
    cases = [
        evidence(credentials=CredentialsRejected("none", hint="run aws login"), skew=timedelta(hours=1)),
        evidence(HIT, REWRITE, prefix=PLAIN),
        evidence(REWRITE, REWRITE, production=PARTIAL, prefix=ONE_HOUR),
        evidence(make_entry(verdict=Verdict.UNKNOWN, error_code="no_usage")),
        evidence(make_entry(verdict=UNCACHED, usage=Usage(5_000, 1, 0, 0))),
        evidence(error("unavailable", retryable=True)),
    ]
    told = [line for case in cases for line in judge(case) if line.status in {Status.FAILED, Status.WARNING}]
    assert len(told) >= len(cases)
    assert all(line.advice for line in told)


def test_a_rewrite_through_a_plain_model_id_is_not_called_a_spread():
    found = line(evidence(REWRITE, REWRITE, prefix=PLAIN), Check.REGIONS)
    assert "more than one home" not in found.message
    assert "lost early" in found.advice


def test_the_worst_line_is_the_status_of_the_whole():
    ok, untested = Line(Check.TTL, Status.OK, ""), Line(Check.TTL, Status.UNTESTED, "")
    warning, failed = Line(Check.TTL, Status.WARNING, ""), Line(Check.TTL, Status.FAILED, "")
    assert worst([ok, untested]) is Status.OK
    assert worst([ok, warning]) is Status.WARNING
    assert worst([failed, warning]) is Status.FAILED


SHORT = make_entry(verdict=UNCACHED, usage=Usage(900, 1, 0, 0))
LONG = make_entry(verdict=UNCACHED, usage=Usage(5_000, 1, 0, 0))


@pytest.mark.parametrize(
    ("entries", "worth"),
    [
        ([], True),
        ([make_entry(verdict=HIT)], True),
        ([SHORT], False),
        ([LONG], True),  # caching does not guarantee a hit
        ([LONG, LONG], False),
        ([error("access_denied")], False),
        ([error("throttled", retryable=True)], True),
        ([error("throttled", retryable=True)] * 2, False),
        ([make_entry(verdict=HIT), error("throttled", retryable=True)], True),
        ([make_entry(verdict=None)], False),
        ([make_entry(verdict=Verdict.UNKNOWN, error_code="no_usage", retryable=True)], False),
    ],
)
def test_no_request_is_paid_that_shows_nothing(entries: list[Entry], worth: bool):
    assert worth_another([Sent(False, entry) for entry in entries], 1_024) is worth


def test_the_most_it_can_cost_counts_what_stands_behind_the_cache_point():
    prefix = make_prefix()
    short = at_most_usd(prefix, PrefixState(), 4, 20_000)
    long = at_most_usd(prefix, PrefixState(), 4, 60_000)
    assert short == 5 * at_most_usd(prefix, PrefixState(), 0, 0)
    assert long - short == 20_000 * prefix.facts.prices.base.input / 1_000_000


def test_plain_data_holds_every_line_and_request():
    found = evidence(REWRITE, production=HIT)
    data: Any = to_json(found, judge(found))
    assert [row["check"] for row in data["lines"]] == [check.value for check in Check]
    assert [row["kind"] for row in data["requests"]] == ["ping", "production"]
    assert data["cost_usd"] == "0.0030"
    assert data["status"] == "ok"
