"""Streams of arrivals for the benchmark of policies, made by a seeded generator; anybody gets the same ones.

It measures nothing and reads no trace. A stream is what `keepwarm simulate` replays: CSV, `t_seconds,prefix_id,
prefix_tokens`, seconds counted from a Monday 00:00. The same seed gives the same bytes.

Run: `python benchmarks/streams.py DIRECTORY [--seed 1] [--only dense]...`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

HOUR, DAY, WEEK = 3_600.0, 86_400.0, 604_800.0
HEADER = "t_seconds,prefix_id,prefix_tokens\n"

# How keepwarm pings by default: an entry's lifetime, and the longest time between two pings of it.
LIFETIME_5M, PERIOD_5M = 300.0, 270.0
LIFETIME_1H, PERIOD_1H = 3_600.0, 3_300.0


class Row(NamedTuple):
    """One arrival."""

    at: float
    prefix: str
    tokens: int


@dataclass(frozen=True)
class Stream:
    """A kind of stream.

    Attributes:
        group: with which it is summed up: `shared`, `sessions`, `sparse` or `adversarial`.
        make: rows in any order, from a source of chance.
    """

    group: str
    make: Callable[[random.Random], Iterator[Row]]


def rows_of(name: str, seed: int = 1) -> list[Row]:
    """The arrivals of a stream, ascending."""
    dice = random.Random(f"{name} {seed}")  # noqa: S311 - chance that can be had again, no secret
    rows = (Row(round(at, 1), prefix, tokens) for at, prefix, tokens in STREAMS[name].make(dice))
    return sorted(rows)


def encoded(rows: Sequence[Row]) -> bytes:
    """The file of these arrivals, gzip without a name or a date."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as file:
        file.write(HEADER.encode())
        file.write("".join(f"{at:.1f},{prefix},{tokens}\n" for at, prefix, tokens in rows).encode())
    return packed.getvalue()


# -- kinds of streams ---------------------------------------------------------------------------------------------


def dense(dice: random.Random, prefixes: int = 4, days: int = 14, per_hour: float = 24.0) -> Iterator[Row]:
    """Shared prefixes around the clock: random requests, by day half as many again as the mean, by night half."""
    for number in range(prefixes):
        tokens = _tokens(dice)
        for at in _random(dice, 0, days * DAY, 1.5 * per_hour, lambda at: 1.0 if 7 <= at % DAY / HOUR < 19 else 1 / 3):
            yield Row(at, f"dense-{number}", tokens)


def office_hours(
    dice: random.Random, prefixes: int = 8, weeks: int = 6, busiest_per_hour: float = 32.0
) -> Iterator[Row]:
    """Shared prefixes from Monday to Friday, 08:00 to 18:00 with a lunch at 12:00; each half as busy as the last."""
    for number in range(prefixes):
        tokens = _tokens(dice)
        for at in _random(dice, 0, weeks * WEEK, busiest_per_hour / 2**number, _office):
            yield Row(at, f"office-{number}", tokens)


def sessions(dice: random.Random, count: int = 400, weeks: int = 4, turns: int = 25) -> Iterator[Row]:
    """People at work with an agent, a prefix for each session: short pauses, a few long ones, and an end.

    Geometric numbers of turns; pauses are log-normal around 40 s (one in twelve outlives 5 minutes), and one in thirty
    is a break of 20 minutes to 4 hours.
    """
    for number in range(count):
        tokens = _tokens(dice, around=60_000)
        at = _moment_at_work(dice, weeks)
        while True:
            yield Row(at, f"session-{number}", tokens)
            if dice.random() < 1 / turns:
                break
            rest = dice.random() < 1 / 30
            at += dice.uniform(HOUR / 3, 4 * HOUR) if rest else dice.lognormvariate(3.7, 1.4)


def sparse(dice: random.Random, users: int = 150, weeks: int = 4, visits_a_week: float = 3.0) -> Iterator[Row]:
    """Users who come now and then: visits of two requests on average, minutes apart, at any hour of the day."""
    for number in range(users):
        tokens = _tokens(dice)
        for start in _random(dice, 0, weeks * WEEK, visits_a_week * HOUR / WEEK, lambda _: 1.0):
            at = start
            yield Row(at, f"user-{number}", tokens)
            while dice.random() < 1 / 2:
                at += dice.expovariate(1 / 600)
                yield Row(at, f"user-{number}", tokens)


def dying(dice: random.Random, prefixes: int = 24, weeks: int = 6, per_hour: float = 12.0) -> Iterator[Row]:
    """Shared prefixes in office hours that end for ever, half of them at once, half by halves every two days."""
    for number in range(prefixes):
        tokens = _tokens(dice)
        end = dice.uniform(WEEK / 2, (weeks - 1) * WEEK)

        def likely(at: float, end: float = end, fades: bool = number % 2 == 1) -> float:
            return _office(at) * (1.0 if at < end else 0.5 ** ((at - end) / (2 * DAY)) if fades else 0.0)

        for at in _random(dice, 0, weeks * WEEK, per_hour, likely):
            yield Row(at, f"dying-{number}", tokens)


