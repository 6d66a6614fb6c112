"""`keepwarm import` on real files: all of it is there afterwards, or nothing is."""

from __future__ import annotations

import gzip
import json
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from keepwarm.emulator import Emulator
from keepwarm.registry import Registry, load_registry
from tests.builders import CLAUDE, shipped_catalog
from tests.integration.cli.conftest import Shell

TEXT = "Be kind to the guests and answer in one sentence. " * 200
REGION = ("--region", "eu-central-1")
HAND_WRITTEN = """\
# Our prefixes. Ask the platform team before you change one.
version: 1
defaults: {region: eu-central-1, busy_hours: office}
busy_hours:
  office: {timezone: Europe/Berlin, windows: ["Mon-Fri 08:00-18:00"]}

prefixes:
  - name: first   # the oldest
    model_id: eu.anthropic.claude-sonnet-4-5-20250929-v1:0
    api: converse
    system: {text: "%s"}  # short
    # ttl: 1h

# the end
""" % ("one two three four " * 400)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws: Path) -> Iterator[Shell]:
    monkeypatch.setenv("KEEPWARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KEEPWARM_REGISTRY", str(tmp_path / "config" / "registry.yaml"))
    monkeypatch.chdir(tmp_path)
    with Emulator(catalog=shipped_catalog(), latency_scale=0.0) as emulator:
        shell = Shell(emulator, tmp_path)
        shell.registry = tmp_path / "config" / "registry.yaml"
        yield shell


def anthropic(**changes: Any) -> dict[str, Any]:
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 500,
        "temperature": 0.5,
        "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}],
        "system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [{"role": "user", "content": "a question that names Mrs Miller"}],
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def converse(**changes: Any) -> dict[str, Any]:
    arguments = {
        "modelId": CLAUDE,
        "system": [{"text": TEXT}, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "a question that names Mrs Miller"}]}],
        "inferenceConfig": {"maxTokens": 500},
    }
    return arguments | changes


def put(directory: Path, name: str, data: Any) -> Path:
    path = directory / name
    path.write_text(json.dumps(data))
    return path


def load(shell: Shell) -> Registry:
    key = (shell.directory / "state" / "fingerprint.key").read_bytes()
    return load_registry(shell.registry, shipped_catalog(), key, datetime(2026, 11, 22, tzinfo=UTC))


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_first_import_makes_a_registry_that_the_daemon_takes(shell: Shell):
    put(shell.directory, "support-bot.json", anthropic())
    said = shell("import", "support-bot.json", "--model-id", CLAUDE, *REGION).stdout
    (prefix,) = load(shell).prefixes
    assert (prefix.name, prefix.model_id, prefix.ttl) == ("support-bot", CLAUDE, "1h")
    assert "1 block left out" in said
    assert "busy hours: always" in said
    shell("check")


def test_what_stands_behind_the_last_cache_point_is_not_kept(shell: Shell):
    put(shell.directory, "bot.json", anthropic())
    shell("import", "bot.json", "--model-id", CLAUDE, *REGION)
    request = shell.registry.parent / "prefixes" / "bot.json"
    kept = json.loads(request.read_text())
    assert "Mrs Miller" not in request.read_text()
    assert {**kept, "messages": 0} == {**anthropic(), "messages": 0}
    assert stat.S_IMODE(request.stat().st_mode) == 0o600


def test_thinking_stays_in_the_request_that_doctor_sends_as_production(shell: Shell):
    thinking = {"type": "enabled", "budget_tokens": 2000}
    put(shell.directory, "bot.json", anthropic(thinking=thinking, max_tokens=4000))
    shell("import", "bot.json", "--model-id", CLAUDE, *REGION)
    kept = json.loads((shell.registry.parent / "prefixes" / "bot.json").read_text())
    assert (kept["thinking"], kept["max_tokens"]) == (thinking, 4000)


