"""What campaigns have found, or the thought behind them, each as a test of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from keepwarm.clock import utc_now
from keepwarm.emulator import Emulator
from keepwarm.errors import LedgerError
from keepwarm.ledger import Ledger
from keepwarm.parts import opened
from keepwarm.settings import Settings
from tests.builders import MONDAY, make_intent, shipped_catalog
from tests.chaos.world import Size
from tests.chaos.world import opened as world_of
from tests.daemons import soon, write_registry

NAMES = ["a", "b", "c"]


@pytest.fixture
def emulator(monkeypatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), latency_scale=0) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


def test_whoever_is_started_again_and_again_goes_no_faster_than_the_rate_allows(tmp_path, emulator):
    registry = write_registry(tmp_path / "registry.yaml", *NAMES, defaults={"policy": "busy_hours"})
    settings = Settings(registry=registry, state_dir=tmp_path / "state", requests_per_minute=2)
    sent = []
    for seconds in (0, 1, 2, 61):
        now = MONDAY + timedelta(seconds=seconds)
        with opened(settings, now=lambda now=now: now) as parts:
            for name in NAMES:
                parts.keeper.tend(name)
        sent.append(len(emulator.log))
    assert sent[:3] == [2, 2, 2]
    assert sent[3] == 4


def test_with_its_file_deleted_a_ledger_lets_no_ping_leave_and_with_the_same_file_back_it_does(tmp_path):
    path, away = tmp_path / "ledger.sqlite", tmp_path / "away.sqlite"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.open_entry(make_intent(), "run")
        path.rename(away)
        with pytest.raises(LedgerError, match="was deleted or replaced") as found:
            ledger.open_entry(make_intent(), "run")
        assert "put a copy there first" in found.value.hint
        sqlite3.connect(path).close()  # another file of that name is another ledger
        path.touch()
        with pytest.raises(LedgerError):
            ledger.open_entry(make_intent(), "run")
        path.unlink()
        away.rename(path)
        assert ledger.open_entry(make_intent(), "run") == 2


def test_a_clock_that_was_set_back_does_not_stop_the_daemon_from_looking_at_what_others_wrote(tmp_path):
    size = Size(prefixes=1, few=0, lifetime=timedelta(seconds=6), margin=timedelta(seconds=2.5), per_minute=900)
    with world_of(tmp_path, size, seed=11) as world:
        world.write_texts()
        world.registry.write_text(world.registry_text(utc_now()))
        world.start("-m", "tests.chaos.other_clock")
        assert soon(lambda: world.plain_are_warm(world.began))
        world.set_clock(timedelta(hours=-1))
        assert soon(lambda: world.child.told("clock_stepped"))
        command = [sys.executable, "-m", "tests.chaos.other_clock", "pause", "p000", "--why", "a holiday"]
        own = {"KEEPWARM_REGISTRY": str(world.registry), "KEEPWARM_STATE_DIR": str(world.ledger.parent)}
        subprocess.run(
            command, env=os.environ | own | {"AHEAD": str(world.ahead)}, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        assert soon(lambda: any(line.get("reason") == "paused" for line in world.child.lines))
