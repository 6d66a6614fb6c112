"""The manifest of deploy/kubernetes: against Kubernetes' own schemas, and against what keepwarm needs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from keepwarm.cli import app
from keepwarm.errors import ConfigError
from keepwarm.settings import PREFIX, Settings, load_settings

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "deploy/kubernetes/keepwarm.yaml"
OBJECTS = {found["kind"]: found for found in yaml.safe_load_all(MANIFEST.read_text())}
POD: dict[str, Any] = OBJECTS["Deployment"]["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]


def validate(manifest: Path) -> subprocess.CompletedProcess[str]:
    command = ["kubernetes-validate", "--strict", str(manifest)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.system("kubernetes-validate")
def test_every_object_is_what_the_schemas_of_kubernetes_ask_for(tmp_path):
    assert (done := validate(MANIFEST)).returncode == 0, done.stdout + done.stderr
    (tmp_path / "bad.yaml").write_text(MANIFEST.read_text().replace("readOnlyRootFilesystem", "readonlyRootFilesystem"))
    assert validate(tmp_path / "bad.yaml").returncode != 0


def test_its_registry_has_no_problem_once_the_text_is_a_real_one(tmp_path, monkeypatch):
    for name, text in OBJECTS["ConfigMap"]["data"].items():
        (tmp_path / name).write_text(text if name == "registry.yaml" else text.ljust(10_000, "x"))
    monkeypatch.setenv("KEEPWARM_STATE_DIR", str(tmp_path / "state"))
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "registry.yaml")])
    assert checked.exit_code == 0, checked.output
    assert "1 prefix, no problem" in checked.output


def test_every_variable_is_a_setting_and_every_file_is_mounted():
    given = {entry["name"]: entry["value"] for entry in CONTAINER["env"]}
    assert set(given) <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in POD["volumes"]}
    paths = [value for value in given.values() if value.startswith("/")]
    assert paths
    assert all(path.startswith(tuple(mounts.values())) for path in paths)


def test_kubernetes_adds_no_variables_that_keepwarm_would_refuse(monkeypatch):
    links = {"KEEPWARM_PORT": "tcp://10.0.0.1:8378", "KEEPWARM_SERVICE_HOST": "10.0.0.1"}
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError):  # as it would be with them
        load_settings(links)
    assert POD["enableServiceLinks"] is False


def test_two_daemons_never_share_the_file_and_a_stop_may_drain():
    assert OBJECTS["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    assert OBJECTS["Deployment"]["spec"]["replicas"] == 1
    assert OBJECTS["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert POD["terminationGracePeriodSeconds"] > Settings.model_fields["drain_seconds"].default


def test_the_pod_keeps_the_restricted_standard_and_runs_as_the_image_does():
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, read 2026-11-23."""
    own = CONTAINER["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    user = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    assert (str(POD["securityContext"]["runAsUser"]), str(POD["securityContext"]["runAsGroup"])) == user


def test_the_probes_ask_what_the_http_interface_answers():
    served = "".join(path.read_text() for path in (ROOT / "keepwarm/web").glob("*.py"))
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert f'@app.get("{CONTAINER[probe]["httpGet"]["path"]}"' in served


def test_the_secret_that_the_page_tells_to_make_is_the_one_that_is_mounted():
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    (name,) = re.findall(r"create secret generic (\S+)", page)
    keys = set(re.findall(r"--from-literal=([\w-]+)=", page))
    (secret,) = [volume["secret"]["secretName"] for volume in POD["volumes"] if "secret" in volume]
    (place,) = [mount["mountPath"] for mount in CONTAINER["volumeMounts"] if mount["name"] == "tokens"]
    assert name == secret
    assert {entry["value"] for entry in CONTAINER["env"] if "TOKEN_FILE" in entry["name"]} == {
        f"{place}/{key}" for key in keys
    }
