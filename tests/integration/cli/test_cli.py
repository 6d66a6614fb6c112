"""The commands as a user meets them: what they print, and the code they exit with."""

from __future__ import annotations

import csv
import io
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest

from keepwarm.cli import app
from keepwarm.emulator import Emulator, Faults
from keepwarm.ledger import Ledger
from tests.integration.cli.conftest import Shell

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)
BAD = Path(__file__).parents[2] / "registries" / "bad"


# -- every command ------------------------------------------------------------------------------------------------


def test_the_overview_shows_the_commands_in_the_order_in_which_a_newcomer_meets_them(shell: Shell):
    text = shell("--help").stdout
    places = [
        text.index(f"│ {name} ") for name in ("demo", "check", "plan", "run", "ping", "report", "track", "emulate")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_the_exit_codes(shell: Shell, command: str):
    text = shell(command, "--help").stdout
    assert "Example:" in text
    assert f"keepwarm {command}" in text
    assert "Exit codes" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_into_80_columns(shell: Shell, command: str):
    lines = shell.child(command, "--help").stdout.splitlines()
    assert lines
    assert max(map(len, lines)) <= 80


def test_a_misspelt_command_is_guessed(shell: Shell):
    assert "Did you mean 'check'" in shell("chekc", exit_code=2).output


def test_the_version_is_told(shell: Shell):
    told = shell("--version").stdout.splitlines()
    assert re.fullmatch(r"keepwarm \d+\.\d+\.\d+", told[0])
    assert told[1] == "build from sources"
    assert told[2].startswith(f"Python {platform.python_version()}, SQLite ")
    assert f"boto3 {boto3.__version__}" in told
    assert not [line for line in told if "missing" in line or "pytest" in line]


@pytest.mark.parametrize("command", ["check", "plan", "report", "run", "emulate"])
def test_a_misspelt_setting_is_refused_with_a_guess(shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str):
    monkeypatch.setenv("KEEPWARM_REGISTY", "elsewhere.yaml")
    result = shell(command, exit_code=2)
    assert "did you mean KEEPWARM_REGISTRY?" in result.stderr
    assert result.stdout == ""


def test_a_state_directory_that_cannot_be_written_is_told_with_a_hint(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEEPWARM_STATE_DIR", str(shell.registry / "state"))
    assert "KEEPWARM_STATE_DIR" in shell("plan", exit_code=2).stderr


def test_a_ledger_that_cannot_be_opened_is_told_and_nothing_is_sent(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    (shell.directory / "ledger").write_text("this is no database " * 100)
    monkeypatch.setenv("KEEPWARM_LEDGER_URL", f"sqlite:///{shell.directory / 'ledger'}")
    assert "ledger_unavailable" in shell("ping", "support-bot", exit_code=1).stderr
    assert shell.emulator.log == []


@pytest.mark.parametrize(
    "arguments", [["check"], ["plan"], ["ping", "support-bot"], ["report"], ["track", "support-bot"]]
)
def test_what_is_printed_fits_into_80_columns(shell: Shell, arguments: list[str]):
    found = shell.child(*arguments)
    assert found.returncode == 0, found.stderr
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "…" not in found.stdout


@pytest.mark.parametrize("arguments", [["plan"], ["report"], ["track", "support-bot"]])
def test_an_output_that_knows_only_ascii_is_written_all_the_same(shell: Shell, arguments: list[str]):
    found = shell.child(*arguments, PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert found.stdout.isascii()


# -- check --------------------------------------------------------------------------------------------------------


def test_check_names_every_prefix_of_a_good_registry(shell: Shell):
    text = shell("check").stdout
    for name in ("support-bot", "legal-search", "too-short"):
        assert f"\n{name}: " in f"\n{text}"
    assert "3 prefixes, no problem" in text


def test_check_warns_of_what_may_never_be_cached_and_still_passes(shell: Shell):
    told = shell.json("check")
    assert told["ok"] is True
    assert any("may never be cached" in warning["message"] for warning in told["warnings"])


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_check_tells_what_is_wrong_with_a_bad_registry_and_where(shell: Shell, path: Path):
    lines = shell("check", path, exit_code=2).stderr.splitlines()
    assert any(re.match(rf"{re.escape(str(path))}(:\d+)?: .", line) for line in lines)


def test_check_tells_all_problems_of_a_registry_in_one_run_also_as_json(shell: Shell):
    path = BAD / "many_at_once.yaml"
    told = shell.json("check", path, exit_code=2)
    assert told["ok"] is False
    assert len(told["problems"]) > 8
    lines = shell("check", path, exit_code=2).stderr.splitlines()
    for problem in told["problems"]:
        assert sum(line.endswith(problem["message"]) for line in lines) >= 1


def test_check_of_a_file_that_is_not_there(shell: Shell):
    assert "No such file" in shell("check", shell.directory / "nowhere.yaml", exit_code=2).stderr


def test_check_says_from_which_traffic_on_prefixes_pay_and_warns_of_5m_around_the_clock(shell: Shell):
    text = "".join(shell("check").stdout.split())  # lines are folded at the width of a terminal, long words too
    assert "of always, pays from 0.057/hour legal-search:".replace(" ", "") in text
    assert "registry.yaml:10: legal-search: pays only from 1.3/hour on".replace(" ", "") in text
    assert "ttl: 1h would cost".replace(" ", "") in text
    assert any(one["key"] == "legal-search" and one["line"] == 10 for one in shell.json("check")["warnings"])


def test_check_warns_of_nothing_that_followed_logs_will_tell(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEEPWARM_TRAFFIC_LOG_GROUP", "/bedrock/invocations")
    assert not any("pays only from" in warning["message"] for warning in shell.json("check")["warnings"])


def test_check_needs_no_network(shell: Shell, offline: Callable[[], None]):
    offline()
    shell("check")


# -- plan ---------------------------------------------------------------------------------------------------------


def test_plan_works_without_network_and_credentials_and_sends_nothing(shell: Shell, offline: Callable[[], None]):
    offline()
    text = shell("plan", "--from", "2026-11-23T06:00Z", "--hours", 12).stdout
    assert "2026-11-23 06:00 UTC to 2026-11-23 18:00 UTC" in text
    assert "support-bot *" in text
    assert "never measured" in text


def test_a_plan_adds_up_to_the_last_decimal(shell: Shell):
    told = shell.json("plan", "--from", "2026-11-23T06:00Z", "--hours", 6)
    for prefix in told["prefixes"]:
        assert sum(Decimal(ping["cost_usd"]) for ping in prefix["pings"]) == Decimal(prefix["cost_usd"])
    assert sum(Decimal(prefix["cost_usd"]) for prefix in told["prefixes"]) == Decimal(told["total"]["cost_usd"])
    assert sum(len(prefix["pings"]) for prefix in told["prefixes"]) == told["total"]["pings"]


def test_a_plan_writes_once_and_then_reads_within_the_lifetime(shell: Shell):
    told = shell.json("plan", "--from", "2026-11-23T06:00Z", "--hours", 2)
    legal = next(prefix for prefix in told["prefixes"] if prefix["name"] == "legal-search")
    assert [ping["verdict"] for ping in legal["pings"]] == ["rewrite"] + ["hit"] * (len(legal["pings"]) - 1)
    moments = [datetime.fromisoformat(ping["at"]) for ping in legal["pings"]]
    assert all((later - earlier).total_seconds() < 300 for earlier, later in pairwise(moments))


def test_the_table_of_a_plan_has_the_figures_of_its_json(shell: Shell):
    arguments = ("plan", "--from", "2026-11-23T06:00Z", "--hours", 6)
    told, rows = shell.json(*arguments), shell(*arguments).stdout.splitlines()
    for prefix in told["prefixes"]:
        row = next(row for row in rows if row.startswith(prefix["name"]))
        assert f" {len(prefix['pings'])} " in row


def test_plan_says_from_how_many_requests_an_hour_each_prefix_pays(shell: Shell):
    support, legal, _ = shell.json("plan")["prefixes"]
    assert 0.05 < support["break_even_requests_per_hour"]["configuration"] < 0.07
    assert legal["break_even_requests_per_hour"]["ping"] > 1
    assert Decimal(legal["silent_busy_day_usd"]) == pytest.approx(
        Decimal(legal["pings"][-1]["cost_usd"]) * Decimal(86_400) / Decimal("262.5"), rel=Decimal("0.001")
    )
    assert (legal["traffic_told"], support["warning"]) == (False, "")
    text = shell("plan").stdout
    assert "0.057/hour" in text
    assert "warning: legal-search: pays only from 1.3/hour on" in text


def test_plan_counts_what_the_ledger_knows_to_be_warm(shell: Shell):
    before = shell.json("plan")["prefixes"][0]
    shell("ping", "support-bot")
    after = shell.json("plan")["prefixes"][0]
    assert (before["now"]["reason"], before["estimated"]) == ("cold_in_busy_hours", True)
    assert (after["now"]["reason"], after["estimated"]) == ("keep_warm", False)


def test_all_can_be_paused_and_resumed_while_the_registry_is_broken(shell: Shell):
    whole = shell.registry.read_text()
    shell.registry.write_text("version: 1\nprefixes: [")
    said = shell("pause", "--all", "--why", "deploy").stdout
    assert "the registry cannot be read" in said
    assert "all prefixes: paused until resumed" in said
    assert "is not YAML" in shell("pause", "support-bot", "--why", "deploy", exit_code=2).output
    assert "all prefixes: resumed" in shell("resume", "--all").stdout
    shell.registry.write_text(whole)
    assert [one["why"] for one in shell.json("pauses")["pauses"]] == ["deploy"]


def test_a_plan_heeds_a_pause_and_tells_of_a_stop_of_all(shell: Shell):
    shell("pause", "support-bot", "--why", "deploy")
    support, legal, _ = (told := shell.json("plan"))["prefixes"]
    assert (support["now"]["reason"], support["pings"], told["stopped"]) == ("paused", [], None)
    assert legal["pings"]
    shell("stop-all", "--why", "bill looks odd")
    assert "bill looks odd" in shell.json("plan")["stopped"]
    assert "nothing of this is sent as long as all pings are stopped" in " ".join(shell("plan").stdout.split())


@pytest.mark.parametrize("moment", ["yesterday", "0001-01-01", "9999-12-31T23:00Z", "2026-13-01", "24h", ""])
def test_a_start_that_is_no_usable_moment_is_refused_in_words(shell: Shell, moment: str):
    if moment:
        assert "--from" in shell("plan", "--from", moment, exit_code=2).stderr


@pytest.mark.parametrize("hours", ["0", "-1", "9000", "many"])
def test_hours_out_of_range_are_refused(shell: Shell, hours: str):
    assert "--hours" in shell("plan", "--hours", hours, exit_code=2).stderr


# -- ping ---------------------------------------------------------------------------------------------------------


def test_the_second_ping_reads_what_the_first_one_wrote_and_costs_less(shell: Shell):
    first, second = shell.json("ping", "support-bot"), shell.json("ping", "support-bot")
    assert (first["verdict"], second["verdict"]) == ("rewrite", "hit")
    assert second["tokens"]["read"] == first["tokens"]["written"] > 1024
    assert Decimal(second["cost_usd"]) < Decimal(first["cost_usd"]) / 10
    assert second["entry"] == first["entry"] + 1


def test_a_ping_is_told_with_verdict_cost_tokens_and_latency(shell: Shell):
    text = shell("ping", "support-bot").stdout
    assert re.search(r"support-bot: rewrite, \$0\.\d+, entry 1", text)
    assert re.search(r"tokens: 0 read, \d,\d+ written", text)
    assert re.search(r"latency: \d+ ms, \d+ ms of it at Bedrock", text)


def test_a_ping_of_an_unknown_name_lists_the_known_ones(shell: Shell):
    assert "support-bot" in shell("ping", "suport-bot", exit_code=2).stderr


def test_a_ping_that_is_denied_fails_with_the_hint_and_costs_nothing(shell: Shell):
    shell.emulator.set_faults("*", Faults(deny=True))
    result = shell("ping", "support-bot", exit_code=1)
    assert "access_denied" in result.stderr
    assert "hint: grant bedrock:InvokeModel" in result.stderr
    told = shell.json("ping", "support-bot", exit_code=1)
    assert (told["verdict"], Decimal(told["cost_usd"]), told["error"]["code"]) == ("error", 0, "access_denied")


def test_a_ping_that_is_not_cached_fails_and_says_from_how_many_tokens_on_it_would_be(shell: Shell):
    result = shell("ping", "too-short", exit_code=1)
    assert "uncached" in result.stdout
    assert "1,536 tokens" in result.stderr


def test_a_ping_without_a_bedrock_fails_in_words(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9")
    assert "unavailable" in shell("ping", "support-bot", exit_code=1).stderr


# -- report -------------------------------------------------------------------------------------------------------


@pytest.fixture
def used(shell: Shell) -> Shell:
    """A shell after a few pings, good and bad ones."""
    for name in ("support-bot", "support-bot", "legal-search", "legal-search"):
        shell("ping", name)
    shell("ping", "too-short", exit_code=1)
    shell.emulator.set_faults("*haiku*", Faults(reset=1.0))
    shell("ping", "legal-search", exit_code=1)
    return shell


def ledger_total(shell: Shell) -> Decimal:
    """What the ledger's entries cost, summed up without the report."""
    with Ledger.open(f"sqlite:///{shell.directory / 'state' / 'ledger.sqlite'}") as ledger:
        found = ledger.entries(datetime.fromisoformat("2000-01-01T00:00Z"), datetime.fromisoformat("2999-01-01T00:00Z"))
        return sum((entry.cost_usd for entry in found), Decimal(0))


def test_the_report_is_the_sum_of_the_ledger_to_the_last_decimal(used: Shell):
    told = used.json("report")
    total = Decimal(told["total"]["refresh_cost_usd"])
    assert total == ledger_total(used) > 0
    assert sum(Decimal(prefix["refresh_cost_usd"]) for prefix in told["prefixes"]) == total
    assert sum(sum(prefix["pings"].values()) for prefix in told["prefixes"]) == 6
    assert told["total"]["pings"] == {"hit": 2, "partial": 0, "rewrite": 2, "uncached": 1, "error": 0, "unknown": 1}


def test_the_csv_of_a_report_has_the_figures_of_its_json(used: Shell):
    told = used.json("report")
    rows = list(csv.DictReader(io.StringIO(used("report", "--format", "csv").stdout)))
    assert [row["name"] for row in rows] == [*(prefix["name"] for prefix in told["prefixes"]), "total"]
    assert rows[-1]["refresh_cost_usd"] == told["total"]["refresh_cost_usd"]
    assert rows[-1]["pings.unknown"] == "1"
    assert sum(Decimal(row["refresh_cost_usd"]) for row in rows[:-1]) == ledger_total(used)


def test_the_table_of_a_report_tells_money_pings_and_warmth(used: Shell):
    text = used("report").stdout
    assert re.search(r"^total +2 +2 +1 +1$", text, re.MULTILINE)  # hit, rewrite, uncached, unknown
    assert re.search(r"^prefix +refresh cost +avoided write +net$", text, re.MULTILINE)
    assert "busy time warm" in text
    assert "bounds" in text


def test_a_report_of_an_empty_ledger_is_a_report(shell: Shell):
    told = shell.json("report", "--since", "1h")
    assert Decimal(told["total"]["refresh_cost_usd"]) == 0
    assert "support-bot" in shell("report").stdout


@pytest.mark.parametrize("since", ["90m", "24h", "7d", "4w", "2020-01-01", "2020-01-01T08:00+02:00"])
def test_a_report_reaches_back_as_far_as_asked(used: Shell, since: str):
    assert sum(used.json("report", "--since", since)["total"]["pings"].values()) == 6


@pytest.mark.parametrize("since", ["foo", "24", "-1h", "0h", "99999999999w", "9999-01-01", "2999-01-01", "0001-01-01"])
def test_a_stretch_that_cannot_be_reported_is_refused_in_words(shell: Shell, since: str):
    assert "--since" in shell("report", f"--since={since}", exit_code=2).stderr


# -- run ----------------------------------------------------------------------------------------------------------


def test_run_with_a_bad_registry_says_every_problem_and_starts_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEEPWARM_REGISTRY", str(BAD / "unknown_key.yaml"))
    assert "is not a known key" in shell("run", exit_code=2).stderr
    assert shell.emulator.log == []


# -- emulate ------------------------------------------------------------------------------------------------------


def start_emulator(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A child process that emulates, and the URL that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keepwarm", "emulate", "--port", "0", *arguments],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
    assert found
    return process, found[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_emulate_serves_until_it_is_stopped_and_then_exits_0(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    process, url = start_emulator("--time-scale", "0.01")
    with process:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        assert shell.json("ping", "support-bot")["verdict"] == "rewrite"
        with urlopen(f"{url}/_emulator/log", timeout=10) as response:
            assert b"support-bot" in response.read()
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr) == (0, "stopped\n", "")


def test_emulate_injects_the_faults_it_is_given(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    process, url = start_emulator("--fault", "deny@*haiku*", "--time-scale", "0.001")
    with process:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        assert shell.json("ping", "support-bot")["verdict"] == "rewrite"
        assert shell.json("ping", "legal-search", exit_code=1)["error"]["code"] == "access_denied"
        process.terminate()
        process.communicate(timeout=20)


def test_emulate_on_a_taken_port_says_so(shell: Shell, emulator: Emulator):
    port = emulator.url.rsplit(":", 1)[1]
    found = shell.child("emulate", "--port", port)
    assert found.returncode == 1
    assert found.stderr.splitlines() == [
        f"cannot listen on 127.0.0.1:{port}: {os.strerror(98)}",
        "hint: --port names another one, and 0 takes a free one",
    ]


def test_the_manual_of_emulate_shows_a_pattern_that_fits_a_model_and_every_switch(shell: Shell):
    told = shell("man-page").stdout  # help breaks words
    assert "hang=0.1@*haiku*" in told
    assert [field.name for field in fields(Faults) if field.name not in told] == []


def test_emulate_refuses_unknown_switches_and_names_the_known_ones(shell: Shell):
    assert "throttle" in shell("emulate", "--fault", "trottle=1", exit_code=2).stderr


def test_emulate_on_an_address_that_is_not_here_says_so(shell: Shell):
    assert "cannot listen on 192.0.2.1" in shell("emulate", "--host", "192.0.2.1", exit_code=1).stderr
