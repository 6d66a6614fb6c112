"""Which prefixes are paused, by what somebody said and when; and what nobody can mean."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from keepwarm import pauses
from keepwarm.model import PauseOrder, Scope
from tests.builders import MONDAY, make_prefix

HOUR = timedelta(hours=1)
BOT = make_prefix(name="bot", tags=(("team", "care"), ("tier", "1")))
OTHER = make_prefix(name="other")


def order(scope: Scope, target: str = "", until: datetime | None = None, **changes: object) -> PauseOrder:
    said = {"at": MONDAY, "why": "deploy", "by": "anna"} | changes
    return PauseOrder(scope, target, until=until, **said)


def test_a_pause_by_name_tag_or_all_keeps_the_prefixes_that_it_is_about():
    for scope, target, other in [(Scope.PREFIX, "bot", None), (Scope.TAG, "team:care", None), (Scope.ALL, "", "")]:
        found = pauses.standing([order(scope, target)])
        held = found.holding(BOT, MONDAY)
        assert held is not None
        assert held.scope is scope
        assert pauses.is_about(held, BOT)
        assert (found.holding(OTHER, MONDAY) is None) == (other is None) != pauses.is_about(held, OTHER)


def test_a_pause_ends_at_its_moment_and_not_before():
    found = pauses.standing([order(Scope.PREFIX, "bot", MONDAY + HOUR)])
    assert found.holding(BOT, MONDAY + HOUR - timedelta(seconds=1))
    assert found.holding(BOT, MONDAY + HOUR) is None


def test_of_several_pauses_the_one_that_lasts_longest_is_told():
    endless, long, short = (
        order(Scope.ALL),
        order(Scope.TAG, "tier:1", MONDAY + 2 * HOUR),
        order(Scope.PREFIX, "bot", MONDAY + HOUR),
    )
    assert pauses.standing([short, long]).holding(BOT, MONDAY) == long
    assert pauses.standing([short, endless, long]).holding(BOT, MONDAY) == endless


def test_resuming_ends_the_pause_of_the_same_scope_and_target_only():
    orders = [order(Scope.PREFIX, "bot"), order(Scope.ALL), order(Scope.ALL, resumes=True)]
    found = pauses.standing(orders)
    assert found.holding(BOT, MONDAY) == orders[0]
    assert found.holding(OTHER, MONDAY) is None


def test_history_tells_each_pause_with_what_ended_it_newest_first():
    later = MONDAY + HOUR
    orders = [
        order(Scope.PREFIX, "bot", number=1),
        order(Scope.ALL, number=2),
        order(Scope.PREFIX, "bot", number=3, at=later, resumes=True),
        order(Scope.PREFIX, "bot", number=4, at=later + HOUR),
    ]
    assert [(past.order.number, past.resumed_at) for past in pauses.history(orders)] == [
        (4, None),
        (2, None),
        (1, later),
    ]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (order(Scope.PREFIX, "bot"), "by anna: deploy"),
        (order(Scope.TAG, "team:care", by=""), "all with team:care: deploy"),
        (order(Scope.ALL, why=""), "by anna, all prefixes"),
        (order(Scope.PREFIX, "bot", by=""), "deploy"),
    ],
)
def test_a_pause_is_said_in_words(said: PauseOrder, words: str):
    assert pauses.say(said) == words


@pytest.mark.parametrize(
    ("lasting", "until", "end"),
    [
        ("", "", None),
        ("2h", "", MONDAY + 2 * HOUR),
        (" 1d12h ", "", MONDAY + 36 * HOUR),
        ("90m", "", MONDAY + 1.5 * HOUR),
        ("3600s", "", MONDAY + HOUR),
        ("", "2026-03-02T11:00:00+01:00", MONDAY + HOUR),
        ("", "2026-03-02T10:00:00Z", MONDAY + HOUR),
    ],
)
def test_the_end_of_a_pause_is_a_duration_or_a_moment_or_open(lasting: str, until: str, end: datetime | None):
    assert pauses.ends_at(lasting, until, MONDAY) == end


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"why": "x", "for": "2h", "until": "2026-03-02T12:00:00Z"}, "not both"),
        ({"why": "x", "for": "soon"}, "not a duration"),
        ({"why": "x", "for": "  "}, "not a duration"),
        ({"why": "x", "for": "0m"}, "within the coming"),
        ({"why": "x", "for": "9999d"}, "within the coming"),
        ({"why": "x", "until": "tomorrow"}, "not a moment"),
        ({"why": "x", "until": "2026-03-02T12:00:00"}, "needs a zone"),
        ({"why": "x", "until": "2026-03-02T08:00:00Z"}, "within the coming"),
        ({}, "why is missing"),
        ({"why": " "}, "why is missing"),
        ({"why": "x" * 256}, "at most 255"),
        ({"why": "two\nlines"}, "one line"),
        ({"why": "x", "by": "a\0b"}, "by must be"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(said: dict[str, str], word: str):
    with pytest.raises(pauses.BadOrder, match=word):
        pauses.order_of(Scope.PREFIX, "bot", said, [BOT], MONDAY)


def test_a_tag_that_no_prefix_has_is_refused_but_its_pause_can_be_ended():
    with pytest.raises(pauses.BadOrder, match="'team:none'"):
        pauses.order_of(Scope.TAG, "team:none", {"why": "x"}, [BOT], MONDAY)
    found = pauses.order_of(Scope.TAG, "team:none", {}, [BOT], MONDAY, resumes=True)
    assert found == PauseOrder(Scope.TAG, "team:none", MONDAY, None, "", "", resumes=True)
    assert pauses.order_of(Scope.TAG, "tier:1", {"why": " x "}, [BOT], MONDAY).why == "x"
