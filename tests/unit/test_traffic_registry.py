from __future__ import annotations

from pathlib import Path

import pytest

from keepwarm.errors import ConfigError
from keepwarm.registry import Registry, load_registry
from tests.builders import CLAUDE, MONDAY, shipped_catalog

PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123def456"
TEXT = "stable " * 2_000


def load(tmp_path: Path, *entries: str) -> Registry:
    head = "version: 1\nprefixes:\n"
    common = f"region: eu-central-1, api: converse, busy_hours: always, system: {{text: {TEXT!r}}}"
    path = tmp_path / "registry.yaml"
    path.write_text(head + "".join(f"  - {{{entry}, {common}}}\n" for entry in entries))
    return load_registry(path, shipped_catalog(), b"key", MONDAY)


def test_metrics_are_heard_of_where_the_registry_says_so(tmp_path: Path):
    base = f"base_model: {CLAUDE.removeprefix('eu.')}"
    registry = load(
        tmp_path, f"name: a, model_id: {PROFILE!r}, {base}, metrics: true", f"name: b, model_id: {CLAUDE!r}"
    )
    assert [prefix.metrics for prefix in registry.prefixes] == [True, False]


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([f"name: a, model_id: {CLAUDE!r}, metrics: true"], "needs the ARN of an application inference profile"),
        (
            [
                f"name: a, model_id: {PROFILE!r}, base_model: {CLAUDE.removeprefix('eu.')}, metrics: true",
                f"name: b, model_id: {PROFILE!r}, base_model: {CLAUDE.removeprefix('eu.')}, ttl: 5m, profile: other",
            ],
            "needs a model_id that no other prefix has",
        ),
    ],
)
def test_metrics_of_more_than_one_prefix_are_refused(tmp_path: Path, entries: list[str], told: str):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, *entries)
    (problem,) = caught.value.problems
    assert told in problem.message
