"""compose.yaml: nothing in it points to what is not there, and what it configures is understood."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from keepwarm.cli import app
from keepwarm.clock import utc_now
from keepwarm.registry import load_catalog, load_registry
from keepwarm.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
WHOLE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = WHOLE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "keepwarm"]


def test_it_runs_daemon_emulator_prometheus_and_grafana():
    assert set(SERVICES) == {"keepwarm", "bedrock", "prometheus", "grafana"}
    assert OURS == ["keepwarm", "bedrock"]


def test_everything_that_it_names_is_there():
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    for source in mounts:
        assert (ROOT / source).exists() if source.startswith("./") else source in WHOLE["volumes"], source
    named = [entry["source"] for service in SERVICES.values() for entry in service.get("configs", [])]
    assert sorted(named) == sorted(WHOLE["configs"])
    assert all(SERVICES[name]["build"] == "." for name in OURS)
    assert set(SERVICES["keepwarm"]["depends_on"]) <= set(SERVICES)


def test_every_port_is_published_on_this_machine_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_daemon_is_given_settings_that_exist_and_a_registry_that_loads():
    environment = SERVICES["keepwarm"]["environment"]
    given = {name for name in environment if name.startswith(PREFIX)}
    assert given <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert "./config:/etc/keepwarm:ro" in SERVICES["keepwarm"]["volumes"]
    assert load_registry(ROOT / "config/registry.yaml", load_catalog(None), b"k" * 32, utc_now()).prefixes


def test_the_emulator_is_started_with_options_that_it_has_where_the_daemon_looks_for_it():
    command, *options = SERVICES["bedrock"]["command"]
    assert command == "emulate"
    parameters = {
        opt: parameter for parameter in typer.main.get_command(app).commands[command].params for opt in parameter.opts
    }
    assert {option for option in options if option.startswith("--")} <= set(parameters)
    url = SERVICES["keepwarm"]["environment"]["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
    assert url == f"http://bedrock:{parameters['--port'].default}"


def test_prometheus_and_grafana_ask_whom_they_can_reach():
    scraped = yaml.safe_load(WHOLE["configs"]["prometheus"]["content"])["scrape_configs"][0]
    assert scraped["static_configs"] == [{"targets": ["keepwarm:8378"]}]
    assert scraped["authorization"]["credentials"] == SERVICES["keepwarm"]["environment"]["KEEPWARM_TOKEN"]
    (source,) = yaml.safe_load(WHOLE["configs"]["datasources"]["content"])["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load(WHOLE["configs"]["dashboards"]["content"])["providers"]
    assert f"./deploy/grafana:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


@pytest.mark.system("promtool")
def test_prometheus_understands_its_configuration(tmp_path):
    (tmp_path / "prometheus.yml").write_text(WHOLE["configs"]["prometheus"]["content"])
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
