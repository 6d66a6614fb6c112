"""Each guard on money with real keeper and ledger: what trips it, the state that it shows, the spend it stops at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from keepwarm import verdicts
from keepwarm.bedrock import Gateway
from keepwarm.emulator import Emulator, Faults
from keepwarm.errors import ConfigError, Guarded, LedgerError, Unavailable
from keepwarm.gate import Gate
from keepwarm.guards.spending import Spent
from keepwarm.keeper import Keeper
from keepwarm.ledger import Ledger
from keepwarm.limits import RateLimit
from keepwarm.model import (
    LIMITS_IN_ALL,
    Action,
    Answer,
    Event,
    Guard,
    GuardState,
    GuardStatus,
    Limits,
    Prefix,
    Reason,
    Verdict,
)
from keepwarm.switch import SharedSwitch, Switch
from tests.builders import MONDAY, make_entry, make_intent, make_prefix, shipped_catalog
from tests.integration.test_keeper import CANARY, READ, WRITTEN, Pinger, Wall, prefix

USD = Decimal
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
TOMORROW = datetime(2026, 3, 3, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)


class House:
    """Keepers and their gates on one ledger, and what they told."""

    def __init__(self, place: Path, wall: Wall) -> None:
        self.ledger = Ledger.open(f"sqlite:///{place}/ledger.sqlite")
        self.switch = Switch(place / "stopped")
        self.wall = wall
        self.events: list[Event] = []
        self._runs = 0

    def keeper(self, pinger: object, *prefixes: Prefix, in_all: Limits = LIMITS_IN_ALL, book: object = None) -> Keeper:
        """One more run of keepwarm, as after a restart or as another process; its gate is `self.gate`."""
        self._runs += 1
        self.gate = Gate(in_all, self.switch.reason, [self.events.append])
        keeper = Keeper(
            pinger=pinger,
            book=book or self.ledger,
            run_id=f"run-{self._runs}",
            now=self.wall,
            rate=RateLimit(100_000),
            gate=self.gate,
            observers=[self.events.append],
        )
        keeper.adopt(prefixes)
        return keeper

    def tend_until(self, keeper: Keeper, until: datetime) -> None:
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

    def spent(self, name: str = "") -> Decimal:
        return sum((one.cost_usd for one in self.ledger.entries(None, None, name or None)), USD(0))

    def status(self, keeper: Keeper, guard: Guard, one: Prefix) -> GuardStatus:
        statuses = self.gate.statuses(one, keeper.state(one.name), self.wall.at)
        return next(status for status in statuses if status.guard is guard)

    def told(self, name: str) -> list[tuple[object, object]]:
        return [(event.fields["guard"], event.fields["prefix"]) for event in self.events if event.name == name]


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def house(tmp_path: Path, wall: Wall) -> Iterator[House]:
    house = House(tmp_path, wall)
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


def capped(name: str = "support-bot", **caps: str) -> Prefix:
    return prefix(name, limits=replace(Limits(), **{key: USD(value) for key, value in caps.items()}))


# -- caps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "guard", "until"), [
    ("day_cap_usd", Guard.DAY_CAP, TOMORROW), ("month_cap_usd", Guard.MONTH_CAP, APRIL),
])  # fmt: skip
def test_a_cap_stops_a_prefix_just_below_it_until_its_day_or_month_is_over(house, emulator, gateway, key, guard, until):
    one = capped(**{key: "0.10"})
    keeper = house.keeper(gateway, one)
    house.tend_until(keeper, MONDAY + 12 * HOUR)
    high = verdicts.high_cost_usd(one, keeper.state(one.name))
    assert USD("0.10") - high < house.spent() <= USD("0.10")
    sent = len(emulator.log)
    decision = keeper.tend(one.name)
    assert (decision.action, decision.at, decision.reason) == (Action.WAIT, until, Reason.CAPPED)
    assert f"cap $0.10 reached: ${house.spent():.4f}"[:20] in decision.detail
    assert len(emulator.log) == sent
    status = house.status(keeper, guard, one)
    assert (status.state, status.limit_usd, status.spent_usd) == (GuardState.TRIPPED, USD("0.10"), house.spent())
    assert house.told("guard_tripped") == [(guard.value, one.name)]
    assert keeper.look(one.name).reason is Reason.CAPPED


def test_the_next_day_it_goes_on_and_says_so(house, emulator, gateway):
    one = capped(day_cap_usd="0.10")
    house.tend_until(house.keeper(gateway, one), TOMORROW + 30 * MINUTE)
    assert len(house.told("guard_tripped")) == len(house.told("guard_recovered")) == 1
    tuesday = list(house.ledger.entries(TOMORROW, None))
    assert len(tuesday) > 5


def test_the_caps_in_all_hold_for_all_prefixes_together(house, emulator, gateway):
    prefixes = [prefix(name) for name in "abcd"]
    keeper = house.keeper(gateway, *prefixes, in_all=replace(LIMITS_IN_ALL, day_cap_usd=USD("0.30")))
    house.tend_until(keeper, MONDAY + 10 * HOUR)
    high = verdicts.high_cost_usd(prefixes[0], keeper.state("a"))
    assert USD("0.30") - high < house.spent() <= USD("0.30")
    assert {keeper.tend(name).reason for name in "abcd"} == {Reason.CAPPED}
    _, day, _ = house.gate.statuses_in_all(house.wall.at)
    assert (day.state, day.spent_usd) == (GuardState.TRIPPED, house.spent())
    assert "day cap in all $0.30 reached" in day.detail
    after = house.keeper(gateway, *prefixes, in_all=replace(LIMITS_IN_ALL, day_cap_usd=USD("0.30")))
    assert house.gate.statuses_in_all(house.wall.at)[1].state is GuardState.OK  # has held nothing yet
    coming = [(one, after.state(one.name)) for one in prefixes]
    assert house.gate.statuses_in_all(house.wall.at, coming)[1].state is GuardState.TRIPPED
    assert house.gate.statuses_in_all(TOMORROW, coming)[1].state is GuardState.OK
    assert house.told("guard_tripped") == [("day_cap", "all")]


def test_a_cap_per_ping_holds_what_may_cost_more_and_spends_nothing(house, emulator, gateway):
    one = capped(ping_cap_usd="0.001")
    keeper = house.keeper(gateway, one)
    decision = keeper.tend(one.name)
    assert (decision.action, decision.reason) == (Action.LEAVE, Reason.CAPPED)
    assert decision.detail.startswith("cap per ping $0.001: a ping may cost $0.0")
    assert (emulator.log, house.spent()) == ([], 0)
    assert house.status(keeper, Guard.PING_CAP, one).state is GuardState.TRIPPED


@pytest.mark.parametrize("key", ["ping_cap_usd", "day_cap_usd", "month_cap_usd"])
def test_a_cap_of_0_spends_nothing_also_when_asked_by_a_person(house, emulator, gateway, key):
    one = capped(**{key: "0"})
    keeper = house.keeper(gateway, one)
    house.tend_until(keeper, MONDAY + HOUR)
    with pytest.raises(Guarded) as refused:
        keeper.ping(one.name)
    assert "cap" in str(refused.value)
    assert "$0.00" in str(refused.value)
    assert refused.value.hint
    assert emulator.log == []


def test_a_restart_does_not_give_the_day_its_money_back(house, emulator, gateway):
    one = capped(day_cap_usd="0.10")
    house.tend_until(house.keeper(gateway, one), MONDAY + 12 * HOUR)
    before = house.spent()
    for _ in range(3):
        assert house.keeper(gateway, one).tend(one.name).reason is Reason.CAPPED
    assert house.spent() == before


def test_what_was_killed_in_flight_counts_at_its_high_price_after_a_restart(house):
    intent = make_intent(prefix(), started_at=MONDAY - HOUR, high_cost_usd=USD("0.95"))
    house.ledger.open_entry(intent, "died")
    keeper = house.keeper(Pinger(WRITTEN), capped(day_cap_usd="0.96"))
    assert keeper.tend("support-bot").reason is Reason.CAPPED


def test_what_another_process_spends_counts_from_the_next_look_at_the_ledger_on(house):
    one = capped(day_cap_usd="0.10")
    keeper = house.keeper(Pinger(WRITTEN), one)
    gate = house.gate
    for number in range(5):
        other = house.keeper(Pinger(WRITTEN), capped("other"))
        other.ping("other")
        house.ledger.close_entry(
            house.ledger.open_entry(make_intent(one, started_at=MONDAY, high_cost_usd=USD("0.02")), f"other-{number}"),
            make_entry(one, Verdict.REWRITE, cost_usd=USD("0.02")).outcome,
        )
    keeper.refresh()
    day = next(status for status in gate.statuses(one, keeper.state(one.name), MONDAY) if status.guard is Guard.DAY_CAP)
    assert (day.spent_usd, day.state) == (USD("0.10"), GuardState.TRIPPED)
    assert gate.statuses_in_all(MONDAY)[1].spent_usd == house.spent()


def test_the_caps_hold_when_many_threads_ping_at_once(house):
    """Every answer is away until all threads have asked for money."""
    names = [f"p{number}" for number in range(24)]
    gathered = threading.Barrier(25, timeout=20)
    asked = threading.Event()

    def answer(_: Prefix) -> Answer:
        assert asked.wait(20)
        return WRITTEN

    prefixes = [prefix(name) for name in names]
    cap = 5 * verdicts.high_cost_usd(prefixes[0], house.keeper(Pinger(), *prefixes).state("p0"))
    keeper = house.keeper(Pinger(answer), *prefixes, in_all=replace(LIMITS_IN_ALL, day_cap_usd=cap))

    def tend(name: str) -> object:
        gathered.wait()
        return keeper.tend(name)

    with ThreadPoolExecutor(24) as pool:
        running = [pool.submit(tend, name) for name in names]
        gathered.wait()
        waiting = [future for future in running if not _in_time(future)]
        asked.set()
        decisions = [future.result() for future in running]
    assert len(waiting) == 5
    assert len(list(house.ledger.entries(None, None))) == 5
    held = [decision for decision in decisions if decision.reason is Reason.CAPPED]
    assert len(held) == 19
    assert all(decision.at == MONDAY + 10 * SECOND for decision in held)  # there may be room when those have ended
    assert house.told("guard_tripped") == []


def _in_time(future: object) -> bool:
    """Whether it has its result without an answer; what is away stays so, whatever the patience."""
    try:
        future.result(1)
    except TimeoutError:
        return False
    return True


def test_money_set_aside_for_a_ping_that_could_not_be_written_comes_back(house):
    class Full:
        def __getattr__(self, name: str) -> object:
            return getattr(house.ledger, name)

        def open_entry(self, *_: object) -> int:
            raise LedgerError("disk full")

    one = capped(day_cap_usd="0.10")
    keeper = house.keeper(Pinger(WRITTEN), one, book=Full())
    for _ in range(10):
        keeper.tend(one.name)
        house.wall.advance(5 * MINUTE)
    assert house.status(keeper, Guard.DAY_CAP, one).spent_usd == 0


def test_what_costs_no_money_by_the_token_is_held_by_no_cap_but_one_of_0(house):
    one = prefix(provisioned=True, limits=Limits(*[USD("0.000001")] * 4))
    pinger = Pinger(READ)
    house.tend_until(house.keeper(pinger, one), MONDAY + HOUR)
    assert len(pinger.pinged) > 10
    house.wall.advance(HOUR)
    assert house.keeper(pinger, replace(one, limits=Limits(USD(0)))).tend(one.name).reason is Reason.CAPPED


# -- breaker ------------------------------------------------------------------------------------------------------


def test_entries_that_never_live_are_written_three_times_and_then_twice_after_ever_longer_pauses(
    house, emulator, gateway
):
    one = prefix()
    keeper = house.keeper(gateway, one)
    emulator.set_faults("*", Faults(evict=1))
    house.tend_until(keeper, MONDAY + 14 * MINUTE)
    entries = list(house.ledger.entries(None, None))
    assert [entry.verdict for entry in entries] == [
        Verdict.REWRITE
    ] * 4  # the opening write, and three where hits were due
    decision = keeper.tend(one.name)
    assert (decision.reason, decision.at) == (Reason.BREAKER_OPEN, entries[-1].intent.started_at + 5 * MINUTE)
    assert house.spent() == 4 * entries[0].cost_usd
    status = house.status(keeper, Guard.BREAKER, one)
    assert (status.state, status.detail) == (GuardState.TRIPPED, "3 rewrites in a row where a hit was due")
    restarted = house.keeper(gateway, one)
    assert restarted.tend(one.name).reason is Reason.BREAKER_OPEN  # a stop survives, what authorises spending does not
    house.tend_until(restarted, MONDAY + 2 * HOUR)
    cycles = 4  # after 5, 10, 20 and 40 minutes, half-open: one write, and the ping that finds it gone
    assert house.spent() == (4 + 2 * cycles) * entries[0].cost_usd
    assert house.told("guard_tripped") == [("breaker", one.name)]


def test_the_breaker_closes_after_a_hit_and_says_so(house, emulator, gateway):
    one = prefix()
    keeper = house.keeper(gateway, one)
    emulator.set_faults("*", Faults(evict=1))
    house.tend_until(keeper, MONDAY + 14 * MINUTE)
    emulator.set_faults("*", Faults())
    house.tend_until(keeper, keeper.tend(one.name).at + SECOND)
    assert house.status(keeper, Guard.BREAKER, one).state is GuardState.HALF_OPEN
    house.tend_until(keeper, MONDAY + 30 * MINUTE)
    assert house.status(keeper, Guard.BREAKER, one).state is GuardState.OK
    assert house.told("guard_recovered") == [("breaker", one.name)]


def test_three_lost_answers_open_the_breaker_since_they_may_be_billed(house):
    one = prefix()
    pinger = Pinger(Unavailable("read timed out", maybe_billed=True))
    keeper = house.keeper(pinger, one)
    house.tend_until(keeper, MONDAY + 4 * MINUTE)
    assert len(pinger.pinged) == 3
    assert keeper.tend(one.name).reason is Reason.BREAKER_OPEN
    assert house.spent() == sum(entry.intent.high_cost_usd for entry in house.ledger.entries(None, None))


def test_a_person_may_ping_through_an_open_breaker_and_a_hit_closes_it(house):
    one = prefix()
    pinger = Pinger(WRITTEN)
    keeper = house.keeper(pinger, one)
    house.tend_until(keeper, MONDAY + 14 * MINUTE)
    assert keeper.tend(one.name).reason is Reason.BREAKER_OPEN
    pinger.answer = READ
    assert keeper.ping(one.name).verdict is Verdict.HIT
    assert house.status(keeper, Guard.BREAKER, one).state is GuardState.OK


# -- tripwire and the stop of all ---------------------------------------------------------------------------------


def test_a_tripped_prefix_is_left_and_others_are_not_and_a_person_may_still_try(house):
    pinger = Pinger(WRITTEN)
    keeper = house.keeper(pinger, prefix("a"), prefix("b"))
    assert house.gate.set_tripped("a", "lost too much", MONDAY)
    assert not house.gate.set_tripped("a", "lost more", MONDAY)
    decision = keeper.tend("a")
    assert (decision.action, decision.reason, decision.detail) == (Action.LEAVE, Reason.TRIPPED, "lost more")
    keeper.tend("b")
    assert pinger.pinged == ["b"]
    assert keeper.ping("a").verdict is Verdict.REWRITE
    assert house.gate.set_tripped("a", "", MONDAY)
    assert house.told("guard_tripped") == house.told("guard_recovered") == [("tripwire", "a")]


def test_the_stop_file_ends_all_pings_at_once_and_its_removal_ends_that(house, emulator, gateway):
    keeper = house.keeper(gateway, prefix("a"), prefix("b"))
    keeper.tend("a")
    house.switch.stop("by a test", MONDAY)
    house.wall.advance(4 * MINUTE)
    decisions = [keeper.tend(name) for name in "ab"]
    assert {decision.reason for decision in decisions} == {Reason.ALL_STOPPED}
    assert "by a test" in decisions[0].detail
    with pytest.raises(Guarded, match="by a test"):
        keeper.ping("b")
    assert len(emulator.log) == 1
    assert house.gate.statuses_in_all(house.wall.at)[0].state is GuardState.TRIPPED
    restarted = house.keeper(gateway, prefix("a"), prefix("b"))
    assert restarted.tend("a").reason is Reason.ALL_STOPPED
    assert house.switch.undo()
    house.wall.advance(MINUTE)
    assert restarted.tend("a").action is Action.PING
    assert len(emulator.log) == 2
    assert house.told("guard_tripped")[0] == ("stop_all", "all")
    assert house.told("guard_recovered") == [("stop_all", "all")]


def test_a_prefix_stopped_by_a_refusal_keeps_its_own_reason(house):
    short = make_prefix(name="a")
    keeper = house.keeper(Pinger(Answer(None)), short)
    assert CANARY not in str(keeper.look("a"))
    keeper.tend("a")
    assert keeper.state("a").unknowns == 1


# -- the sums -----------------------------------------------------------------------------------------------------


def test_the_ledger_adds_up_exactly_what_was_spent_by_prefix_day_and_month(house):
    moments = [MONDAY, MONDAY - 20 * HOUR, MONDAY - 60 * HOUR, MONDAY]  # today, yesterday, in February, today
    for moment in moments:
        for one in (prefix("a"), prefix("b")):
            number = house.ledger.open_entry(make_intent(one, started_at=moment, high_cost_usd=USD("0.2")), "run")
            if one.name == "a":
                outcome = make_entry(one, started_at=moment, cost_usd=USD("0.1000000000000000000000000001")).outcome
                house.ledger.close_entry(number, outcome)
    house.ledger.open_entry(make_intent(prefix("p", provisioned=True)), "run")
    month, day = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
    cost = USD("0.1000000000000000000000000001")
    assert house.ledger.spent(month, day) == [Spent("a", 2 * cost, 3 * cost), Spent("b", USD("0.4"), USD("0.6"))]
    assert house.ledger.spent(month, day, 2) == [Spent("a", cost, cost), Spent("b", USD("0.2"), USD("0.2"))]
    assert house.ledger.spent(APRIL, APRIL) == []


# -- other machines -----------------------------------------------------------------------------------------------


def test_a_ping_that_another_process_has_in_flight_is_counted_at_its_high_price_until_it_ends(house):
    one = capped(day_cap_usd="1")
    keeper = house.keeper(Pinger(WRITTEN), one)
    gate = house.gate
    number = house.ledger.open_entry(make_intent(one, started_at=MONDAY, high_cost_usd=USD("0.99")), "elsewhere")
    keeper.refresh()
    keeper.refresh()
    decision = keeper.tend(one.name)
    assert (decision.reason, decision.at) == (Reason.CAPPED, MONDAY + 10 * SECOND)
    house.ledger.close_entry(number, make_entry(one, Verdict.ERROR, cost_usd=USD(0), retryable=True).outcome)
    keeper.refresh()
    day = next(status for status in gate.statuses(one, keeper.state(one.name), MONDAY) if status.guard is Guard.DAY_CAP)
    assert day.spent_usd == 0


def test_a_stop_reaches_daemons_on_other_machines_through_the_ledger_and_so_does_its_end(house, tmp_path):
    here, there = (SharedSwitch(Switch(tmp_path / name), house.ledger) for name in ("here", "there"))
    here.stop("bill looks odd", MONDAY)
    assert here.reason().startswith(str(tmp_path / "here"))
    assert there.reason() == ""
    there.look()
    assert there.reason() == f"stopped in the ledger: {MONDAY.isoformat()} bill looks odd"
    there.stop("again", MONDAY)
    assert there.undo(MONDAY)
    assert not there.undo(MONDAY)
    assert there.reason() == ""
    here.look()
    assert here.reason()  # a file is lifted where it lies
    assert here.undo(MONDAY)
    assert here.reason() == ""


def test_a_machine_that_cannot_write_its_file_is_stopped_by_the_ledger(house, tmp_path):
    (tmp_path / "file").write_text("")
    shared = SharedSwitch(Switch(tmp_path / "file" / "stopped"), house.ledger)
    shared.stop("no disk", MONDAY)
    assert "no disk" in shared.reason()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is there"), (b"\xff by  a\nperson", "is there: \ufffd by a person"), (None, "is there")],
)
def test_a_stop_file_stops_whatever_it_holds(tmp_path, content, words):
    switch = Switch(tmp_path / "stopped")
    assert switch.reason() == ""
    if content is None:
        switch.file.mkdir()
    else:
        switch.file.write_bytes(content)
    assert switch.reason() == f"{switch.file} {words}"


def test_a_stop_file_that_cannot_be_taken_away_is_told(tmp_path):
    switch = Switch(tmp_path / "stopped")
    switch.file.mkdir()
    with pytest.raises(ConfigError, match="cannot be removed") as refused:
        switch.undo()
    assert refused.value.hint


def test_a_stop_file_in_a_directory_that_is_a_file_cannot_be_there(tmp_path):
    (tmp_path / "file").write_text("")
    switch = Switch(tmp_path / "file" / "stopped")
    assert switch.reason() == ""
    assert not switch.undo()