def adversarial_fixed(_: random.Random, gaps: int = 150) -> Iterator[Row]:
    """Against every fixed number of pings: a request comes just after the entry that so many pings kept has died."""
    reaches = [LIFETIME_5M + pings * PERIOD_5M for pings in (0, 1, 3, 6, 11)]
    reaches += [LIFETIME_1H + pings * PERIOD_1H for pings in (0, 1, 3, 19)]
    for number, reach in enumerate(reaches):
        for step in range(gaps):
            yield Row(1.0 + number * 60 + step * (reach + 5), f"fixed-{number}", 20_000)


def adversarial_learner(dice: random.Random, prefixes: int = 6, gaps: int = 600) -> Iterator[Row]:
    """Against whoever learns where to stop: the next gap is just longer than what the last ones taught to bridge.

    What was taught is the best number of pings for the last 40 gaps, at 5m or (every second prefix) at 1h; one gap in
    five is short, so that hope remains.
    """
    for number in range(prefixes):
        lifetime, period, worth = (LIFETIME_1H, PERIOD_1H, 19) if number % 2 else (LIFETIME_5M, PERIOD_5M, 11)
        at, past = dice.uniform(0, HOUR), deque([2, 3, 2], maxlen=40)
        for _ in range(gaps):
            yield Row(at, f"learner-{number}", 20_000)
            stop = best_stop(past, worth)
            gap = dice.uniform(1, 2 * lifetime) if dice.random() < 1 / 5 else lifetime + stop * period + 5
            past.append(pings_needed(gap, lifetime, period))
            at += gap


def best_stop(needed: Sequence[int], worth: float) -> int:
    """The number of pings that would have cost least: each costs 1, and one avoided write is worth `worth`.

    Args:
        needed: how many pings each past gap needed.
        worth: in pings.
    """
    choices = sorted({0, *needed})
    return min(choices, key=lambda stop: sum(min(need, stop) + worth * (need > stop) for need in needed))


def pings_needed(gap: float, lifetime: float, period: float) -> int:
    """How many pings keep an entry alive through a gap."""
    return max(0, ceil((gap - lifetime) / period))


STREAMS = {
    "dense": Stream("shared", dense),
    "office_hours": Stream("shared", office_hours),
    "dying": Stream("shared", dying),
    "sessions": Stream("sessions", sessions),
    "sparse": Stream("sparse", sparse),
    "adversarial_fixed": Stream("adversarial", adversarial_fixed),
    "adversarial_learner": Stream("adversarial", adversarial_learner),
}


# -- chance -------------------------------------------------------------------------------------------------------


def _random(
    dice: random.Random, since: float, until: float, per_hour: float, likely: Callable[[float], float]
) -> Iterator[float]:
    """Moments of random requests at a rate of `per_hour`, each kept as likely as its moment says (at most 1)."""
    at = since
    while (at := at + dice.expovariate(per_hour / HOUR)) < until:
        if dice.random() < likely(at):
            yield at


def _office(at: float) -> float:
    """How busy an office is: 1 from 08:00 to 18:00 of a weekday, a third at lunch, else 0."""
    hour = at % DAY / HOUR
    if at % WEEK >= 5 * DAY or not 8 <= hour < 18:
        return 0.0
    return 1 / 3 if 12 <= hour < 13 else 1.0


def _moment_at_work(dice: random.Random, weeks: int) -> float:
    """A moment between 08:00 and 17:00 of a weekday."""
    return dice.randrange(weeks) * WEEK + dice.randrange(5) * DAY + dice.uniform(8, 17) * HOUR


def _tokens(dice: random.Random, around: int = 20_000) -> int:
    """A size of a prefix: log-normal, at least 2,000 tokens."""
    return max(2_000, round(around * dice.lognormvariate(0, 0.6)))


def main() -> None:
    """Write the streams into a directory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("directory", type=Path, help="where the files go")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=STREAMS, action="append", help="this kind only; may be given again")
    chosen = parser.parse_args()
    chosen.directory.mkdir(parents=True, exist_ok=True)
    for name in chosen.only or STREAMS:
        rows = rows_of(name, chosen.seed)
        (chosen.directory / f"{name}.csv.gz").write_bytes(encoded(rows))
        prefixes = len({row.prefix for row in rows})
        print(f"{name}: {len(rows):,} arrivals, {prefixes:,} prefixes, {rows[-1].at / DAY:.1f} days")  # noqa: T201


if __name__ == "__main__":
    main()
