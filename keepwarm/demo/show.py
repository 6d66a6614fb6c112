"""Runs the demo from curtain to curtain: emulator, daemon, two applications, and the daemon's own report.

The daemon is a child process that is driven like any other: by its environment, its log, and SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

from keepwarm import accounting, clock
from keepwarm.demo import scene
from keepwarm.demo.application import Application
from keepwarm.demo.tally import Snapshot, Tally
from keepwarm.emulator import Emulator, Faults
from keepwarm.errors import LedgerError
from keepwarm.parts import make_report, opened
from keepwarm.registry import load_catalog
from keepwarm.settings import Settings

_PAINT = timedelta(milliseconds=250)
_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Result:
    """How the demo ended.

    Attributes:
        report: the daemon's own, from its ledger.
        exit_code: of the daemon after SIGTERM.
    """

    snapshot: Snapshot
    report: accounting.Report
    exit_code: int


class Show:
    """The demo.

    Args:
        seconds: how long it plays; the scene is made for 80.
    """

    def __init__(self, seconds: float = 80, seed: int = 7) -> None:
        self._seconds = seconds
        self._seed = seed

    def play(self, paint: Callable[[Snapshot], None]) -> Result:
        """Play it, handing out a snapshot four times a second.

        Raises:
            LedgerError: the daemon did not start; the message holds its last words.
        """
        catalog = load_catalog(None)
        tally = Tally()
        faults = {part.model_id: Faults(throttle=scene.THROTTLE) for part in scene.PARTS if part.name == scene.INVOICES}
        began = clock.utc_now()
        with (
            tempfile.TemporaryDirectory(prefix="keepwarm-demo-") as folder,
            Emulator(catalog=catalog, time_scale=scene.TIME_SCALE, seed=self._seed, faults=faults) as emulator,
        ):
            settings = Settings(registry=scene.write(Path(folder)), state_dir=Path(folder) / "state")
            with _daemon(settings, emulator.url, tally) as process:
                self._await_daemon(tally, process)
                twins = [
                    Application(emulator.url, account, catalog, tally, twin=account == "twin")
                    for account in ("kept", "twin")
                ]
                for application in twins:
                    application.start()
                self._paint_until_end(tally, paint, process)
                for application in twins:
                    application.stop()
            snapshot = Snapshot(self._seconds, self._seconds, tally.lines(), tally.page)
            with opened(settings) as parts:
                report = make_report(parts, began, clock.utc_now())
            return Result(snapshot, report, process.returncode)

    def _await_daemon(self, tally: Tally, process: subprocess.Popen[str]) -> None:
        """Wait until every prefix was tended once: on a busy machine the users would come before the daemon is up."""
        end = clock.steady_seconds() + _PATIENCE
        while not all(line.state for line in tally.lines()) and clock.steady_seconds() < end:
            _see_alive(process)
            clock.sleep(_PAINT)

    def _paint_until_end(self, tally: Tally, paint: Callable[[Snapshot], None], process: subprocess.Popen[str]) -> None:
        start = clock.steady_seconds()
        while (passed := clock.steady_seconds() - start) < self._seconds:
            _see_alive(process)
            paint(Snapshot(passed, self._seconds, tally.lines(), tally.page))
            clock.sleep(_PAINT)


def _see_alive(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        raise LedgerError(f"the daemon of the demo ended by itself with exit code {process.returncode}")


@contextmanager
def _daemon(settings: Settings, url: str, tally: Tally) -> Iterator[subprocess.Popen[str]]:
    """`keepwarm run` in a child process that knows nothing of this user's AWS account."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KEEPWARM_"))}
    environment |= {
        "KEEPWARM_REGISTRY": str(settings.registry),
        "KEEPWARM_STATE_DIR": str(settings.state_dir),
        "KEEPWARM_LOG_FORMAT": "json",
        "KEEPWARM_LISTEN": "127.0.0.1:0",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        "AWS_ACCESS_KEY_ID": "kept",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "keepwarm", "run"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        reader = threading.Thread(target=_read_log, args=(process.stderr, tally), daemon=True)
        reader.start()
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait()
            reader.join()


def _read_log(lines: IO[str] | None, tally: Tally) -> None:
    for line in lines or ():
        with contextlib.suppress(ValueError):
            tally.told(json.loads(line))
