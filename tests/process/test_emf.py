"""Standard output of a daemon that writes metrics for CloudWatch, and nothing else on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from keepwarm.emulator import Emulator
from tests.builders import shipped_catalog
from tests.daemons import PATIENCE_SECONDS, TIME_SCALE, rows, soon, write_registry
from tests.emf import emf_line


def test_a_daemon_tells_of_its_last_pings_when_it_stops_apart_from_its_log(tmp_path: Path):
    registry = write_registry(tmp_path / "registry.yaml", "a", "b", defaults={"policy": "busy_hours"})
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE) as emulator:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWARM_", "AWS_"))}
        own |= {
            "KEEPWARM_REGISTRY": str(registry),
            "KEEPWARM_STATE_DIR": str(tmp_path / "state"),
            "KEEPWARM_LISTEN": "off",
            "KEEPWARM_EMF": "team/keepwarm",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
        command = [sys.executable, "-m", "keepwarm", "run"]
        with subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            try:
                assert soon(lambda: len(emulator.log) >= 5)
                child.send_signal(signal.SIGTERM)
                told, logged = child.communicate(timeout=PATIENCE_SECONDS)
            finally:
                child.kill()
    verdicts = Counter(row["verdict"] for row in rows(tmp_path / "state" / "ledger.sqlite"))
    assert child.returncode == 0
    (line,) = map(emf_line, told.splitlines())
    assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "team/keepwarm"
    assert (line["Pings"], line["Rewrites"]) == (verdicts.total(), verdicts["rewrite"])
    assert line["Hits"] == verdicts["hit"] > 0
    assert line["WarmPrefixes"] + line["ColdPrefixes"] == 2  # a busy machine may lose one meanwhile
    assert line["RefreshCostUsd"] > 0
    assert "daemon_stopped" in logged
    assert "_aws" not in logged
