"""The keeper with a real ledger, and with real boto3 on the embedded Bedrock; time is turned by the test.

Where a race, an exception or a look into the ledger must happen while a ping is away, a pinger of the test's own stands
in for the gateway.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from keepwarm.bedrock import Gateway
from keepwarm.emulator import Emulator, Faults, Request
from keepwarm.errors import AccessDenied, ConfigError, KeepwarmError, LedgerError, Throttled, Unavailable
from keepwarm.gate import Gate
from keepwarm.keeper import Keeper
from keepwarm.ledger import Ledger
from keepwarm.limits import RateLimit
from keepwarm.model import (
    Action,
    Answer,
    BusyHoursPolicy,
    Entry,
    Event,
    Guard,
    IdleLimitPolicy,
    Intent,
    Prefix,
    Reason,
    Route,
    Ttl,
    Usage,
    Verdict,
)
from tests.builders import CLAUDE, MONDAY, make_entry, make_hours, make_prefix, make_touch, shipped_catalog

CANARY = "the merger closes on Friday"
OTHER_CLAUDE = "eu.anthropic.claude-sonnet-5"
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
READ = Answer(Usage(3, 1, 5_000, 0))
WRITTEN = Answer(Usage(3, 1, 0, 5_000, 0))
NOT_CACHED = Answer(Usage(5_003, 1, 0, 0))


class Wall:
    """A clock on the wall whose hands the test turns."""

    def __init__(self) -> None:
        self.at = MONDAY

    def __call__(self) -> datetime:
        return self.at

    def advance(self, duration: timedelta) -> None:
        self.at += duration


class Pinger:
    """Answers in place of Bedrock with what the test wants; an exception is raised, a function is called."""

    def __init__(self, answer: Answer | Exception | Callable[[Prefix], Answer] = READ) -> None:
        self.answer = answer
        self.pinged: list[str] = []

    def ping(self, prefix: Prefix) -> Answer:
        self.pinged.append(prefix.name)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(self.answer, Answer) else self.answer(prefix)


class House:
    """Keepers on one ledger, and what they told."""

    def __init__(self, url: str, wall: Wall) -> None:
        self.url = url
        self.wall = wall
        self.ledger = Ledger.open(url)
        self.events: list[Event] = []
        self._runs = 0

    def keeper(
        self, pinger: object, *prefixes: Prefix, per_minute: int = 600, book: object = None, gate: Gate | None = None
    ) -> Keeper:
        """One more run of keepwarm, as after a restart or as another process."""
        self._runs += 1
        keeper = Keeper(
            pinger=pinger,
            book=book or self.ledger,
            run_id=f"run-{self._runs}",
            now=self.wall,
            rate=RateLimit(per_minute),
            gate=gate,
            observers=[self.events.append],
            randomness=random.Random(self._runs),
        )
        keeper.adopt(prefixes)
        return keeper

    def tend_until(self, keeper: Keeper, until: datetime) -> None:
        """Tend every prefix whenever its last decision asked for it, as the scheduler does."""
        due = dict.fromkeys(keeper.names, self.wall.at)
        while due:
            name = min(due, key=due.__getitem__)
            if due[name] >= until:
                break
            self.wall.at = max(self.wall.at, due.pop(name))
            decision = keeper.tend(name)
            if decision.at:
                due[name] = decision.at
        self.wall.at = until

    @property
    def entries(self) -> list[Entry]:
        return list(self.ledger.entries(None, None))

    @property
    def verdicts(self) -> list[Verdict]:
        return [entry.verdict for entry in self.entries]

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def house(tmp_path: Path, wall: Wall) -> Iterator[House]:
    house = House(f"sqlite:///{tmp_path}/ledger.sqlite", wall)
    yield house
    house.ledger.close()


@pytest.fixture
def emulator(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), now=wall, latency_scale=0, seed=7) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


@pytest.fixture
def gateway(emulator: Emulator) -> Gateway:
    return Gateway(8, read_timeout_seconds=10)


def prefix(name: str = "support-bot", **changes: object) -> Prefix:
    """A prefix of 5,000 tokens that Bedrock takes, with a text and an entry of its own."""
    marker = {"type": "ephemeral"} | ({"ttl": "1h"} if changes.get("ttl") is Ttl.ONE_HOUR else {})
    text = f"{name}: {CANARY}. ".ljust(20_000, "x")
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1,
        "system": [{"type": "text", "text": text, "cache_control": marker}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "."}]}],
    }
    request = {"body": json.dumps(body).encode(), "contentType": "application/json"}
    return make_prefix(**{"name": name, "fingerprint": f"f-{name}", "ping_request": request} | changes)


def requests_of(emulator: Emulator, name: str) -> list[Request]:
    return [request for request in emulator.log if request.metadata.get("prefix") == name]


# -- keeping warm -------------------------------------------------------------------------------------------------


def test_prefixes_stay_warm_through_hours_of_one_write_and_nothing_but_hits(house, emulator, gateway):
    prefixes = [prefix("a"), prefix("b", ttl=Ttl.ONE_HOUR), prefix("c")]
    keeper = house.keeper(gateway, *prefixes)
    house.tend_until(keeper, MONDAY + 6 * HOUR)
    for one in prefixes:
        writes = [bool(request.usage.cache_write_tokens) for request in requests_of(emulator, one.name)]
        assert writes == [True] + [False] * (len(writes) - 1)
        gaps = [late.at - early.at for early, late in pairwise(requests_of(emulator, one.name))]
        assert max(gaps) <= one.lifetime - one.margin
        assert min(gaps) >= one.lifetime - 1.5 * one.margin
    assert not house.told("ping_failed")


def test_every_request_has_its_entry_with_the_tokens_that_were_billed(house, emulator, gateway):
    emulator.set_faults("*", Faults(throttle=0.2, reset=0.1, evict=0.1))
    house.tend_until(house.keeper(gateway, prefix("a"), prefix("b")), MONDAY + 4 * HOUR)
    sent = [(request.metadata.get("prefix"), request.at) for request in emulator.log if not request.error_code]
    noted = [(entry.intent.prefix, entry.intent.started_at) for entry in house.entries if entry.outcome.usage]
    assert noted == sent
    assert len(house.entries) == len(emulator.log)
    billed = sum(request.usage.cache_write_tokens for request in emulator.log if not request.error_code)
    assert sum(entry.outcome.usage.cache_write_tokens for entry in house.entries if entry.outcome.usage) == billed


def test_the_intent_is_on_disk_before_the_ping_leaves(house, tmp_path):
    seen = []

    def look(_: Prefix) -> Answer:
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
            seen.extend(connection.execute("SELECT prefix, reason, attempt FROM intents"))
            seen.extend(connection.execute("SELECT number FROM outcomes"))
        return WRITTEN

    house.keeper(Pinger(look), prefix()).tend("support-bot")
    assert seen == [("support-bot", "cold_in_busy_hours", 1)]
    assert house.verdicts == [Verdict.REWRITE]


def test_an_entry_that_vanished_early_is_written_again_and_that_is_a_warning(house, emulator, gateway):
    keeper = house.keeper(gateway, prefix())
    house.tend_until(keeper, MONDAY + 2 * MINUTE)
    assert emulator.evict() == 1
    house.tend_until(keeper, MONDAY + 10 * MINUTE)
    assert house.verdicts[:3] == [Verdict.REWRITE, Verdict.REWRITE, Verdict.HIT]
    assert [event.severity for event in house.told("ping_succeeded")][:3] == ["info", "warning", "info"]


def test_an_hour_that_is_billed_as_five_minutes_is_told_once_and_pinged_as_five(house, emulator, gateway):
    emulator.set_faults("*", Faults(honour_1h_as_5m=True))
    house.tend_until(house.keeper(gateway, prefix(ttl=Ttl.ONE_HOUR)), MONDAY + HOUR)
    (told,) = house.told("ttl_not_honoured")
    assert (told.fields["asked"], told.fields["billed"], told.fields["lifetime_seconds"]) == ("1h", "5m", 300)
    assert set(house.verdicts[1:]) == {Verdict.HIT}
    assert len(house.verdicts) > 12


def test_the_billed_ttl_is_still_known_after_a_restart_long_after_the_last_write(house, emulator, gateway):
    emulator.set_faults("*", Faults(honour_1h_as_5m=True))
    house.tend_until(house.keeper(gateway, prefix(ttl=Ttl.ONE_HOUR)), MONDAY + 4 * HOUR)
    house.tend_until(house.keeper(gateway, prefix(ttl=Ttl.ONE_HOUR)), MONDAY + 8 * HOUR)
    assert Counter(house.verdicts)[Verdict.REWRITE] == 1
    assert len(house.told("ttl_not_honoured")) == 1


def test_an_idle_limit_is_kept_over_a_restart_however_many_pings_it_allows(house):
    one = prefix(policy=IdleLimitPolicy(30))
    pinger = Pinger(lambda _: READ if len(pinger.pinged) > 1 else WRITTEN)
    house.tend_until(house.keeper(pinger, one), MONDAY + 28 * 4 * MINUTE)
    assert 20 < len(pinger.pinged) < 31
    house.tend_until(house.keeper(pinger, one), MONDAY + 8 * HOUR)
    assert len(pinger.pinged) == 31  # the write, and thirty pings


# -- failures -----------------------------------------------------------------------------------------------------


def test_throttled_pings_are_tried_again_within_the_margin_before_the_entry_dies(house, emulator, gateway):
    keeper = house.keeper(gateway, prefix())
    house.tend_until(keeper, MONDAY + MINUTE)
    emulator.set_faults("*", Faults(throttle=1))
    expiry = MONDAY + 5 * MINUTE
    house.tend_until(keeper, expiry - 5 * SECOND)
    tries = [entry.intent for entry in house.entries[1:]]
    assert len(tries) >= 2
    assert [intent.attempt for intent in tries] == list(range(1, len(tries) + 1))
    assert {intent.reason for intent in tries[1:]} == {Reason.RETRY}
    emulator.set_faults("*", Faults())
    house.tend_until(keeper, expiry)
    assert Verdict.REWRITE not in house.verdicts[1:]


@pytest.mark.parametrize("switch", ["throttle", "unavailable", "internal_error", "expired_tokens"])
def test_a_long_outage_leaves_the_prefix_cold_and_it_is_back_within_a_lifetime_of_the_end(
    house, emulator, gateway, switch
):
    keeper = house.keeper(gateway, prefix())
    house.tend_until(keeper, MONDAY + MINUTE)
    emulator.set_faults("*", Faults.parse(switch))
    house.tend_until(keeper, MONDAY + HOUR)
    during = len(emulator.log)
    assert keeper.look("support-bot").warm_until is None
    assert during < 60  # the pauses grow up to one ping period
    emulator.set_faults("*", Faults())
    house.tend_until(keeper, MONDAY + HOUR + 5 * MINUTE)
    assert house.verdicts[during] is Verdict.REWRITE
    assert house.told("prefix_left_cold")


@pytest.mark.parametrize("switch", ["deny", "retired", "echo_prompt_in_errors"])
def test_a_permanent_refusal_stops_that_prefix_and_touches_no_other(house, emulator, gateway, switch):
    emulator.set_faults(OTHER_CLAUDE, Faults.parse(switch))
    keeper = house.keeper(gateway, prefix("bad", model_id=OTHER_CLAUDE), prefix("good"))
    house.tend_until(keeper, MONDAY + HOUR)
    assert len(requests_of(emulator, "bad") or [r for r in emulator.log if r.model_id == OTHER_CLAUDE]) == 1
    (stopped,) = house.told("prefix_stopped")
    assert stopped.fields["prefix"] == "bad"
    assert stopped.fields["hint"]
    good = [entry.verdict for entry in house.entries if entry.intent.prefix == "good"]
    assert (good[0], set(good[1:])) == (Verdict.REWRITE, {Verdict.HIT})
    assert CANARY not in str(house.events)


def test_a_prefix_that_is_uncached_twice_is_stopped(house, emulator, gateway):
    short = json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 1,
            "system": [{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "."}],
        }
    )
    keeper = house.keeper(gateway, prefix(ping_request={"body": short.encode(), "contentType": "application/json"}))
    house.tend_until(keeper, MONDAY + 2 * HOUR)
    assert house.verdicts == [Verdict.UNCACHED, Verdict.UNCACHED]
    assert keeper.state("support-bot").stop.code == "uncached"


def test_a_lost_answer_counts_at_its_high_price_and_is_not_taken_for_a_touch(house):
    keeper = house.keeper(Pinger(Unavailable("read timed out", maybe_billed=True)), prefix())
    decision = keeper.tend("support-bot")
    (entry,) = house.entries
    assert (entry.verdict, entry.cost_usd) == (Verdict.UNKNOWN, entry.intent.high_cost_usd)
    assert entry.cost_usd > 0
    assert decision.reason is Reason.BACKING_OFF


@pytest.mark.parametrize("answer", [RuntimeError(f"about {CANARY}"), lambda _: Answer("not a usage")])
def test_a_bug_while_pinging_is_told_without_prompt_text_and_the_tending_goes_on(house, answer):
    pinger = Pinger(answer)
    keeper = house.keeper(pinger, prefix())
    decision = keeper.tend("support-bot")
    assert house.verdicts == [Verdict.UNKNOWN]
    assert house.told("ping_crashed")[0].fields["prefix"] == "support-bot"
    assert CANARY not in f"{house.events}{house.entries}"
    pinger.answer = WRITTEN
    house.tend_until(keeper, decision.at + SECOND)
    assert house.verdicts == [Verdict.UNKNOWN, Verdict.REWRITE]


def test_the_prompt_is_in_no_event_and_in_no_byte_of_the_ledger(house, emulator, gateway, tmp_path):
    keeper = house.keeper(gateway, prefix())
    keeper.tend("support-bot")
    for switch in ("echo_prompt_in_errors", "wrong_json", "reset", "deny"):
        emulator.set_faults("*", Faults.parse(switch))
        keeper.ping("support-bot")
    assert len(house.entries) == 5
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"support-bot" in files
    assert CANARY.encode() not in files
    assert CANARY not in repr(house.events)


# -- one at a time ------------------------------------------------------------------------------------------------


def test_two_threads_that_tend_the_same_prefix_send_one_ping_and_the_second_comes_back_soon(house):
    away, go_on = threading.Event(), threading.Event()

    def wait(_: Prefix) -> Answer:
        away.set()
        assert go_on.wait(10)
        return WRITTEN

    pinger = Pinger(wait)
    keeper = house.keeper(pinger, prefix())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(keeper.tend, "support-bot")
        assert away.wait(10)
        second = keeper.tend("support-bot")
        with pytest.raises(KeepwarmError):
            keeper.ping("support-bot")
        go_on.set()
        assert first.result().reason is Reason.KEEP_WARM
    assert (second.action, second.reason) == (Action.WAIT, Reason.IN_FLIGHT)
    assert MONDAY < second.at <= MONDAY + 40 * SECOND
    assert pinger.pinged == ["support-bot"]


def test_many_threads_that_tend_many_prefixes_send_one_ping_each(house):
    names = [f"p{number}" for number in range(20)]
    pinger = Pinger(WRITTEN)
    keeper = house.keeper(pinger, *map(prefix, names))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(keeper.tend, names * 10))
    assert Counter(pinger.pinged) == dict.fromkeys(names, 1)
    assert house.verdicts == [Verdict.REWRITE] * 20


def test_a_drain_waits_for_the_ping_in_flight_and_refuses_the_next(house):
    away, go_on = threading.Event(), threading.Event()

    def wait(_: Prefix) -> Answer:
        away.set()
        assert go_on.wait(10)
        return WRITTEN

    keeper = house.keeper(Pinger(wait), prefix("a"), prefix("b"))
    with ThreadPoolExecutor(2) as pool:
        pool.submit(keeper.tend, "a")
        assert away.wait(10)
        assert not keeper.drain(timedelta(milliseconds=10))
        assert keeper.tend("b").reason is Reason.DRAINING
        draining = pool.submit(keeper.drain, 10 * SECOND)
        go_on.set()
        assert draining.result()
    assert [(entry.intent.prefix, entry.verdict) for entry in house.entries] == [("a", Verdict.REWRITE)]


# -- restarts -----------------------------------------------------------------------------------------------------


def test_what_the_ledger_knows_to_be_warm_is_not_pinged_again_after_a_restart(house):
    house.tend_until(house.keeper(Pinger(WRITTEN), prefix()), MONDAY + MINUTE)
    pinger = Pinger()
    later = house.keeper(pinger, prefix())
    decision = later.tend("support-bot")
    assert pinger.pinged == []
    assert (decision.reason, decision.warm_until) == (Reason.KEEP_WARM, MONDAY + 5 * MINUTE)


def test_what_fell_due_while_it_was_down_is_decided_anew(house):
    house.keeper(Pinger(WRITTEN), prefix()).tend("support-bot")
    house.wall.advance(HOUR)
    house.keeper(Pinger(WRITTEN), prefix()).tend("support-bot")
    assert [entry.intent.reason for entry in house.entries] == [Reason.COLD_IN_BUSY_HOURS] * 2


def test_a_stopped_prefix_stays_stopped_until_its_fingerprint_changes(house):
    house.keeper(Pinger(AccessDenied("no")), prefix()).tend("support-bot")
    pinger = Pinger(WRITTEN)
    assert house.keeper(pinger, prefix()).tend("support-bot").reason is Reason.STOPPED
    house.keeper(pinger, prefix(fingerprint="f-mended")).tend("support-bot")
    assert pinger.pinged == ["support-bot"]


def test_a_stopped_prefix_goes_on_when_a_ping_by_hand_succeeds(house):
    daemon = house.keeper(Pinger(AccessDenied("no")), prefix())
    daemon.tend("support-bot")
    house.keeper(Pinger(AccessDenied("still no")), prefix()).ping("support-bot")
    assert daemon.refresh() == ["support-bot"]
    assert daemon.tend("support-bot").reason is Reason.STOPPED
    house.keeper(Pinger(WRITTEN), prefix()).ping("support-bot")
    assert daemon.refresh() == ["support-bot"]
    assert daemon.tend("support-bot").reason is Reason.KEEP_WARM
    assert house.keeper(Pinger(), prefix()).look("support-bot").reason is Reason.KEEP_WARM


def test_an_orphan_counts_as_a_touch_and_its_slot_is_not_pinged_again(house):
    house.ledger.open_entry(intent_of(prefix(), MONDAY), "died")
    house.wall.advance(MINUTE)
    pinger = Pinger()
    decision = house.keeper(pinger, prefix()).tend("support-bot")
    assert pinger.pinged == []
    assert decision.warm_until == MONDAY + 5 * MINUTE


def test_a_ping_by_hand_that_died_leaves_a_stopped_prefix_stopped(house):
    house.keeper(Pinger(AccessDenied("no")), prefix()).tend("support-bot")
    house.ledger.open_entry(intent_of(prefix(), MONDAY + SECOND), "died")
    house.wall.advance(MINUTE)
    assert house.keeper(Pinger(), prefix()).tend("support-bot").reason is Reason.STOPPED


def test_a_clock_that_was_set_back_costs_one_ping_and_no_more(house):
    pinger = Pinger(WRITTEN)
    keeper = house.keeper(pinger, prefix())
    keeper.tend("support-bot")
    house.wall.at = MONDAY - HOUR
    decision = keeper.tend("support-bot")
    assert len(pinger.pinged) == 2
    assert (decision.reason, decision.warm_until) == (Reason.KEEP_WARM, MONDAY - 55 * MINUTE)
    restarted = house.keeper(pinger, prefix())
    assert restarted.tend("support-bot").reason is Reason.KEEP_WARM
    assert len(pinger.pinged) == 2


# -- other processes ----------------------------------------------------------------------------------------------


def intent_of(one: Prefix, at: datetime, reason: Reason = Reason.MANUAL) -> Intent:
    return Intent(
        prefix=one.name,
        fingerprint=one.fingerprint,
        model_id=one.model_id,
        region=one.route.region,
        api=one.api,
        ttl=one.ttl,
        reason=reason,
        attempt=1,
        started_at=at,
        high_cost_usd=Decimal("0.02"),
    )


def test_a_ping_of_another_process_moves_the_next_ping_of_this_one(house):
    keeper = house.keeper(Pinger(WRITTEN), prefix("a"), prefix("b"))
    house.tend_until(keeper, MONDAY + 2 * MINUTE)
    house.keeper(Pinger(READ), prefix("a")).ping("a")
    assert keeper.refresh() == ["a"]
    assert keeper.refresh() == []
    assert keeper.look("a").warm_until == MONDAY + 7 * MINUTE
    assert keeper.look("b").warm_until == MONDAY + 5 * MINUTE


def test_a_ping_that_another_process_has_in_flight_is_learnt_when_it_ends_and_hides_no_other(house):
    one, two = prefix("a"), prefix("b")
    keeper = house.keeper(Pinger(WRITTEN), one, two)
    house.tend_until(keeper, MONDAY + MINUTE)
    other = house.keeper(Pinger(READ), two)

    def meanwhile(_: Prefix) -> Answer:
        assert keeper.refresh() == []
        other.ping("b")
        assert keeper.refresh() == ["b"]
        return READ

    house.keeper(Pinger(meanwhile), one).ping("a")
    assert keeper.refresh() == ["a"]
    assert keeper.look("a").warm_until == MONDAY + 6 * MINUTE


def test_a_ping_that_another_process_never_finished_counts_as_a_touch_in_the_end(house):
    keeper = house.keeper(Pinger(WRITTEN), prefix())
    keeper.tend("support-bot")
    house.wall.advance(MINUTE)
    house.ledger.open_entry(intent_of(prefix(), house.wall.at), "died")
    assert keeper.refresh() == []
    house.wall.advance(5 * MINUTE)
    assert keeper.refresh() == ["support-bot"]
    assert keeper.state("support-bot").touched_at == MONDAY + MINUTE
    assert keeper.refresh() == []


def test_an_older_touch_of_another_process_takes_nothing_from_a_newer_one(house):
    keeper = house.keeper(Pinger(WRITTEN), prefix())

    def meanwhile(_: Prefix) -> Answer:
        house.wall.advance(MINUTE)
        keeper.tend("support-bot")
        return READ

    house.keeper(Pinger(meanwhile), prefix()).ping("support-bot")
    keeper.refresh()
    assert keeper.state("support-bot").touched_at == MONDAY + MINUTE


def test_a_failure_of_another_process_counts_once_although_it_came_before_the_reload(house):
    keeper = house.keeper(Pinger(WRITTEN), prefix("old"))
    keeper.tend("old")
    house.keeper(Pinger(NOT_CACHED), prefix("new")).ping("new")
    keeper.adopt([prefix("old"), prefix("new")])
    keeper.refresh()
    assert keeper.state("new").uncached == 1
    assert keeper.state("new").stop is None


def test_what_another_process_did_before_the_first_reload_of_an_empty_ledger_is_learnt(house):
    keeper = house.keeper(Pinger(WRITTEN), prefix())
    house.keeper(Pinger(WRITTEN), prefix()).ping("support-bot")
    keeper.adopt([prefix()])
    assert keeper.refresh() == ["support-bot"]


def test_a_touch_of_another_process_during_our_own_failing_ping_is_not_lost(house):
    def meanwhile(_: Prefix) -> Answer:
        house.keeper(Pinger(WRITTEN), prefix()).ping("support-bot")
        assert keeper.refresh() == []
        raise Throttled("slow down")

    keeper = house.keeper(Pinger(meanwhile), prefix())
    keeper.tend("support-bot")
    assert keeper.refresh() == ["support-bot"]
    assert keeper.look("support-bot").warm_until == MONDAY + 5 * MINUTE


# -- a ledger in trouble ------------------------------------------------------------------------------------------


class Broken:
    """A real ledger of which some methods fail as long as the test wants."""

    def __init__(self, ledger: Ledger, *failing: str) -> None:
        self.failing = set(failing)
        self._ledger = ledger

    def __getattr__(self, name: str) -> object:
        if name in self.failing:
            return self._fail
        return getattr(self._ledger, name)

    def _fail(self, *_: object, **__: object) -> object:
        raise LedgerError("disk full", hint="make room")


def test_without_a_ledger_nothing_is_sent_and_it_is_told_and_tried_again(house):
    book, pinger = Broken(house.ledger, "open_entry"), Pinger(WRITTEN)
    keeper = house.keeper(pinger, prefix(), book=book)
    decision = keeper.tend("support-bot")
    assert pinger.pinged == []
    (told,) = house.told("ledger_failed")
    assert (told.severity, told.fields["hint"]) == ("error", "make room")
    assert MONDAY < decision.at <= MONDAY + MINUTE
    book.failing.clear()
    house.tend_until(keeper, decision.at + SECOND)
    assert house.verdicts == [Verdict.REWRITE]


def test_an_outcome_that_cannot_be_written_is_kept_and_written_later(house):
    book = Broken(house.ledger, "close_entry")
    keeper = house.keeper(Pinger(WRITTEN), prefix(), book=book)
    decision = keeper.tend("support-bot")
    assert (decision.reason, house.verdicts) == (Reason.KEEP_WARM, [Verdict.UNKNOWN])
    keeper.refresh()
    assert house.verdicts == [Verdict.UNKNOWN]
    book.failing.clear()
    keeper.refresh()
    assert house.verdicts == [Verdict.REWRITE]
    assert house.entries[0].outcome.completed_at == MONDAY


def test_an_outcome_that_could_not_be_written_is_written_at_the_drain(house):
    book = Broken(house.ledger, "close_entry")
    keeper = house.keeper(Pinger(WRITTEN), prefix(), book=book)
    keeper.tend("support-bot")
    book.failing.clear()
    assert keeper.drain(SECOND)
    assert house.verdicts == [Verdict.REWRITE]


def test_an_outcome_that_waits_to_be_written_is_no_orphan_for_its_own_keeper(house):
    book = Broken(house.ledger, "close_entry")
    keeper = house.keeper(Pinger(AccessDenied("no")), prefix(), book=book)
    keeper.tend("support-bot")
    keeper.adopt([])
    keeper.adopt([prefix()])
    assert keeper.tend("support-bot").reason is Reason.STOPPED


def test_a_ledger_that_stays_broken_is_asked_once_a_round_and_not_for_each_waiting_outcome(house):
    book = Broken(house.ledger, "close_entry")
    keeper = house.keeper(Pinger(WRITTEN), *(prefix(f"p{number}") for number in range(5)), book=book)
    for name in keeper.names:
        keeper.tend(name)
    before = len(house.told("ledger_failed"))
    keeper.refresh()
    assert len(house.told("ledger_failed")) == before + 1
    book.failing.clear()
    keeper.refresh()
    assert house.verdicts == [Verdict.REWRITE] * 5


def test_a_ledger_that_cannot_be_read_changes_nothing_in_what_is_kept(house):
    book = Broken(house.ledger)
    keeper = house.keeper(Pinger(WRITTEN), prefix("a"), book=book)
    book.failing.add("recent")
    with pytest.raises(LedgerError):
        keeper.adopt([prefix("b")])
    assert keeper.names == ("a",)


# -- rate limit ---------------------------------------------------------------------------------------------------


def test_a_crowd_is_spread_by_the_rate_limit_and_each_gets_its_turn(house):
    names = [f"p{number}" for number in range(8)]
    pinger = Pinger(WRITTEN)
    sent: dict[str, datetime] = {}
    pinger.answer = lambda one: sent.setdefault(one.name, house.wall.at) and WRITTEN
    keeper = house.keeper(pinger, *map(prefix, names), per_minute=2)
    house.tend_until(keeper, MONDAY + 4 * MINUTE)
    assert set(sent) == set(names)
    at = sorted(moment - MONDAY for moment in sent.values())
    assert at == [0 * MINUTE] * 2 + [MINUTE + place * MINUTE / 2 for place in range(6)]


def test_a_ping_whose_turn_comes_after_the_death_of_its_entry_is_skipped_and_not_queued(house):
    names = [f"p{number}" for number in range(4)]
    pinger = Pinger(WRITTEN)
    keeper = house.keeper(pinger, *map(prefix, names), per_minute=600)
    for name in names:
        keeper.tend(name)
    house.wall.at = MONDAY + 5 * MINUTE - 10 * SECOND
    tight = house.keeper(pinger, *map(prefix, names), per_minute=1)
    pinger.pinged.clear()
    decisions = [tight.tend(name) for name in names]
    assert pinger.pinged == ["p0"]
    assert {decision.action for decision in decisions[1:]} == {Action.WAIT}
    assert all(decision.at > MONDAY + 5 * MINUTE for decision in decisions[1:])


def test_a_prefix_that_waited_dead_for_its_turn_is_kept_once_production_has_warmed_it(house):
    names = [f"p{number}" for number in range(200)]
    keeper = house.keeper(Pinger(WRITTEN), *map(prefix, names), per_minute=10)
    for name in names:
        keeper.tend(name)
    last = names[-1]
    assert keeper.look(last).at > MONDAY + 15 * MINUTE
    house.wall.advance(30 * SECOND)
    keeper.hear([make_touch(prefix(last), 1, started_at=house.wall())])
    assert keeper.look(last).at < house.wall() + 5 * MINUTE
    decision = keeper.tend(last)
    while (decision.action, decision.reason) != (Action.PING, Reason.KEEP_WARM) and decision.at < MONDAY + 5 * MINUTE:
        house.wall.at = max(house.wall.at, decision.at)
        decision = keeper.tend(last)
    pinged = [entry for entry in house.entries if entry.intent.prefix == last]
    assert pinged or decision.at < MONDAY + 5.5 * MINUTE


def test_turns_of_prefixes_that_are_gone_or_closed_or_touched_are_given_to_others(house):
    names = [f"p{number}" for number in range(100)]
    keeper = house.keeper(Pinger(WRITTEN), *map(prefix, names), per_minute=2)
    for name in names:
        keeper.tend(name)
    keeper.adopt(map(prefix, ["newcomer", *names[:2]]))
    house.wall.advance(2 * MINUTE)
    assert keeper.tend("newcomer").at <= house.wall() + 5 * MINUTE
    house.wall.advance(MINUTE)
    keeper.tend("newcomer")
    assert [entry.intent.prefix for entry in house.entries] == [*names[:2], "newcomer"]


def test_a_daemon_that_stands_by_gives_its_turns_back(house):
    names = [f"p{number}" for number in range(20)]
    keeper = house.keeper(Pinger(WRITTEN), *map(prefix, names), per_minute=2)
    for name in names:
        keeper.tend(name)
    keeper.stand_by()
    keeper.lead()
    house.wall.advance(MINUTE + SECOND)
    keeper.tend(names[-1])
    house.wall.advance(MINUTE)
    keeper.tend(names[-1])
    assert house.entries[-1].intent.prefix == names[-1]


def test_after_a_clock_was_set_back_nobody_waits_for_turns_of_the_time_before(house):
    names = ["a", "b", "c"]
    keeper = house.keeper(Pinger(WRITTEN), *map(prefix, names), per_minute=1)
    house.wall.advance(5 * HOUR)
    for name in names:
        keeper.tend(name)
    house.wall.at = MONDAY
    found = [keeper.tend(name).at for name in names[1:]]
    assert max(found) <= MONDAY + 5 * MINUTE
    assert len(house.entries) >= 2


def test_of_more_prefixes_than_the_rate_limit_can_keep_warm_as_many_as_it_can_are_kept(house, emulator, gateway):
    """Five times too many: 2 pings a minute hold 8 prefixes at 4.4 minutes each. The others must not starve them."""
    prefixes = [prefix(f"p{number}") for number in range(40)]
    keeper = house.keeper(gateway, *prefixes, per_minute=2)
    house.tend_until(keeper, MONDAY + HOUR)
    settled = [entry for entry in house.entries if entry.intent.started_at >= MONDAY + HOUR / 2]
    assert len(settled) >= 55
    assert Counter(entry.verdict for entry in settled)[Verdict.HIT] >= 50
    assert len({entry.intent.prefix for entry in settled if entry.verdict is Verdict.HIT}) >= 8


def test_prefixes_on_other_routes_or_models_do_not_share_a_limit(house):
    pinger = Pinger(WRITTEN)
    keeper = house.keeper(
        pinger,
        prefix("a"),
        prefix("b", model_id=OTHER_CLAUDE),
        prefix("c", route=Route("eu-central-1", profile="other")),
        per_minute=1,
    )
    for name in keeper.names:
        keeper.tend(name)
    assert pinger.pinged == ["a", "b", "c"]


# -- the registry changes -----------------------------------------------------------------------------------------


def test_a_renamed_prefix_with_other_hours_keeps_what_is_known_of_its_entry(house):
    pinger = Pinger(WRITTEN)
    keeper = house.keeper(pinger, prefix("old"))
    keeper.tend("old")
    house.wall.advance(MINUTE)
    renamed = replace(prefix("old"), name="new", busy_hours=make_hours("Mon-Fri 08:00-18:00"))
    keeper.adopt([renamed])
    assert keeper.names == ("new",)
    assert keeper.tend("new").warm_until == MONDAY + 5 * MINUTE
    assert pinger.pinged == ["old"]
    assert keeper.tend("old").action is Action.LEAVE
    with pytest.raises(ConfigError):
        keeper.state("old")


def test_two_prefixes_that_swap_their_names_keep_their_own_states(house):
    keeper = house.keeper(Pinger(WRITTEN), prefix("a"), prefix("b"))
    keeper.tend("a")
    keeper.adopt([replace(prefix("a"), name="b"), replace(prefix("b"), name="a")])
    assert keeper.state("b").touched_at == MONDAY
    assert keeper.state("a").touched_at is None


def test_a_prefix_renamed_while_its_ping_is_away_is_pinged_once_and_comes_back_soon(house):
    def meanwhile(_: Prefix) -> Answer:
        keeper.adopt([replace(prefix("old"), name="new")])
        seen.append(keeper.tend("new"))
        return WRITTEN

    seen: list[object] = []
    pinger = Pinger(meanwhile)
    keeper = house.keeper(pinger, prefix("old"))
    keeper.tend("old")
    assert pinger.pinged == ["old"]
    assert (seen[0].reason, seen[0].action) == (Reason.IN_FLIGHT, Action.WAIT)
    assert keeper.tend("new").warm_until == MONDAY + 5 * MINUTE


def test_the_decision_after_a_ping_goes_by_the_hours_that_were_adopted_meanwhile(house):
    def meanwhile(_: Prefix) -> Answer:
        keeper.adopt([replace(prefix(), busy_hours=make_hours("Sun 10:00-11:00"))])
        return WRITTEN

    keeper = house.keeper(Pinger(meanwhile), prefix())
    assert keeper.tend("support-bot").reason is Reason.OUTSIDE_BUSY_HOURS


def test_a_prefix_removed_while_its_ping_is_away_still_gets_its_outcome(house):
    def meanwhile(_: Prefix) -> Answer:
        keeper.adopt([])
        return WRITTEN

    keeper = house.keeper(Pinger(meanwhile), prefix())
    keeper.tend("support-bot")
    assert house.verdicts == [Verdict.REWRITE]
    assert keeper.names == ()


def test_a_change_of_policy_takes_effect_on_the_known_state(house):
    keeper = house.keeper(Pinger(WRITTEN), prefix(policy=BusyHoursPolicy()))
    keeper.tend("support-bot")
    keeper.adopt([prefix(policy=IdleLimitPolicy(0))])
    house.wall.advance(4 * MINUTE)
    assert keeper.tend("support-bot").reason is Reason.IDLE_LIMIT
    assert len(house.entries) == 1


# -- telling ------------------------------------------------------------------------------------------------------


def test_a_change_of_state_is_told_once_and_every_ping_with_running_money(house, emulator, gateway):
    house.tend_until(house.keeper(gateway, prefix(model_id=CLAUDE)), MONDAY + HOUR)
    assert [event.fields["reason"] for event in house.told("prefix_warmed")] == ["keep_warm"]
    pings = house.told("ping_succeeded")
    assert len(pings) == len(house.entries)
    assert pings[-1].fields["refresh_cost_usd_so_far"] == sum(entry.cost_usd for entry in house.entries)
    avoidable = sum(entry.outcome.avoidable_usd for entry in house.entries)
    assert pings[-1].fields["avoided_write_usd_so_far_at_most"] == avoidable


def test_what_is_let_go_and_taken_back_while_its_ping_is_away_is_no_lost_answer(house):
    away, back = threading.Event(), threading.Event()

    def refuse(_: Prefix) -> Answer:
        away.set()
        assert back.wait(20)
        raise Throttled("slow down")

    pinger = Pinger(refuse)
    keeper = house.keeper(pinger, prefix())
    with ThreadPoolExecutor(1) as pool:
        tending = pool.submit(keeper.tend, "support-bot")
        assert away.wait(20)
        keeper.adopt([])
        keeper.adopt([prefix()])
        assert keeper.state("support-bot").touched_at is None
        assert keeper.tend("support-bot").reason is Reason.IN_FLIGHT
        back.set()
        tending.result()
    assert keeper.state("support-bot").touched_at is None
    assert keeper.look("support-bot").reason is Reason.BACKING_OFF


def test_news_that_come_while_a_new_registry_is_taken_up_count_once(house):
    known, new = prefix("known"), prefix("new")

    class Book:
        """The ledger, and what happens while the history of the new prefix is read."""

        meanwhile: Callable[[], object] | None = None

        def __getattr__(self, name: str) -> object:
            return getattr(house.ledger, name)

        def recent(self, fingerprints: list[str], limit: int) -> object:
            found = house.ledger.recent(fingerprints, limit)
            if self.meanwhile and fingerprints == [new.fingerprint]:
                happens, self.meanwhile = self.meanwhile, None
                happens()
            return found

    def others_ping(times: int) -> None:
        for _ in range(times):
            entry = make_entry(known, Verdict.HIT, started_at=house.wall(), cost_usd=Decimal("0.01"))
            house.ledger.close_entry(house.ledger.open_entry(entry.intent, "leader"), entry.outcome)

    def spent() -> Decimal:
        (found,) = [each for each in gate.statuses_in_all(house.wall()) if each.guard is Guard.DAY_CAP]
        return found.spent_usd

    book, gate = Book(), Gate()
    keeper = house.keeper(Pinger(READ), known, book=book, gate=gate)
    keeper.stand_by()
    others_ping(5)
    keeper.refresh()
    book.meanwhile = lambda: (others_ping(300), keeper.refresh())
    keeper.adopt([known, new])
    keeper.refresh()
    assert spent() == Decimal("0.01") * 305


def test_a_ping_that_cannot_even_be_written_for_a_bug_leaves_no_money_reserved(house):
    class Broken:
        def __getattr__(self, name: str) -> object:
            return getattr(house.ledger, name)

        def open_entry(self, *_: object) -> int:
            raise TypeError("a bug")

    gate = Gate()
    keeper = house.keeper(Pinger(READ), prefix(), book=Broken(), gate=gate)
    with pytest.raises(TypeError):
        keeper.tend("support-bot")
    assert not any(each.spent_usd for each in gate.statuses_in_all(house.wall()))
