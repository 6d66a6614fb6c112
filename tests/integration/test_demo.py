"""The demo, shortened: a real daemon in a child process beside real traffic and its twin."""

from decimal import Decimal

import pytest

from keepwarm.demo import Show, scene
from keepwarm.model import Verdict


@pytest.fixture(scope="module")
def result():
    snapshots = []
    found = Show(seconds=14, seed=7).play(snapshots.append)
    return found, snapshots


def line(result, name):
    return next(line for line in result[0].snapshot.lines if line.name == name)


def test_the_daemon_obeys_its_signal(result):
    assert result[0].exit_code == 0


def test_with_keepwarm_no_request_is_cold_and_without_it_they_are(result):
    for name in (scene.SUPPORT_BOT, scene.LEGAL_SEARCH):
        found = line(result, name)
        assert found.kept.cold == 0
        assert found.kept.warm >= 1
        assert found.twin.cold >= 1


def test_the_prefix_below_the_minimum_is_stopped_after_two_pings(result):
    found = line(result, scene.TINY_FAQ)
    assert (found.state, found.pings["uncached"]) == ("stopped", 2)
    assert "caches from 4096 on" in found.detail


def test_the_throttled_prefix_is_tried_again_and_its_refusals_cost_nothing(result):
    found = line(result, scene.INVOICES)
    assert found.errors["throttled"] >= 1
    assert found.pings["hit"] + found.pings["rewrite"] >= 1


def test_the_log_and_the_ledger_tell_the_same(result):
    found, _ = result
    accounts = {account.name: account for account in found.report.prefixes}
    for shown in found.snapshot.lines:
        assert dict(shown.pings) == {v.value: n for v, n in accounts[shown.name].pings.items() if n}
        assert shown.refresh_cost_usd == accounts[shown.name].refresh_cost_usd
    assert found.report.total.pings[Verdict.UNKNOWN] == 0
    assert found.report.total.refresh_cost_usd > Decimal(0)


def test_it_paints_while_it_plays(result):
    passed = [snapshot.passed_seconds for snapshot in result[1]]
    assert passed == sorted(passed)
    assert len(passed) > 10
