"""What came back for a ping, judged: verdict and money to the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from keepwarm import errors
from keepwarm.model import Answer, PrefixState, Route, Ttl, Usage, Verdict
from keepwarm.verdicts import failed, high_cost_usd, judge
from tests.builders import MONDAY, NOVA, make_intent, make_prefix

# Sonnet 4.5 through an EU profile: input 3.30, output 16.50, read 0.33, write 4.125 (5m) and 6.60 (1h) USD per million.
PREFIX = make_prefix()
ONE_HOUR = make_prefix(ttl=Ttl.ONE_HOUR)
INTENT = make_intent(PREFIX)


@pytest.mark.parametrize(
    ("usage", "verdict", "cost", "avoidable"),
    [
        (Usage(3, 1, 5_000, 0), Verdict.HIT, "0.0016764", "0.018975"),
        (Usage(3, 1, 4_000, 1_000, 0), Verdict.PARTIAL, "0.0054714", "0"),
        (Usage(3, 1, 0, 5_000, 0), Verdict.REWRITE, "0.0206514", "0"),
        (Usage(5_003, 1, 0, 0), Verdict.UNCACHED, "0.0165264", "0"),
    ],
    ids=lambda value: str(value) if isinstance(value, Verdict) else "",
)
def test_usage_makes_the_verdict_and_its_price(usage, verdict, cost, avoidable):
    outcome = judge(PREFIX, INTENT, Answer(usage, server_latency_ms=80, request_id="r-1"))
    assert (outcome.verdict, outcome.cost_usd, outcome.avoidable_usd) == (verdict, Decimal(cost), Decimal(avoidable))
    assert (outcome.usage, outcome.server_latency_ms, outcome.request_id) == (usage, 80, "r-1")
    assert (outcome.completed_at, outcome.error_code, outcome.retryable) == (MONDAY, "", False)


@pytest.mark.parametrize(
    ("usage", "billed"),
    [
        (Usage(3, 1, 0, 5_000, 5_000), Ttl.ONE_HOUR),
        (Usage(3, 1, 0, 5_000, 0), Ttl.FIVE_MINUTES),
        (Usage(3, 1, 0, 5_000), None),
        (Usage(3, 1, 5_000, 0, 0), None),
    ],
)
def test_the_billed_ttl_is_told_only_by_a_write_that_tells_it(usage, billed):
    assert judge(ONE_HOUR, INTENT, Answer(usage)).billed_ttl is billed


def test_a_write_of_an_hour_is_priced_as_one_unless_the_answer_says_5m():
    assert judge(ONE_HOUR, INTENT, Answer(Usage(0, 0, 0, 5_000))).cost_usd == Decimal("0.033")
    assert judge(ONE_HOUR, INTENT, Answer(Usage(0, 0, 0, 5_000, 0))).cost_usd == Decimal("0.020625")


def test_an_answer_without_counts_is_unknown_and_costs_the_high_price():
    outcome = judge(PREFIX, INTENT, Answer(None, server_latency_ms=80, request_id="r-1"))
    assert (outcome.verdict, outcome.cost_usd) == (Verdict.UNKNOWN, INTENT.high_cost_usd)
    assert (outcome.error_code, outcome.retryable, outcome.usage) == ("no_usage", True, None)
    assert (outcome.server_latency_ms, outcome.request_id) == (80, "r-1")


def test_the_high_price_is_that_of_writing_everything_but_a_few_tokens_with_a_doubled_estimate_before_the_first_usage():
    assert high_cost_usd(PREFIX, PrefixState(cached_tokens=4_000)) == Decimal("0.0168465")
    assert high_cost_usd(PREFIX, PrefixState()) == Decimal("0.0415965")
    assert high_cost_usd(ONE_HOUR, PrefixState(cached_tokens=4_000)) == Decimal("0.0267465")


@pytest.mark.parametrize("prefix", [PREFIX, ONE_HOUR, make_prefix(model_id=NOVA, route=Route("us-east-1"))])
@pytest.mark.parametrize("verdict_usage", [Usage(3, 1, 5_000, 0), Usage(3, 1, 0, 5_000), Usage(3, 1, 2_500, 2_500)])
def test_no_answer_of_the_estimated_size_costs_more_than_the_high_price(prefix, verdict_usage):
    assert judge(prefix, INTENT, Answer(verdict_usage)).cost_usd <= high_cost_usd(prefix, PrefixState())


REFUSALS = [
    errors.Throttled("slow down"),
    errors.Unavailable("503"),
    errors.CredentialsRejected("expired"),
    errors.AccessDenied("no", hint="grant it"),
    errors.RequestRefused("invalid", hint="mend it"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.code)
def test_a_refusal_costs_nothing_and_says_who_must_act(error):
    outcome = failed(INTENT, error)
    assert (outcome.verdict, outcome.cost_usd, outcome.completed_at) == (Verdict.ERROR, 0, MONDAY)
    assert (outcome.error_code, outcome.error_message, outcome.error_hint, outcome.retryable) == (
        error.code, str(error), error.hint, error.retryable,
    )  # fmt: skip


def test_a_lost_answer_is_unknown_and_costs_the_high_price():
    outcome = failed(INTENT, errors.Unavailable("read timeout", maybe_billed=True))
    assert (outcome.verdict, outcome.cost_usd, outcome.retryable) == (Verdict.UNKNOWN, INTENT.high_cost_usd, True)
