"""Which ttl the next write should ask for: duels of the two at real writes, and a league of simple choosers.

It predicts no requests and pings nothing. Requests do not depend on what keepwarm does, so what the ttl that was not
chosen would have cost is known in full afterwards, and nothing has to be tried out with money.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from keepwarm.policies.silences import Terms

FIVE_MINUTES, ONE_HOUR = 0, 1
COLD = -1

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
        circles: what its result counts for.
    """

    __slots__ = ("began", "circles", "difference", "modes", "rounds")

    def __init__(self, began: float, circles: Sequence[Hashable], terms: Terms) -> None:
        self.began = began
        self.circles = circles
        self.modes = [FIVE_MINUTES, ONE_HOUR]
        self.difference = terms.writes[0] - terms.writes[1]
        self.rounds = 0

    def to_data(self) -> list[Any]:
        """Plain data."""
        return [self.began, list(map(_key, self.circles)), self.modes, self.difference, self.rounds]

    @classmethod
    def from_data(cls, data: Sequence[Any], terms: Terms) -> Duel:
        """As `to_data` gave it."""
        began, circles, modes, difference, rounds = data
        duel = cls(began, list(map(_circle, circles)), terms)
        duel.modes, duel.difference, duel.rounds = list(modes), difference, rounds
        return duel

    def step(self, passed: Sequence[tuple[float, bool]], terms: Terms, choice: Callable[[], int]) -> bool:
        """One gap has ended with a request; tells whether both entries are the same now.

        Args:
            passed: by ttl, what an entry of it cost in this gap up to the request, and whether it lived through it.
            choice: the ttl that a write would be given now.
        """
        for side, sign in ((0, 1.0), (1, -1.0)):
            cost, alive = passed[self.modes[side]]
            if alive:
                cost += terms.read
            else:
                self.modes[side] = choice()
                cost += terms.writes[self.modes[side]] + terms.cold_start
            self.difference += sign * cost
        self.rounds += 1
        return self.modes[0] == self.modes[1] or self.rounds > _LONGEST_DUEL


class Duels:
    """What duels have shown: by how much 1h was the better write, on average and by circle."""

    def __init__(self) -> None:
        self._all = [0.0, 0.0]
        self._by_circle: dict[Hashable, list[float]] = {}
        self._waiting: deque[tuple[float, float, Sequence[Hashable]]] = deque()

    def mean(self, start: float, circles: Sequence[Hashable]) -> float:
        """The expected difference of the next write, 5m less 1h.

        Args:
            start: what is expected before any duel has ended.
            circles: from the widest to the narrowest.
        """
        found = (self._all[0] + _PSEUDO_COUNT * start) / (self._all[1] + _PSEUDO_COUNT)
        for circle in circles:
            tally = self._by_circle.get(circle)
            if tally:
                found = (tally[0] + _PSEUDO_COUNT * found) / (tally[1] + _PSEUDO_COUNT)
        return found

    def to_data(self) -> dict[str, Any]:
        """Plain data: all but what is of single prefixes."""
        shared = {_key(circle): tally for circle, tally in self._by_circle.items() if isinstance(circle, tuple)}
        waiting = [[due, difference, list(map(_key, circles))] for due, difference, circles in self._waiting]
        return {"all": self._all, "shared": shared, "waiting": waiting}

    def own(self, circle: Hashable) -> list[float] | None:
        """The tally of one circle, to be kept with its prefix."""
        return self._by_circle.get(circle)

    def restore(self, data: Mapping[str, Any], own: Mapping[str, list[float]]) -> None:
        """Take in what `to_data` and `own` gave."""
        self._all = list(data["all"])
        self._by_circle = {_circle(key): list(tally) for key, tally in data["shared"].items()} | dict(own)
        self._waiting.extend(
            (due, difference, list(map(_circle, circles))) for due, difference, circles in data["waiting"]
        )

    def advance(self, now: float) -> None:
        """Count what has waited long enough."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            _, difference, circles = waiting.popleft()
            self._count(difference, circles)

    def end(self, duel: Duel, now: float) -> None:
        """A duel has ended: both entries are the same from now on."""
        due = duel.began + _DELAY_SECONDS
        if due > now:
            self._waiting.append((due, duel.difference, duel.circles))
        else:
            self._count(duel.difference, duel.circles)

    def _count(self, difference: float, circles: Sequence[Hashable]) -> None:
        self._all[0] += difference
        self._all[1] += 1.0
        for circle in circles:
            tally = self._by_circle.setdefault(circle, [0.0, 0.0])
            tally[0] = tally[0] * _MEMORY + difference
            tally[1] = tally[1] * _MEMORY + 1.0


def _key(circle: Hashable) -> str:
    return " ".join(map(str, circle)) if isinstance(circle, tuple) else str(circle)


def _circle(key: str) -> Hashable:
    word, *levels = key.split(" ")
    return (word, *map(int, levels)) if levels else key


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
