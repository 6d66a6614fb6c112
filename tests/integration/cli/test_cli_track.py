"""`keepwarm track` on the embedded Bedrock, in all its forms."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from keepwarm.emulator import Faults
from keepwarm.ledger import Ledger
from keepwarm.model import Entry, Reason
from tests.integration.cli.conftest import Shell

SONNET = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"


def entries(shell: Shell) -> list[Entry]:
    """Every entry of the ledger."""
    with Ledger.open(f"sqlite:///{shell.directory / 'state' / 'ledger.sqlite'}") as ledger:
        return list(
            ledger.entries(datetime.fromisoformat("2000-01-01T00:00Z"), datetime.fromisoformat("2999-01-01T00:00Z"))
        )


def verdicts(told: Any) -> list[str]:
    """The verdict of each request."""
    return [sample["verdict"] for sample in told["samples"]]


def witnesses(told: Any) -> set[str]:
    """Where the requests told their input token counts."""
    return {sample["input_count_in"] for sample in told["samples"]}


def test_ten_requests_are_sent_by_default_and_only_the_first_one_writes(shell: Shell):
    told = shell.json("track", "support-bot")
    assert verdicts(told) == ["rewrite"] + ["hit"] * 9
    assert told["findings"] == []
    assert len(shell.emulator.log) == 10


def test_every_request_has_its_ledger_entry_and_the_money_is_theirs(shell: Shell):
    told = shell.json("track", "support-bot", "-n", 4)
    found = entries(shell)
    assert [entry.number for entry in found] == [sample["entry"] for sample in told["samples"]]
    assert {entry.intent.reason for entry in found} == {Reason.MANUAL}
    assert sum(entry.cost_usd for entry in found) == Decimal(told["money"]["cost_usd"])


@pytest.mark.parametrize(
    ("api", "faults", "witness"),
    [
        ("converse", Faults(), "body"),
        ("invoke_model", Faults(), "both"),
        ("invoke_model", Faults(omit_usage=True), "headers"),
        ("invoke_model", Faults(omit_headers=True), "body"),
    ],
)
def test_where_the_input_token_count_stood_is_told(shell: Shell, api: str, faults: Faults, witness: str):
    shell.emulator.set_faults("*", faults)
    told = shell.json("track", "--model-id", SONNET, "--api", api, "-n", 2)
    assert witnesses(told) == {witness}
    assert verdicts(told) == ["rewrite", "hit"]


def test_a_made_up_prefix_has_about_the_wanted_size_and_is_cold_every_time(shell: Shell):
    for _ in range(2):
        told = shell.json("track", "--model-id", SONNET, "--tokens", 7000, "-n", 2)
        assert verdicts(told) == ["rewrite", "hit"]
        assert told["money"]["cached_tokens"] == pytest.approx(7000, rel=0.01)


def test_a_seed_makes_the_same_prefix_again_and_the_warm_start_is_said(shell: Shell):
    arguments = ("track", "--model-id", SONNET, "--seed", 7, "-n", 2)
    assert verdicts(shell.json(*arguments)) == ["rewrite", "hit"]
    told = shell.json(*arguments)
    assert verdicts(told) == ["hit", "hit"]
    assert told["findings"] == ["first_warm"]
    assert "Request 1 was warm already" in shell(*arguments).stdout


def test_a_made_up_prefix_needs_no_registry(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEEPWARM_REGISTRY", str(shell.directory / "nowhere.yaml"))
    shell("track", "--model-id", SONNET, "-n", 1)


def test_the_ttl_that_was_asked_for_is_the_one_that_is_billed(shell: Shell):
    told = shell.json("track", "--model-id", SONNET, "--ttl", "1h", "-n", 2)
    assert (told["ttl"], told["billed_ttl"], told["money"]["break_even_requests"]) == ("1h", "1h", 3)
    shell.emulator.set_faults("*", Faults(honour_1h_as_5m=True))
    told = shell.json("track", "--model-id", SONNET, "--ttl", "1h", "-n", 2)
    assert (told["billed_ttl"], told["money"]["break_even_requests"]) == ("5m", 2)
    assert told["findings"] == ["ttl_differs"]


def test_the_region_is_the_option_or_that_of_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    shell("track", "--model-id", SONNET, "--region", "eu-west-1", "-n", 1)
    shell("track", "--model-id", SONNET, "-n", 1)
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    shell("track", "--model-id", SONNET, "-n", 1)
    assert [request.region for request in shell.emulator.log] == ["eu-west-1", "eu-central-1", "eu-north-1"]
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert "--region" in shell("track", "--model-id", SONNET, exit_code=2).stderr


def test_the_table_tells_speed_money_and_break_even_in_words(shell: Shell):
    found = shell.child("track", "support-bot", "-n", "3")
    text = " ".join(found.stdout.split())
    assert re.search(r"#\s+verdict\s+count in\s+input\s+read\s+written\s+client ms\s+server ms", found.stdout)
    assert re.search(r"Request 1 was (not )?slower than request 2: cache speed ROI", text)
    assert "median of 2 to 3, client" in text
    assert re.search(r"Money: 3 requests cost \$0\.\d+, and without the cache \$0\.\d+", text)
    assert "Break-even: caching pays from request 3 within 1h on." in text
    assert re.search(r"one avoided cold start pays for \d+ pings", text)
    assert "█" in found.stdout


def test_what_it_may_cost_is_said_before_anything_is_sent(shell: Shell):
    result = shell("track", "--model-id", SONNET, "-n", 2)
    assert re.search(r"^at most \$0\.\d+ for 2 requests of about 5,00\d tokens to ", result.stderr)


def test_a_prompt_below_the_minimum_is_told_with_both_figures(shell: Shell):
    arguments = ("track", "--model-id", NOVA, "--tokens", 500, "-n", 2)
    told = shell.json(*arguments)
    assert verdicts(told) == ["uncached", "uncached"]
    assert "below_minimum" in told["findings"]
    assert told["money"]["warm_saves_usd"] is None
    result = shell(*arguments)
    assert re.search(
        r"the prompt has 50\d tokens, and this model caches from 1,536 on", " ".join(result.stdout.split())
    )
    assert "probably not cached" in result.stderr


def test_a_single_request_compares_with_nothing_and_says_so(shell: Shell):
    told = shell.json("track", "--model-id", SONNET, "-n", 1)
    assert told["speed"]["client"] == {"first_to_second": None, "first_to_median_of_rest": None}
    assert told["findings"] == ["single_request"]
    text = shell("track", "--model-id", SONNET, "-n", 1).stdout
    assert "use -n 2 or more" in text
    assert "slower" not in text


def test_requests_that_fail_for_now_are_passed_over_and_the_others_still_measured(shell: Shell):
    shell.emulator.set_faults("*", Faults(throttle=0.5))
    told = shell.json("track", "--model-id", SONNET, "--seed", 1, "-n", 12)
    assert {"error", "hit"} <= set(verdicts(told))
    assert told["requests"]["sent"] == 12
    assert "some_failed" in told["findings"]
    text = " ".join(shell("track", "--model-id", SONNET, "--seed", 2, "-n", 12).stdout.split())
    assert re.search(r"Request \d+(, \d+)*: throttled: ThrottlingException", text)
    assert "hint: ask for a higher quota" in text


def test_a_refusal_that_will_not_pass_ends_it_after_the_first_request(shell: Shell):
    shell.emulator.set_faults("*", Faults(deny=True))
    told = shell.json("track", "--model-id", SONNET, "-n", 5, exit_code=1)
    assert told["requests"] == {"wanted": 5, "sent": 1, "answered": 0}
    assert told["findings"] == ["all_failed", "ended_early"]
    assert "grant bedrock:InvokeModel" in shell("track", "--model-id", SONNET, exit_code=1).stdout


def test_rejected_credentials_get_one_more_chance(shell: Shell):
    shell.emulator.set_faults("*", Faults(expired_tokens=True))
    told = shell.json("track", "--model-id", SONNET, "-n", 5, exit_code=1)
    assert told["requests"]["sent"] == 2


def test_an_answer_that_may_have_been_billed_counts_at_its_high_price(shell: Shell):
    shell.emulator.set_faults("*", Faults(omit_usage=True))
    told = shell.json("track", "--model-id", SONNET, "-n", 2, exit_code=1)
    assert witnesses(told) == {"neither"}
    assert Decimal(told["money"]["cost_usd"]) > 0
    assert "may have been billed" in shell("track", "--model-id", SONNET, "-n", 2, exit_code=1).stdout


def test_a_pause_that_outlives_the_entry_makes_cold_requests_and_is_said(shell: Shell):
    from_the_second_home = Faults(homes=3)
    shell.emulator.set_faults("*", from_the_second_home)
    told = shell.json("track", "--model-id", SONNET, "--seed", 3, "-n", 8)
    assert verdicts(told).count("rewrite") > 1
    assert "later_not_warm" in told["findings"]


def test_the_requests_wait_for_the_pause(shell: Shell):
    shell("track", "support-bot", "-n", 3, "--pause", 0.2)
    first, *_, last = shell.emulator.log
    assert (last.at - first.at).total_seconds() >= 0.4


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--model-id"),
        (["support-bot", "--model-id", SONNET], "not both"),
        (["support-bot", "--ttl", "1h", "--tokens", "5"], "--tokens, --ttl: only with --model-id"),
        (["suport-bot"], "support-bot"),
        (["--model-id", "foo"], "KEEPWARM_MODELS"),
        (["--model-id", "jp.anthropic.claude-opus-4-5-20251101-v1:0"], "global.anthropic.claude-opus-4-5"),
        (["--model-id", NOVA, "--ttl", "1h"], "sells only 5m"),
        (["--model-id", NOVA, "--region", "xx yy"], "is not a region"),
        (["--model-id", NOVA, "-n", "0"], "--requests"),
        (["--model-id", NOVA, "--api", "invoke"], "--api"),
        (["--model-id", NOVA, "--tokens", "2000000"], "--tokens"),
    ],
)
def test_what_cannot_be_tracked_is_refused_in_words_and_nothing_is_sent(shell: Shell, arguments: list[str], words: str):
    result = shell("track", *arguments, exit_code=2)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert shell.emulator.log == []


DEAR = ("track", "--model-id", "eu.anthropic.claude-opus-4-5-20251101-v1:0", "--tokens", 50_000, "-n", 3)


def test_over_a_dollar_nothing_is_sent_when_nobody_is_there_to_ask(shell: Shell):
    result = shell(*DEAR, exit_code=2)
    assert "add --yes" in result.stderr
    assert shell.emulator.log == []


def test_over_a_dollar_yes_sends_without_asking(shell: Shell):
    told = shell.json(*DEAR, "--yes")
    assert told["requests"]["sent"] == 3


@pytest.mark.parametrize(("answer", "exit_code", "sent"), [("y\n", 0, 3), ("n\n", 1, 0)])
def test_over_a_dollar_somebody_at_a_terminal_is_asked(shell: Shell, answer: str, exit_code: int, sent: int):
    master, terminal = os.openpty()
    with (
        Path(os.ttyname(terminal)).open("rb") as stdin,
        subprocess.Popen(
            [sys.executable, "-m", "keepwarm", *map(str, DEAR), "--format", "json"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        os.write(master, answer.encode())
        stdout, stderr = process.communicate(timeout=60)
    os.close(terminal)
    os.close(master)
    assert process.returncode == exit_code, stderr
    assert "Send them?" in stderr
    assert len(shell.emulator.log) == sent
    assert (json.loads(stdout)["requests"]["sent"] if stdout else 0) == sent


def test_an_interrupt_shows_what_was_measured_so_far(shell: Shell):
    # Python ignores SIGINT where it was started with it ignored, as a test run in the background is.
    main = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from keepwarm.__main__ import main; main()"
    )
    command = [sys.executable, "-c", main, "track", "support-bot", "--pause", "30", "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not any(entry.outcome for entry in entries(shell)) and process.poll() is None:
            continue
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "ended_early" in json.loads(stdout)["findings"]
