"""`keepwarm simulate` as a user meets it."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Shell
from tests.judge import cost_of

HEADER = "t_seconds,prefix_id,prefix_tokens\n"
READ, WRITES = 0.1, {"5m": 1.25, "1h": 2.0}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Ten days of three prefixes: dense, now and then, and rare."""
    chance = random.Random(7)
    rows = []
    for name, mean, tokens in (("dense", 200, 9_000), ("now and then", 4_000, 20_000), ("rare", 90_000, 3_000)):
        at = chance.expovariate(1 / mean)
        while at < 864_000:
            rows.append((at, name, tokens))
            at += chance.expovariate(1 / mean)
    path = tmp_path / "ten days.csv.gz"
    text = HEADER + "".join(f"{at:.3f},{name},{tokens}\n" for at, name, tokens in sorted(rows))
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize(
    ("policy", "ttl"),
    [
        ("never", "5m"),
        ("never", "1h"),
        ("idle_limit:3", "5m"),
        ("idle_limit=2", "1h"),
        ("busy_hours", "1h"),
        ("adaptive", "5m"),
        ("adaptive", "auto"),
    ],
)
def test_anybody_can_recompute_the_cost_from_the_actions(shell: Shell, trace: Path, tmp_path, policy, ttl):
    actions = tmp_path / "actions.csv"
    result = shell("simulate", str(trace), "--policy", policy, "--ttl", ttl, "--since-share", "0",
                   "--actions", str(actions), "--format", "json")  # fmt: skip
    told = json.loads(result.stdout)["traces"][0]["policies"][0]
    assert told["cost"]["units"] == pytest.approx(cost_of(trace, actions, READ, WRITES), rel=1e-4)
    assert told["cost"]["cold"] == actions.read_text().count(",write,")


@pytest.mark.parametrize(
    ("option", "name"), [("--actions", ""), ("--actions", "nowhere/a.csv"), ("--plot", "no/a.svg")]
)
def test_what_could_not_be_written_is_told_before_anything_is_replayed(shell: Shell, tmp_path: Path, option, name):
    told = shell("simulate", "missing.csv", "--policy", "adaptive", option, str(tmp_path / name), exit_code=2).stderr
    assert "cannot be written: " in " ".join(told.split())
    assert "missing.csv" not in told


def test_the_costs_of_few_requests_are_not_rounded_until_they_are_alike(shell: Shell, tmp_path: Path):
    trace = tmp_path / "few.csv"
    trace.write_text(HEADER + "".join(f"{at},a,5000\n" for at in (1, 500, 900)))
    rows = shell("simulate", str(trace), "--since-share", "0").stdout.splitlines()
    costs = {tuple(row.split()[:2]): row.split()[2] for row in rows if row.startswith(("never", "busy_hours"))}
    assert (costs["never", "5m"], costs["busy_hours", "5m"]) == ("3.75", "1.65")


def test_a_model_that_is_like_none_is_refused_with_an_example(shell: Shell, trace: Path):
    told = shell("simulate", str(trace), "--prices", "gpt-4", exit_code=2).stderr
    assert "anthropic.claude-sonnet-4-6" in told


def test_what_a_warm_start_is_worth_buys_fewer_cold_ones(shell: Shell, trace: Path):
    def adaptive(*more: str) -> dict[str, float]:
        arguments = ("--policy", "adaptive", "--ttl", "5m", "--format", "json", *more)
        told = json.loads(shell("simulate", str(trace), *arguments).stdout)
        found: dict[str, float] = told["traces"][0]["policies"][0]
        return found

    frugal, generous = adaptive(), adaptive("--cold-start-usd", "0.1")
    assert generous["cold_rate"] < frugal["cold_rate"]
    assert generous["pings"] > frugal["pings"]


def test_actions_are_those_of_a_judge(shell: Shell, tmp_path: Path):
    trace, actions = tmp_path / "a.csv", tmp_path / "actions.csv"
    trace.write_text(HEADER + "10,a,1000\n20,b,500\n5000,b,500\n")
    shell("simulate", str(trace), "--policy", "idle_limit:1", "--ttl", "1h", "--actions", str(actions))
    rows = [line.split(",") for line in actions.read_text().splitlines()]
    assert rows[0] == ["t_seconds", "prefix_id", "action", "ttl"]
    assert [row[1:] for row in rows[1:3]] == [["a", "write", "1h"], ["b", "write", "1h"]]
    assert {tuple(row[1:]) for row in rows[3:]} == {("a", "ping", "1h"), ("b", "ping", "1h")}
    pings = [float(row[0]) for row in rows[3:]]
    assert all(3_420 <= ping - touch <= 3_480 for touch, ping in zip((10, 20, 5_000), sorted(pings), strict=True))
    assert len(rows) == 6  # the last request finds it alive, and is followed by one more ping


