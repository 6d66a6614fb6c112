"""`keepwarm diff`: another registry beside the one in force, with a real ledger."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from keepwarm.cli.app import settings
from keepwarm.clock import utc_now
from keepwarm.model import Usage
from keepwarm.parts import opened
from tests.builders import make_touch
from tests.integration.cli.conftest import Shell


@pytest.fixture
def new(shell: Shell) -> Path:
    """A copy of the registry in force, to be changed."""
    path = shell.registry.with_name("new.yaml")
    path.write_text(shell.registry.read_text())
    return path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_same_registry_changes_nothing_and_exits_with_zero(shell: Shell, new: Path):
    new.write_text(f"# a line more\n{new.read_text()}")
    assert "nothing changes: 3 prefixes" in shell("diff", new).stdout
    found = shell.json("diff", new)
    assert (found["changes"], found["prefixes"], found["unchanged"]) == (False, [], 3)


def test_a_shorter_ttl_shows_its_key_more_pings_and_more_money(shell: Shell, new: Path):
    change(new, "    ttl: 1h\n", "    ttl: 5m\n")
    found = shell.json("diff", new, "--days", "2", exit_code=1)
    (row,) = found["prefixes"]
    assert (row["what"], row["name"]) == ("changed", "support-bot")
    assert {"key": "ttl", "was": "1h", "becomes": "5m"} in row["keys"]
    assert row["ahead"]["pings_per_day"]["becomes"] > 10 * row["ahead"]["pings_per_day"]["was"] > 10
    assert Decimal(row["ahead"]["usd_per_day"]["becomes"]) > Decimal(row["ahead"]["usd_per_day"]["was"]) > 0
    assert row["replayed"] is None
    assert found["together"] == row["ahead"]


def test_a_prefix_that_would_lose_its_pause_by_a_new_name_is_told(shell: Shell, new: Path):
    change(new, "name: support-bot", "name: help-desk")
    assert shell.json("diff", new, exit_code=1)["unpaused"] == []
    shell("pause", "support-bot", "--why", "deploy")
    assert shell.json("diff", new, exit_code=1)["unpaused"] == ["help-desk"]
    assert "warning: help-desk: is paused now, and would not be" in shell("diff", new, exit_code=1).stdout


def test_the_pings_ahead_are_those_of_plan(shell: Shell, new: Path):
    text = new.read_text()
    new.write_text(text[: text.index("  - name: legal-search")])
    found = shell.json("diff", new, "--days", "1", exit_code=1)
    planned = {prefix["name"]: len(prefix["pings"]) for prefix in shell.json("plan", "--hours", "24")["prefixes"]}
    removed = {row["name"]: row["ahead"]["pings_per_day"] for row in found["prefixes"]}
    assert {row["what"] for row in found["prefixes"]} == {"removed"}
    assert removed == {
        name: {"was": pytest.approx(planned[name], abs=1), "becomes": 0} for name in ("legal-search", "too-short")
    }


def test_people_see_what_comes_goes_and_changes_and_that_nothing_was_applied(shell: Shell, new: Path):
    change(new, "name: legal-search", "name: legal-answers")
    change(new, "name: support-bot", "name: helper")
    change(new, "system: {file: support.md}", "system: {file: helper.md}")
    (new.parent / "helper.md").write_text("help people " * 3_000)
    before = shell.registry.read_bytes()
    text = " ".join(shell("diff", new, exit_code=1).stdout.split())
    assert "removed support-bot" in text
    assert "added helper" in text
    assert "changed legal-answers name legal-search legal-answers" in text
    assert "helper *" in text
    assert "1 prefix stays as it is" in text
    assert shell.registry.read_bytes() == before
    assert not shell.emulator.log


def test_requests_that_the_ledger_was_told_of_are_replayed_with_both(shell: Shell, new: Path):
    now = utc_now()
    with opened(settings()) as parts:
        prefix = parts.registry.find("legal-search")
        moments = [now - timedelta(days=10) + number * timedelta(minutes=40) for number in range(350)]
        usage = Usage(10, 50, 0, 20_000)
        parts.ledger.add_touches(
            [make_touch(prefix, number, started_at=at, usage=usage) for number, at in enumerate(moments)]
        )
    change(new, "    system: {file: legal.md}\n", "    system: {file: legal.md}\n    policy: {idle_limit: 2}\n")
    (row,) = shell.json("diff", new, exit_code=1)["prefixes"]
    replayed = row["replayed"]
    assert replayed["pings_per_day"]["becomes"] == pytest.approx(2 * 36, rel=0.1)
    assert replayed["pings_per_day"]["was"] < 36  # the adaptive one has learnt that they are of no use
    assert Decimal(replayed["usd_per_day"]["becomes"]) > Decimal(replayed["usd_per_day"]["was"]) > 0
    assert "its own requests, replayed" in shell("diff", new, exit_code=1).stdout


def test_a_bad_new_registry_is_told_with_every_problem_and_exits_with_two(shell: Shell, new: Path):
    change(new, "ttl: 1h", "ttl: 2h")
    change(new, "file: legal.md", "file: nowhere.md")
    result = shell("diff", new, exit_code=2)
    assert "new.yaml" in result.stderr
    assert "ttl" in result.stderr
    assert "nowhere.md" in result.stderr
    assert result.stdout == ""


def test_a_new_registry_that_is_not_there_and_a_ledger_that_cannot_be_used_exit_with_two(
    shell: Shell, new: Path, monkeypatch: pytest.MonkeyPatch
):
    assert "cannot be read" in shell("diff", new.with_name("nowhere.yaml"), exit_code=2).stderr
    monkeypatch.setenv("KEEPWARM_LEDGER_URL", f"sqlite:///{new}")
    assert "ledger" in shell("diff", new, exit_code=2).stderr
