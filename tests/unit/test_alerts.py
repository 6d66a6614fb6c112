"""What is wrong, how it is said, and how often: the pure rooms of alerts."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from keepwarm.alerts import wording
from keepwarm.alerts.heard import Heard
from keepwarm.alerts.kinds import Alert, Kind, Thresholds, kept, revived
from keepwarm.alerts.lateness import Lateness
from keepwarm.alerts.pace import BURST, MOST_HELD, Message, Pace
from keepwarm.alerts.rules import WANTED, Seen, changes, is_own, judge
from keepwarm.alerts.wording import Origin
from keepwarm.model import Event, Guard, GuardState, GuardStatus, PrefixState, Stop, Ttl
from tests.builders import MONDAY, make_prefix

BOT = make_prefix(name="bot")  # a ping period of 260 s
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ORIGIN = Origin("host-1", "1.0")


class Room:
    """One prefix, what is heard of it, and the alerts that stand."""

    def __init__(self, **state: Any) -> None:
        self.heard = Heard(WANTED)
        self.prefix = BOT
        self.state = PrefixState(**state)
        self.standing: dict[str, Alert] = {}
        self.more: dict[str, Any] = {}
        self.now = MONDAY

    def hear(self, name: str, **fields: object) -> None:
        self.heard.hear(Event(name, self.now, "info", {"prefix": "bot"} | fields))

    def ping(self, verdict: str = "hit", reason: str = "keep_warm", **fields: object) -> None:
        self.hear("ping_succeeded", verdict=verdict, reason=reason, **fields)

    def look(self, after: timedelta = timedelta(0), **more: Any) -> list[str]:
        """What is told, as state and key."""
        self.now += after
        self.more |= more
        seen = Seen(**{"leading": True, "host": "h", "prefixes": {"bot": self.prefix}, "states": {"bot": self.state}}
                    | self.more)  # fmt: skip
        self.heard.settle(seen.prefixes)
        found = judge(seen, self.heard, Thresholds(), self.standing, self.now)
        told = changes(self.standing, found, self.now)
        self.standing = found
        return [f"{alert.state} {alert.key}" for alert in told]

    def restart(self) -> None:
        self.heard = Heard(WANTED)
        self.standing = {alert.key: alert for row in map(kept, self.standing.values()) if (alert := revived(row))}
        self.heard.revive(self.standing.values(), self.now)


def test_nothing_is_wrong_with_a_prefix_that_hits():
    room = Room()
    room.hear("prefix_warmed", reason="keep_warm")
    for _ in range(30):
        room.ping()
        assert room.look(4 * MINUTE) == []


# -- no confirmed hit ---------------------------------------------------------------------------------------------


def test_three_periods_without_a_hit_are_told_once_and_so_is_the_next_hit():
    room = Room()
    room.hear("prefix_left_cold", reason="cold_in_busy_hours")
    assert room.look(13 * MINUTE) == []
    assert room.look(MINUTE) == ["opened no_confirmed_hit:bot"]
    assert "no hit yet" in room.standing["no_confirmed_hit:bot"].words
    assert room.look(HOUR) == []
    room.ping("rewrite", "cold_in_busy_hours")
    assert room.look() == []
    room.ping()
    assert room.look() == ["resolved no_confirmed_hit:bot"]
    assert room.look(14 * MINUTE) == ["opened no_confirmed_hit:bot"]
    assert "since 2026-03-02 10:14:00 UTC" in room.standing["no_confirmed_hit:bot"].words


def test_an_organic_request_confirms_as_a_hit_does():
    room = Room(organic_at=MONDAY + 10 * MINUTE)
    room.hear("prefix_warmed", reason="keep_warm")
    assert room.look(20 * MINUTE) == []
    assert room.look(10 * MINUTE) == ["opened no_confirmed_hit:bot"]


def test_a_prefix_that_should_not_be_warm_needs_no_hit_and_time_counts_from_when_it_should_again():
    room = Room()
    room.hear("prefix_warmed", reason="keep_warm")
    assert room.look(14 * MINUTE) == ["opened no_confirmed_hit:bot"]
    room.hear("prefix_left_cold", reason="outside_busy_hours")
    assert room.look() == ["resolved no_confirmed_hit:bot"]
    assert room.look(12 * HOUR) == []
    room.hear("prefix_left_cold", reason="cold_in_busy_hours")
    assert room.look(13 * MINUTE) == []
    room.hear("prefix_warmed", reason="keep_warm")  # still wanted: the time goes on
    assert room.look(MINUTE) == ["opened no_confirmed_hit:bot"]


def test_after_a_restart_it_stands_until_it_is_known():
    room = Room()
    room.hear("prefix_warmed", reason="keep_warm")
    room.look(14 * MINUTE)
    room.restart()
    assert room.look(MINUTE) == []
    room.hear("prefix_warmed", reason="keep_warm")
    assert room.look(MINUTE) == []
    room.ping()
    assert room.look() == ["resolved no_confirmed_hit:bot"]


def test_one_that_is_not_cached_at_all_is_told_at_once_and_not_as_lost_access():
    room = Room(stop=Stop("uncached", "neither read nor written"))
    assert room.look() == ["opened no_confirmed_hit:bot"]
    assert room.standing["no_confirmed_hit:bot"].words == "stopped: neither read nor written"


# -- access -------------------------------------------------------------------------------------------------------


def test_lost_access_is_told_alone_and_until_it_is_back():
    room = Room(stop=Stop("access_denied", "no"))
    room.hear("prefix_stopped", reason="stopped")
    assert room.look(HOUR) == ["opened access_lost:bot"]
    room.state = PrefixState()
    room.ping()
    assert room.look() == ["resolved access_lost:bot"]


def test_rejected_credentials_are_lost_access_also_over_a_restart():
    room = Room(retry_reason="credentials_rejected")
    room.hear("prefix_left_cold", reason="backing_off")
    room.hear("ping_failed", verdict="error", reason="retry", error_code="credentials_rejected", error="expired")
    assert room.look(HOUR) == ["opened access_lost:bot"]
    assert room.standing["access_lost:bot"].words == "credentials_rejected: expired"
    room.restart()
    assert room.look() == []
    room.state = PrefixState()
    room.ping()
    assert room.look() == ["resolved access_lost:bot"]


# -- rewrites, ttl, drift -----------------------------------------------------------------------------------------


def test_rewrites_are_told_from_three_and_a_fifth_on_and_resolved_at_a_tenth():
    room = Room()
    for verdict in ("rewrite", "rewrite", "hit"):
        room.ping(verdict)
    assert room.look() == []
    for _ in range(10):
        room.ping()
    room.ping("rewrite")
    assert room.look() == ["opened rewrites:bot"]
    assert room.standing["rewrites:bot"].words == "3 of the last 14 pings where a hit was due had to write"
    for _ in range(8):
        room.ping()
    assert room.look() == ["resolved rewrites:bot"]


def test_rewrites_that_were_due_and_failures_are_none():
    room = Room()
    for _ in range(5):
        room.ping("rewrite", "cold_in_busy_hours")
        room.hear("ping_failed", verdict="error", reason="keep_warm")
    assert room.look() == []


def test_rewrites_stand_over_a_restart_until_three_pings_say_otherwise():
    room = Room()
    for _ in range(3):
        room.ping("rewrite")
    assert room.look() == ["opened rewrites:bot"]
    room.restart()
    room.ping()
    assert room.look() == []
    room.ping()
    room.ping()
    assert room.look() == ["resolved rewrites:bot"]


def test_another_ttl_than_asked_for_is_told_until_it_is_honoured():
    room = Room(billed_ttl=Ttl.ONE_HOUR)
    assert room.look() == ["opened ttl_not_honoured:bot"]
    room.state = PrefixState(billed_ttl=Ttl.FIVE_MINUTES)
    assert room.look() == ["resolved ttl_not_honoured:bot"]


def test_where_keepwarm_chooses_the_ttl_the_one_it_asked_for_counts():
    room = Room(billed_ttl=Ttl.FIVE_MINUTES)
    room.prefix = replace(BOT, auto_ttl=True, ttl=Ttl.ONE_HOUR)
    assert room.look() == []
    room.hear("ttl_not_honoured", asked="1h", billed="5m")
    assert room.look() == ["opened ttl_not_honoured:bot"]
    room.restart()
    assert room.look() == []
    room.hear("ttl_not_honoured", asked="1h", billed="5m")
    room.hear("ttl_honoured_again", asked="1h", billed="1h")
    room.hear("ttl_not_honoured", asked="1h", billed="5m")
    room.state = PrefixState(billed_ttl=Ttl.ONE_HOUR)
    assert room.look() == ["resolved ttl_not_honoured:bot"]


def test_drift_is_told_until_it_is_silent_for_a_day_or_registered_anew_also_over_a_restart():
    room = Room()
    room.hear("prefix_drifted", differs="tool_choice")
    assert room.look() == ["opened prefix_drifted:bot"]
    room.restart()
    assert room.look(24 * HOUR) == []
    assert room.look(HOUR) == ["resolved prefix_drifted:bot"]
    room.hear("prefix_drifted", differs="tool_choice")
    assert room.look() == ["opened prefix_drifted:bot"]
    room.prefix = replace(BOT, fingerprint="another")
    assert room.look() == ["resolved prefix_drifted:bot"]


# -- guards and money ---------------------------------------------------------------------------------------------


def test_a_guard_is_told_when_it_holds_pings_and_when_it_lets_go():
    room = Room()
    room.hear("guard_tripped", guard="day_cap", detail="reached")
    assert room.look() == ["opened guard_tripped:bot:day_cap"]
    room.hear("ping_ended_that_nobody_knows")
    room.hear("guard_recovered", guard="day_cap")
    assert room.look() == ["resolved guard_tripped:bot:day_cap"]


@pytest.mark.parametrize(
    ("guard", "subject", "state", "stands"),
    [
        (Guard.BREAKER, "bot", PrefixState(broken_at=MONDAY), True),
        (Guard.BREAKER, "bot", PrefixState(), False),
        (Guard.TRIPWIRE, "bot", PrefixState(), False),  # tells anew at the start, if it still holds
        (Guard.STOP_ALL, "all", PrefixState(), False),
        (Guard.DAY_CAP, "bot", PrefixState(), True),
        (Guard.MONTH_CAP, "all", PrefixState(), True),
    ],
)
def test_after_a_restart_a_guard_stands_as_far_as_it_may_still_hold(guard, subject, state, stands):
    room = Room()
    room.heard.hear(Event("guard_tripped", MONDAY, "warning", {"guard": guard, "prefix": subject, "detail": "x"}))
    room.look()
    room.restart()
    room.state = state
    key = f"guard_tripped:{subject}:{guard}"
    assert room.look() == ([] if stands else [f"resolved {key}"])
    room.ping()
    assert room.look() == ([f"resolved {key}"] if stands and guard is not Guard.BREAKER else [])


def test_of_a_prefix_that_is_no_longer_registered_everything_is_resolved():
    room = Room(stop=Stop("access_denied", "no"))
    room.hear("guard_tripped", guard="breaker", detail="x")
    room.hear("daemon_late", late_seconds=9.0)
    assert len(room.look()) == 3
    told = room.look(prefixes={}, states={})
    assert sorted(told) == [
        "resolved access_lost:bot",
        "resolved daemon_late:h",
        "resolved guard_tripped:bot:breaker",
    ]
    room.restart()
    assert room.look() == []


def net(state: GuardState, lost: str | None) -> tuple[GuardStatus, ...]:
    return (GuardStatus(Guard.TRIPWIRE, "bot", Decimal(5), Decimal(lost) if lost else None, state, "figures"),)


def test_a_loss_is_told_where_it_is_proven_and_stays_while_nobody_can_tell():
    room = Room()
    assert room.look(tripwires=net(GuardState.BLIND, "4")) == []
    assert room.look(tripwires=net(GuardState.OK, "1")) == []
    assert room.look(tripwires=net(GuardState.OK, "1.01")) == ["opened net_negative:bot"]
    assert room.standing["net_negative:bot"].words == "pings lost $1.01 in seven days (figures)"
    assert room.look(tripwires=net(GuardState.BLIND, None)) == []
    assert room.look(tripwires=net(GuardState.OK, None)) == ["resolved net_negative:bot"]


# -- the daemon itself --------------------------------------------------------------------------------------------


def test_a_daemon_that_stands_by_tells_only_what_is_wrong_with_itself():
    room = Room(stop=Stop("access_denied", "no"))
    room.hear("guard_tripped", guard="breaker", detail="x")
    assert room.look(leading=False, ledger_trouble="disk is full") == ["opened ledger_not_writable:h"]
    assert all(map(is_own, room.standing.values()))


def test_the_ledger_is_also_told_when_only_the_entries_of_pings_cannot_be_written():
    room = Room()
    room.hear("ledger_failed", error="disk is full")
    assert room.look() == ["opened ledger_not_writable:h"]
    assert room.look(14 * MINUTE) == []
    assert room.look(MINUTE) == ["resolved ledger_not_writable:h"]
    room.heard.hear(Event("ledger_failed", MONDAY, "error", {"error": "a read"}))
    assert room.look() == []


def test_lateness_is_told_until_every_prefix_is_in_time():
    room = Room()
    room.more = {"prefixes": {"bot": BOT, "other": BOT}}
    room.hear("daemon_late", late_seconds=21.0)
    room.hear("daemon_late", prefix="other", late_seconds=30.25)
    assert room.look() == ["opened daemon_late:h"]
    assert room.standing["daemon_late:h"].words == "2 prefixes tended too late, other by 30.2 s"
    room.hear("daemon_in_time_again", prefix="other")
    assert room.look() == []
    assert room.standing["daemon_late:h"].words == "1 prefix tended too late, bot by 21.0 s"
    room.hear("daemon_in_time_again")
    assert room.look() == ["resolved daemon_late:h"]


def test_a_prefix_is_told_as_late_and_in_time_once_each():
    lateness, allowed = Lateness(), 20 * timedelta(seconds=1)
    assert lateness.tended("bot", allowed, allowed, MONDAY) is None
    late = lateness.tended("bot", MINUTE, allowed, MONDAY)
    assert late is not None
    assert (late.name, late.fields["late_seconds"], late.fields["allowed_seconds"]) == ("daemon_late", 60.0, 20.0)
    assert lateness.tended("bot", MINUTE, allowed, MONDAY) is None
    again = lateness.tended("bot", timedelta(0), allowed, MONDAY)
    assert again == Event("daemon_in_time_again", MONDAY, "info", {"prefix": "bot"})
    assert lateness.tended("bot", timedelta(0), allowed, MONDAY) is None


# -- over a restart -----------------------------------------------------------------------------------------------


def test_an_alert_is_the_same_over_a_restart_and_what_is_no_alert_is_none():
    alert = Alert(Kind.GUARD_TRIPPED, "bot", "day_cap", "reached", MONDAY)
    assert revived(json.loads(json.dumps(kept(alert)))) == alert
    assert revived({}) is None
    assert revived(kept(alert) | {"kind": "of_a_later_version"}) is None
    assert revived(kept(alert) | {"opened_at": "yesterday"}) is None


# -- how often ----------------------------------------------------------------------------------------------------


def alerts(count: int) -> list[Alert]:
    return [Alert(Kind.ACCESS_LOST, f"bot-{number}", "", "denied", MONDAY) for number in range(count)]


def test_single_alerts_go_one_by_one_and_many_at_last_together():
    pace = Pace(30, MONDAY)
    for alert in alerts(25):
        pace.hold(alert)
    sent = [pace.next(MONDAY) for _ in range(BURST)]
    assert [len(message.alerts) for message in sent if message] == [1] * 9 + [16]
    assert [message.is_summary for message in sent if message] == [False] * 9 + [True]
    assert (pace.next(MONDAY), pace.wait(MONDAY), pace.holds) == (None, None, 0)


def test_without_room_alerts_wait_for_it_and_of_each_key_the_last_state_is_told():
    pace = Pace(30, MONDAY)
    for alert in alerts(BURST):
        pace.hold(alert)
        assert pace.next(MONDAY)
    opened, other = alerts(2)
    pace.hold(opened)
    pace.hold(other)
    pace.hold(replace(opened, resolved_at=MONDAY + MINUTE))
    assert pace.next(MONDAY + MINUTE) is None
    assert pace.wait(MONDAY + MINUTE) == MINUTE
    message = pace.next(MONDAY + 2 * MINUTE)
    assert message
    assert [f"{alert.subject} {alert.state}" for alert in message.alerts] == ["bot-1 opened", "bot-0 resolved"]


def test_what_does_not_fit_is_counted_and_a_clock_set_back_gives_no_room():
    pace = Pace(1, MONDAY)
    for alert in alerts(MOST_HELD + 50):
        pace.hold(alert)
    assert pace.holds == MOST_HELD + 50
    message = pace.next(MONDAY)
    assert message
    assert (len(message.alerts), message.uncounted, message.alerts[-1].subject) == (MOST_HELD, 50, "bot-249")
    pace.hold(alerts(1)[0])
    assert pace.next(MONDAY - DAY) is None


# -- in words -----------------------------------------------------------------------------------------------------


def test_a_summary_says_what_opened_what_resolved_and_what_is_not_listed():
    opened, resolved = alerts(2)
    message = Message((opened, replace(resolved, resolved_at=MONDAY + HOUR)), uncounted=3)
    assert wording.title(message) == "keepwarm: 5 alerts held back: 1 opened, 1 resolved, 3 more not listed"
    subject, text = wording.as_mail(message, ORIGIN)
    assert subject == wording.title(message)
    assert text.splitlines()[2:] == [
        "opened: access_lost: bot-0: denied",
        "  opened 2026-03-02T09:00:00.000Z",
        "  `keepwarm doctor` says what to grant; then `keepwarm ping NAME`",
        "resolved: access_lost: bot-1: resolved, was: denied",
        "  opened 2026-03-02T09:00:00.000Z, resolved 2026-03-02T10:00:00.000Z",
        "",
        "keepwarm 1.0 on host-1",
    ]


@pytest.mark.parametrize(
    ("alert", "severity", "prefix"),
    [
        (Alert(Kind.ACCESS_LOST, "bot", "", "x", MONDAY), "error", "bot"),
        (Alert(Kind.REWRITES, "bot", "", "x", MONDAY), "warning", "bot"),
        (Alert(Kind.ACCESS_LOST, "bot", "", "x", MONDAY, MONDAY), "info", "bot"),
        (Alert(Kind.TEST, "host", "", "x", MONDAY), "info", None),
        (Alert(Kind.DAEMON_LATE, "host", "", "x", MONDAY), "warning", None),
    ],
)
def test_programs_are_told_how_bad_it_is_and_of_which_prefix(alert, severity, prefix):
    told = wording.as_mapping(alert)
    assert (told["severity"], told["prefix"]) == (severity, prefix)


def test_long_words_and_many_alerts_fit_into_what_slack_and_mail_take():
    message = Message(tuple(replace(alert, words="long " * 500) for alert in alerts(MOST_HELD)))
    slack = json.loads(wording.as_slack(message, ORIGIN))
    assert len(slack["blocks"][1]["text"]["text"]) < 3_000
    assert len(wording.as_mail(message, ORIGIN)[1].encode()) < 256_000
    single = json.loads(wording.as_slack(Message(message.alerts[:1]), ORIGIN))
    assert len(single["blocks"][0]["text"]["text"]) <= 150


def test_the_test_alert_has_no_hint():
    message = Message((Alert(Kind.TEST, "host", "", "a test", MONDAY),))
    assert (
        json.loads(wording.as_slack(message, ORIGIN))["blocks"][1]["text"]["text"] == ":red_circle: test: host: a test"
    )
    opened = ["opened: test: host: a test", "  opened 2026-03-02T09:00:00.000Z"]
    assert wording.as_mail(message, ORIGIN)[1].splitlines()[2:-2] == opened


def test_json_is_signed_with_the_time_and_without_a_secret_only_dated():
    body = wording.as_json(Message(tuple(alerts(1))), ORIGIN)
    assert json.loads(body)["alerts"][0]["key"] == "access_lost:bot-0"
    assert wording.signed_headers(body, "", 5) == {"X-Keepwarm-Timestamp": "5"}
    assert wording.signed_headers(b"{}", "key", 5)["X-Keepwarm-Signature"] == (
        "v1=" + hmac.new(b"key", b"5.{}", "sha256").hexdigest()
    )


def test_open_alerts_are_shown_gravest_first_and_name_only_prefixes_that_there_are():
    late = Alert(Kind.DAEMON_LATE, "a", "", "b was late", MONDAY)
    drifted = Alert(Kind.PREFIX_DRIFTED, "b", "", "another model", MONDAY + timedelta(hours=1))
    denied = Alert(Kind.ACCESS_LOST, "a", "", "stopped", MONDAY + timedelta(hours=2))
    gone = Alert(Kind.GUARD_TRIPPED, "all", "day_cap", "spent", MONDAY + timedelta(hours=3))
    found = wording.shown([gone, drifted, late, denied], {"a", "b"})
    assert [(one.key, one.prefix, one.severity) for one in found] == [
        ("access_lost:a", "a", "error"),
        ("daemon_late:a", None, "warning"),  # a host that is called like a prefix
        ("prefix_drifted:b", "b", "warning"),
        ("guard_tripped:all:day_cap", None, "warning"),
    ]
    assert "keepwarm doctor" in found[0].hint
