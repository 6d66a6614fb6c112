"""What people and programs are shown: states in words, lists in pages, timelines, and money of whole days."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from keepwarm import accounting
from keepwarm.model import (
    Action,
    AdaptivePolicy,
    Course,
    Decision,
    Event,
    Guard,
    GuardState,
    GuardStatus,
    IdleLimitPolicy,
    Opening,
    PauseOrder,
    PrefixState,
    Reason,
    Scope,
    Span,
    Stop,
    Ttl,
    Usage,
    Verdict,
)
from keepwarm.pauses import Past
from keepwarm.views import cursors, prefixes, rows, takings, timelines, words
from keepwarm.views.prefixes import Known, Wanted
from keepwarm.views.shapes import Condition, Money, Takings
from tests.builders import MONDAY, make_entry, make_hours, make_prefix, make_touch

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BOT = make_prefix(name="bot", tags=(("team", "care"),), busy_hours=make_hours("Mon-Fri 08:00-18:00"))
PAUSE = PauseOrder(Scope.PREFIX, "bot", MONDAY, MONDAY + 2 * HOUR, "deploy", "anna")
NOTHING, UNKNOWN = PrefixState(), Takings()
WARM = Decision(Action.PING, MONDAY + 3 * MINUTE, Reason.KEEP_WARM, MONDAY + 4 * MINUTE)


def describe(decision: Decision, state: PrefixState = NOTHING, pause: PauseOrder | None = None) -> str:
    return words.describe(BOT, state, decision, pause, MONDAY)


# -- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (WARM, "warm until 10:04:00; next ping 10:03:00"),
        (replace(WARM, at=MONDAY, detail="1 failed attempt, last throttled"),
         "warm until 10:04:00; next ping now (1 failed attempt, last throttled)"),
        (Decision(Action.PING, MONDAY, Reason.COLD_IN_BUSY_HOURS), "cold; next ping now"),
        (Decision(Action.WAIT, MONDAY + DAY, Reason.OUTSIDE_BUSY_HOURS),
         "left cold: outside its busy hours; looks again 2026-03-03 10:00"),
        (Decision(Action.WAIT, MONDAY + HOUR, Reason.IDLE_LIMIT, MONDAY + MINUTE),
         "warm until 10:01:00; pinged as often as its idle limit allows; looks again 11:00:00"),
        (Decision(Action.LEAVE, None, Reason.NO_TRAFFIC_YET),
         "left cold: nothing has written it yet, and prewarm is off"),
        (Decision(Action.WAIT, MONDAY + HOUR, Reason.CAPPED, None, "the day has $0.02 left of $25.00"),
         "stopped: the day has $0.02 left of $25.00"),
        (Decision(Action.LEAVE, None, Reason.ALL_STOPPED), "stopped: all pings are stopped"),
        (Decision(Action.PING, None, Reason.MANUAL, MONDAY + MINUTE), "warm until 10:01:00; manual"),
    ],
)  # fmt: skip
def test_a_state_is_told_with_its_reason_on_the_clock_of_its_zone(decision: Decision, said: str):
    assert describe(decision) == said


def test_a_ping_that_is_not_worth_it_is_told_with_its_saving_and_price():
    decision = Decision(Action.LEAVE, None, Reason.NOT_WORTH_IT)
    course = Course(0, Ttl.FIVE_MINUTES, saving=0.02, price=0.1)
    state = PrefixState(course=course, cached_tokens=10_000)
    assert describe(decision, state) == "left cold: expected saving $0.00066 under its price $0.0033"
    held = "left cold: one more ping is not expected to pay"
    assert describe(decision, replace(state, course=replace(course, held=True))) == held
    assert describe(decision) == held


def test_an_opening_that_is_not_worth_its_write_is_told_with_its_value_and_price():
    course = Course(0, Ttl.FIVE_MINUTES, opening=Opening(saving=0.5, price=1.25))
    state = PrefixState(course=course, cached_tokens=10_000)
    decision = Decision(Action.WAIT, MONDAY + HOUR, Reason.NOT_WORTH_IT)
    said = "left cold: expected value $0.0165 under its price $0.0413; looks again 11:00:00"
    assert describe(decision, state) == said


def test_a_pause_goes_before_all_else_and_a_stop_before_warmth():
    stopped = PrefixState(stop=Stop("access_denied", "model access not granted", "request access"))
    decision = Decision(Action.LEAVE, None, Reason.STOPPED, None, "access_denied: model access not granted")
    assert describe(decision, stopped) == "stopped: access_denied: model access not granted"
    assert words.hint_of(stopped, decision) == "request access"
    assert describe(decision, stopped, PAUSE) == "paused until 12:00:00 by anna: deploy"
    assert describe(decision, stopped, replace(PAUSE, until=None, by="")) == "paused until resumed deploy"
    assert words.condition(WARM, PrefixState(), None) is Condition.WARM
    assert words.hint_of(PrefixState(), Decision(Action.LEAVE, None, Reason.TRIPPED)) == words.HINT_OF_GUARDS
    assert words.hint_of(PrefixState(), WARM) is None
    assert words.hint_of(PrefixState(stop=Stop("x", "y")), WARM) is None


# -- prefixes -----------------------------------------------------------------------------------------------------


def money(net: float, cost: float = 1.0) -> Takings:
    return Takings(Money(MONDAY, 1, cost, 0.0, 0.0, net, net))


def show(name: str = "bot", takings_: Takings = UNKNOWN, pause: PauseOrder | None = None, **changes: object):
    prefix = replace(BOT, name=name, **changes)
    known = Known(prefix, PrefixState(billed_ttl=Ttl.ONE_HOUR, organic_at=MONDAY), WARM, pause, None)
    return prefixes.show(known, takings_, 0.25, MONDAY)


def test_a_prefix_is_shown_with_all_that_is_known():
    shown = show(pause=PAUSE)
    assert (shown.name, shown.ttl, shown.billed_ttl, shown.tags) == ("bot", "5m", "1h", {"team": "care"})
    assert (shown.state, shown.busy_now, shown.time_zone) == (Condition.PAUSED, True, "Europe/Berlin")
    assert shown.pause is not None
    assert (shown.pause.until, shown.pause.by) == (MONDAY + 2 * HOUR, "anna")
    assert show(auto_ttl=True).ttl == "auto"
    assert show().pause is None


def test_policies_busy_hours_and_guards_are_said_in_a_word_or_two():
    assert prefixes.say_policy(IdleLimitPolicy(3)) == "idle_limit 3"
    assert prefixes.say_policy(AdaptivePolicy()) == "adaptive"
    assert prefixes.say_policy(BOT.policy) == "busy_hours"
    assert prefixes.say_busy_hours(BOT) == "test (Europe/Berlin)"
    assert prefixes.say_busy_hours(make_prefix()) == "always"
    tripped = GuardStatus(Guard.DAY_CAP, "bot", Decimal(25), Decimal("24.99"), GuardState.TRIPPED, "full")
    assert prefixes.show_guard(tripped).holding
    stop = prefixes.show_guard(GuardStatus(Guard.STOP_ALL, "", None, None, GuardState.OK))
    assert (stop.prefix, stop.limit_usd, stop.spent_usd, stop.holding) == (None, None, None, False)


def test_prefixes_are_counted_by_how_they_are():
    counts = prefixes.count([show("a"), show("b"), show("c", pause=PAUSE)])
    assert (counts.total, counts.warm, counts.cold, counts.stopped, counts.paused) == (3, 2, 0, 0, 1)


@pytest.mark.parametrize("sort", ["name", "net", "cost", "state"])
def test_pages_of_a_list_hold_every_prefix_once_in_its_order(sort: str):
    shown = [show(f"p{n:02}", money(n % 3, n % 4), pause=PAUSE if n % 2 else None) for n in range(20)]
    found, cursor, pages = [], "", 0
    while True:
        page, cursor, total = prefixes.choose(shown, Wanted(sort=sort, limit=3, cursor=cursor or ""))
        assert total == 20
        found += page
        pages += 1
        if cursor is None:
            break
    assert pages == 7
    assert sorted(one.name for one in found) == [one.name for one in shown]
    keys = {
        "name": lambda one: one.name,
        "net": lambda one: one.money.today.net_low_usd,
        "cost": lambda one: -one.money.today.refresh_cost_usd,
        "state": lambda one: ["stopped", "paused", "cold", "warm"].index(one.state),
    }
    assert found == sorted(found, key=lambda one: (keys[sort](one), one.name))


def test_a_list_is_searched_by_text_tag_and_state():
    shown = [show("alpha"), show("beta", tags=(("team", "sales"),)), show("gamma", pause=PAUSE)]

    def names(**wanted: object) -> list[str]:
        return [one.name for one in prefixes.choose(shown, Wanted(**wanted))[0]]

    assert names(query="ALPH") == ["alpha"]
    assert names(query="team:sal") == ["beta"]
    assert names(query="eu-central") == ["alpha", "beta", "gamma"]
    assert names(tag="team:care") == ["alpha", "gamma"]
    assert names(tag="team") == []
    assert names(state=Condition.PAUSED) == ["gamma"]
    assert names(sort="net") == names(sort="cost") == ["alpha", "beta", "gamma"]


@pytest.mark.parametrize(
    "cursor",
    ["xx", "é", "!", "a" * 2_000, cursors.write("events", 3), cursors.write("prefixes by name", "a"),
     cursors.write("prefixes by name", 1, "a"), cursors.write("prefixes by net", 1.0, "a"), "e30", "W10"],
)  # fmt: skip
def test_a_cursor_of_another_list_or_of_none_is_refused(cursor: str):
    with pytest.raises(cursors.BadCursor, match="begin anew"):
        prefixes.choose([show()], Wanted(cursor=cursor))


# -- timelines ----------------------------------------------------------------------------------------------------


def test_warm_is_from_each_touch_on_as_long_as_the_entry_lives():
    pings = [make_entry(BOT, Verdict.HIT, started_at=MONDAY + minutes * MINUTE) for minutes in (-9, 0, 4, 20)]
    pings.append(make_entry(BOT, Verdict.ERROR, started_at=MONDAY + 40 * MINUTE))
    requests = [
        make_touch(BOT, started_at=MONDAY + 7 * MINUTE, usage=Usage(9, 9, 5_000, 0)),
        make_touch(BOT, started_at=MONDAY + 60 * MINUTE, usage=Usage(9, 9, 0, 0)),
        make_touch(BOT, started_at=MONDAY + 70 * MINUTE, usage=None),
    ]
    drawn = timelines.draw(BOT, pings[::-1], requests, Span(MONDAY + 2 * MINUTE, MONDAY + 72 * MINUTE))
    assert drawn.warm == [
        (MONDAY + 2 * MINUTE, MONDAY + 12 * MINUTE),
        (MONDAY + 20 * MINUTE, MONDAY + 25 * MINUTE),
        (MONDAY + 70 * MINUTE, MONDAY + 72 * MINUTE),
    ]
    assert [mark.verdict for mark in drawn.pings] == ["hit", "hit", "error"]
    assert [mark.verdict for mark in drawn.requests] == ["hit", "uncached", None]
    assert drawn.busy == [(MONDAY + 2 * MINUTE, MONDAY + 72 * MINUTE)]
    assert not drawn.truncated


def test_what_was_billed_as_an_hour_is_warm_for_an_hour():
    written = make_entry(BOT, Verdict.REWRITE, billed_ttl=Ttl.ONE_HOUR)
    read = make_entry(BOT, Verdict.HIT, started_at=MONDAY + HOUR / 2)
    asleep = make_entry(BOT, None, started_at=MONDAY + 2 * HOUR)
    stretch = Span(MONDAY, MONDAY + 3 * HOUR)
    drawn = timelines.draw(BOT, [written, read, asleep], [], stretch)
    assert drawn.warm == [(MONDAY, MONDAY + 1.5 * HOUR)]
    assert [(mark.verdict, mark.latency_ms) for mark in drawn.pings][-1] == ("unknown", None)
    assert timelines.longest_life(BOT) == HOUR
    auto = replace(BOT, auto_ttl=True)
    asked = make_entry(replace(auto, ttl=Ttl.ONE_HOUR), Verdict.HIT)
    assert timelines.draw(auto, [asked], [], stretch).warm == [(MONDAY, MONDAY + HOUR)]


# -- rows ---------------------------------------------------------------------------------------------------------


def test_rows_of_the_ledger_are_paged_newest_first_and_each_once():
    entries = [replace(make_entry(BOT, started_at=MONDAY + n * MINUTE), number=n) for n in range(5)]
    told = [(n, make_touch(BOT, started_at=MONDAY + n * MINUTE)) for n in range(5)]
    found, cursor = [], ""
    while cursor is not None:
        before_ping, before_touch = rows.places_before(cursor, MONDAY + HOUR)
        left = [rows.of_entry(one) for one in entries if (one.intent.started_at, one.number) < before_ping]
        left += [rows.of_touch(n, one) for n, one in told if (one.started_at, n) < before_touch]
        page, cursor = rows.page(left, 3)
        found += page
    assert [(row.number, row.kind) for row in found] == [
        (n, kind) for n in reversed(range(5)) for kind in ("ping", "request")
    ]


def test_a_row_tells_what_is_known_and_null_for_what_is_not():
    lost = rows.of_entry(make_entry(BOT, None))
    assert (lost.completed_at, lost.read_tokens, lost.latency_ms, lost.error) == (None, None, None, None)
    failed = rows.of_entry(make_entry(BOT, Verdict.ERROR, error_code="throttled", error_message=""))
    assert failed.error == "throttled"
    billed = rows.of_entry(make_entry(BOT, Verdict.REWRITE, billed_ttl=Ttl.ONE_HOUR))
    assert (billed.ttl, billed.written_tokens) == ("1h", 5_000)
    silent = rows.of_touch(7, make_touch(BOT, usage=None))
    assert (silent.number, silent.verdict, silent.cost_usd, silent.ttl) == (7, None, None, None)
    assert rows.of_touch(8, make_touch(BOT, ttl=Ttl.ONE_HOUR)).ttl == "1h"


@pytest.mark.parametrize(
    "place",
    [("soon", "ping", 1), ("2026-03-02T09:00:00", "ping", 1), ("2026-03-02T09:00:00+00:00", "ping", -1),
     ("2026-03-02T09:00:00+00:00", "ping", 2**63)],
)  # fmt: skip
def test_a_place_in_the_ledger_that_nobody_gave_is_refused(place: tuple[str, str, int]):
    with pytest.raises(cursors.BadCursor):
        rows.places_before(cursors.write("ledger", *place), MONDAY)


def test_an_event_is_shown_with_plain_values_only():
    fields = {"usd": Decimal("0.5"), "at": MONDAY, "names": ("a", {"k": Decimal(1)}), "ttl": Ttl.ONE_HOUR, "odd": 1j}
    shown = rows.of_event(Event("x_happened", MONDAY, "info", fields))
    assert shown.fields == {"usd": 0.5, "at": MONDAY, "names": ["a", {"k": 1.0}], "ttl": "1h", "odd": "1j"}


def test_decisions_and_pauses_are_shown_as_they_were():
    decision = rows.of_decision(BOT, PrefixState(), WARM, MONDAY)
    assert (decision.action, decision.reason, decision.words) == ("ping", "keep_warm", describe(WARM))
    (past,) = rows.of_pauses([Past(replace(PAUSE, number=3), MONDAY + HOUR)])
    assert (past.number, past.prefix, past.tag, past.resumed_at) == (3, "bot", None, MONDAY + HOUR)


# -- money --------------------------------------------------------------------------------------------------------


def test_the_stretches_are_the_hours_of_today_and_the_days_before_without_a_gap():
    now = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
    found = takings.stretches(now)
    assert len(found) == 3 + 29
    assert found[0] == Span(now - HOUR / 2, now + HOUR / 2)
    ascending = sorted(found, key=lambda span: span.start)
    assert all(before.end == after.start for before, after in pairwise(ascending))
    assert ascending[0].start == datetime(2026, 2, 1, tzinfo=UTC)


def test_money_is_the_same_as_a_report_over_the_whole_and_tells_early_losses():
    now = MONDAY + HOUR / 2
    entries = [
        make_entry(BOT, Verdict.HIT, cost_usd=Decimal("0.25"), avoidable_usd=Decimal(1)),
        make_entry(BOT, Verdict.REWRITE, started_at=MONDAY + MINUTE, cost_usd=Decimal(2)),
        make_entry(BOT, Verdict.ERROR, started_at=MONDAY + 2 * MINUTE, cost_usd=Decimal(0)),
        make_entry(BOT, Verdict.REWRITE, started_at=MONDAY - 3 * DAY, reason=Reason.COLD_IN_BUSY_HOURS,
                   cost_usd=Decimal(4)),
        make_entry(BOT, Verdict.HIT, started_at=MONDAY - 20 * DAY, cost_usd=Decimal(8)),
    ]  # fmt: skip
    parts = {}
    for span in takings.stretches(now):
        inside = [one for one in entries if span.start <= one.intent.started_at < span.end]
        due = Counter(one.verdict for one in inside if one.intent.reason is Reason.KEEP_WARM)
        parts[span] = takings.sums_of(accounting.make_report(inside, span.start, span.end), {"bot": due})
    folded = takings.folded(parts, now, now)
    shown = folded.takings("bot")
    assert shown == folded.takings("")
    assert shown.today is not None
    assert shown.today == Money(shown.today.since, 3, 2.25, 0.0, 1.0, -2.25, -1.25)
    assert [each.refresh_cost_usd for each in (shown.seven_days, shown.thirty_days) if each] == [6.25, 14.25]
    assert folded.early_loss_rate("bot") == pytest.approx(1 / 3)
    assert folded.early_loss_rate("nobody") is None


def test_what_is_not_whole_yet_is_not_shown():
    now = MONDAY
    nothing = takings.folded({}, now, now)
    assert nothing.takings("bot") == Takings()
    assert nothing.early_loss_rate("bot") is None
    assert takings.Folded().takings("bot") == Takings()
    today = [span for span in takings.stretches(now) if span.start >= takings.midnight_of(now)]
    shown = takings.folded({span: {} for span in today}, now, now).takings("bot")
    assert shown.today is not None
    assert shown.seven_days is None


def test_provisioned_throughput_has_no_money():
    provisioned = make_prefix(provisioned=True)
    report = accounting.make_report([make_entry(provisioned)], MONDAY, MONDAY + DAY)
    sums = takings.sums_of(report, {})["support-bot"]
    assert sums == takings.Sums(pings=1)
