"""Breaks keepwarm again and again, as a seed says, and tells which invariants held: `make chaos SEED=7`.

It starts real daemons against an embedded Bedrock at high speed; nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from keepwarm.clock import utc_now
from keepwarm.emulator import Request
from tests.builders import CLAUDE, shipped_catalog
from tests.chaos import invariants, scenarios
from tests.chaos.deeds import SLACK, Deeds
from tests.chaos.invariants import Findings
from tests.chaos.schedule import AT_ONCE, ONE_BY_ONE, REFUSED, TRIPPING, Episode, Kind, draw
from tests.chaos.world import (
    CANARIES,
    CAP_USD,
    Size,
    World,
    closes_at,
    no_faults,
    opened,
    pause,
)
from tests.daemons import soon

LONG = Size(prefixes=200, few=5, lifetime=timedelta(seconds=12), margin=timedelta(seconds=4), per_minute=2_400)
EPISODES = len(Kind)


class Campaign:
    """One seed's episodes on one world, and what was found.

    Args:
        tell: hears a line for each episode.
        patience: how long it is waited for prefixes that are not warm in time.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        tell: Callable[[str], None] = lambda _line: None,
        patience: timedelta = timedelta(seconds=150),
    ) -> None:
        self._world = world
        self._tell = tell
        self._patience = patience
        self._began = utc_now()
        self._good = world.registry_text(self._began)
        self.findings = Findings()
        self.breaks = Deeds(world, self._good, self._began, self.findings, random.Random(f"{seed} deeds"))
        self.episodes: Counter[Kind] = Counter()

    def start(self) -> None:
        """Begin with a house in order."""
        self._world.write_texts()
        self._world.registry.write_text(self._good)
        self._world.start()

    def run(self, episodes: list[Episode]) -> None:
        """Start, break, look, again and again; then stop and look at everything."""
        world = self._world
        self.start()
        self.look_for_warmth("the start", self._began, set())
        for episode in episodes:
            self.episodes[episode.kind] += 1
            before = len(world.emulator.log)
            began = utc_now()
            with self._lasting(episode):
                if episode.kind not in AT_ONCE:
                    pause(world.size.lifetime * episode.lifetimes)
            ended = utc_now()
            no_faults(world)
            held = world_held(world) if episode.kind in TRIPPING else set()
            after = self.look_for_warmth(episode.kind, ended, held)
            befell = [one for one in invariants.ours(world.emulator.log[before:]) if one.at <= ended]
            self.breaks.count[episode.kind] += self._counted(episode, befell)
            lasted, took = (ended - began).total_seconds(), after.total_seconds()
            self._tell(f"{episode.kind:<60} {lasted:5.1f} s, warm after {took:4.1f} s")
            world.ask_everything()
        self.look_for_calm()
        code = world.child.stop()
        self.findings.check(invariants.NO_CRASH, code == 0, f"the last stop ended with {code}")
        self.look_at_all()

    # -- breaking -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _lasting(self, episode: Episode) -> Iterator[None]:
        faults = episode.faults()
        if faults:
            self._world.emulator.set_faults("*", faults)
            yield
            return
        with self.breaks.of(episode):
            yield

    def _counted(self, episode: Episode, befell: list[Request]) -> int:
        """How many deeds an episode was: of the endpoint, the requests that came meanwhile and did not go well."""
        if episode.kind in ONE_BY_ONE:
            return 0
        if episode.faults() is None and episode.kind not in {Kind.QUOTED, Kind.SHORTENED, Kind.HOUR_DOWN}:
            return 1
        if episode.kind is Kind.SHORTENED:
            befell = [one for one in befell if one.metadata.get("prefix") in self._world.hourly]
        went_wrong = next((rule for kinds, rule in _WENT_WRONG.items() if episode.kind in kinds), lambda _one: True)
        return sum(map(went_wrong, befell))

    # -- looking ------------------------------------------------------------------------------------------------------

    def look_for_warmth(self, what: str, ended: datetime, held: set[str]) -> timedelta:
        """Wait until every prefix that may be pinged was: one lifetime, and what the rate and the failures before ask.

        A prefix whose breaker is open has as many lifetimes as that says.
        """
        world = self._world
        wanted = set(world.plain)
        allowed = world.size.lifetime + SLACK
        soon(lambda: wanted <= invariants.touched_since(world.emulator.log[-20_000:], ended), allowed.total_seconds())
        missing = wanted - invariants.touched_since(world.emulator.log, ended)
        took = utc_now() - ended
        late = missing - held - world_held(world)
        told = f"after {what} at {ended:%H:%M:%S}: {len(late)} of {len(wanted)} cold, such as {sorted(late)[:3]}"
        self.findings.check(invariants.RECOVERED, not late, told)
        if missing:  # so that the next fault meets a warm house; a breaker that never closes is told too
            patience = self._patience.total_seconds()
            closed = soon(lambda: wanted <= invariants.touched_since(world.emulator.log[-20_000:], ended), patience)
            still = sorted(wanted - invariants.touched_since(world.emulator.log, ended))[:3]
            self.findings.check(invariants.RECOVERED, closed, f"{what}: still cold after {patience:g} s: {still}")
        return took

    def look_for_calm(self) -> None:
        """Two lifetimes in which nothing is broken: nothing may die."""
        world = self._world
        before, began = len(world.emulator.log), utc_now()
        pause(world.size.lifetime * 2)
        for request in invariants.ours(world.emulator.log[before:]):
            name = request.metadata.get("prefix", "")
            if name in world.plain:
                alive = request.status == 200 and request.usage and not request.usage.cache_write_tokens
                self.findings.check(
                    invariants.CALM, alive, f"{name} at {request.at:%H:%M:%S}, calm from {began:%H:%M:%S}"
                )

    def look_at_all(self) -> None:
        """Everything that log, ledger and files tell afterwards."""
        world, findings = self._world, self.findings
        log, rows = world.emulator.log, world.rows()
        facts = shipped_catalog().find(CLAUDE, "eu-central-1")
        assert facts
        invariants.check_entries(findings, log, rows)
        for ledger in world.ledgers:  # what was deleted is not known any more
            invariants.check_gaps(findings, world.rows_of(ledger), world.size.shortest_gap, world.steps)
        closed = dict.fromkeys(world.closed, self._began) | dict.fromkeys(world.closing, closes_at(self._began))
        invariants.check_hours(findings, rows, closed)
        invariants.check_pace(findings, rows, world.size.per_minute, world.by_role)
        generations = len(world.ledgers)
        invariants.check_caps(findings, log, dict.fromkeys(world.capped, generations * CAP_USD), facts.prices)
        invariants.check_files(findings, world.place, CANARIES)
        for number, answer in enumerate(world.answers):
            invariants.check_content(findings, f"HTTP answer {number}", answer, CANARIES)
        for child in world.children:
            findings.check(invariants.NO_CRASH, "Traceback" not in child.text, f"a traceback in {child.text[-2_000:]}")
            for event in ("ping_crashed", "scheduler_died"):
                findings.check(invariants.NO_CRASH, f'"{event}"' not in child.text, f"{event} was told")


