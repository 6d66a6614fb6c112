"""Which ttl the next write should ask for: duels of the two at real writes, and a league of simple choosers.

It predicts no requests and pings nothing. Requests do not depend on what keepwarm does, so what the ttl that was not
chosen would have cost is known in full afterwards, and nothing has to be tried out with money.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keepwarm.policies.silences import Terms

FIVE_MINUTES, ONE_HOUR = 0, 1
COLD = -1

# Levels of the last gap and of the number of requests.
Context = tuple[int, int]

# A duel counts this long after its write at the earliest: those that keepwarm loses by silence end last, and counting
# the others first would make 1h look better than it is.
_DELAY_SECONDS = 26 * 3600.0
_LONGEST_DUEL = 200
_PSEUDO_COUNT = 20.0
_MEMORY = 0.97

# The leader changes when another was cheaper by so many units, with costs that count half after a week.
_LEAD = 5.0
_HALF_LIFE_SECONDS = 7 * 86_400.0


class Duel:
    """Two imagined entries of one prefix from one real write on: one was written for 5m, the other for 1h.

    Attributes:
        difference: what the first has cost more, in units.
        context: what its result counts for, beside its prefix.
    """

    __slots__ = ("began", "context", "difference", "modes", "rounds")

    def __init__(self, began: float, context: Context, terms: Terms) -> None:
        self.began = began
        self.context = context
        self.modes = [FIVE_MINUTES, ONE_HOUR]
        self.difference = terms.writes[0] - terms.writes[1]
        self.rounds = 0

    def to_data(self) -> list[Any]:
        """Plain data."""
        return [self.began, self.context, self.modes, self.difference, self.rounds]

    @classmethod
    def from_data(cls, data: Sequence[Any], terms: Terms) -> Duel:
        """As `to_data` gave it."""
        began, (gap_level, count_level), modes, difference, rounds = data
        duel = cls(began, (gap_level, count_level), terms)
        duel.modes, duel.difference, duel.rounds = list(modes), difference, rounds
        return duel

    def step(self, passed: Sequence[tuple[float, bool]], terms: Terms, choice: int) -> bool:
        """One gap has ended with a request; tells whether both entries are the same now.

        Args:
            passed: by ttl, what an entry of it cost in this gap up to the request, and whether it lived through it.
            terms: of the prefix.
            choice: the ttl that a write would be given now.
        """
        for side, sign in ((0, 1.0), (1, -1.0)):
            cost, alive = passed[self.modes[side]]
            if alive:
                cost += terms.read
            else:
                self.modes[side] = choice
                cost += terms.writes[choice] + terms.cold_start
            self.difference += sign * cost
        self.rounds += 1
        return self.modes[0] == self.modes[1] or self.rounds > _LONGEST_DUEL


class _Result(NamedTuple):
    """A duel that has ended, until it counts."""

    number: int
    due: float
    difference: float
    context: Context
    name: str


class Duels:
    """What duels have shown: by how much 1h was the better write, on average, by context and by prefix."""

    def __init__(self) -> None:
        self._all = [0.0, 0.0]
        self._by_context: dict[Context, list[float]] = {}
        self._by_name: dict[str, list[float]] = {}
        self._waiting: deque[_Result] = deque()
        self._waiting_of: dict[str, list[_Result]] = {}
        self._ended = 0

    def mean(self, start: float, context: Context, name: str) -> float:
        """The expected difference of the next write of a prefix, 5m less 1h.

        Args:
            start: what is expected before any duel has ended.
            context: of the write.
            name: of the prefix.
        """
        found = (self._all[0] + _PSEUDO_COUNT * start) / (self._all[1] + _PSEUDO_COUNT)
        for tally in (self._by_context.get(context), self._by_name.get(name)):
            if tally:
                found = (tally[0] + _PSEUDO_COUNT * found) / (tally[1] + _PSEUDO_COUNT)
        return found

    def to_data(self) -> list[Any]:
        """Plain data of what belongs to no prefix."""
        return [self._all, [[*context, *tally] for context, tally in self._by_context.items()], self._ended]

    def restore(self, data: Sequence[Any]) -> None:
        """Take in what `to_data` gave."""
        whole, by_context, self._ended = data
        self._all = list(whole)
        self._by_context = {(gap, count): list(tally) for gap, count, *tally in by_context}

    def own_data(self, name: str) -> list[Any]:
        """Plain data of one prefix."""
        waiting = [[number, due, difference, context] for number, due, difference, context, _ in self._of(name)]
        return [self._by_name.get(name), waiting]

    def restore_own(self, own: Mapping[str, Sequence[Any]]) -> None:
        """Take in what `own_data` gave, of all prefixes."""
        results = []
        for name, (tally, waiting) in own.items():
            if tally:
                self._by_name[name] = list(tally)
            results += [
                _Result(number, due, difference, (gap, count), name)
                for number, due, difference, (gap, count) in waiting
            ]
        for result in sorted(results):
            self._wait(result)

    def advance(self, now: float) -> list[str]:
        """Count what has waited long enough; tells of which prefixes."""
        waiting, names = self._waiting, []
        while waiting and waiting[0].due <= now:
            result = waiting.popleft()
            self._of(result.name).remove(result)
            self._count(result.difference, result.context, result.name)
            names.append(result.name)
        return names

    def end(self, duel: Duel, name: str, now: float) -> None:
        """A duel of a prefix has ended: both entries are the same from now on."""
        due = duel.began + _DELAY_SECONDS
        if due > now:
            self._ended += 1
            self._wait(_Result(self._ended, due, duel.difference, duel.context, name))
        else:
            self._count(duel.difference, duel.context, name)

    def _of(self, name: str) -> list[_Result]:
        return self._waiting_of.get(name, [])

    def _wait(self, result: _Result) -> None:
        self._waiting.append(result)
        self._waiting_of.setdefault(result.name, []).append(result)

    def _count(self, difference: float, context: Context, name: str) -> None:
        self._all[0] += difference
        self._all[1] += 1.0
        tallies = (self._by_context.setdefault(context, [0.0, 0.0]), self._by_name.setdefault(name, [0.0, 0.0]))
        for tally in tallies:
            tally[0] = tally[0] * _MEMORY + difference
            tally[1] = tally[1] * _MEMORY + 1.0


class League:
    """Choosers that run on imagined entries of all prefixes; the one that was cheapest of late is followed.

    The first follows the duels, the others always say 1h, or always 5m.
    """

    CHOOSERS = 3

    def __init__(self) -> None:
        self._costs = [0.0] * self.CHOOSERS
        self._at = 0.0
        self._leader = 0

    def choose(self, by_duels: int) -> int:
        """The ttl that the leader says.

        Args:
            by_duels: what the duels say.
        """
        return (by_duels, ONE_HOUR, FIVE_MINUTES)[self._leader]

    def step(
        self, modes: list[int], passed: Sequence[tuple[float, bool]] | None, terms: Terms, by_duels: int, now: float
    ) -> None:
        """One request of a prefix.

        Args:
            modes: its imagined entries by chooser, `COLD` for none; changed in place.
            passed: as `Duel.step`; None for its first request.
            by_duels: what the duels say to a write now.
        """
        self._forget(now)
        costs = self._costs
        for chooser, mode in enumerate(modes):
            alive = False
            if mode != COLD and passed:
                cost, alive = passed[mode]
                costs[chooser] += cost
            if alive:
                costs[chooser] += terms.read
            else:
                modes[chooser] = (by_duels, ONE_HOUR, FIVE_MINUTES)[chooser]
                costs[chooser] += terms.writes[modes[chooser]] + terms.cold_start
        best = min(range(self.CHOOSERS), key=costs.__getitem__)
        if costs[best] < costs[self._leader] - _LEAD:
            self._leader = best

    def to_data(self) -> list[Any]:
        """Plain data."""
        return [self._costs, self._at, self._leader]

    def restore(self, data: Sequence[Any]) -> None:
        """Take in what `to_data` gave."""
        costs, self._at, self._leader = data
        self._costs = list(costs)

    def _forget(self, now: float) -> None:
        left = 0.5 ** ((now - self._at) / _HALF_LIFE_SECONDS) if now > self._at else 1.0
        self._at = max(now, self._at)
        for chooser, cost in enumerate(self._costs):
            self._costs[chooser] = cost * left
