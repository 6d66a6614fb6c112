"""`/metrics` of a running daemon: read by promtool, by Prometheus itself, and what deploy/ makes of it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from keepwarm import daemon
from keepwarm.emulator import Emulator
from keepwarm.settings import Settings
from tests.builders import shipped_catalog
from tests.daemons import PATIENCE_SECONDS, TIME_SCALE, soon, write_registry

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "keepwarm.rules.yaml"
NAME = re.compile(r"\bkeepwarm_[a-z0-9_]+")


def promtool(*arguments: object, stdin: str = "", place: Path = RULES.parent) -> None:
    command = ["promtool", *map(str, arguments)]
    found = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=place, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr


def fetch(url: str, token: str = "reads") -> str:
    with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon that has sent some pings, one prefix of which is stopped."""
    place = tmp_path_factory.mktemp("metrics")
    policy = {"policy": "busy_hours"}
    registry = write_registry(place / "registry.yaml", "a", "b", "held", defaults=policy, held={"day_cap_usd": 0})
    with pytest.MonkeyPatch.context() as patch, Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE) as emulator:
        patch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        settings = Settings(
            registry=registry,
            state_dir=place / "state",
            listen="127.0.0.1:0",
            token=SecretStr("acts"),
            read_token=SecretStr("reads"),
        )
        with daemon.build(settings, observers=[]) as service, ThreadPoolExecutor(1) as pool:
            code = pool.submit(service.run)
            assert soon(lambda: service.address and len(emulator.log) >= 4)
            yield f"http://{service.address}"
            service.stop()
            assert code.result(PATIENCE_SECONDS) == 0


def test_metrics_need_the_reading_token(address: str):
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{address}/metrics", timeout=10)
    with refused.value as answer:
        assert answer.code == 401


def test_a_running_daemon_tells_of_its_prefixes(address: str):
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(fetch(f"{address}/metrics"))
        for sample in family.samples
    }
    assert found["keepwarm_pings_total", "a", "rewrite"] == 1
    assert found["keepwarm_prefix_expiry_timestamp_seconds", "a"] > 0
    assert found["keepwarm_guard_holding", "day_cap", "held"] == 1
    assert found["keepwarm_ping_lateness_seconds_count",] > 0
    assert (found["keepwarm_leader",], found["keepwarm_registry_generation",]) == (1, 1)


@pytest.mark.system("promtool")
def test_promtool_finds_nothing_wrong_with_the_metrics(address: str):
    promtool("check", "metrics", stdin=fetch(f"{address}/metrics"))


@pytest.mark.system("promtool")
def test_the_alert_rules_are_valid_and_do_what_their_tests_say():
    promtool("check", "config", "prometheus.yaml")
    promtool("test", "rules", "keepwarm.rules.test.yaml")


def test_every_alert_is_played_in_a_test():
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    played = set(re.findall(r"\bKeepwarm\w+", (RULES.parent / "keepwarm.rules.test.yaml").read_text()))
    assert alerts == played


def test_rules_and_dashboard_use_metrics_that_exist(address: str):
    exposed = set(re.findall(r"^# TYPE (\w+)", fetch(f"{address}/metrics"), re.MULTILINE))
    plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in NAME.findall(RULES.read_text() + "".join(queries()))}
    assert plain <= exposed


def test_the_reference_names_every_metric_and_no_other(address: str):
    exposed = set(re.findall(r"^# TYPE (\w+)", fetch(f"{address}/metrics"), re.MULTILINE))
    reference = (DEPLOY.parent / "docs" / "reference.md").read_text()
    section = reference.partition("## Metrics")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(keepwarm_\w+)", section)) == {re.sub(r"_created$", "", name) for name in exposed}


def queries() -> list[str]:
    board = json.loads((DEPLOY / "grafana" / "keepwarm.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.system("promtool")
def test_every_query_of_the_dashboard_is_promql(tmp_path: Path):
    plain = [query.replace("$__rate_interval", "5m").replace("$prefix", ".*") for query in queries()]
    rules = [{"record": f"panel_{number}", "expr": query} for number, query in enumerate(plain)]
    (tmp_path / "board.yaml").write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    promtool("check", "rules", "board.yaml", place=tmp_path)


@pytest.mark.system("prometheus")
def test_a_real_prometheus_scrapes_a_daemon_and_knows_its_rules(address: str, tmp_path: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    job = {
        "job_name": "keepwarm",
        "scrape_interval": "1s",
        "authorization": {"credentials": "reads"},
        "static_configs": [{"targets": [address.removeprefix("http://")]}],
    }
    config = {"rule_files": [str(RULES)], "scrape_configs": [job]}
    (tmp_path / "prometheus.yaml").write_text(json.dumps(config))
    program = shutil.which("prometheus")
    assert program
    command = [program, f"--config.file={tmp_path}/prometheus.yaml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            query = quote('sum(keepwarm_pings_total{prefix="a"})')
            assert soon(lambda: _asked(f"http://127.0.0.1:{port}/api/v1/query?query={query}"), 40)
            assert "KeepwarmNoHits" in fetch(f"http://127.0.0.1:{port}/api/v1/rules")
        finally:
            server.terminate()
            server.wait(20)


def _asked(url: str) -> bool:
    try:
        found = json.loads(fetch(url))["data"]["result"]
    except (URLError, ConnectionError):
        return False
    return bool(found) and float(found[0]["value"][1]) >= 1
