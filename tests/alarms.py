"""What tests of alerts share: a daemon on the emulator, a receiver of its alerts, and what that was told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from keepwarm.clock import utc_now
from keepwarm.daemon import Daemon, build
from keepwarm.model import Event
from keepwarm.settings import Settings
from tests.daemons import PATIENCE_SECONDS, soon
from tests.receiver import Receiver

SECRET = "the canary of alerts"


class Post:
    """A place for daemons whose alerts go to a receiver.

    Attributes:
        ahead: how far their clock is ahead of the real one.
    """

    def __init__(self, place: Path, receiver: Receiver) -> None:
        self.place = place
        self.registry = place / "registry.yaml"
        self.receiver = receiver
        self.events: list[Event] = []
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return utc_now() + self.ahead

    def settings(self, **changes: object) -> Settings:
        chosen: dict[str, Any] = {
            "registry": self.registry,
            "state_dir": self.place / "state",
            "reconcile_seconds": 0.2,
            "drain_seconds": 5,
            "listen": "off",
            "alert_webhook_url": f"{self.receiver.url}/alerts",
            "alert_webhook_secret": SECRET,
        }
        return Settings(**chosen | changes)

    @contextmanager
    def running(self, **changes: object) -> Iterator[Daemon]:
        with (
            build(self.settings(**changes), now=self.now, observers=[self.events.append]) as daemon,
            ThreadPoolExecutor(1) as pool,
        ):
            code = pool.submit(daemon.run)
            try:
                yield daemon
            finally:
                daemon.stop()
                assert code.result(PATIENCE_SECONDS) == 0

    def alerts(self, kind: str = "") -> list[dict[str, Any]]:
        """What the receiver was told, one by one."""
        bodies = [json.loads(body) for _, path, body in tuple(self.receiver.errands) if path == "/alerts"]
        return [alert for body in bodies for alert in body["alerts"] if kind in {"", alert["kind"]}]

    def states(self, kind: str) -> list[str]:
        return [alert["state"] for alert in self.alerts(kind)]

    def opened(self, kind: str) -> dict[str, Any]:
        """The alert of this kind, as soon as it was received."""
        assert soon(lambda: self.states(kind)), f"only {[alert['summary'] for alert in self.alerts()]}"
        return self.alerts(kind)[0]

    def resolved(self, kind: str) -> dict[str, Any]:
        """Its recovery, as soon as it was received; both came once."""
        assert soon(lambda: "resolved" in self.states(kind)), f"{self.states(kind)}"
        assert self.states(kind) == ["opened", "resolved"]
        return self.alerts(kind)[1]

    def told(self, name: str) -> list[Event]:
        return [event for event in tuple(self.events) if event.name == name]
