"""`keepwarm discover` on real files, and on moto's CloudWatch Logs and S3 over HTTP."""

from __future__ import annotations

import gzip
import json
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
import yaml

from keepwarm.cli.discover import count_line
from keepwarm.clock import utc_now
from keepwarm.discovery import Files, Tally
from keepwarm.discovery.state import Position, load_state, save_state
from keepwarm.emulator import Emulator
from keepwarm.errors import ConfigError
from keepwarm.registry import load_registry
from keepwarm.traffic.records import parse_record, read_record
from tests.builders import shipped_catalog
from tests.histories import History, write_history
from tests.integration.cli.conftest import Shell
from tests.invocation_logs import anthropic_body, converse_body, make_record
from tests.truths import differences

RECORDS = 20_000


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, History]:
    path = tmp_path_factory.mktemp("history") / "log.json.gz"
    return path, write_history(path, RECORDS)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws: Path) -> Shell:
    monkeypatch.setenv("KEEPWARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KEEPWARM_REGISTRY", str(tmp_path / "config" / "registry.yaml"))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    shell = Shell(Emulator(catalog=shipped_catalog()), tmp_path)
    shell.registry = tmp_path / "config" / "registry.yaml"
    return shell


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records))
    return path


def every(minutes: float, count: int = 50, **changes: Any) -> list[dict[str, Any]]:
    """Records of one prefix, so many minutes apart, ending now."""
    start = utc_now() - timedelta(minutes=minutes * count)
    return [
        make_record(
            requestId=f"{changes.get('modelId', '')}{minutes}-{number}",
            timestamp=(start + timedelta(minutes=minutes * number)).isoformat(),
            **changes,
        )
        for number in range(count)
    ]


# -- the truth ----------------------------------------------------------------------------------------------------


def test_every_figure_of_a_made_up_history_is_its_truth(shell: Shell, history: tuple[Path, History]):
    path, truth = history
    found = shell.json("discover", path, "--top", 1000)
    assert list(differences(found, truth, RECORDS)) == []


def test_a_history_in_several_files_is_the_same_in_any_order_of_them(shell: Shell, history: tuple[Path, History]):
    path, truth = history
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    parts = []
    for number in range(3):
        parts.append(shell.directory / f"part-{number}.json")
        parts[-1].write_bytes(b"".join(lines[number * 7_000 : (number + 1) * 7_000]))
    found = shell.json("discover", *reversed(parts), "--top", 1000)
    assert list(differences(found, truth, RECORDS)) == []


def test_an_interrupted_run_goes_on_where_it_stopped(shell: Shell, history: tuple[Path, History]):
    path, truth = history
    whole = shell.json("discover", path, "--top", 1000)
    state, key = shell.directory / "cursor.json", (shell.directory / "state" / "fingerprint.key").read_bytes()
    tally, origin = Tally(key, shipped_catalog()), Files([path])
    for batch in origin.read(None):  # as the command does, until it is killed
        for line in batch.lines:
            count_line(tally, line, None)
        if batch.place[1] >= 9_000:
            break
    save_state(state, Position(origin.history | {"since": None}, batch.place), tally)
    resumed = shell.json("discover", path, "--top", 1000, "--state", state)
    assert resumed == whole
    assert list(differences(resumed, truth, RECORDS)) == []
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_a_finished_run_goes_on_where_the_log_has_grown(shell: Shell):
    records = every(6)
    log, state = write(shell.directory / "log.json", *records[:20]), shell.directory / "cursor.json"
    assert shell.json("discover", log, "--state", state)["prefixes"][0]["requests"] == 20
    write(log, *records)
    resumed = shell.json("discover", log, "--state", state)
    assert resumed["prefixes"][0]["requests"] == 50
    assert resumed == shell.json("discover", log)


def test_the_state_holds_no_prompt(shell: Shell):
    state = shell.directory / "cursor.json"
    shell("discover", write(shell.directory / "log.json", *every(6)), "--state", state)
    assert "stable" not in state.read_text()


