"""Pauses end to end: kept in the ledger, heeded by the keeper, by other processes and after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keepwarm.cli import app
from keepwarm.clock import utc_now
from keepwarm.ledger import Ledger
from keepwarm.model import Action, Event, PauseOrder, Reason, Scope, Verdict
from keepwarm.parts import opened
from keepwarm.pausing import Pausing
from tests.builders import MONDAY
from tests.daemons import pings, soon, write_registry
from tests.integration.test_daemon import Home, emulator, home, wall  # noqa: F401 - fixtures

HOUR = timedelta(hours=1)
ORDER = PauseOrder(Scope.PREFIX, "a", MONDAY, MONDAY + 2 * HOUR, "deploy", "anna")


def test_orders_come_back_from_the_ledger_as_they_were_said(ledger_url: str):
    with Ledger.open(ledger_url) as ledger:
        told = PauseOrder(Scope.TAG, "team:care", MONDAY, None, "w", "", resumes=True)
        assert [ledger.add_pause_order(order) for order in (ORDER, told)] == [1, 2]
        first, second = ledger.pause_orders()
        assert ledger.pause_orders_seen() == (2, 2)
    assert (first.number, first.until, first.by, first.resumes) == (1, ORDER.until, "anna", False)
    assert (second.number, second.scope, second.target, second.until, second.resumes) == (
        2, Scope.TAG, "team:care", None, True,
    )  # fmt: skip


def test_what_one_process_says_another_learns_at_its_next_look_and_tells_once(ledger_url: str):
    events: list[Event] = []
    with Ledger.open(ledger_url) as ours, Ledger.open(ledger_url) as theirs:
        ours.add_pause_order(ORDER)
        listening, speaking = Pausing(ours, [events.append]), Pausing(theirs)
        assert listening.look()
        assert listening.stands(Scope.PREFIX, "a")
        assert events == []  # said before the start
        assert not listening.look()
        speaking.say(PauseOrder(Scope.ALL, "", MONDAY, None, "bill", "bob"))
        assert listening.look()
        assert not listening.look()
    assert [(event.name, event.fields) for event in events] == [
        ("prefix_paused", {"scope": "all", "why": "bill", "by": "bob"})
    ]


def test_a_pause_outlives_a_restart_and_its_timer_resumes(home: Home, emulator: object):  # noqa: F811
    write_registry(home.registry, "a", "b")
    settings = home.settings()
    with opened(settings, now=home.wall) as parts:
        until = utc_now() + timedelta(seconds=4)
        parts.pausing.say(PauseOrder(Scope.PREFIX, "a", utc_now(), until, "deploy", "anna"))
        decision = parts.keeper.look("a")
        assert (decision.action, decision.at, decision.reason) == (Action.WAIT, until, Reason.PAUSED)
        assert decision.detail == "by anna: deploy"
    with home.running():
        assert soon(lambda: len(pings(emulator, "b")) >= 2)
        assert soon(lambda: pings(emulator, "a"))
    assert pings(emulator, "a")[0].at >= until


def test_a_person_may_ping_what_is_paused(home: Home, emulator: object):  # noqa: F811
    write_registry(home.registry, "a")
    with opened(home.settings(), now=home.wall) as parts:
        parts.pausing.say(PauseOrder(Scope.ALL, "", utc_now(), None, "x", ""))
        assert parts.keeper.look("a").action is Action.LEAVE
        assert parts.keeper.tend("a").reason is Reason.PAUSED
        assert pings(emulator, "a") == []
        assert parts.keeper.ping("a").verdict is Verdict.REWRITE


# -- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    write_registry(tmp_path / "registry.yaml", "a", "b", a={"tags": {"team": "care"}})
    monkeypatch.setenv("KEEPWARM_REGISTRY", str(tmp_path / "registry.yaml"))
    monkeypatch.setenv("KEEPWARM_STATE_DIR", str(tmp_path / "state"))
    runner = CliRunner()

    def run(*words: str) -> tuple[int, str]:
        result = runner.invoke(app, list(words))
        return result.exit_code, result.output

    return run


def test_pause_resume_and_pauses_tell_what_holds(command):
    assert command("pauses") == (0, "nothing was ever paused\n")
    code, said = command("pause", "a", "--for", "2h", "--why", "deploy", "--by", "anna")
    assert code == 0
    assert said.startswith("a: paused until 20")
    assert command("pause", "--tag", "team=care", "--why", "audit")[1] == "tag team:care: paused until resumed\n"
    code, said = command("resume", "a", "--by", "bob")
    assert code == 0
    assert said.splitlines()[0] == "a: resumed"
    assert "a: still paused by" in said
    assert "all with team:care: audit" in said
    assert command("resume", "--all")[1].splitlines()[0] == "all prefixes: was not paused"
    rows = json.loads(command("pauses", "--format", "json")[1])["pauses"]
    assert [(row["scope"], row["target"], row["why"], bool(row["ended_at"])) for row in rows] == [
        ("tag", "team:care", "audit", False),
        ("prefix", "a", "deploy", True),
    ]
    shown = command("pauses")[1]
    assert "holds" in shown
    assert "ended" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pause", "--why", "x"], "name one prefix"),
        (["pause", "a", "--all", "--why", "x"], "name one prefix"),
        (["pause", "nobody", "--why", "x"], "has no prefix 'nobody'; it has a, b"),
        (["pause", "a"], "why is missing"),
        (["pause", "a", "--why", "x", "--for", "soon"], "not a duration"),
        (
            ["pause", "--tag", "team=none", "--why", "x"],
            "no prefix of the registry has the tag 'team=none'; it has team=care",
        ),
    ],
)
def test_a_pause_that_makes_no_sense_is_bad_input_and_pauses_nothing(command, words: list[str], told: str):
    code, said = command(*words)
    assert code == 2
    assert told in said
    assert command("pauses") == (0, "nothing was ever paused\n")
