"""An application, a daemon and a Bedrock: what is heard of the traffic steers the pings and makes the report true."""

from __future__ import annotations

import importlib.util
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from anthropic import AnthropicBedrock
from langchain_aws import ChatBedrockConverse
from langchain_core.messages import HumanMessage, SystemMessage

from keepwarm import accounting, daemon, reporter
from keepwarm.clock import utc_now
from keepwarm.daemon import Daemon
from keepwarm.emulator import Emulator, Request
from keepwarm.parts import make_report
from keepwarm.settings import Settings
from tests.builders import CLAUDE, shipped_catalog
from tests.daemons import soon
from tests.invocation_logs import Recorder

REGION = "us-east-1"
TEXT = "Clause by clause, the handbook says what is to be done. " * 150
QUESTION = "And what does it say of us?"
CONVERSE = {
    "system": [{"text": TEXT}, {"cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
    "inferenceConfig": {"maxTokens": 10},
}
INVOKE = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 10,
    "system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
}

# The emulator's five minutes pass in six seconds. No gap is near a lifetime, and a reporter's batch is told well within
# the time to the next ping, so that a busy machine changes nothing.
TIME_SCALE = 0.02
LIFETIME_SECONDS = 6.0
DENSE_GAPS = [0.5] * 14
THIN_GAPS = [8.6, 8.8, 0.5, 9.0]


class Scene:
    """One registered prefix for each API, a running daemon, and the emulator behind it."""

    def __init__(self, folder: Path, emulator: Emulator, **settings: Any) -> None:
        self.emulator = emulator
        self.folder = folder
        for name, request in (("converse", CONVERSE), ("invoke_model", INVOKE)):
            (folder / f"{name}.json").write_text(json.dumps(request))
        entries = [
            f"  - {{name: {name}, api: {name}, request: {name}.json, model_id: '{CLAUDE}', region: {REGION},"
            f" busy_hours: always, lifetime: {LIFETIME_SECONDS}s, margin: 1s, prewarm: {prewarm}}}"
            for name, prewarm in (("converse", "true"), ("invoke_model", "false"))
        ]
        (folder / "registry.yaml").write_text("version: 1\nprefixes:\n" + "\n".join(entries) + "\n")
        self.settings = Settings(
            registry=folder / "registry.yaml", state_dir=folder / "state", **{"listen": "127.0.0.1:0", **settings}
        )
        self.began = utc_now()
        self._stack = ExitStack()
        self.daemon: Daemon = self._stack.enter_context(daemon.build(self.settings, observers=[]))
        self._thread = threading.Thread(target=self.daemon.run)
        self._thread.start()
        assert soon(lambda: self.daemon.address)
        assert soon(self.pings)

    @property
    def url(self) -> str:
        return f"http://{self.daemon.address}"

    def pings(self) -> list[Request]:
        return [request for request in self.emulator.log if request.metadata.get("keepwarm")]

    def asked(self, access_key: str = "AKIAEXAMPLE") -> list[Request]:
        """The application's own requests on one account."""
        log = self.emulator.log
        return [found for found in log if found.access_key == access_key and not found.metadata.get("keepwarm")]

    def account(self, name: str) -> dict[str, Any]:
        """The report about one prefix, as its JSON."""
        report = make_report(self.daemon.parts, self.began - timedelta(minutes=1), utc_now())
        told: Any = accounting.to_json(report)["prefixes"]
        return next(account for account in told if account["name"] == name)

    def close(self) -> None:
        self.daemon.stop()
        self._thread.join()
        self._stack.close()


@pytest.fixture
def emulator(aws: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, latency_scale=0) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", found.url)
        yield found


@pytest.fixture
def scene(tmp_path: Path, emulator: Emulator) -> Iterator[Scene]:
    found = Scene(tmp_path, emulator)
    yield found
    found.close()


def client(access_key: str = "AKIAEXAMPLE") -> Any:
    return boto3.Session(access_key, "secret", region_name=REGION).client("bedrock-runtime")


def test_pings_stop_in_dense_traffic_resume_in_thin_and_the_report_equals_the_truth(scene: Scene) -> None:
    """The truth is the same application at the same moments on an account that nobody keeps warm."""
    application, twin = client(), client("AKIATWIN")
    reporter.install(application, scene.url)
    before_dense = utc_now()
    for gap in DENSE_GAPS:
        application.converse(modelId=CLAUDE, **CONVERSE)
        twin.converse(modelId=CLAUDE, **CONVERSE)
        threading.Event().wait(gap)
    after_dense = utc_now()
    for gap in THIN_GAPS:
        threading.Event().wait(gap)
        application.converse(modelId=CLAUDE, **CONVERSE)
        twin.converse(modelId=CLAUDE, **CONVERSE)
    asked, would = scene.asked(), scene.asked("AKIATWIN")
    assert soon(lambda: scene.daemon.listener.counts.get("accepted") == len(asked))

    dense = [found for found in scene.pings() if before_dense + timedelta(seconds=1) < found.at < after_dense]
    assert dense == []
    thin = [found for found in scene.pings() if found.at > after_dense]
    assert len(thin) >= 3

    avoided = [
        ours.usage.cache_read_tokens > 0 and theirs.usage.cache_write_tokens > 0
        for ours, theirs in zip(asked, would, strict=True)
    ]
    found = scene.account("converse")
    assert found["traffic"]["organic_requests"] == len(asked)
    assert found["traffic"]["warm"] == sum(request.usage.cache_write_tokens == 0 for request in asked)
    assert found["traffic"]["would_have_been_cold"] == sum(request.usage.cache_write_tokens > 0 for request in would)
    assert found["traffic"]["avoided_writes"] == {"low": sum(avoided), "high": sum(avoided)}
    assert sum(avoided) == 4  # the first, and one after each long gap
    assert found["avoided_write_usd"]["low"] == found["avoided_write_usd"]["high"]


def test_without_prewarm_traffic_starts_the_keeping_and_the_pings_start_nothing(scene: Scene) -> None:
    application = client()
    reporter.install(application, scene.url)
    assert not [found for found in scene.pings() if found.metadata["prefix"] == "invoke_model"]
    application.invoke_model(modelId=CLAUDE, body=json.dumps(INVOKE))["body"].read()
    assert soon(lambda: len([found for found in scene.pings() if found.metadata["prefix"] == "invoke_model"]) >= 2)
    kept = [found for found in scene.pings() if found.metadata["prefix"] == "invoke_model"]
    assert all(found.usage and found.usage.cache_write_tokens == 0 for found in kept)
    assert scene.daemon.parts.keeper.state("invoke_model").organic_at == pytest.approx(
        scene.asked()[0].at, abs=timedelta(seconds=0.5)
    )


def ask_with_anthropic(scene: Scene) -> None:
    with AnthropicBedrock(
        aws_access_key="AKIAEXAMPLE", aws_secret_key="secret", aws_region=REGION, base_url=scene.emulator.url
    ) as asker:
        reporter.install(asker, scene.url)
        body = {name: value for name, value in INVOKE.items() if name != "anthropic_version"}
        for _ in range(2):
            asker.messages.create(model=CLAUDE, **body)


def ask_with_langchain(scene: Scene) -> None:
    model = ChatBedrockConverse(model=CLAUDE, client=client(), max_tokens=10)
    reporter.install(model, scene.url)
    content: list[Any] = [{"type": "text", "text": TEXT}, {"cachePoint": {"type": "default"}}]
    for _ in range(2):
        model.invoke([SystemMessage(content), HumanMessage(QUESTION)])


def ask_with_litellm(scene: Scene) -> None:
    import litellm  # noqa: PLC0415 - optional

    litellm.logging_callback_manager._reset_all_callbacks()  # noqa: SLF001 - it keeps one callback of a class for ever
    litellm.callbacks = [reporter.litellm_callback(scene.url)]
    system = {"role": "system", "content": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}]}
    for _ in range(2):
        litellm.completion(
            model=f"bedrock/converse/{CLAUDE}",
            messages=[system, {"role": "user", "content": QUESTION}],
            max_tokens=10,
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="secret",
            aws_region_name=REGION,
            aws_bedrock_runtime_endpoint=scene.emulator.url,
        )
    litellm.callbacks = []