@pytest.mark.parametrize(("content", "message"), [("{}", "no state"), ("x", "no state"), (None, "another history")])
def test_a_state_that_does_not_fit_is_refused(shell: Shell, content: str | None, message: str):
    log, state = write(shell.directory / "log.json", *every(6)), shell.directory / "cursor.json"
    if content is None:
        other = write(shell.directory / "other.json", *every(6))
        shell("discover", other, "--state", state)
    else:
        state.write_text(content)
    assert message in shell("discover", log, "--state", state, exit_code=2).stderr


def test_a_damaged_tally_is_refused(tmp_path: Path):
    state = tmp_path / "cursor.json"
    state.write_text(json.dumps({"version": 1, "history": {"files": []}, "tally": {"records": 1}}))
    with pytest.raises(ConfigError, match="damaged"):
        load_state(state, {"files": []}, Tally(b"key", shipped_catalog()))


# -- what is shown ------------------------------------------------------------------------------------------------


def test_the_table_names_prefixes_money_skipped_records_and_the_basis(shell: Shell):
    log = write(
        shell.directory / "log.json", *every(6), *every(1, body=converse_body(system=[{"text": "bare " * 1200}])), "{"
    )
    text = shell("discover", log).stdout
    assert "claude-sonnet-4-5-" in text
    assert "no cache point: 50 requests" in text
    assert "after system would have saved about $" in " ".join(text.split())
    assert "skipped 1: truncated" in text
    assert "basis: a week of this history" in text
    assert "stable" not in text


def test_the_yaml_is_a_registry_once_its_requests_are_there(shell: Shell):
    log = write(shell.directory / "log.json", *every(6), *every(7, body=anthropic_body(), operation="InvokeModel"))
    text = shell("discover", log, "--format", "yaml", "--with-bodies").stdout
    shell.registry.write_text(text)
    key = (shell.directory / "state" / "fingerprint.key").read_bytes()
    prefixes = load_registry(shell.registry, shipped_catalog(), key, utc_now()).prefixes
    assert {prefix.api.value for prefix in prefixes} == {"converse", "invoke_model"}
    for request in (shell.registry.parent / "prefixes").iterdir():
        assert stat.S_IMODE(request.stat().st_mode) == 0o600
        assert "and now?" not in request.read_text()
    shell("check")


def test_without_bodies_nothing_of_a_prompt_is_written_or_shown(shell: Shell):
    log = write(shell.directory / "log.json", *every(6))
    text = shell("discover", log, "--format", "yaml").stdout
    assert not shell.registry.parent.exists()
    assert "stable" not in text
    assert "keepwarm import FILE" in text
    assert yaml.safe_load(text)["prefixes"][0]["model_id"] == make_record()["modelId"]


def test_another_ttl_that_pays_more_is_said_to_want_a_change_in_the_application(shell: Shell):
    log = write(shell.directory / "log.json", *every(6))
    assert "Better with 1h: mark it so in the application first." in shell("discover", log, "--format", "yaml").stdout


def test_nothing_found_is_an_empty_registry(shell: Shell):
    text = shell("discover", write(shell.directory / "log.json", "{"), "--format", "yaml").stdout
    assert yaml.safe_load(text) == {"version": 1, "busy_hours": {}, "prefixes": []}


# -- bad input ----------------------------------------------------------------------------------------------------


def test_a_broken_gzip_counts_as_truncated_and_keeps_what_was_before(shell: Shell):
    packed = gzip.compress("".join(json.dumps(record) + "\n" for record in every(6, 500)).encode(), mtime=0)
    log = shell.directory / "log.json.gz"
    log.write_bytes(packed[: len(packed) // 2])
    found = shell.json("discover", log)
    assert found["skipped"]["truncated"] >= 1
    assert found["prefixes"][0]["requests"] > 10


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "truncated"),
        ("[]", "truncated"),
        ('{"schemaType": "Other"}', "unknown_schema"),
        (make_record(operation="Dream"), "unknown_operation"),
        (make_record(requestMetadata={"keepwarm": "ping"}), "ours"),
        (make_record(body=None), "body_missing"),
        (make_record(timestamp="yesterday"), "malformed"),
        (make_record(counts={"inputTokenCount": 10**12, "cacheReadInputTokenCount": 0,
                             "cacheWriteInputTokenCount": 0}), "absurd_usage"),
        (make_record(body=converse_body(system=None)), "nothing_to_cache"),
    ],
)  # fmt: skip
def test_a_record_that_is_of_no_use_is_counted_by_its_reason(shell: Shell, line: Any, reason: str):
    found = shell.json("discover", write(shell.directory / "log.json", line, *every(6)))
    assert found["skipped"] == {reason: 1}
    assert found["prefixes"][0]["requests"] == 50


