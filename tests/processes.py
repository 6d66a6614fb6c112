"""`keepwarm run` as child processes, and the place where they live."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keepwarm.emulator import Emulator
from tests.daemons import PATIENCE_SECONDS, rows, soon


class Child:
    """A `keepwarm run` of its own, and what it writes to stderr.

    Args:
        command: what Python runs in its place.
    """

    def __init__(
        self, environment: dict[str, str], log: Path, command: Sequence[str] = ("-m", "keepwarm", "run")
    ) -> None:
        self._log = log
        with log.open("ab") as stream:
            self.process = subprocess.Popen([sys.executable, *command], env=environment, stdout=stream, stderr=stream)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def stop(self) -> int:
        """Ask it to stop well; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def text(self) -> str:
        return self._log.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines; every complete one must be JSON."""
        return [json.loads(line) for line in self.text.split("\n")[:-1]]

    def told(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


class Home:
    """A place where daemons are started one after another, on one registry and one ledger."""

    def __init__(self, place: Path, emulator: Emulator) -> None:
        self.place = place
        self.registry = place / "registry.yaml"
        self.ledger = place / "state" / "ledger.sqlite"
        self.emulator = emulator
        self.children: list[Child] = []

    def start(
        self,
        aws: Mapping[str, str] | None = None,
        command: Sequence[str] = ("-m", "keepwarm", "run"),
        **settings: object,
    ) -> Child:
        """Start a daemon; settings are `KEEPWARM_*` variables in small letters without their prefix.

        Args:
            aws: more variables, such as `AWS_CA_BUNDLE`.
            command: what Python runs in its place.
        """
        own = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWARM_", "AWS_"))}
        own |= {
            "KEEPWARM_REGISTRY": str(self.registry),
            "KEEPWARM_STATE_DIR": str(self.ledger.parent),
            "KEEPWARM_RECONCILE_SECONDS": "0.5",
            "KEEPWARM_LISTEN": "off",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.emulator.url,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        own |= {f"KEEPWARM_{name.upper()}": str(value) for name, value in settings.items()} | dict(aws or {})
        self.children.append(Child(own, self.place / f"log-{len(self.children)}.jsonl", command))
        return self.children[-1]

    def started(
        self,
        aws: Mapping[str, str] | None = None,
        command: Sequence[str] = ("-m", "keepwarm", "run"),
        **settings: object,
    ) -> Child:
        """Start a daemon and wait until it listens to signals and tends."""
        child = self.start(aws, command, **settings)
        assert soon(lambda: child.told("daemon_started")), child.text
        return child

    @property
    def entries(self) -> list[dict[str, Any]]:
        return rows(self.ledger)

    @property
    def logs(self) -> str:
        return "".join(child.text for child in self.children)