# How a request shows that a fault befell it; of all other faults each one does.
_WENT_WRONG: dict[frozenset[Kind], Callable[[Request], bool]] = {
    REFUSED: lambda one: one.status != 200,
    frozenset({Kind.HUNG, Kind.DRIPPED}): lambda one: one.latency_ms >= 800,
    frozenset({Kind.EVICTED, Kind.HOMES, Kind.SHORTENED}): lambda one: bool(one.usage and one.usage.cache_write_tokens),
}


def world_held(world: World) -> set[str]:
    """The prefixes that a guard holds, as the daemon that runs told last."""
    held: dict[str, bool] = {}
    for line in world.child.lines:
        if line["event"] in {"guard_tripped", "guard_recovered"}:
            held[line.get("prefix", "")] = line["event"] == "guard_tripped"
    return {name for name, is_held in held.items() if is_held}


def table(campaign: Campaign, results: Mapping[str, str] | None = None) -> str:
    """What was broken how often, how scenarios ended, and which invariants held."""
    findings = campaign.findings
    lines = ["| fault | episodes | faults |", "|---|---:|---:|"]
    lines += [f"| {kind} | {count} | {campaign.breaks.count[kind]:,} |" for kind, count in campaign.episodes.items()]
    lines += [f"| scenario: {name} | 1 | {result} |" for name, result in (results or {}).items()]
    lines += [f"| in all | {campaign.episodes.total()} | {campaign.breaks.count.total():,} |", ""]
    lines += ["| invariant | checks | broken |", "|---|---:|---:|"]
    lines += [f"| {name} | {findings.checks[name]:,} | {len(findings.broken.get(name, ()))} |" for name in INVARIANTS]
    if results:
        broken = len(findings.broken.get(invariants.HELD, ()))
        lines.append(f"| {invariants.HELD} | {findings.checks[invariants.HELD]:,} | {broken} |")
    return "\n".join(lines)


INVARIANTS = (
    invariants.ENTERED,
    invariants.NOT_TWICE,
    invariants.CAPPED,
    invariants.IN_HOURS,
    invariants.PACED,
    invariants.RECOVERED,
    invariants.CALM,
    invariants.SECRET,
    invariants.NO_CRASH,
)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run one campaign; 1 when an invariant is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--no-scenarios", dest="scenarios", action="store_false")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), LONG, arguments.seed) as world:
        campaign = Campaign(world, arguments.seed, tell=_say)
        campaign.run(draw(arguments.seed, arguments.episodes))
        place = Path(folder, "scenarios")
        results = scenarios.run_all(place, campaign.findings) if arguments.scenarios else {}
        requests, children = len(world.emulator.log), len(world.children)
    _say(f"\nseed {arguments.seed}: {requests:,} requests, {children} daemons\n")
    _say(table(campaign, results))
    for name, told in campaign.findings.broken.items():
        _say("\n  ".join([f"\nbroken: {name}", *told[:20]]))
    return 1 if campaign.findings.broken else 0


if __name__ == "__main__":
    sys.exit(main())
