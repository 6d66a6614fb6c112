"""Breaks keepwarm again and again, as a seed says, and tells which invariants held: `make chaos SEED=7`.

It starts real daemons against an embedded Bedrock at high speed; nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from keepwarm.clock import utc_now
from keepwarm.emulator import Faults
from tests.builders import CLAUDE, shipped_catalog
from tests.chaos import invariants
from tests.chaos.invariants import Findings
from tests.chaos.killed_at import POINTS
from tests.chaos.schedule import AT_ONCE, TRIPPING, Episode, Kind, draw
from tests.chaos.world import (
    CANARIES,
    CAP_USD,
    HOUR_CLAUDE,
    OTHER_CLAUDE,
    Size,
    World,
    closes_at,
    no_faults,
    opened,
    pause,
)
from tests.daemons import CANARY, soon
from tests.daemons import rows as entries_of

LONG = Size(prefixes=200, few=5, lifetime=timedelta(seconds=12), margin=timedelta(seconds=4), per_minute=2_400)
EPISODES = len(Kind)
_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
_TOUCHES_AT_ONCE = 8


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
        self._dice = random.Random(f"{seed} deeds")
        self._tell = tell
        self._patience = patience
        self._began = utc_now()
        self._good = world.registry_text(self._began)
        self._deeds: Mapping[Kind, Callable[[Episode], Any]] = {
            Kind.GONE: self._gone,
            Kind.SWALLOWED: self._swallowed,
            Kind.QUOTED: self._quoted,
            Kind.SHORTENED: self._shortened,
            Kind.KILLED: self._killed,
            Kind.AT_POINTS: self._at_points,
            Kind.STOPPED: self._stopped,
            Kind.NO_CREDENTIALS: self._no_credentials,
            Kind.LOCKED: self._locked,
            Kind.FULL: self._full,
            Kind.DELETED: self._deleted,
            Kind.CORRUPTED: self._corrupted,
            Kind.NO_FILES: self._no_files,
            Kind.REWRITTEN: self._rewritten,
            Kind.HALF_WRITTEN: self._half_written,
            Kind.MANY_ERRORS: self._many_errors,
            Kind.HUGE_PROMPT: self._huge_prompt,
            Kind.BOMB: self._bomb,
            Kind.TOUCHES: self._touches,
        }
        self.findings = Findings()
        self.deeds: Counter[Kind] = Counter()
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
            self.deeds[episode.kind] += self._counted(episode, befell)
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
        with self._deeds[episode.kind](episode):
            yield

    @contextmanager
    def _gone(self, _: Episode) -> Iterator[None]:
        self._world.proxy.cut()
        yield
        self._world.proxy.heal()

    @contextmanager
    def _swallowed(self, _: Episode) -> Iterator[None]:
        self._world.proxy.swallow()
        yield
        self._world.proxy.heal()

    @contextmanager
    def _quoted(self, _: Episode) -> Iterator[None]:
        self._world.emulator.set_faults(OTHER_CLAUDE, Faults(echo_prompt_in_errors=True))
        yield

    @contextmanager
    def _killed(self, episode: Episode) -> Iterator[None]:
        for _ in range(1 + round(2 * episode.strength)):
            pause(timedelta(seconds=self._dice.uniform(0, 1)))
            self._world.restart()
            self.deeds[Kind.KILLED] += 1
        yield

    @contextmanager
    def _at_points(self, _: Episode) -> Iterator[None]:
        world = self._world
        world.emulator.set_faults("*", Faults(hang=1, hang_seconds=0.5))  # so that there is a time in flight
        for point in POINTS:
            world.child.kill()
            world.launch("-m", "tests.chaos.killed_at", point)
            killed = soon(lambda: world.child.process.poll() is not None, 60)
            self.findings.check(invariants.NO_CRASH, killed, f"never came to {point}")
            self.deeds[Kind.AT_POINTS] += killed
        no_faults(world)
        world.restart()
        yield

    @contextmanager
    def _shortened(self, _: Episode) -> Iterator[None]:
        """The entries of all that ask for 1h are gone, and what a ping by hand writes lives for 5m only."""
        self._world.emulator.set_faults(HOUR_CLAUDE, Faults(honour_1h_as_5m=True))
        self._world.emulator.evict(HOUR_CLAUDE)
        for name in self._world.hourly:
            self._world.ping(name)
        yield

    @contextmanager
    def _corrupted(self, _: Episode) -> Iterator[None]:
        world = self._world
        world.child.kill()
        with world.ledger_corrupted(self._dice.randbytes(100_000)):
            world.launch()
            refused = soon(lambda: world.child.process.poll() is not None, 60)
            told = "is not a" in world.child.text
            self.findings.check(invariants.NO_CRASH, refused and told, f"a corrupted ledger: {world.child.text[-500:]}")
        world.restart()
        yield

    @contextmanager
    def _no_files(self, _: Episode) -> Iterator[None]:
        with self._world.no_more_files():
            yield

    def _huge_prompt(self, _: Episode) -> Any:
        (self._world.place / "huge.md").write_text(f"{CANARY}. " * (50_000_000 // len(f"{CANARY}. ")))
        return self._registry(iter([self._good.replace("p000.md", "huge.md")]))

    @contextmanager
    def _stopped(self, _: Episode) -> Iterator[None]:
        self._world.sleep_for(self._world.size.lifetime * 1.2)
        yield

    @contextmanager
    def _no_credentials(self, _: Episode) -> Iterator[None]:
        away = self._world.credentials.rename(self._world.place / "away")
        self._world.restart()
        pause(self._world.size.lifetime / 4)
        away.rename(self._world.credentials)
        yield

    @contextmanager
    def _locked(self, _: Episode) -> Iterator[None]:
        with self._world.ledger_locked():
            yield

    @contextmanager
    def _full(self, _: Episode) -> Iterator[None]:
        with self._world.disk_full():
            yield

    @contextmanager
    def _deleted(self, _: Episode) -> Iterator[None]:
        self._world.delete_ledger()
        pause(timedelta(seconds=1))  # what was on its way may arrive
        sent, deleted = len(invariants.ours(self._world.emulator.log)), utc_now()
        pause(self._world.size.lifetime / 4)
        more = len(invariants.ours(self._world.emulator.log)) - sent
        self.findings.check(invariants.ENTERED, not more, f"{more} pings with the ledger deleted at {deleted:%H:%M:%S}")
        self._world.restart()
        yield

    @contextmanager
    def _registry(self, texts: Iterator[str]) -> Iterator[None]:
        """Write one text after the other; the right one at the end."""
        for text in texts:
            self._world.registry.write_text(text)
            self.deeds[Kind.REWRITTEN] += 1
            pause(timedelta(seconds=0.3))
        yield
        self._world.registry.write_text(self._good)

    def _rewritten(self, episode: Episode) -> Any:
        return self._registry(
            self._world.registry_text(self._began, *(["visitor"] if turned % 2 else []), turned=7 * turned)
            for turned in range(2 + round(8 * episode.strength))
        )

    def _half_written(self, episode: Episode) -> Any:
        return self._registry(iter([self._good[: round(len(self._good) * episode.strength)]]))

    def _many_errors(self, _: Episode) -> Any:
        entries = [{"name": f"bad {number}", "ttl": "2h", "oddity": number} for number in range(10_000)]
        return self._registry(iter([json.dumps({"version": 1, "prefixes": entries})]))

    def _bomb(self, _: Episode) -> Any:
        return self._registry(iter([_BOMB]))

    @contextmanager
    def _touches(self, episode: Episode) -> Iterator[None]:
        world = self._world
        for _ in range(1 + round(4 * episode.strength)):
            names = self._dice.sample(world.plain, min(_TOUCHES_AT_ONCE, len(world.plain)))
            told = [world.request(name) for name in names]
            ahead = [
                one | {"started_at": (datetime.fromisoformat(one["started_at"]) + timedelta(seconds=by)).isoformat()}
                for one, by in zip(told, (5, 30, 55, 61, 3_600), strict=False)
            ]
            wrong: list[Any] = [None, 7, {}, {"request_id": "x" * 10_000}, told[0] | {"started_at": "yesterday"}]
            batch = [*ahead, *told, *told, *wrong]
            self._dice.shuffle(batch)
            world.tell(batch)
            world.tell(batch)
            self.deeds[Kind.TOUCHES] += 2 * len(batch)
        yield

    def _counted(self, episode: Episode, befell: list[Any]) -> int:
        """How many deeds an episode was: of the endpoint, the requests that came meanwhile and did not go well."""
        if episode.kind in {Kind.KILLED, Kind.AT_POINTS, Kind.REWRITTEN, Kind.TOUCHES}:
            return 0  # counted one by one
        if episode.faults() is None and episode.kind not in {Kind.QUOTED, Kind.SHORTENED}:
            return 1
        if episode.kind in {Kind.THROTTLED, Kind.SERVER_ERRORS, Kind.RESET, Kind.EXPIRED, Kind.SKEWED, Kind.QUOTED}:
            return sum(one.status != 200 for one in befell)
        if episode.kind in {Kind.HUNG, Kind.DRIPPED}:
            return sum(one.latency_ms >= 800 for one in befell)
        if episode.kind is Kind.SHORTENED:
            befell = [one for one in befell if one.metadata.get("prefix") in self._world.hourly]
        if episode.kind in {Kind.EVICTED, Kind.HOMES, Kind.SHORTENED}:
            return sum(bool(one.usage and one.usage.cache_write_tokens) for one in befell)
        return len(befell)

    # -- looking ------------------------------------------------------------------------------------------------------

    def look_for_warmth(self, what: str, ended: datetime, held: set[str]) -> timedelta:
        """Wait until every prefix that may be pinged was: one lifetime, and what the rate and the failures before ask.

        A prefix whose breaker is open has as many lifetimes as that says.
        """
        world = self._world
        wanted = set(world.plain)
        allowed = world.size.lifetime + _SLACK
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
            invariants.check_gaps(findings, entries_of(ledger), world.size.shortest_gap)
        closed = dict.fromkeys(world.closed, self._began) | dict.fromkeys(world.closing, closes_at(self._began))
        invariants.check_hours(findings, rows, closed)
        invariants.check_pace(findings, rows, world.size.per_minute)
        generations = len(world.ledgers)
        invariants.check_caps(findings, log, dict.fromkeys(world.capped, generations * CAP_USD), facts.prices)
        self._look_for_canaries()
        for child in world.children:
            findings.check(invariants.NO_CRASH, "Traceback" not in child.text, f"a traceback in {child.text[-2_000:]}")
            for event in ("ping_crashed", "scheduler_died"):
                findings.check(invariants.NO_CRASH, f'"{event}"' not in child.text, f"{event} was told")

    def _look_for_canaries(self) -> None:
        world = self._world
        files = [path for path in world.place.rglob("*") if path.is_file()]
        written = {
            path.name: path.read_bytes()
            for path in files
            if path.suffix != ".md" and path not in {world.registry, world.credentials}
        }
        written |= {f"HTTP answer {number}": answer for number, answer in enumerate(world.answers)}
        for name, content in written.items():
            for canary in CANARIES:
                self.findings.check(invariants.SECRET, canary.encode() not in content, f"{canary!r} in {name}")


_SLACK = timedelta(seconds=2)


def world_held(world: World) -> set[str]:
    """The prefixes that a guard holds, as the daemon that runs told last."""
    held: dict[str, bool] = {}
    for line in world.child.lines:
        if line["event"] in {"guard_tripped", "guard_recovered"}:
            held[line.get("prefix", "")] = line["event"] == "guard_tripped"
    return {name for name, is_held in held.items() if is_held}


def table(campaign: Campaign) -> str:
    """What was broken how often, and which invariants held."""
    findings = campaign.findings
    lines = ["| fault | episodes | faults |", "|---|---:|---:|"]
    lines += [f"| {kind} | {count} | {campaign.deeds[kind]:,} |" for kind, count in campaign.episodes.items()]
    lines += [f"| in all | {campaign.episodes.total()} | {campaign.deeds.total():,} |", ""]
    lines += ["| invariant | checks | broken |", "|---|---:|---:|"]
    lines += [f"| {name} | {findings.checks[name]:,} | {len(findings.broken.get(name, ()))} |" for name in INVARIANTS]
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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), LONG, arguments.seed) as world:
        campaign = Campaign(world, arguments.seed, tell=_say)
        campaign.run(draw(arguments.seed, arguments.episodes))
        requests, children = len(world.emulator.log), len(world.children)
    _say(f"\nseed {arguments.seed}: {requests:,} requests, {children} daemons\n")
    _say(table(campaign))
    for name, told in campaign.findings.broken.items():
        _say("\n  ".join([f"\nbroken: {name}", *told[:20]]))
    return 1 if campaign.findings.broken else 0


if __name__ == "__main__":
    sys.exit(main())
