from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from keepwarm.cli import app
from keepwarm.emulator import Emulator
from keepwarm.settings import PREFIX
from tests.builders import shipped_catalog

REGISTRY = """
version: 1
defaults: {region: eu-central-1, busy_hours: always}
prefixes:
  - name: support-bot
    model_id: eu.anthropic.claude-sonnet-4-5-20250929-v1:0
    api: converse
    system: {file: support.md}
    ttl: 1h
  - name: legal-search
    model_id: us.anthropic.claude-haiku-5-5
    region: us-east-1
    api: invoke_model
    system: {file: legal.md}
    ttl: 5m
  - name: too-short
    model_id: amazon.nova-lite-v1:0
    api: converse
    system: {file: short.md}
    ttl: 5m
"""


class Shell:
    """A user at a command line whose AWS is the emulator; no command may end in a traceback."""

    def __init__(self, emulator: Emulator, directory: Path) -> None:
        self.emulator = emulator
        self.directory = directory
        self.registry = directory / "registry.yaml"
        self._runner = CliRunner()

    def __call__(self, *arguments: object, exit_code: int = 0, **more: Any) -> Result:
        """Run a command in this process and expect this exit code."""
        result = self._runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, **more)
        assert result.exit_code == exit_code, result.output
        assert "Traceback" not in result.output
        return result

    def json(self, *arguments: object, exit_code: int = 0) -> Any:
        """Run a command that prints JSON; whatever goes to stderr must not spoil it."""
        return json.loads(self(*arguments, "--format", "json", exit_code=exit_code).stdout)

    def child(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a child process without a terminal."""
        command = [sys.executable, "-m", "keepwarm", *map(str, arguments)]
        environ = os.environ | {"COLUMNS": "80"} | environment
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), latency_scale=0.0) as started:
        yield started


@pytest.fixture
def shell(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A registry of three prefixes, an empty state directory, and credentials that the emulator takes."""
    for name in list(os.environ):
        if name.startswith((PREFIX, "AWS_")):
            monkeypatch.delenv(name)
    (tmp_path / "registry.yaml").write_text(REGISTRY)
    (tmp_path / "support.md").write_text("Be kind to the guests. " * 1000)
    (tmp_path / "legal.md").write_text("Quote the clause, then the case. " * 800)
    (tmp_path / "short.md").write_text("Say yes. " * 180)  # at most 1,620 tokens, and by the emulator's count 405
    settings = {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": emulator.url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "KEEPWARM_STATE_DIR": str(tmp_path / "state"),
        "KEEPWARM_REGISTRY": str(tmp_path / "registry.yaml"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Shell(emulator, tmp_path)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take the credentials away and make every connection a failure."""

    def cut() -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("this command must not open a connection")

        monkeypatch.setattr("socket.socket.connect", refuse)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"):
            monkeypatch.delenv(name)

    return cut
