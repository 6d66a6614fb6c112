"""One prefix on the real Bedrock: written by the first ping, read by the second.

It costs well under a cent: about 2,500 tokens written once and read once on a small model, with one token of output
each, are 0.0004 USD on Claude Haiku 5.5 through a geographic profile. It needs AWS credentials that may call
bedrock:InvokeModel, and access to the model.

    LIVE_AWS=1 .venv/bin/python -m pytest tests/live

`LIVE_AWS_MODEL` (default `us.anthropic.claude-haiku-5-5`) and `LIVE_AWS_REGION` (default `us-east-1`) choose others.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from keepwarm import pricing
from keepwarm.bedrock import Gateway
from keepwarm.model import Prefix, Verdict
from keepwarm.registry import load_catalog, load_registry

MODEL = os.environ.get("LIVE_AWS_MODEL", "us.anthropic.claude-haiku-5-5")
REGION = os.environ.get("LIVE_AWS_REGION", "us-east-1")
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)  # only tells whether busy hours open; these are always open

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(
        os.environ.get("LIVE_AWS") != "1", reason="talks to real AWS and costs a fraction of a cent; set LIVE_AWS=1"
    ),
]


def synthetic_prefix(path: Path, api: str) -> Prefix:
    """A text that nobody has sent before, so that the first ping must write it."""
    text = f"Run {secrets.token_hex(16)}. " + "The keeper walks the round and looks at every lamp once. " * 180
    (path / "prompt.md").write_text(text)
    (path / "registry.yaml").write_text(
        f"version: 1\nprefixes:\n  - name: live\n    model_id: {MODEL}\n    region: {REGION}\n    api: {api}\n"
        "    busy_hours: always\n    system: {file: prompt.md}\n"
    )
    return load_registry(path / "registry.yaml", load_catalog(None), b"key of the tests", NOW).prefixes[0]


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
def test_the_first_ping_writes_and_the_second_reads(api, tmp_path):
    prefix = synthetic_prefix(tmp_path, api)
    gateway = Gateway(1)
    first, second = gateway.ping(prefix), gateway.ping(prefix)

    assert first.usage is not None
    assert second.usage is not None
    assert first.usage.verdict is Verdict.REWRITE
    assert second.usage.verdict is Verdict.HIT
    assert second.usage.cache_read_tokens == first.usage.cache_write_tokens
    costs = [pricing.cost_usd(prefix.facts.prices, answer.usage, prefix.ttl) for answer in (first, second)]
    assert sum(costs) < Decimal("0.05")
