from __future__ import annotations

import json
import re
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from keepwarm.emf import METRICS, Emf
from keepwarm.metrics import Metrics, Reading
from keepwarm.model import Event
from keepwarm.views.shapes import Condition, Counts, GuardShown, Money, PrefixShown, RegistryShown, Summary, Takings
from tests.builders import MONDAY
from tests.emf import emf_line

WEEK = Money(MONDAY, 10, 0.5, 0.25, 1.5, -0.25, 1.0)
TAKINGS = Takings(WEEK, WEEK, None)
GUARD = GuardShown("day_cap", None, True, "tripped", "full", 25.0, 25.0)


def ping(prefix: str, verdict: str = "hit", **more: Any) -> Event:
    fields = {"prefix": prefix, "verdict": verdict, "cost_usd": Decimal("0.01"), "latency_ms": 700} | more
    return Event("ping_succeeded" if verdict == "hit" else "ping_failed", MONDAY, "info", fields)


def shown(name: str, **changes: Any) -> PrefixShown:
    plain: dict[str, Any] = dict.fromkeys(PrefixShown.__dataclass_fields__)
    chosen = {"name": name, "state": Condition.WARM, "reason": "keep_warm", "money": TAKINGS}
    chosen |= {"warm_until": MONDAY + timedelta(minutes=5), "early_loss_rate": 0.125}
    return PrefixShown(**plain | chosen | changes)


def summary(**changes: Any) -> Summary:
    plain: dict[str, Any] = {
        "as_of": MONDAY,
        "version": "1",
        "role": "leader",
        "leader": "here",
        "stopped": None,
        "started_at": MONDAY,
        "prefixes": Counts(3, 2, 1, 0, 0),
        "money": TAKINGS,
        "money_as_of": MONDAY,
        "registry": RegistryShown("registry.yaml", 4, MONDAY, None),
        "guards": [GUARD],
        "alerts": None,
        "may_act": False,
        "has_token": False,
    }
    return Summary(**plain | changes)


