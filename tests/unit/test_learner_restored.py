"""A learner that was kept and restored does from then on what it would have done without."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.model import Course
from keepwarm.policies.learner import ALL, Learner
from keepwarm.policies.silences import Terms

SONNET = Terms(0.1, (1.25, 2.0), 0.0, (300.0, 3600.0), (262.5, 3450.0))
OTHER = Terms(0.025, (1.25, 2.0), 0.4, (240.0, 3600.0), (200.0, 3000.0))
HOUR, DAY = 3600.0, 86_400.0


@dataclass(frozen=True)
class Step:
    """What happens next: some time passes, then a request comes or a ping is sent if one is wanted."""

    passes: float
    name: str
    request: bool
    fixed: int | None
    hit: bool
    hours: bool


STEPS = st.builds(
    Step,
    passes=st.sampled_from(
        [0.0, 1.0, 200.0, 262.5, 280.0, 400.0, 1_300.0, HOUR, 3_500.0, 5 * HOUR, 27 * HOUR, 3 * DAY]
    ),
    name=st.sampled_from(["a", "b", "c", "gap 3 4"]),
    request=st.booleans(),
    fixed=st.sampled_from([None, None, 0, 1]),
    hit=st.booleans(),
    hours=st.booleans(),
)


class Life:
    """Steps, told to a learner as the daemon tells them."""

    def __init__(self) -> None:
        self.learner = Learner()
        self.now = 1_000_000_000.5
        self.names: set[str] = set()

    def live(self, step: Step) -> tuple[Course, int]:
        """What it wanted."""
        self.now += step.passes
        terms = OTHER if step.name == "c" else SONNET
        chosen = self.learner.choose(step.name, self.now, terms)
        course = self.learner.course(step.name, self.now, step.fixed or chosen, terms)
        if step.request:
            written = None if step.hit else (chosen if step.fixed is None else step.fixed)
            slot, reach = int(self.now / 6 / HOUR) % 8, 2 * HOUR if step.hours else 1e12
            self.learner.arrive(step.name, self.now, terms, slot, written=written, fixed=step.fixed, reach=reach)
            self.names.add(step.name)
        elif course.pings:
            self.learner.pinged(step.name, hit=step.hit, ttl=chosen)
        return course, chosen

    def kept(self) -> str:
        """What would be in the ledger."""
        return json.dumps({name: self.learner.learnt(name) for name in {ALL, *self.names}}, sort_keys=True)

    def restart(self) -> None:
        """All but what was kept is lost."""
        self.learner = Learner(json.loads(self.kept()))


def often(step: Step, times: int) -> list[Step]:
    return [step] * times


def ready(name: str, passes: float, fixed: int | None = None, *, hit: bool = False) -> Step:
    return Step(passes, name, request=True, fixed=fixed, hit=hit, hours=False)


@given(st.lists(STEPS, max_size=40), st.lists(STEPS, max_size=40))
def test_a_restored_learner_decides_as_one_that_ran_on(before, after):
    one, other = Life(), Life()
    for step in before:
        one.live(step)
        other.live(step)
    other.restart()
    assert other.kept() == one.kept()
    for step in after:
        assert one.live(step) == other.live(step)
    assert other.kept() == one.kept()


@given(st.lists(STEPS, max_size=60))
def test_what_was_kept_of_the_changed_ones_is_all_there_is_to_keep(steps):
    """The daemon writes rows of changed prefixes only; what time alone changes must be among them."""
    life = Life()
    rows: dict[str, str] = {}
    for number, step in enumerate(steps):
        life.live(step)
        if number % 3 == 0:
            changed = life.learner.changed()
            rows |= {name: json.dumps(life.learner.learnt(name)) for name in changed}
            whole = {name: json.dumps(life.learner.learnt(name)) for name in life.names}
            assert rows == whole


def test_the_sessions_of_a_week_survive_a_restart():
    one, other = Life(), Life()
    for life in (one, other):
        for number in range(60):
            for step in [ready(f"s{number}", 900.0), *often(ready(f"s{number}", 700.0, hit=True), 6)]:
                life.live(step)
    other.restart()
    for number in range(60, 80):
        for step in [ready(f"s{number}", 900.0), *often(ready(f"s{number}", 700.0), 6)]:
            assert one.live(step) == other.live(step)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows.pop(ALL),
        lambda rows: rows.pop("a"),
        lambda rows: rows["a"].pop("silences"),
        lambda rows: rows["a"].update(tallies=[]),
        lambda rows: rows[ALL].update(duels=None),
        lambda rows: rows["a"].update(terms=[1, 2, 3]),
    ],
    ids=["nothing of all", "a prefix lost", "no silence", "a list", "nothing", "too short"],
)
def test_what_is_garbled_or_missing_is_refused_and_not_half_restored(spoil):
    life = Life()
    for name in "ab":
        life.live(ready(name, 1.0))
    rows = json.loads(life.kept())
    spoil(rows)
    with pytest.raises((LookupError, ValueError, TypeError, AttributeError)):
        Learner(rows)


def test_what_is_kept_of_a_prefix_does_not_grow_with_its_requests():
    life = Life()
    for passes in (HOUR, 400.0, 5 * HOUR, 1_300.0, 280.0, DAY) * 20:
        life.live(ready("a", passes))
    size = len(json.dumps(life.learner.learnt("a"), separators=(",", ":")))
    assert size < 2_500


def test_a_choice_of_ttl_that_is_not_judged_yet_is_judged_after_the_restart():
    one, other = Life(), Life()
    for life in (one, other):
        for _ in range(4):
            life.live(ready("a", 5 * HOUR))
    other.restart()
    for life in (one, other):
        life.live(ready("b", 60 * HOUR))
    tally, waiting = other.learner.learnt("a")["duels"]
    assert tally[1] > 2
    assert waiting == []
    assert other.kept() == one.kept()
