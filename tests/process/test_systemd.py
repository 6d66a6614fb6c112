"""The systemd unit: what systemd itself thinks of it, and a real systemd that runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import CLAUDE
from tests.daemons import soon
from tests.machines import ENVIRONMENT, Machine

UNIT = Path(__file__).parents[2] / "deploy/systemd/keepwarm.service"
EXPOSURE_AT_MOST = 1.5

DEFAULT_TARGET = "[Unit]\nDescription=Up\nRequires=basic.target\nAfter=basic.target\n"
EMULATOR = f"""[Service]
Type=exec
Environment={" ".join(ENVIRONMENT)}
ExecStart=/opt/keepwarm/bin/keepwarm emulate --time-scale 0.02
"""
# What an installation would put into a drop-in; only the patience is a test's.
IMPATIENT = UNIT.read_text() + "\n[Service]\nWatchdogSec=4\nTimeoutAbortSec=1\n"
SETTINGS = [*ENVIRONMENT, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME=http://127.0.0.1:8377", "AWS_EC2_METADATA_DISABLED=true"]
AWS = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n"
REGISTRY = "/etc/keepwarm/registry.yaml"


def registry(*names: str, **more: object) -> str:
    """JSON is YAML."""
    common = {"region": "eu-central-1", "api": "invoke_model", "busy_hours": "always", "policy": "busy_hours"}
    prefixes = [{"name": name, "model_id": CLAUDE, "system": {"file": f"{name}.md"}} | common | more for name in names]
    return json.dumps({"version": 1, "prefixes": prefixes})


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(
        tmp_path_factory.mktemp("machine"),
        {"default.target": DEFAULT_TARGET, "emulator.service": EMULATOR, "keepwarm.service": IMPATIENT},
        {
            REGISTRY: registry("a"),
            **{f"/etc/keepwarm/{name}.md": f"You answer questions about {name}. ".ljust(20_000, "x") for name in "abc"},
            "/etc/keepwarm/keepwarm.env": "\n".join(SETTINGS),
            "/etc/keepwarm/credentials/token": "a token of the test",
            "/etc/keepwarm/credentials/aws": AWS,
        },
    )
    made.run("systemctl start emulator")
    assert soon(lambda: made.returns("curl -s --fail --output /dev/null http://127.0.0.1:8377/_emulator/log") == 0)
    yield made
    made.close()


@pytest.fixture
def stopped(machine: Machine) -> Machine:
    """The machine with a service that has no past, and the registry of one prefix."""
    machine.run("systemctl stop keepwarm")
    machine.run("systemctl reset-failed", check=False)
    machine.run("systemctl clean --what=state keepwarm")
    machine.file(REGISTRY).write_text(registry("a"))
    return machine


@pytest.fixture
def running(stopped: Machine) -> Machine:
    assert stopped.returns("systemctl start keepwarm") == 0, log(stopped)
    return stopped


def commands_of(section: str) -> list[str]:
    """What the page on systemd tells people to type, a line each."""
    page = (UNIT.parents[2] / "docs/how-to/systemd.md").read_text()
    blocks = re.findall(r"```\n(.*?)```", page.split(f"## {section}\n")[1].split("\n## ")[0], re.DOTALL)
    return "".join(blocks).splitlines()


def log(machine: Machine) -> str:
    return machine.run("journalctl --unit keepwarm --output cat --no-pager")


def since_start(machine: Machine) -> str:
    return log(machine).rpartition("Starting keepwarm.service")[2]


def faults(machine: Machine, switches: dict[str, object]) -> None:
    """Switch the emulator."""
    body = shlex.quote(json.dumps(switches))
    machine.run(f"curl -s --fail -X PUT --data {body} http://127.0.0.1:8377/_emulator/faults")


def requests(machine: Machine) -> int:
    """How many the emulator has seen."""
    return len(json.loads(machine.run("curl -s --fail http://127.0.0.1:8377/_emulator/log"))["requests"])


def told(machine: Machine, event: str) -> bool:
    return f'"event": "{event}"' in since_start(machine)


@pytest.mark.system("systemd-analyze")
def test_systemd_understands_every_line_of_the_unit(tmp_path):
    program = shutil.which("true")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/keepwarm/bin/keepwarm", str(program)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")  # a misspelt key is only a warning, with exit code 0


@pytest.mark.system("systemd-analyze")
def test_the_exposure_of_the_unit_is_low():
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for keepwarm.service: ([\d.]+)", said)
    assert found, said
    print(found[0])  # noqa: T201  pytest -s shows it
    assert float(found[1]) <= EXPOSURE_AT_MOST


@pytest.mark.system("systemd-nspawn", "nsenter", "curl")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can boot a machine")
class TestBooted:
    def test_a_start_is_complete_only_when_the_first_decisions_are_taken(self, running):
        assert running.show("keepwarm", "ActiveState") == "active"
        said = since_start(running)
        assert '"event": "daemon_started"' in said.partition("Started keepwarm.service")[0]
        assert running.show("keepwarm", "StatusText") == "keeps 1 prefix warm"
        assert soon(lambda: told(running, "ping_succeeded")), log(running)

    def test_it_runs_as_nobody_known_and_only_its_state_is_writable(self, running):
        pid = running.show("keepwarm", "MainPID")
        status = running.run(f"cat /proc/{pid}/status")
        uid = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
        assert uid
        assert 61184 <= int(uid[1]) <= 65519  # systemd's range of dynamic users
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
        assert running.run("stat -c %a /var/lib/private/keepwarm/").strip() == "700"
        assert "ledger.sqlite" in running.run("ls /var/lib/private/keepwarm")

    def test_the_token_comes_as_a_credential_and_not_by_the_environment(self, running):
        pid = running.show("keepwarm", "MainPID")
        assert "a token of the test" not in running.run(f"cat /proc/{pid}/environ")
        post = "curl -s -o /dev/null -w %{http_code} -X POST -H 'Authorization: Bearer {}' -d '{\"touches\": []}' -H "
        post += "'Content-Type: application/json' http://127.0.0.1:8378/v1/touches"
        assert running.run(post.replace("{}", "wrong")) == "401"
        assert running.run(post.replace("{}", "a token of the test")) != "401"

    def test_a_reload_takes_what_is_new_and_a_bad_registry_changes_nothing_and_shows(self, running):
        pid = running.show("keepwarm", "MainPID")
        running.file(REGISTRY).write_text(registry("a", "b"))
        running.run("systemctl reload keepwarm")
        assert soon(lambda: running.show("keepwarm", "StatusText") == "keeps 2 prefixes warm"), log(running)
        running.file(REGISTRY).write_text(registry("a", "b", "c", ttl="2h"))
        running.run("systemctl reload keepwarm")
        assert soon(lambda: told(running, "registry_refused"))
        refused = "keeps 2 prefixes warm; the last reload was refused"
        assert soon(lambda: running.show("keepwarm", "StatusText") == refused)
        assert soon(lambda: running.show("keepwarm", "SubState") == "running")
        assert running.show("keepwarm", "MainPID") == pid

    def test_a_frozen_loop_is_killed_by_the_watchdog_and_started_again(self, running):
        pid = running.show("keepwarm", "MainPID")
        running.run(f"kill -STOP {pid}")
        assert soon(lambda: running.show("keepwarm", "NRestarts") == "1", 30), log(running)
        assert "watchdog" in log(running).lower()
        assert soon(lambda: running.show("keepwarm", "ActiveState") == "active", 30), log(running)
        assert running.show("keepwarm", "MainPID") not in {"0", pid}

    def test_a_stop_drains_and_is_a_success(self, running):
        assert soon(lambda: told(running, "ping_succeeded"))
        running.run("systemctl stop keepwarm")
        assert '"drained": true' in since_start(running)
        assert running.show("keepwarm", "Result") == "success"
        assert running.show("keepwarm", "ExecMainStatus") == "0"

    @pytest.mark.parametrize("section", ["Use", "Beside it"])
    def test_the_commands_of_the_page_do_what_they_should(self, running, section):
        commands = [command for command in commands_of(section) if "install-completion" not in command]
        assert commands
        for command in commands:
            target = command.replace("/usr/local/share/man/man1", "/tmp")  # /usr is this machine's own here
            running.run(shlex.join(["env", *ENVIRONMENT, "sh", "-c", target]))

    def test_a_drain_may_take_longer_than_the_watchdog_has_patience(self, stopped):
        faults(stopped, {"*": {"hang": 1, "hang_seconds": 7}})
        try:
            before = requests(stopped)
            stopped.run("systemctl start keepwarm")
            assert soon(lambda: requests(stopped) > before), log(stopped)
            stopped.run("systemctl stop keepwarm")
        finally:
            faults(stopped, {})
        assert '"drained": true' in since_start(stopped)
        assert told(stopped, "ping_succeeded") or told(stopped, "ping_failed")
        assert stopped.show("keepwarm", "Result") == "success"

    def test_a_registry_that_is_refused_at_the_start_is_not_tried_again(self, stopped):
        stopped.file(REGISTRY).write_text(registry("a", ttl="2h"))
        assert stopped.returns("systemctl start keepwarm") != 0
        assert stopped.show("keepwarm", "ExecMainStatus") == "2", log(stopped)
        assert stopped.show("keepwarm", "ActiveState") == "failed"
        assert "ttl" in since_start(stopped)