def test_since_leaves_older_records_out(shell: Shell):
    log = write(shell.directory / "log.json", *every(60, 48))
    found = shell.json("discover", log, "--since", "24h")
    assert found["prefixes"][0]["requests"] + found["skipped"]["too_old"] == 48
    assert 22 <= found["prefixes"][0]["requests"] <= 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of them"),
        (("missing.json",), "cannot be read: No such file"),
        (("--s3", "bucket/prefix"), "s3://bucket/prefix"),
        (("--log-group", "a", "--s3", "s3://b/c"), "one of them"),
        (("--log-group", "a", "--since", "soon"), "not a moment"),
    ],
)
def test_a_place_that_cannot_be_read_is_told(shell: Shell, arguments: tuple[str, ...], message: str):
    assert message in " ".join(shell("discover", *arguments, exit_code=2).stderr.replace("│", " ").split())


# -- AWS ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, shell: Shell, moto: str) -> Iterator[None]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    boto3.client("s3").create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield
    urlopen(Request(f"{moto}/moto-api/reset", method="POST")).close()


def test_a_log_group_is_read_back_and_read_on(shell: Shell, cloud: None):
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="/bedrock")
    logs.create_log_stream(logGroupName="/bedrock", logStreamName="aws/bedrock/modelinvocations")
    records = every(6, 40)
    state = shell.directory / "cursor.json"

    def put(chosen: list[dict[str, Any]], at: Any) -> None:
        events = [{"timestamp": int(at.timestamp() * 1000) + index, "message": json.dumps(record)}
                  for index, record in enumerate(chosen)]  # fmt: skip
        logs.put_log_events(logGroupName="/bedrock", logStreamName="aws/bedrock/modelinvocations", logEvents=events)

    put(records[:30], utc_now() - timedelta(hours=2))
    first = shell.json("discover", "--log-group", "/bedrock", "--since", "1d", "--state", state)
    assert first["prefixes"][0]["requests"] == 30
    put(records[30:], utc_now())
    second = shell.json("discover", "--log-group", "/bedrock", "--since", "1d", "--state", state)
    assert second["prefixes"][0]["requests"] == 40


def test_a_missing_log_group_is_told_with_what_to_check(shell: Shell, cloud: None):
    said = shell("discover", "--log-group", "/nobody", exit_code=1).stderr
    assert "hint: check the name of the log group" in said


def test_objects_in_s3_are_read_back_and_read_on_without_the_bodies(shell: Shell, cloud: None):
    s3 = boto3.client("s3")
    records, folder = every(6, 40), "p/AWSLogs/123456789012/BedrockModelInvocationLogs/eu-central-1/2026/11/22"
    state = shell.directory / "cursor.json"

    def put(name: str, chosen: list[dict[str, Any]]) -> None:
        packed = gzip.compress("".join(json.dumps(record) + "\n" for record in chosen).encode())
        s3.put_object(Bucket="logs", Key=f"{folder}/{name}.json.gz", Body=packed)

    put("10/one", records[:20])
    put("11/two", records[20:30])
    put("11/data/body_input", [{"not": "a record"}])
    first = shell.json("discover", "--s3", "s3://logs/p", "--state", state)
    assert (first["prefixes"][0]["requests"], first["skipped"]) == (30, {})
    put("12/three", records[30:])
    second = shell.json("discover", "--s3", "s3://logs/p", "--state", state)
    assert second["prefixes"][0]["requests"] == 40
    assert second["prefixes"] == shell.json("discover", "--s3", "s3://logs/p")["prefixes"]


def test_a_missing_bucket_is_told(shell: Shell, cloud: None):
    assert "NoSuchBucket" in shell("discover", "--s3", "s3://nobody/p", exit_code=1).stderr


def test_the_helpers_of_these_tests_write_records_that_count():
    record = parse_record(json.dumps(make_record()))
    assert isinstance(record, dict)
    assert read_record(record, None)
