"""What a fault of the campaign does, where it is more than a switch of the embedded Bedrock.

Each deed is a context manager: what it breaks is whole again when its block ends. None of them judges how keepwarm took
it, but for the two where that shows only meanwhile: a ledger that is deleted, and a start that must be refused.
"""

from __future__ import annotations

import json
import random
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any

from keepwarm.clock import utc_now
from keepwarm.emulator import Faults
from tests.chaos import invariants
from tests.chaos.invariants import Findings
from tests.chaos.killed_at import POINTS
from tests.chaos.schedule import Episode, Kind
from tests.chaos.world import HOUR_CLAUDE, OTHER_CLAUDE, World, no_faults, pause
from tests.daemons import CANARY, soon
from tests.integration.test_bedrock import CERTIFICATE, server

_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
_TOUCHES_AT_ONCE = 8
SLACK = timedelta(seconds=2)
_BATCH = 1_000
_FLOOD = 200_000
_FLOOD_LIFETIMES = 5
_FEW_FILES = 64
_TEN_MINUTES_LIFETIMES = 2.0  # of a 5m entry
_HOUR_LIFETIMES = 12.0


class Deeds:
    """The deeds of one campaign, and how often each was done.

    Args:
        good: the right registry.
        began: when the campaign did.
    """

    def __init__(self, world: World, good: str, began: datetime, findings: Findings, dice: random.Random) -> None:
        self._world = world
        self._good = good
        self._began = began
        self._findings = findings
        self._dice = dice
        self.count: Counter[Kind] = Counter()
        self._deeds: dict[Kind, Callable[[Episode], AbstractContextManager[None]]] = {
            Kind.HOUR_DOWN: self._hour_down,
            Kind.GONE: self._gone,
            Kind.SWALLOWED: self._swallowed,
            Kind.BROKEN_OFF: self._broken_off,
            Kind.LONG_DRIPS: self._long_drips,
            Kind.NO_NAME: self._no_name,
            Kind.CERTIFICATE: self._certificate,
            Kind.QUOTED: self._quoted,
            Kind.SHORTENED: self._shortened,
            Kind.KILLED: self._killed,
            Kind.AT_POINTS: self._at_points,
            Kind.STOPPED: self._stopped,
            Kind.CLOCK_AHEAD: self._clock_ahead,
            Kind.CLOCK_BEHIND: self._clock_behind,
            Kind.NO_CREDENTIALS: self._no_credentials,
            Kind.NO_ROLE: self._no_role,
            Kind.LOCKED: self._locked,
            Kind.FULL: self._full,
            Kind.DELETED: self._deleted,
            Kind.CORRUPTED: self._corrupted,
            Kind.TRUNCATED: self._truncated,
            Kind.NO_FILES: self._no_files,
            Kind.FEW_FILES: self._few_files,
            Kind.ONE_WORKER: self._one_worker,
            Kind.REWRITTEN: self._rewritten,
            Kind.HALF_WRITTEN: self._half_written,
            Kind.MANY_ERRORS: self._many_errors,
            Kind.HUGE_PROMPT: self._huge_prompt,
            Kind.BOMB: self._bomb,
            Kind.TOUCHES: self._touches,
            Kind.FLOOD: self._flood,
        }

    def of(self, episode: Episode) -> AbstractContextManager[None]:
        """The deed of an episode; whoever enters it lets it last."""
        return self._deeds[episode.kind](episode)

    # -- endpoint -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _hour_down(self, _: Episode) -> Iterator[None]:
        self._world.emulator.set_faults("*", Faults(unavailable=1))
        pause(self._world.size.lifetime * _HOUR_LIFETIMES)
        yield

    @contextmanager
    def _broken_off(self, _: Episode) -> Iterator[None]:
        self._world.proxy.break_off()
        yield
        self._world.proxy.heal()

    @contextmanager
    def _long_drips(self, _: Episode) -> Iterator[None]:
        """Each piece comes in time, all of them take longer than the timeout."""
        self._world.proxy.drip(self._world.size.read_timeout.total_seconds() * 1.5)
        yield
        self._world.proxy.heal()

    @contextmanager
    def _no_name(self, _: Episode) -> Iterator[None]:
        self._world.restart(AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://bedrock.invalid")
        pause(self._world.size.lifetime)
        self._world.restart()
        yield

    @contextmanager
    def _certificate(self, _: Episode) -> Iterator[None]:
        pem = self._world.place / "certificate.pem"
        pem.write_text(CERTIFICATE)
        with server(lambda _handler: None, certificate=pem) as url:  # signed by nobody
            self._world.restart(AWS_ENDPOINT_URL_BEDROCK_RUNTIME=url)
            pause(self._world.size.lifetime)
        self._world.restart()
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
            self.count[Kind.KILLED] += 1
        yield

    @contextmanager
    def _at_points(self, _: Episode) -> Iterator[None]:
        world = self._world
        world.emulator.set_faults("*", Faults(hang=1, hang_seconds=0.5))  # so that there is a time in flight
        for point in POINTS:
            world.child.kill()
            world.launch("-m", "tests.chaos.killed_at", point)
            killed = soon(lambda: world.child.process.poll() is not None, 60)
            self._findings.check(invariants.NO_CRASH, killed, f"never came to {point}")
            self.count[Kind.AT_POINTS] += killed
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

    def _corrupted(self, _: Episode) -> AbstractContextManager[None]:
        return self._unreadable(lambda _content: self._dice.randbytes(100_000))

    def _truncated(self, episode: Episode) -> AbstractContextManager[None]:
        return self._unreadable(lambda content: content[: int(len(content) * episode.strength) | 1])

    @contextmanager
    def _unreadable(self, spoilt: Callable[[bytes], bytes]) -> Iterator[None]:
        world = self._world
        world.child.kill()
        sent = len(invariants.ours(world.emulator.log))
        with world.ledger_spoilt(spoilt):
            world.launch()
            refused = soon(lambda: world.child.process.poll() is not None, 60)
            told = f"a start on a spoilt ledger: {world.child.text[-500:]}"
            self._findings.check(invariants.NO_CRASH, refused and "ledger" in world.child.text, told)
            more = len(invariants.ours(world.emulator.log)) - sent
            self._findings.check(invariants.ENTERED, not more, f"{more} pings with a ledger that cannot be read")
        world.restart()
        yield

    @contextmanager
    def _no_files(self, _: Episode) -> Iterator[None]:
        with self._world.no_more_files():
            yield

    @contextmanager
    def _few_files(self, _: Episode) -> Iterator[None]:
        """64 descriptors from its start on, with as many workers."""
        world, unlimited = self._world, resource.getrlimit(resource.RLIMIT_NOFILE)
        world.child.kill()
        world.launch()
        resource.prlimit(world.child.process.pid, resource.RLIMIT_NOFILE, (_FEW_FILES, unlimited[1]))
        world.await_start()
        pause(world.size.lifetime)
        world.restart()
        yield

    @contextmanager
    def _one_worker(self, episode: Episode) -> Iterator[None]:
        """One ping at a time, and some of them hang."""
        world = self._world
        world.restart(KEEPWARM_MAX_CONCURRENT_PINGS="1")
        world.emulator.set_faults("*", Faults(hang=episode.strength / 10, hang_seconds=30))
        pause(world.size.lifetime)
        no_faults(world)
        world.restart()
        yield

    def _huge_prompt(self, _: Episode) -> AbstractContextManager[None]:
        (self._world.place / "huge.md").write_text(f"{CANARY}. " * (50_000_000 // len(f"{CANARY}. ")))
        return self._registry(Kind.HUGE_PROMPT, iter([self._good.replace("p000.md", "huge.md")]))

    @contextmanager
    def _stopped(self, _: Episode) -> Iterator[None]:
        self._world.sleep_for(self._world.size.lifetime * _TEN_MINUTES_LIFETIMES)
        yield

    def _clock_ahead(self, _: Episode) -> AbstractContextManager[None]:
        return self._clock_set(timedelta(hours=1))

    def _clock_behind(self, _: Episode) -> AbstractContextManager[None]:
        return self._clock_set(timedelta(hours=-1))

    @contextmanager
    def _clock_set(self, ahead: timedelta) -> Iterator[None]:
        """Set the clock of a daemon, and set it right again; then start one whose clock was never wrong."""
        world = self._world
        world.restart("-m", "tests.chaos.other_clock")
        for step in (ahead, timedelta(0)):
            pause(world.size.lifetime / 2)
            world.set_clock(step)
            since = utc_now()
            warm = soon(lambda since=since: world.plain_are_warm(since), (world.size.lifetime + SLACK).total_seconds())
            self._findings.check(invariants.RECOVERED, warm, f"after its clock was set {step} ahead")
        world.restart()
        yield

    @contextmanager
    def _no_credentials(self, _: Episode) -> Iterator[None]:
        away = self._world.credentials.rename(self._world.place / "away")
        self._world.restart()
        pause(self._world.size.lifetime / 4)
        away.rename(self._world.credentials)
        yield

    @contextmanager
    def _no_role(self, _: Episode) -> Iterator[None]:
        """A start at which the role of every second prefix cannot be assumed, and for ten minutes from then on."""
        world, asked = self._world, self._world.sts.asked
        world.sts.refusing = True
        world.restart()
        pause(world.size.lifetime * _TEN_MINUTES_LIFETIMES)
        self.count[Kind.NO_ROLE] += world.sts.asked - asked
        world.sts.refusing = False
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
        self._findings.check(invariants.ENTERED, not more, f"{more} pings after {deleted:%H:%M:%S}, deleted")
        self._world.restart()
        yield

    @contextmanager
    def _registry(self, kind: Kind, texts: Iterator[str]) -> Iterator[None]:
        """Write one text after the other; the right one at the end."""
        for text in texts:
            self._world.registry.write_text(text)
            self.count[kind] += 1
            pause(timedelta(seconds=0.3))
        yield
        self._world.registry.write_text(self._good)

    def _rewritten(self, episode: Episode) -> AbstractContextManager[None]:
        turns = range(2 + round(8 * episode.strength))
        visitors = [["visitor"] if turned % 2 else [] for turned in turns]
        texts = (self._world.registry_text(self._began, *visitors[turned], turned=7 * turned) for turned in turns)
        return self._registry(Kind.REWRITTEN, texts)

    def _half_written(self, episode: Episode) -> AbstractContextManager[None]:
        return self._registry(Kind.HALF_WRITTEN, iter([self._good[: round(len(self._good) * episode.strength)]]))

    def _many_errors(self, _: Episode) -> AbstractContextManager[None]:
        entries = [{"name": f"bad {number}", "ttl": "2h", "oddity": number} for number in range(10_000)]
        return self._registry(Kind.MANY_ERRORS, iter([json.dumps({"version": 1, "prefixes": entries})]))

    def _bomb(self, _: Episode) -> AbstractContextManager[None]:
        return self._registry(Kind.BOMB, iter([_BOMB]))

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
            self.count[Kind.TOUCHES] += 2 * len(batch)
        yield

    @contextmanager
    def _flood(self, _: Episode) -> Iterator[None]:
        """Touches by the hundred thousand, of requests that were made: each batch is of many, in any order.

        A daemon that cannot take more at the moment says so, and is told the batch again.
        """
        world = self._world
        made = [world.request(name) for name in self._dice.sample(world.plain, min(_TOUCHES_AT_ONCE, len(world.plain)))]
        until, told = utc_now() + world.size.lifetime * _FLOOD_LIFETIMES, 0
        while told < _FLOOD and utc_now() < until:
            some = [self._dice.choice(made) for _ in range(_BATCH)]
            batch = [
                one
                | {
                    "request_id": f"flood-{told + number}",
                    "started_at": _earlier(one["started_at"], self._dice.uniform(0, 3)),
                }
                for number, one in enumerate(some)
            ]
            told += _BATCH if world.tell(batch) else 0
        self.count[Kind.FLOOD] += told
        yield


def _earlier(at: str, seconds: float) -> str:
    return (datetime.fromisoformat(at) - timedelta(seconds=seconds)).isoformat()
