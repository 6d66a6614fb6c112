"""How many events a second one core takes through the adaptive policy, and what it keeps of each prefix.

Events are organic requests and pings. It decides nothing about money (see `policies.py`). Beside the whole replay, with
the learner, the planner and its states, stand the learner alone, told the same requests and pings and asked before each
ping, and as a peer the same replay with a fixed number of pings and no learner.

Run: `python benchmarks/learner_speed.py [TRACE]...`. Without traces it takes streams of `benchmarks/streams.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from keepwarm import simulate
from keepwarm.courses import ALL, Courses
from keepwarm.model import AdaptivePolicy, Course, Entry, IdleLimitPolicy, ModelFacts, Prefix, PrefixState, Touch, Ttl
from keepwarm.registry import load_catalog
from keepwarm.simulate import Rules, replay
from keepwarm.simulate.replay import Happening
from keepwarm.simulate.traces import MONDAY, Arrival

if __name__ == "__main__":  # a script finds its own directory only
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import streams

MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
STREAMS = ("dense", "sessions", "sparse")
PEER_PINGS = 3
_COLUMNS = ("ttl", "events", "learner", "replay", "peer", "ratio", "bytes a prefix")
_HEAD = "{:22} {:>5} {:>8} {:>9} {:>9} {:>9} {:>6} {:>16}".format("stream", *_COLUMNS)


class Recorder:
    """Courses that remember how they were used, so that it can be done again without the replay."""

    def __init__(self) -> None:
        self.courses = Courses()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def hear(self, prefix: Prefix, before: PrefixState, touch: Touch) -> None:
        """See `Learner`."""
        self.calls.append(("hear", (prefix, before, touch)))
        self.courses.hear(prefix, before, touch)

    def pinged(self, prefix: Prefix, entry: Entry) -> None:
        """See `Learner`."""
        self.calls.append(("pinged", (prefix, entry)))
        self.courses.pinged(prefix, entry)

    def course(self, prefix: Prefix, state: PrefixState, now: datetime) -> Course | None:
        """See `Learner`."""
        self.calls.append(("course", (prefix, state, now)))
        return self.courses.course(prefix, state, now)

    def choose_ttl(self, prefix: Prefix, state: PrefixState, now: datetime) -> Ttl:
        """See `Learner`."""
        self.calls.append(("choose_ttl", (prefix, state, now)))
        return self.courses.choose_ttl(prefix, state, now)


def measured(name: str, arrivals: Sequence[Arrival], facts: ModelFacts, ttl: Ttl | None) -> str:
    """One row: events a second, the best of three runs each."""
    recorder = Recorder()
    events = _replayed(arrivals, Rules(AdaptivePolicy(), ttl, facts, learner=lambda _: recorder))
    alone = _best(lambda: _told_again(recorder.calls))
    whole = _best(lambda: _replayed(arrivals, Rules(AdaptivePolicy(), ttl, facts, learner=lambda _: Courses())))
    limit = Rules(IdleLimitPolicy(PEER_PINGS), ttl or Ttl.FIVE_MINUTES, facts)
    peer = _replayed(arrivals, limit) / _best(lambda: _replayed(arrivals, limit))
    sizes = sorted(_bytes(recorder.courses.learnt(name)) for name in {each.prefix_id for each in arrivals})
    told = f"{median(sizes):.0f} … {sizes[-1]}"
    return (
        f"{name:22} {ttl or 'auto':>5} {events:>8,} {events / alone:>9,.0f} {events / whole:>9,.0f} {peer:>9,.0f} "
        f"{events / whole / peer:>6.2f} {told:>16}   and {_bytes(recorder.courses.learnt(ALL))} of all together"
    )


def _replayed(arrivals: Sequence[Arrival], rules: Rules) -> int:
    found: list[Happening] = []
    replay(arrivals, rules, found.append)
    return len(found)


def _told_again(calls: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
    courses = Courses()
    for name, arguments in calls:
        getattr(courses, name)(*arguments)


def _best(act: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        started = time.process_time()
        act()
        seconds.append(time.process_time() - started)
    return min(seconds)


def _bytes(learnt: Any) -> int:
    return len(json.dumps(learnt, separators=(",", ":")))


def _traces(paths: Sequence[Path]) -> Iterator[tuple[str, Sequence[Arrival]]]:
    for path in paths:
        trace = simulate.read_trace(path)
        yield trace.name, trace.arrivals
    for name in () if paths else STREAMS:
        rows = streams.rows_of(name)
        yield name, [Arrival(MONDAY + timedelta(seconds=at), prefix, tokens) for at, prefix, tokens in rows]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", metavar="TRACE", type=Path, nargs="*")
    chosen = parser.parse_args()
    facts = load_catalog(None).find(MODEL, "")
    if facts is None:
        raise SystemExit(f"the catalog has no prices of {MODEL}")
    print(_HEAD)  # noqa: T201 - a script
    for name, arrivals in _traces(chosen.traces):
        for ttl in (Ttl.FIVE_MINUTES, Ttl.ONE_HOUR, None):
            print(measured(name, arrivals, facts, ttl), flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()
