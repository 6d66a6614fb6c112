"""What a daemon remembers of late, within bounds however many prefixes there are."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keepwarm.answers.recent import Recent
from keepwarm.model import Event
from keepwarm.views.shapes import DecisionShown
from tests.builders import MONDAY

MINUTE = timedelta(minutes=1)


def decision(number: int) -> DecisionShown:
    at = MONDAY + number * MINUTE
    return DecisionShown(at, "ping", "keep_warm", f"the {number}th", at + MINUTE, at + 2 * MINUTE)


@pytest.mark.parametrize(("prefixes", "kept"), [(1, 50), (400, 50), (1_000, 20), (20_000, 3)])
def test_the_last_decisions_are_kept_fewer_where_there_are_many_prefixes(prefixes, kept):
    recent = Recent()
    names = [f"p{number}" for number in range(prefixes)]
    for name in names:
        recent.decided(name, decision(0))
    for number in range(1, 60):
        recent.decided(names[-1], decision(number))
    assert [one.at for one in recent.decisions(names[-1])] == [decision(59 - back).at for back in range(kept)]


def test_a_decision_that_says_what_the_one_before_did_is_kept_once():
    recent = Recent()
    for _ in range(3):
        recent.decided("a", decision(1))
    assert len(recent.decisions("a")) == 1


def test_of_prefixes_that_are_gone_nothing_is_kept_but_events():
    recent = Recent()
    for name in ("a", "b"):
        recent.decided(name, decision(1))
        recent.observe(Event("ping_succeeded", MONDAY, "info", {"prefix": name, "verdict": "hit", "cost_usd": "0.1"}))
        recent.observe(Event("prefix_drifted", MONDAY, "warning", {"prefix": name}))
    recent.retain({"b"})
    assert (recent.decisions("a"), recent.last_ping("a"), recent.drift("a")) == ([], None, None)
    assert recent.decisions("b")
    assert recent.last_ping("b")
    assert recent.drift("b")
    assert len(recent.events(10, "").items) == 4
