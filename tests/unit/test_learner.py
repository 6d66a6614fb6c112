"""What the adaptive policy learns: whom it bridges, whom it lets go, which ttl it asks for, and what it may risk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.model import Course, Ttl
from keepwarm.policies.hazards import BIN_OF_STAGE, BINS, PRIORS, STAGES, Stop, Tally, chances, prior, stop
from keepwarm.policies.learner import Learner
from keepwarm.policies.silences import Terms, pings_sent
from keepwarm.policies.solvency import Account, affordable

M5, H1 = 0, 1
TERMS = Terms(0.1, (1.25, 2.0), 0.0, (300.0, 3600.0), (262.5, 3450.0))
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Told:
    """A learner that is told requests; entries are read within their lifetime, and else written."""

    def __init__(self, fixed: int | None = M5, terms: Terms = TERMS) -> None:
        self.learner = Learner()
        self.fixed = fixed
        self.terms = terms
        self.now = 0.0

    def ask(self, name: str, after: float, *, written: int | None = None, slot: int = 0, reach: float = 1e12) -> None:
        self.now += after
        self.learner.arrive(name, self.now, self.terms, slot, written=written, fixed=self.fixed, reach=reach)

    def regularly(self, name: str, after: float, times: int, *, written: int | None = None) -> None:
        for _ in range(times):
            self.ask(name, after, written=written)

    def course(self, name: str, later: float = 0.0, ttl: int = M5) -> Course:
        return self.learner.course(name, self.now + later, ttl, self.terms)

    def session(self, number: int, requests: int = 6) -> None:
        """Somebody asks a few times within an hour, and never again."""
        for _ in range(requests):
            self.ask(f"session {number}", 7 * MINUTE)
        self.now += 5 * HOUR


# -- whom it bridges ----------------------------------------------------------------------------------------------


def test_a_prefix_that_nobody_ever_asked_for_is_not_pinged():
    assert Told().course("a").pings == 0
    assert Told(fixed=None).course("a") == Course(0, Ttl.ONE_HOUR)


@pytest.mark.parametrize(("gap", "needed"), [(7 * MINUTE, 1), (12 * MINUTE, 2), (25 * MINUTE, 5)])
def test_a_prefix_with_regular_traffic_is_bridged(gap, needed):
    told = Told()
    told.regularly("a", gap, 60)
    assert told.course("a").pings >= needed


def test_a_prefix_that_is_asked_for_once_a_day_is_let_go():
    told = Told()
    told.regularly("a", DAY, 60, written=M5)
    assert told.course("a").pings == 0


def test_sessions_that_ended_teach_that_others_end():
    told = Told()
    told.session(0)
    hopeful = told.course("session 0").pings
    for number in range(1, 60):
        told.session(number, requests=1)
    told.ask("new", 0.0)
    assert told.course("new").pings < hopeful


def test_what_others_do_is_known_of_a_new_prefix():
    told = Told()
    for name in "abcdefgh":
        told.regularly(name, 25 * MINUTE, 60)
    told.ask("new", 1.0)
    assert told.course("new").pings >= 5


def test_a_session_is_let_go_when_the_next_one_begins():
    told = Told()
    for number in range(80):
        for _ in range(8):
            told.ask(f"session {number}", 12 * MINUTE)
    quiet = told.course("session 79").pings
    told.ask("session 80", MINUTE)
    assert told.course("session 79").pings < quiet


def test_the_part_of_the_week_counts():
    told = Told()
    for _ in range(250):
        for _ in range(2):
            told.ask("a", 12 * MINUTE, slot=1)
        told.ask("a", 12 * MINUTE, slot=3)
        told.now += DAY
    evening = told.course("a").pings
    told.ask("a", 0.0, slot=1)
    assert told.course("a").pings > evening


def test_a_dear_cold_start_is_worth_more_pings():
    found = []
    for worth in (0.0, 2.0):
        told = Told(terms=TERMS._replace(cold_start=worth))
        told.regularly("a", 80 * MINUTE, 100, written=M5)
        found.append(told.course("a").pings)
    assert found[1] > found[0]


def test_pings_that_find_their_entry_gone_are_dearer_and_fewer():
    told = Told()
    told.regularly("a", 25 * MINUTE, 60)
    before = told.course("a")
    for _ in range(30):
        told.learner.pinged("a", hit=False, ttl=M5)
    after = told.course("a")
    assert after.price > before.price
    assert after.pings < before.pings


def test_the_chances_of_a_regular_prefix_are_where_its_requests_are():
    told = Told()
    assert told.learner.curve("a", M5) == []
    told.regularly("a", 12 * MINUTE, 100)
    curve = told.learner.curve("a", M5)
    chance, pays = zip(*curve, strict=True)
    assert len(curve) == STAGES
    assert max(chance) == chance[1] > 0.5
    assert pays[0] == pytest.approx(0.1 / 1.15)


# -- which ttl it asks for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "ttl"),
    [(40 * MINUTE, Ttl.ONE_HOUR), (2 * DAY, Ttl.FIVE_MINUTES)],
    ids=["within the hour", "days apart"],
)
def test_the_ttl_that_would_have_been_cheaper_is_asked_for(gap, ttl):
    told = Told(fixed=None)
    told.regularly("a", gap, 200, written=M5)
    assert told.course("a").ttl is ttl
    assert told.learner.choose("a", told.now + gap, TERMS) == (H1 if ttl is Ttl.ONE_HOUR else M5)


def test_a_single_request_of_many_prefixes_teaches_that_the_dearer_write_is_lost():
    told = Told(fixed=None)
    for number in range(100):
        told.ask(f"once {number}", HOUR, written=M5)
    told.now += 60 * HOUR
    assert told.learner.choose("new", told.now, TERMS) == M5


def test_where_the_ttl_is_fixed_that_one_is_told():
    told = Told(fixed=H1)
    told.regularly("a", 40 * MINUTE, 5)
    assert told.course("a", ttl=H1).ttl is Ttl.ONE_HOUR


def test_a_duel_goes_on_when_the_application_fixes_its_ttl_and_counts_in_the_end():
    told = Told(fixed=None)
    told.ask("a", 0.0, written=M5)
    told.fixed = M5
    told.regularly("a", 2 * HOUR, 3, written=M5)
    told.now += 30 * HOUR
    told.course("a")
    assert told.learner.learnt("a")["duels"][0] is not None


def test_an_entry_in_busy_hours_is_imagined_without_pings_after_their_end():
    open_end, closing = Told(fixed=None), Told(fixed=None)
    for told, reach in ((open_end, 1e12), (closing, 5 * MINUTE)):
        for _ in range(200):
            told.ask("a", 90 * MINUTE, written=M5, reach=reach)
    assert open_end.learner.choose("a", open_end.now + 90 * MINUTE, TERMS) == H1
    assert closing.learner.choose("a", closing.now + 90 * MINUTE, TERMS) == M5


def test_a_dearer_write_is_not_risked_where_nothing_is_left():
    told = Told(fixed=None)
    told.regularly("a", 40 * MINUTE, 50)
    assert told.learner.choose("a", told.now, TERMS) == H1
    for _ in range(700):
        told.learner.pinged("a", hit=True, ttl=M5)
    assert told.learner.choose("a", told.now, TERMS) == M5


# -- what it may risk ---------------------------------------------------------------------------------------------


def test_pinging_is_held_when_it_has_cost_its_prefix_too_much_and_is_let_go_on_by_savings():
    told = Told()
    told.regularly("a", 25 * MINUTE, 40, written=M5)
    assert not told.course("a").held
    for _ in range(60):
        told.learner.pinged("a", hit=True, ttl=M5)
    held = told.course("a")
    assert (held.pings, held.held) == (0, True)
    told.regularly("a", 25 * MINUTE, 10)
    assert not told.course("a").held


def test_a_prefix_without_fault_is_held_when_all_together_cost_too_much():
    told = Told()
    for name in "abcdefghijklmnop":
        told.regularly(name, 25 * MINUTE, 2, written=M5)
        for _ in range(11):
            told.learner.pinged(name, hit=True, ttl=M5)
    told.ask("new", 1.0, written=M5)
    assert told.course("new").held


def test_pings_of_prefixes_that_nobody_knows_cost_nobody():
    told = Told()
    told.regularly("a", 25 * MINUTE, 30)
    before = told.learner.learnt("")
    told.learner.pinged("b", hit=True, ttl=M5)
    assert told.learner.learnt("") == before
    assert told.learner.learnt("b") == {}


def test_a_request_that_is_told_late_changes_nothing():
    told = Told()
    told.regularly("a", 25 * MINUTE, 30)
    before = told.learner.learnt("a"), told.learner.learnt("")
    told.learner.arrive("a", told.now - 1.0, TERMS, 0, written=M5, fixed=M5, reach=1e12)
    assert (told.learner.learnt("a"), told.learner.learnt("")) == before


@pytest.mark.parametrize(
    ("own", "shadow", "allowed"), [(1.0, 0.0, True), (1.2, 0.0, False), (6.4, 5.0, True), (6.5, 5.0, False)]
)
def test_a_prefix_may_cost_a_twentieth_and_an_entry_more_than_its_shadow(own, shadow, allowed):
    assert affordable(Account(own, shadow), Account(), 0.0) is allowed


@pytest.mark.parametrize(("own", "allowed"), [(112.0, True), (112.1, False)])
def test_all_together_may_cost_a_fiftieth_and_ten_units_more(own, allowed):
    assert affordable(Account(), Account(own, 100.0), 0.0) is allowed


# -- chances and stops --------------------------------------------------------------------------------------------


def worth_of(found: int, chance_of: list[float], avoided: float, price: float) -> float:
    """What stopping after so many pings is worth, by the definition."""
    worth = 0.0
    for stage in reversed(range(found)):
        chance = chance_of[BIN_OF_STAGE[stage]]
        worth = avoided * chance - price + (1 - chance) * worth
    return worth


@given(
    st.lists(
        st.sampled_from([0.0, 0.001, 0.02, 0.05, 0.0869, 0.087, 0.1, 0.3, 0.9, 1.0]), min_size=BINS, max_size=BINS
    ),
    st.sampled_from([(1.15, 0.1), (1.9, 0.1), (1.225, 0.025), (1.0, 0.25)]),
)
def test_no_other_stop_is_worth_more(chance_of, prices):
    avoided, price = prices
    worths = [worth_of(pings, chance_of, avoided, price) for pings in range(STAGES + 1)]
    found = stop(chance_of, avoided, price)
    assert worths[found.pings] == pytest.approx(max(worths), abs=1e-9)
    assert 0 <= found.pings <= STAGES


def test_a_stop_is_where_a_ping_does_not_pay_taken_alone_either():
    found = stop([0.3] * 3 + [0.01] * (BINS - 3), 1.15, 0.1)
    assert found.pings == 3
    assert found.saving == pytest.approx(0.0115)
    assert stop([0.5] * BINS, 1.15, 0.1) == Stop(STAGES, 0.0)


def test_an_empty_stage_is_bridged_for_a_likely_one_behind_it():
    assert stop([0.0, 0.9] + [0.0] * (BINS - 2), 1.15, 0.1).pings == 2


def test_before_anything_is_known_chances_are_those_built_in():
    assert prior(Tally(), M5) == pytest.approx(list(PRIORS[M5]))
    assert list(chances(prior(Tally(), H1), [Tally()], 2)) == pytest.approx(list(PRIORS[H1]))


def test_what_was_counted_narrowly_outweighs_what_was_counted_widely():
    wide, narrow = Tally(), Tally()
    wide.open(0)[0] = 1_000
    counts = narrow.open(0)
    counts[0], counts[BINS] = 1_000, 900
    assert chances(prior(wide, M5), [wide, narrow], 0)[0] == pytest.approx(0.9, abs=0.03)
    assert chances(prior(wide, M5), [wide], 0)[0] < 0.01


@pytest.mark.parametrize(("superseded_from", "sent"), [(9, 5), (5, 5), (4, 4), (1, 2), (0, 2)])
def test_pings_end_when_a_silence_is_superseded_but_those_that_were_sent_are_paid(superseded_from, sent):
    assert pings_sent((Stop(5, 0.0), Stop(2, 0.0)), superseded_from) == sent