def test_policies_are_shown_side_by_side_with_the_clairvoyant(shell: Shell, trace: Path):
    found = json.loads(shell("simulate", str(trace), "--policy", "all", "--format", "json").stdout)["traces"][0]
    names = {(each["name"], each["ttl"]) for each in found["policies"]}
    assert {("never", "5m"), ("idle_limit:11", "5m"), ("idle_limit:19", "1h"), ("clairvoyant", "auto")} <= names
    by_name = {(each["name"], each["ttl"]): each for each in found["policies"]}
    assert by_name["never", "5m"]["saving_captured"] == 0
    assert by_name["clairvoyant", "auto"]["saving_captured"] == 1
    assert all(each["saving_captured"] <= 1.01 for each in found["policies"])
    assert {each["requests"] for each in found["policies"]} == {by_name["never", "5m"]["requests"]}


def test_one_policy_is_shown_with_its_prefixes(shell: Shell, trace: Path):
    text = shell("simulate", str(trace), "--policy", "idle_limit:3").stdout
    assert "now and then" in text
    assert "idle_limit:3 5m" in text
    assert "worst: " in text


def test_a_ttl_narrows_the_comparison(shell: Shell, trace: Path):
    found = json.loads(shell("simulate", str(trace), "--ttl", "1h", "--format", "json").stdout)["traces"][0]
    assert {each["ttl"] for each in found["policies"]} == {"1h"}


def test_windows_bound_the_pings(shell: Shell, trace: Path, tmp_path: Path):
    actions = tmp_path / "actions.csv"
    shell("simulate", str(trace), "--policy", "busy_hours", "--window", "Mon-Fri 08:00-12:00", "--window",
          "Sat 20:00-22:00", "--actions", str(actions))  # fmt: skip
    rows = [line.split(",") for line in actions.read_text().splitlines()]
    pings = [float(row[0]) / 3_600 for row in rows if row[2] == "ping"]
    days = {int(hour // 24) % 7 for hour in pings}
    assert days == {0, 1, 2, 3, 4, 5}
    assert all(20 <= hour % 24 < 22 if hour // 24 % 7 == 5 else 8 <= hour % 24 < 12 for hour in pings)


def test_openings_are_written_where_that_is_asked_for(shell: Shell, trace: Path):
    asked = ("simulate", str(trace), "--policy", "busy_hours", "--window", "Mon-Fri 08:00-12:00", "--format", "json")
    plain, early = (json.loads(shell(*asked, *more).stdout) for more in ((), ("--prewarm", "2m")))
    assert (plain["prewarm_seconds"], early["prewarm_seconds"]) == (None, 120)
    plain, early = (found["traces"][0]["policies"][0] for found in (plain, early))
    assert early["rewrites"] > plain["rewrites"] == 0
    assert early["cost"]["cold"] < plain["cost"]["cold"]


def test_prices_of_another_model_change_the_units(shell: Shell, tmp_path: Path):
    trace = tmp_path / "a.csv"
    trace.write_text(HEADER + "0,a,1000000\n100,a,1000000\n")
    arguments = ("simulate", str(trace), "--policy", "never", "--since-share", "0", "--format", "json", "--prices")
    told = json.loads(shell(*arguments, "amazon.nova-lite-v1:0").stdout)["traces"][0]["policies"][0]
    assert told["cost"] == {"units": 1.25, "usd": 0.075, "cold": 1}  # a write is an input, a read a quarter of it


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_plot_is_a_picture(shell: Shell, trace: Path, tmp_path: Path, suffix: str):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"plot.{suffix}"
    shell("simulate", str(trace), str(trace), "--plot", str(path))
    assert path.read_bytes()[:5] in {b"\x89PNG\r", b"<?xml"}


def test_the_ledger_is_a_trace_once_it_was_told_of_traffic(shell: Shell):
    assert "holds no organic requests" in shell("simulate", "ledger", exit_code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--policy", "often"), "is not a policy"),
        (("--window", "mornings"), "is not a window"),
        (("--prewarm", "2m"), "give a --window"),
        (("--prewarm", "early", "--window", "Mon-Fri 08:00-12:00"), "is not a duration"),
        (("--policy", "never", "--ttl", "auto"), "only adaptive chooses"),
        (("--prices", "claude-opus-99"), "nearest are"),
        (("--prices", "amazon.nova-lite-v1:0", "--ttl", "1h"), "sells no entries of 1h"),
        (("--actions", "x.csv"), "only for one TRACE and one"),
        (("--plot", "x.pdf"), "a .png or .svg file"),
        (("--policy", "never", "--actions", "no/such/directory/x.csv"), "cannot be written"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(shell: Shell, trace: Path, arguments, told):
    result = shell("simulate", str(trace), *arguments, exit_code=2)
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""