def test_the_imported_ping_warms_what_the_application_reads(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", shell.emulator.url)
    put(shell.directory, "bot.json", converse())
    shell("import", "bot.json", *REGION)
    assert shell.json("ping", "bot")["verdict"] == "rewrite"
    usage = boto3.client("bedrock-runtime", region_name="eu-central-1").converse(**converse())["usage"]
    assert usage["cacheReadInputTokens"] > 0
    assert usage["cacheWriteInputTokens"] == 0


def test_images_survive_the_way_into_the_request_file(shell: Shell):
    image = {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    content = [image, {"text": TEXT}, {"cachePoint": {"type": "default"}}, {"text": "what is it?"}]
    put(shell.directory, "bot.json", converse(messages=[{"role": "user", "content": content}]))
    shell("import", "bot.json", *REGION)
    kept = json.loads((shell.registry.parent / "prefixes" / "bot.json").read_text())
    assert kept["messages"][0]["content"] == content[:3]


def test_an_image_behind_the_cache_point_is_refused_since_the_cut_would_lose_it(shell: Shell):
    image = {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    content = [{"text": TEXT}, {"cachePoint": {"type": "default"}}, image]
    put(shell.directory, "bot.json", converse(messages=[{"role": "user", "content": content}]))
    assert "image behind its last cache point" in shell("import", "bot.json", *REGION, exit_code=2).stderr
    assert not shell.registry.exists()


def test_a_hand_written_registry_keeps_its_comments_and_layout(shell: Shell):
    shell.registry.parent.mkdir()
    shell.registry.write_text(HAND_WRITTEN)
    shell.registry.chmod(0o640)
    put(shell.directory, "bot.json", anthropic())
    said = shell("import", "bot.json", "--model-id", CLAUDE).stdout
    new = shell.registry.read_text().splitlines()
    start = new.index("  - name: bot")
    added = new[start : start + 6]
    assert added[-1] == "    ttl: 1h"
    assert [*new[:start], *new[start + 6 :]] == HAND_WRITTEN.splitlines()
    assert "office, the default of this registry" in said
    assert stat.S_IMODE(shell.registry.stat().st_mode) == 0o640
    assert load(shell).find("bot").busy_hours.name == "office"


def test_a_record_of_the_log_brings_model_and_region(shell: Shell):
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-5-5"
    record = {
        "schemaType": "ModelInvocationLog",
        "operation": "ConverseStream",
        "modelId": arn,
        "region": "us-east-1",
        "input": {"inputBodyJson": {name: value for name, value in converse().items() if name != "modelId"}},
    }
    (shell.directory / "log.json.gz").write_bytes(gzip.compress(("{}\n" + json.dumps(record) + "\n").encode()))
    done = shell.json("import", "log.json.gz", "--line", 2)
    (prefix,) = load(shell).prefixes
    assert (prefix.model_id, prefix.route.region, prefix.api) == (arn, "us-east-1", "converse")
    assert done["name"] == prefix.name
    assert prefix.name.startswith("claude-haiku-5-5-")
    assert any("as the log names it" in question for question in done["to_decide"])


def test_standard_input_is_read_for_a_dash(shell: Shell):
    shell("import", "-", "--name", "piped", *REGION, input=json.dumps(converse()))
    assert load(shell).find("piped").model_id == CLAUDE


def test_an_application_profile_is_imported_with_the_model_behind_it(shell: Shell):
    arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3d4e5f6"
    put(shell.directory, "bot.json", converse(modelId=arn))
    assert "--base-model" in shell("import", "bot.json", exit_code=2).stderr
    shell("import", "bot.json", "--base-model", CLAUDE)
    assert load(shell).find("bot").facts.base_id in CLAUDE


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (anthropic(system=TEXT), ("--model-id", CLAUDE, *REGION), "no cache point.*cache_control.*system\\[0\\]"),
        (anthropic(), REGION, "--model-id: is missing"),
        (anthropic(), ("--model-id", CLAUDE), "--region: is missing"),
        (anthropic(), ("--model-id", "meta.llama", *REGION), "not a model whose prices"),
        (anthropic(), ("--model-id", CLAUDE, *REGION, "--api", "converse"), "must be a list|tools"),
        (anthropic(), ("--model-id", CLAUDE, *REGION, "--name", "a b"), "not a name"),
        (anthropic(system="x"), ("--model-id", CLAUDE, *REGION, "--name", "../up"), "no cache point"),
        (anthropic(), ("--model-id", CLAUDE, *REGION, "--name", "../up"), "not a name"),
        (anthropic(), ("--model-id", "eu.anthropic.claude-3-7-sonnet-20250219-v1:0", *REGION), "sells only 5m"),
        ({"prompt": "old"}, ("--model-id", CLAUDE, *REGION), "not a request"),
        (anthropic(cache_control={"type": "ephemeral"}), ("--model-id", CLAUDE, *REGION), "automatic caching"),
        (anthropic(system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}], tools=None),
         ("--model-id", CLAUDE, *REGION), "at most .* tokens"),
    ],
)  # fmt: skip
def test_whatever_cannot_be_imported_leaves_no_trace(shell: Shell, data: Any, options: tuple[str, ...], message: str):
    shell.registry.parent.mkdir()
    moved = HAND_WRITTEN.replace("region: eu-central-1, ", "").replace("    api", "    region: eu-central-1\n    api")
    shell.registry.write_text(moved)
    put(shell.directory, "bot.json", data)
    before = files(shell.registry.parent)
    said = shell("import", "bot.json", *options, exit_code=2).stderr
    assert re.search(message, " ".join(said.split()))
    assert files(shell.registry.parent) == before
    assert not (shell.registry.parent / "prefixes").exists()