def read(prefixes: list[PrefixShown], **changes: Any) -> Reading:
    return Reading(summary(**changes), prefixes, {"accepted": 7, "too_old": 1}, 2, 3, firing=True, loop_age_seconds=0.4)


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus' own text parser reads it."""
    found = {}
    for family in parse_text(metrics.expose()[0].decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    metrics.watch(lambda: read([shown("a"), shown("b", state=Condition.STOPPED, warm_until=None)]))
    return metrics


def test_pings_are_counted_by_prefix_and_verdict_with_their_cost_and_latency(metrics: Metrics):
    for event in (ping("a"), ping("a"), ping("a", "rewrite", latency_ms=5_000), ping("b", "error", latency_ms=None)):
        metrics.observe(event)
    found = values(metrics)
    assert found["keepwarm_pings_total{prefix=a,verdict=hit}"] == 2
    assert found["keepwarm_pings_total{prefix=b,verdict=error}"] == 1
    assert found["keepwarm_refresh_cost_usd_total{prefix=a}"] == pytest.approx(0.03)
    assert found["keepwarm_ping_latency_seconds_bucket{le=1.0,verdict=hit}"] == 2
    assert found["keepwarm_ping_latency_seconds_sum{verdict=rewrite}"] == 5
    assert "keepwarm_ping_latency_seconds_sum{verdict=error}" not in found


def test_how_things_are_is_read_when_somebody_asks(metrics: Metrics):
    found = values(metrics)
    assert found["keepwarm_prefix_expiry_timestamp_seconds{prefix=a}"] == MONDAY.timestamp() + 300
    assert "keepwarm_prefix_expiry_timestamp_seconds{prefix=b}" not in found
    assert found["keepwarm_prefix_state{prefix=b,reason=keep_warm,state=stopped}"] == 1
    assert found["keepwarm_prefixes{state=paused}"] == 0
    assert found["keepwarm_guard_holding{guard=day_cap,prefix=all}"] == 1
    assert found["keepwarm_touches_total{outcome=too_old}"] == 1
    assert found["keepwarm_period_net_usd{bound=low,period=7d}"] == -0.25
    assert "keepwarm_period_net_usd{bound=low,period=30d}" not in found  # still being added up
    plain = {
        "leader": 1,
        "scheduler_alive": 1,
        "pings_in_flight": 2,
        "prefixes_waiting": 3,
        "registry_generation": 4,
        "registry_refused": 0,
    }
    assert {name: found[f"keepwarm_{name}{{}}"] for name in plain} == plain


def test_pings_that_missed_the_hit_that_was_due_are_counted_until_the_next_hit(metrics: Metrics):
    for event in (ping("a", "rewrite", reason="keep_warm"), ping("a", "error", reason="retry", latency_ms=None)):
        metrics.observe(event)
    metrics.observe(ping("b", "rewrite", reason="cold_in_busy_hours"))  # it opens the entry: no hit was due
    found = values(metrics)
    assert found["keepwarm_prefix_pings_since_hit{prefix=a}"] == 2
    assert "keepwarm_prefix_pings_since_hit{prefix=b}" not in found
    metrics.observe(ping("a", reason="keep_warm"))
    assert values(metrics)["keepwarm_prefix_pings_since_hit{prefix=a}"] == 0


def test_a_daemon_that_leads_no_more_does_not_tell_of_missed_hits(metrics: Metrics):
    metrics.observe(ping("a", "rewrite", reason="keep_warm"))
    metrics.observe(Event("leadership_lost", MONDAY, "warning", {}))
    assert "keepwarm_prefix_pings_since_hit{prefix=a}" not in values(metrics)


def test_a_ttl_that_is_billed_otherwise_than_asked_for_is_told(metrics: Metrics):
    prefixes = [
        shown("asks-1h", ttl="1h", billed_ttl="5m"),
        shown("honoured", ttl="1h", billed_ttl="1h"),
        shown("chooses", ttl="auto", billed_ttl="5m"),
        shown("unknown", ttl="1h"),
    ]
    metrics.watch(lambda: read(prefixes))
    found = {name for name in values(metrics) if name.startswith("keepwarm_prefix_ttl")}
    assert found == {"keepwarm_prefix_ttl_not_honoured{billed=5m,prefix=asks-1h}"}


def test_a_prefix_that_left_the_registry_leaves_the_metrics(metrics: Metrics):
    metrics.observe(ping("gone"))
    assert not any("gone" in name for name in values(metrics))


def test_events_are_counted_by_name(metrics: Metrics):
    assert values(metrics)["keepwarm_events_total{event=ledger_failed}"] == 0  # else its first increase goes unseen
    metrics.observe(Event("ledger_failed", MONDAY, "error", {}))
    assert values(metrics)["keepwarm_events_total{event=ledger_failed}"] == 1


def test_lateness_is_never_negative(metrics: Metrics):
    for late in (-1.0, 0.2, 7.0):
        metrics.tended(late)
    found = values(metrics)
    assert found["keepwarm_ping_lateness_seconds_bucket{le=0.01}"] == 1
    assert found["keepwarm_ping_lateness_seconds_count{}"] == 3


def test_openmetrics_is_spoken_to_those_who_ask_for_it(metrics: Metrics):
    metrics.observe(ping("a"))
    body, kind = metrics.expose("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert "keepwarm_pings" in {family.name for family in parse_openmetrics(body.decode())}


def test_names_that_look_like_markup_stay_whole(metrics: Metrics):
    metrics.watch(lambda: read([shown('a"\\\n<script>')]))
    assert any('a"\\\n<script>' in name for name in values(metrics))


def test_every_metric_has_a_unit_or_a_plain_name_and_a_description(metrics: Metrics):
    for family in parse_text(metrics.expose()[0].decode()):
        assert family.documentation
        assert family.name.startswith("keepwarm_")


# -- CloudWatch -----------------------------------------------------------------------------------------------------


def test_a_line_of_embedded_metric_format_holds_what_was_counted_since_the_last():
    stream = StringIO()
    emf = Emf("keepwarm", stream, lambda: MONDAY)
    for event in (ping("a"), ping("a", "rewrite"), ping("b", "error"), Event("ledger_failed", MONDAY, "error", {})):
        emf.observe(event)
    emf.write(summary())
    emf.write(summary())
    first, second = map(json.loads, stream.getvalue().splitlines())
    wanted = {"Pings": 3, "Hits": 1, "Rewrites": 1, "PingErrors": 1, "LedgerFailures": 1, "WarmPrefixes": 2}
    assert {name: first[name] for name in wanted} == wanted
    assert first["RefreshCostUsd"] == pytest.approx(0.03)
    assert (first["GuardsHolding"], first["NetUsdSevenDaysLow"]) == (1, -0.25)
    assert (second["Pings"], second["WarmPrefixes"]) == (0, 2)


def test_the_line_is_of_the_form_that_cloudwatch_specifies():
    stream = StringIO()
    Emf("keepwarm", stream, lambda: MONDAY).write(summary())
    line = emf_line(stream.getvalue())
    assert line["_aws"]["Timestamp"] == int(MONDAY.timestamp() * 1000)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("keepwarm", [["Service"]])
    assert {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]} == METRICS


def test_the_reference_names_every_metric_of_cloudwatch():
    reference = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    told = reference.partition("**CloudWatch.**")[2].partition("One dimension")[0]
    assert set(re.findall(r"`([A-Z][A-Za-z]+)`", told)) == set(METRICS)
    assert f"{len(METRICS)} metrics" in reference


class Gone(StringIO):
    """A pipe whose reader has gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_standard_output_that_nobody_reads_ends_nothing():
    Emf("keepwarm", Gone(), lambda: MONDAY).write(summary())


def test_money_that_is_still_being_added_up_is_left_out():
    stream = StringIO()
    Emf("keepwarm", stream, lambda: MONDAY).write(summary(money=Takings()))
    line = json.loads(stream.getvalue())
    assert "NetUsdSevenDaysLow" not in line
    assert "NetUsdSevenDaysLow" not in {metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}


def test_a_daemon_that_stands_by_writes_no_line():
    stream = StringIO()
    Emf("keepwarm", stream, lambda: MONDAY).write(summary(role="standby"))
    assert stream.getvalue() == ""
