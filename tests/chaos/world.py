"""Where a campaign happens: an embedded Bedrock at high speed, a network that can be cut, a daemon that can be killed.

It judges nothing; see `invariants`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import boto3
from botocore.config import Config

from keepwarm import dialects, fingerprint
from keepwarm.clock import utc_now
from keepwarm.dialects import Dialect
from keepwarm.emulator import Emulator, Faults
from tests.builders import CLAUDE, shipped_catalog
from tests.chaos.invariants import touched_since
from tests.chaos.token_service import ROLE, ROLE_SECRET_CANARY, SESSION_CANARY, TokenService, token_service
from tests.daemons import CANARY, OTHER_CLAUDE, rows, soon, started
from tests.processes import Child
from tests.proxy import Proxy

SECRET_CANARY = "wJalrXUtnFEMI/canary/secret"
TOKEN_CANARY = "token-canary-4d2f91"
CANARIES = (CANARY, SECRET_CANARY, TOKEN_CANARY, ROLE_SECRET_CANARY, SESSION_CANARY)

# Of the prefixes that ask for 1h: faults are set for a model.
HOUR_CLAUDE = "eu.anthropic.claude-sonnet-4-6"
CAP_USD = Decimal("0.06")
_PAGES = ("/", "/metrics", "/-/healthy", "/v1/prefixes", "/v1/summary", "/openapi.json", "/nowhere")
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@dataclass(frozen=True, slots=True)
class Size:
    """How large a campaign is.

    Attributes:
        prefixes: that are always busy and must be warm.
        few: of each of the special ones: 1h, capped, closed, closing soon, quoted in errors.
        lifetime: of a 5m entry; all else is measured by it.
        per_minute: the pings that are allowed.
    """

    prefixes: int
    few: int
    lifetime: timedelta
    margin: timedelta
    per_minute: int

    @property
    def time_scale(self) -> float:
        return self.lifetime / timedelta(minutes=5)

    @property
    def shortest_gap(self) -> timedelta:
        """Between two pings of a living entry: the period less the most that a ping goes out early."""
        return self.lifetime - 1.5 * self.margin

    @property
    def read_timeout(self) -> timedelta:
        return self.lifetime / 4


@dataclass(slots=True)
class World:
    """One campaign's machine."""

    place: Path
    size: Size
    emulator: Emulator
    proxy: Proxy
    sts: TokenService
    child: Child = field(init=False)
    children: list[Child] = field(default_factory=list)
    past_ledgers: list[Path] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    organic: list[tuple[str, datetime]] = field(default_factory=list)
    befallen: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)
    steps: list[datetime] = field(default_factory=list)
    began: datetime = field(default_factory=utc_now)

    # -- names --------------------------------------------------------------------------------------------------------

    @property
    def plain(self) -> list[str]:
        """5m and always busy."""
        return [f"p{number:03}" for number in range(self.size.prefixes)]

    @property
    def by_role(self) -> frozenset[str]:
        """Every second of them, which a role pings."""
        return frozenset(self.plain[1::2])

    @property
    def hourly(self) -> list[str]:
        return [f"hour{number}" for number in range(self.size.few)]

    @property
    def capped(self) -> list[str]:
        return [f"capped{number}" for number in range(self.size.few)]

    @property
    def closed(self) -> list[str]:
        """Busy only on another day."""
        return [f"closed{number}" for number in range(self.size.few)]

    @property
    def closing(self) -> list[str]:
        """Busy until the next full minute but one after the start."""
        return [f"closing{number}" for number in range(self.size.few)]

    @property
    def quoted(self) -> list[str]:
        """On another model, whose errors quote the prompt; Bedrock refuses them for good."""
        return [f"quoted{number}" for number in range(self.size.few)]

    # -- files --------------------------------------------------------------------------------------------------------

    @property
    def registry(self) -> Path:
        return self.place / "registry.yaml"

    @property
    def ahead(self) -> Path:
        """By how many seconds the clock of a daemon that has one of its own is ahead."""
        return self.place / "ahead"

    @property
    def credentials(self) -> Path:
        return self.place / "credentials"

    @property
    def ledger(self) -> Path:
        return self.place / "state" / "ledger.sqlite"

    def write_texts(self) -> None:
        for name in [*self._own(), "visitor"]:
            (self.place / f"{name}.md").write_text(f"{name}: {CANARY}. ".ljust(20_000, "x"))
        self.ahead.write_text("0")
        self.credentials.write_text(
            f"[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = {SECRET_CANARY}\n"
        )

    def registry_text(self, began: datetime, *more: str, turned: int = 0) -> str:
        """The right registry; turned by some places, its prefixes stand in another order."""
        special: dict[str, dict[str, Any]] = {
            **{name: {"role_arn": ROLE} for name in self.by_role},
            **{name: self._hour() | {"model_id": HOUR_CLAUDE} for name in self.hourly},
            **{name: {"day_cap_usd": str(CAP_USD)} for name in self.capped},
            **{name: {"busy_hours": "another_day"} for name in self.closed},
            **{name: {"busy_hours": "until_soon"} for name in self.closing},
            **{name: {"model_id": OTHER_CLAUDE} for name in self.quoted},
        }
        names = [*self._own(), *more]
        names = names[turned % len(names) :] + names[: turned % len(names)]
        entries = [
            {"name": name, "model_id": CLAUDE, "system": {"file": f"{name}.md"}} | special.get(name, {})
            for name in names
        ]
        defaults = {
            "region": "eu-central-1",
            "api": "invoke_model",
            "busy_hours": "always",
            "policy": "busy_hours",
            "lifetime": _seconds(self.size.lifetime),
            "margin": _seconds(self.size.margin),
        }
        hours = {
            "another_day": {"timezone": "UTC", "windows": [f"{began + timedelta(days=3):%a} 08:00-09:00"]},
            "until_soon": {
                "timezone": "UTC",
                "windows": [f"{began - timedelta(minutes=5):%a %H:%M}-{closes_at(began):%H:%M}"],
            },
        }
        whole = {"version": 1, "busy_hours": hours, "defaults": defaults, "prefixes": entries}
        return json.dumps(whole, indent=1)

    def _hour(self) -> dict[str, Any]:
        return {"ttl": "1h", "lifetime": _seconds(12 * self.size.lifetime), "margin": _seconds(12 * self.size.margin)}

    def _own(self) -> list[str]:
        return [*self.plain, *self.hourly, *self.capped, *self.closed, *self.closing, *self.quoted]

    # -- the daemon ---------------------------------------------------------------------------------------------------

    def start(self, *command: str, **variables: str) -> None:
        """Start the daemon, and wait until it is there."""
        self.launch(*command, **variables)
        self.await_start()

    def await_start(self) -> None:
        assert soon(lambda: '"daemon_started"' in self.child.text, 90), self.child.text[-3_000:]

    def launch(self, *command: str, **variables: str) -> None:
        """Start the daemon, or what Python runs in its place.

        Args:
            variables: of its environment, beside or instead of the usual ones.
        """
        own = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWARM_", "AWS_"))}
        own |= {
            "KEEPWARM_REGISTRY": str(self.registry),
            "KEEPWARM_STATE_DIR": str(self.ledger.parent),
            "KEEPWARM_RECONCILE_SECONDS": "0.5",
            "KEEPWARM_LISTEN": "127.0.0.1:0",
            "KEEPWARM_TOKEN": TOKEN_CANARY,
            "KEEPWARM_LOG_LEVEL": "debug",
            "KEEPWARM_MAX_CONCURRENT_PINGS": "64",
            "KEEPWARM_DAY_CAP_USD": "10000",  # a long campaign is a hundred days of pings in one
            "KEEPWARM_MONTH_CAP_USD": "10000",
            "KEEPWARM_REQUESTS_PER_MINUTE": str(self.size.per_minute),
            "KEEPWARM_READ_TIMEOUT_SECONDS": str(self.size.read_timeout.total_seconds()),
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"http://127.0.0.1:{self.proxy.port}",
            "AWS_SHARED_CREDENTIALS_FILE": str(self.credentials),
            "AWS_CONFIG_FILE": str(self.place / "none"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AHEAD": str(self.ahead),
            "AWS_ENDPOINT_URL_STS": self.sts.url,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        } | variables
        self.child = Child(own, self.place / f"log-{len(self.children)}.jsonl", command or ("-m", "keepwarm", "run"))
        self.children.append(self.child)

    @property
    def address(self) -> str:
        return str(self.child.told("daemon_started")[0]["listens"])

    def restart(self, *command: str, **variables: str) -> None:
        self.child.kill()
        self.start(*command, **variables)

    def set_clock(self, ahead: timedelta) -> None:
        """Set the clock of a daemon that has one of its own."""
        self.steps.append(utc_now())
        self.ahead.write_text(str(ahead.total_seconds()))
        self.child.signal(signal.SIGUSR1)

    def sleep_for(self, duration: timedelta) -> None:
        """Suspend the daemon for a while."""
        self.child.signal(signal.SIGSTOP)
        pause(duration)
        self.child.signal(signal.SIGCONT)

    def rows(self) -> list[dict[str, Any]]:
        """Every entry, those of ledgers that were deleted first."""
        return [row for ledger in self.ledgers for row in self.rows_of(ledger)]

    def rows_of(self, ledger: Path) -> list[dict[str, Any]]:
        """Every entry of a ledger, stamped as by a clock that was never set.

        A campaign takes less than an hour, so a stamp tells by how many hours the clock was off.
        """
        middle = self.began + (utc_now() - self.began) / 2
        return [straightened(row, middle) for row in rows(ledger)]

    @property
    def ledgers(self) -> list[Path]:
        """Those that were deleted first."""
        return [*self.past_ledgers, self.ledger]

    # -- trouble with files -------------------------------------------------------------------------------------------

    @contextmanager
    def ledger_locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self.ledger, timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """Let no file of the daemon grow beyond what the ledger's journal has now."""
        size = max(Path(f"{self.ledger}{end}").stat().st_size for end in ("", "-wal"))
        resource.prlimit(self.child.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        yield
        resource.prlimit(self.child.process.pid, resource.RLIMIT_FSIZE, _UNLIMITED)

    @contextmanager
    def no_more_files(self) -> Iterator[None]:
        """Let the daemon open nothing more: no connection, no file."""
        open_now = len(list(Path(f"/proc/{self.child.process.pid}/fd").iterdir()))
        before = resource.prlimit(self.child.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.child.process.pid, resource.RLIMIT_NOFILE, (open_now, before[1]))
        yield
        resource.prlimit(self.child.process.pid, resource.RLIMIT_NOFILE, before)

    @contextmanager
    def ledger_spoilt(self, spoilt: Callable[[bytes], bytes]) -> Iterator[None]:
        """Something else in the place of what the ledger holds, until the block ends; no daemon may run."""
        with closing(sqlite3.connect(self.ledger, timeout=10)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        own = [Path(f"{self.ledger}{end}") for end in ("", "-wal", "-shm")]
        kept = {path: path.read_bytes() for path in own if path.exists()}
        self.ledger.write_bytes(spoilt(kept[self.ledger]))
        yield
        for path in own:
            path.unlink(missing_ok=True)
        for path, content in kept.items():
            path.write_bytes(content)

    def ping(self, name: str) -> None:
        """Ask for a ping by hand."""
        with suppress(OSError):
            self.answers.append(_ask(self.address, f"/v1/prefixes/{name}/ping", TOKEN_CANARY, b'{"why": "chaos"}'))

    def delete_ledger(self) -> None:
        """Delete the ledger under the running daemon, keeping a second name for what is in it."""
        kept = self.place / f"deleted-{len(self.past_ledgers)}.sqlite"
        for end in ("", "-wal", "-shm"):
            own = Path(f"{self.ledger}{end}")
            os.link(own, f"{kept}{end}")
            own.unlink()
        self.past_ledgers.append(kept)

    # -- people -------------------------------------------------------------------------------------------------------

    def ask_everything(self) -> None:
        """Look at every page, and keep the answers."""
        for page in _PAGES:
            for token in (TOKEN_CANARY, "wrong"):
                with suppress(OSError):
                    self.answers.append(_ask(self.address, page, token))

    def tell(self, touches: list[Any]) -> bool:
        """Post touches, and whether they were taken; a daemon that is down misses them."""
        with suppress(OSError):
            answer = _ask(self.address, "/v1/touches", TOKEN_CANARY, json.dumps({"touches": touches}).encode())
            self.answers.append(answer)
            return b"accepted" in answer
        return False

    def plain_are_warm(self, since: datetime) -> bool:
        """Whether all that are always busy were read or written since then."""
        return set(self.plain) <= touched_since(self.emulator.log[-20_000:], since)

    def request(self, name: str) -> dict[str, Any]:
        """An organic request of a prefix, and what its touch says."""
        body = self._body(name)
        at = utc_now()
        client = boto3.client(
            "bedrock-runtime",
            endpoint_url=self.emulator.url,
            region_name="eu-central-1",
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="other",
            config=Config(retries={"total_max_attempts": 1}),
        )
        with closing(client):
            client.invoke_model(modelId=CLAUDE, body=json.dumps(body))
        return {
            "request_id": f"organic-{next(self.numbers)}",
            "started_at": at.isoformat(),
            "api": "invoke_model",
            "model_id": CLAUDE,
            "region": "eu-central-1",
            "sketch": fingerprint.sketch_to_json(fingerprint.sketch(dialects.read(Dialect.ANTHROPIC, body))),
        }

    def _body(self, name: str) -> dict[str, Any]:
        text = (self.place / f"{name}.md").read_text()
        return {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 1,
            "system": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "And?"}],
        }


@contextmanager
def opened(place: Path, size: Size, seed: int) -> Iterator[World]:
    """A world whose daemon is not started yet; whatever runs at the end is ended."""
    with (
        Emulator(catalog=shipped_catalog(), time_scale=size.time_scale, seed=seed, log_limit=1_000_000) as emulator,
        Proxy(urlsplit(emulator.url).port or 0) as proxy,
        token_service() as sts,
    ):
        world = World(place, size, emulator, proxy, sts)
        try:
            yield world
        finally:
            for child in world.children:
                child.kill()


def closes_at(began: datetime) -> datetime:
    """When the hours of `closing` end: a full minute, one to two after the start."""
    return (began + timedelta(minutes=2)).replace(second=0, microsecond=0)


def pause(duration: timedelta) -> None:
    """Let a fault last: the time is the campaign's choice, nothing is waited for."""
    threading.Event().wait(duration.total_seconds())


def no_faults(world: World) -> None:
    """Let the embedded Bedrock be well."""
    world.emulator.set_faults("*", Faults())
    for model_id in (HOUR_CLAUDE, OTHER_CLAUDE):
        world.emulator.set_faults(model_id, Faults())


def straightened(row: dict[str, Any], middle: datetime) -> dict[str, Any]:
    """A row whose stamp is brought to within half an hour of a moment, by whole hours."""
    stamp = started(row)
    straight = stamp - timedelta(hours=round((stamp - middle) / timedelta(hours=1)))
    return row | {"started_at": f"{straight:%Y-%m-%d %H:%M:%S.%f}"}


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():g}s"


def _ask(address: str, path: str, token: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = HttpRequest(f"http://{address}{path}", body, headers=headers)
    try:
        with urlopen(request, timeout=10) as answer:
            return bytes(answer.read()) + str(answer.headers).encode()
    except URLError as error:
        read = getattr(error, "read", None)
        return bytes(read()) if read else b""