def test_a_registry_with_problems_of_its_own_is_left_alone_under_its_own_name(shell: Shell):
    shell.registry.parent.mkdir()
    shell.registry.write_text("version: 1\nprefixes:\n  - name: broken\n")
    put(shell.directory, "bot.json", converse())
    before = files(shell.registry.parent)
    said = shell("import", "bot.json", *REGION, exit_code=2).stderr
    assert f"{shell.registry}:3: prefixes[0].model_id" in said
    assert files(shell.registry.parent) == before


def test_a_text_that_an_appended_line_would_change_is_refused_with_the_entry_to_add(shell: Shell):
    shell.registry.parent.mkdir()
    shell.registry.write_text(
        "version: 1\nprefixes:\n  - name: a\n    model_id: "
        + CLAUDE
        + "\n    region: eu-central-1\n    api: converse\n"
        "    busy_hours: always\n    system:\n      text: |\n        " + TEXT.strip()
    )
    put(shell.directory, "bot.json", converse())
    before = files(shell.registry.parent)
    said = shell("import", "bot.json", *REGION, exit_code=2).stderr
    assert "add this by hand" in said
    assert "- name: bot" in said
    assert files(shell.registry.parent) == before


def test_the_same_prefix_under_another_name_is_refused(shell: Shell):
    put(shell.directory, "bot.json", converse())
    shell("import", "bot.json", *REGION)
    before = files(shell.registry.parent)
    assert "is the same as 'bot'" in shell("import", "bot.json", "--name", "twin", *REGION, exit_code=2).stderr
    assert files(shell.registry.parent) == before


def test_force_renews_the_request_and_leaves_the_entry_as_it_was_written(shell: Shell):
    put(shell.directory, "bot.json", converse())
    shell("import", "bot.json", *REGION)
    shell.registry.write_text(shell.registry.read_text().replace("busy_hours: always", "busy_hours: always  # ours"))
    entry = shell.registry.read_text()
    old = load(shell).find("bot").fingerprint
    put(shell.directory, "bot.json", converse(system=[{"text": f"new {TEXT}"}, {"cachePoint": {"type": "default"}}]))
    assert "registered already" in shell("import", "bot.json", *REGION, exit_code=2).stderr
    assert load(shell).find("bot").fingerprint == old
    assert shell.json("import", "bot.json", *REGION, "--force")["replaced"] is True
    assert shell.registry.read_text() == entry
    assert load(shell).find("bot").fingerprint != old
    assert sorted(files(shell.registry.parent)) == ["prefixes/bot.json", "registry.yaml"]


def test_force_refuses_an_entry_of_another_model_or_ttl(shell: Shell):
    put(shell.directory, "bot.json", converse())
    shell("import", "bot.json", *REGION)
    before = files(shell.registry.parent)
    put(shell.directory, "bot.json", converse(modelId="eu.anthropic.claude-sonnet-5"))
    assert "model_id is" in shell("import", "bot.json", *REGION, "--force", exit_code=2).stderr
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    put(shell.directory, "bot.json", converse(system=[{"text": TEXT}, point]))
    said = shell("import", "bot.json", *REGION, "--force", exit_code=2).stderr
    assert "last cache point of prefixes/bot.json says 1h" in said
    assert files(shell.registry.parent) == before


def test_a_request_file_that_lies_about_is_not_overwritten_unasked(shell: Shell):
    (shell.registry.parent / "prefixes").mkdir(parents=True)
    (shell.registry.parent / "prefixes" / "bot.json").write_text("mine")
    put(shell.directory, "bot.json", converse())
    assert "exists already" in shell("import", "bot.json", *REGION, exit_code=2).stderr
    assert (shell.registry.parent / "prefixes" / "bot.json").read_text() == "mine"
    shell("import", "bot.json", *REGION, "--force")
    assert load(shell).find("bot")


def test_a_registry_behind_a_link_stays_behind_it(shell: Shell):
    real = shell.directory / "elsewhere" / "real.yaml"
    real.parent.mkdir()
    real.write_text("version: 1\nprefixes: []\n")
    shell.registry.parent.mkdir()
    shell.registry.symlink_to(real)
    put(shell.directory, "bot.json", converse())
    shell("import", "bot.json", *REGION)
    assert shell.registry.is_symlink()
    assert load(shell).find("bot")
    assert [path.name for path in real.parent.iterdir()] == ["real.yaml"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x1f\x8bbroken", b"", b"{"])
def test_a_file_that_is_not_json_is_told_in_words(shell: Shell, content: bytes):
    (shell.directory / "bot.json").write_bytes(content)
    assert "bot.json: " in shell("import", "bot.json", *REGION, exit_code=2).stderr


def test_a_missing_file_is_told(shell: Shell):
    assert "cannot be read: No such file" in shell("import", "missing.json", exit_code=2).stderr
