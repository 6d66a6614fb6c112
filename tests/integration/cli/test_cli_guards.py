"""`guards` and `stop-all` as a person at a command line meets them."""

from __future__ import annotations

import json
import os
from decimal import Decimal

import pytest

GUARDS = ["ping_cap", "day_cap", "month_cap", "breaker", "tripwire"]


def of(found: dict, prefix: str | None) -> dict[str, dict]:
    return {one["guard"]: one for one in found["guards"] if one["prefix"] == prefix}


def test_guards_shows_those_of_all_and_of_each_prefix_with_limit_money_state_and_reason(shell):
    shell("ping", "support-bot")
    found = shell.json("guards")
    in_all, own = of(found, None), of(found, "support-bot")
    assert list(in_all) == ["stop_all", "day_cap", "month_cap"]
    assert list(own) == list(of(found, "legal-search")) == GUARDS
    assert in_all["day_cap"]["limit_usd"] == "100"
    assert Decimal(own["day_cap"]["spent_usd"]) == Decimal(in_all["month_cap"]["spent_usd"]) > 0
    assert {one["state"] for one in own.values()} == {"ok", "blind"}
    assert own["tripwire"]["state"] == "blind"
    table = shell("guards").stdout
    for word in ("support-bot", "ping_cap", "blind", "stop_all", "limit"):
        assert word in table


def test_stop_all_stops_every_ping_until_it_is_undone(shell):
    assert "stopped: no ping is sent while" in shell("stop-all", "--why", "bill looks odd").stdout
    refused = shell("ping", "support-bot", exit_code=1)
    assert "guarded: support-bot was not pinged" in refused.stderr
    assert "bill looks odd" in refused.stderr
    assert "keepwarm guards" in refused.stderr
    assert of(shell.json("guards"), None)["stop_all"]["state"] == "tripped"
    assert "bill looks odd" in shell("guards").stdout
    shell("stop-all")  # twice does no harm, and keeps the first reason
    assert "bill looks odd" in shell("guards").stdout
    assert shell.emulator.log == []
    assert shell("stop-all", "--undo").stdout == "pings go on\n"
    assert "was not stopped" in shell("stop-all", "--undo").stdout
    shell("ping", "support-bot")
    assert len(shell.emulator.log) == 1


def test_track_and_doctor_are_held_too_with_words_and_no_request(shell):
    shell("stop-all")
    for command in (["track", "support-bot", "-n", "2"], ["doctor", "support-bot", "--yes"]):
        refused = shell(*command, exit_code=1)
        assert "guarded" in refused.output
    assert shell.emulator.log == []


def test_the_setting_stops_too_and_undo_says_that_it_does(shell, monkeypatch):
    monkeypatch.setenv("KEEPWARM_STOPPED", "true")
    assert "KEEPWARM_STOPPED is set" in shell("ping", "support-bot", exit_code=1).stderr
    assert "still stopped" in shell("stop-all", "--undo").stdout


def test_a_stop_file_of_ones_own_is_obeyed(shell, monkeypatch, tmp_path):
    stop = tmp_path / "elsewhere" / "stop"
    monkeypatch.setenv("KEEPWARM_STOP_FILE", str(stop))
    shell("stop-all")
    assert "by keepwarm stop-all" in stop.read_text()
    shell("ping", "support-bot", exit_code=1)


def test_a_stop_file_that_cannot_be_written_is_told_with_what_to_do(shell, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KEEPWARM_STOP_FILE", str(tmp_path / "file" / "stop"))
    refused = shell("stop-all", exit_code=2)
    assert "cannot be written" in refused.stderr
    assert "hint:" in refused.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_stop_file_that_cannot_be_looked_at_stops(shell, monkeypatch, tmp_path):
    place = tmp_path / "locked"
    place.mkdir(mode=0)
    monkeypatch.setenv("KEEPWARM_STOP_FILE", str(place / "stop"))
    assert "cannot be looked at" in shell("ping", "support-bot", exit_code=1).stderr


def test_a_cap_of_0_in_all_refuses_a_ping_by_hand_and_check_says_so(shell, monkeypatch):
    monkeypatch.setenv("KEEPWARM_DAY_CAP_USD", "0")
    assert "day cap in all $0.00: no ping is sent" in shell("ping", "support-bot", exit_code=1).stderr
    assert "KEEPWARM_DAY_CAP_USD: is 0: no ping is ever sent" in shell("check").stdout
    assert shell.emulator.log == []


def test_a_cap_that_makes_a_prefix_useless_is_told_with_its_line(shell):
    text = shell.registry.read_text()
    shell.registry.write_text(text.replace("    ttl: 1h\n", "    ttl: 1h\n    day_cap_usd: 0.000001\n"))
    line = next(n for n, row in enumerate(shell.registry.read_text().splitlines(), 1) if "day_cap" in row)
    assert f":{line}: prefixes[0].day_cap_usd: is $0.000001, but the first ping may cost" in shell("check").stdout
    assert shell("ping", "support-bot", exit_code=1).stderr.startswith("guarded: support-bot was not pinged: day cap")


@pytest.mark.parametrize("value", ["-1", "lots", ".nan", "true", "[1]"])
def test_a_cap_that_is_no_money_is_refused_with_its_line(shell, value):
    text = shell.registry.read_text()
    shell.registry.write_text(text.replace("    ttl: 1h\n", f"    ttl: 1h\n    tripwire_usd: {value}\n"))
    refused = shell("check", exit_code=2)
    assert "tripwire_usd: must be USD of 0 or more, such as 2.50, not" in refused.stderr


def test_guards_in_json_is_plain_data(shell):
    for one in json.loads(shell("guards", "--format", "json").stdout)["guards"]:
        assert set(one) == {"guard", "prefix", "limit_usd", "spent_usd", "state", "reason"}