needs_litellm = pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None, reason="litellm is not installed: pip install litellm"
)


@pytest.mark.parametrize(
    ("ask", "prefix"),
    [
        pytest.param(ask_with_anthropic, "invoke_model", id="anthropic"),
        pytest.param(ask_with_langchain, "converse", id="langchain-aws"),
        pytest.param(ask_with_litellm, "converse", id="litellm", marks=needs_litellm),
    ],
)
def test_other_clients_are_heard_as_well(scene: Scene, monkeypatch: pytest.MonkeyPatch, ask: Any, prefix: str) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches prices from the network
    ask(scene)
    asked = scene.asked()
    assert soon(lambda: scene.daemon.listener.counts.get("accepted") == len(asked) == 2)
    assert scene.daemon.listener.counts["unknown"] == 0
    traffic = scene.account(prefix)["traffic"]
    assert traffic["organic_requests"] == 2
    assert traffic["warm"] == sum(request.usage.cache_write_tokens == 0 for request in asked)
    assert traffic["cold"] == sum(request.usage.cache_write_tokens > 0 for request in asked)


def test_without_a_reporter_the_invocation_logs_tell_the_same(tmp_path: Path, emulator: Emulator, cloud: str) -> None:
    logs = boto3.client("logs", region_name=REGION)
    logs.create_log_group(logGroupName="/bedrock")
    logs.create_log_stream(logGroupName="/bedrock", logStreamName="s")
    scene = Scene(
        tmp_path,
        emulator,
        traffic_log_group="/bedrock",
        traffic_region=REGION,
        traffic_poll_seconds=1,
    )
    try:
        recorder = Recorder(client(), utc_now)
        for gap in (
            1.2,
            4.6,
            0.5,
        ):  # records tell whole seconds: the first is not to seem older than the ping before it
            threading.Event().wait(gap)
            recorder.call("Converse", modelId=CLAUDE, **CONVERSE)
        now_ms = int(utc_now().timestamp() * 1000)
        events = [{"timestamp": now_ms, "message": json.dumps(record)} for record in recorder.records]
        logs.put_log_events(logGroupName="/bedrock", logStreamName="s", logEvents=events)
        assert soon(lambda: scene.daemon.listener.counts.get("accepted") == 3)
        traffic = scene.account("converse")["traffic"]
        asked = scene.asked()
        assert traffic["organic_requests"] == len(asked) == 3
        assert traffic["warm"] == sum(request.usage.cache_write_tokens == 0 for request in asked)
        gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(asked)]
        cold = 1 + sum(gap > timedelta(seconds=LIFETIME_SECONDS) for gap in gaps)
        assert traffic["would_have_been_cold"] == cold
        assert traffic["avoided_writes"]["low"] == cold
    finally:
        scene.close()
