"""What every integration test may use: an AWS environment that holds fake credentials and nothing of the machine's."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from tests.postgresql import Postgres


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fake credentials in the environment and an empty AWS configuration, whose path is given; no metadata service."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "aws-config"
    config.write_text("")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    return config


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a ledger that is not there yet, once on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.new_database())


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """URL of a server that answers for CloudWatch and S3."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def cloud(moto: str, aws: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty AWS on this machine, for every boto3 client of the test that is given no endpoint of its own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    yield moto
    with urlopen(Request(f"{moto}/moto-api/reset", method="POST"), timeout=10):
        pass
